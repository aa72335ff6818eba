package probe

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/internal/diag"
)

// WriteList writes the probes for a person, a line each under their domain.
func (r *Report) WriteList(w io.Writer, s diag.Style) error {
	var b strings.Builder
	domain, active := "", 0
	for _, p := range r.Probes {
		if p.Domain != domain {
			domain = p.Domain
			fmt.Fprintf(&b, "%s\n", s.Bold(domain))
		}
		mark := " "
		if p.Active {
			mark, active = "*", active+1
		}
		fmt.Fprintf(&b, "%s%-5s %s\n       %s\n", mark, p.Kind, p.ID, s.Dim(p.Title+" -> "+p.Expected))
	}
	fmt.Fprintf(&b, "\n%d probes", len(r.Probes))
	if active > 0 {
		fmt.Fprintf(&b, "; the %d with a * create something for a moment and run with --active only", active)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// worst orders states by what a person must see first.
var worst = []State{Failed, NotEnforced, Skipped, Passed}

// WriteText writes the report for a person: what does not hold in full, then each domain in a line.
func (r *Report) WriteText(w io.Writer, s diag.Style) error {
	var b strings.Builder
	for _, p := range r.Probes {
		if p.State != Failed && p.State != NotEnforced {
			continue
		}
		fmt.Fprintf(&b, "%s %s  %s\n", s.Bad(string(p.State)+":"), s.Bold(p.ID), p.Title)
		part := func(name, text string) {
			if text != "" {
				fmt.Fprintf(&b, "  %s %s\n", s.Dim(fmt.Sprintf("%-8s", name)), text)
			}
		}
		part("expected", p.Expected)
		part("observed", p.Observed)
		part("proves", strings.Join(p.Controls, ", "))
		part("from", strings.Join(p.Artifacts, ", "))
		part("why", p.Why)
		b.WriteString("\n")
	}
	for _, domain := range r.domains() {
		counts := map[State]int{}
		total := 0
		for _, p := range r.Probes {
			if p.Domain == domain {
				counts[p.State]++
				total++
			}
		}
		words := s.Good(fmt.Sprintf("%3d passed", counts[Passed]))
		if n := counts[Failed]; n > 0 {
			words += "  " + s.Bad(fmt.Sprintf("%d failed", n))
		}
		if n := counts[NotEnforced]; n > 0 {
			words += "  " + s.Bad(fmt.Sprintf("%d not enforced", n))
		}
		if n := counts[Skipped]; n > 0 {
			words += "  " + s.Odd(fmt.Sprintf("%d skipped", n))
		}
		fmt.Fprintf(&b, "  %-12s %s\n", domain, words)
	}
	if reasons := r.skipReasons(); len(reasons) > 0 {
		b.WriteString("\n" + s.Bold("skipped") + "\n")
		for _, reason := range reasons {
			b.WriteString("  " + reason + "\n")
		}
	}
	b.WriteString("\n" + r.line() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// line is the summary of a run.
func (r *Report) line() string {
	n := r.Summary
	words := []string{fmt.Sprintf("%d passed", n.Passed)}
	for _, x := range []struct {
		count int
		word  string
	}{{n.Failed, "failed"}, {n.NotEnforced, "not enforced"}, {n.Skipped, "skipped"}} {
		if x.count > 0 {
			words = append(words, fmt.Sprintf("%d %s", x.count, x.word))
		}
	}
	return fmt.Sprintf("%d probes of %s against %s: %s", n.Total, r.Cluster, r.Server, strings.Join(words, ", "))
}

func (r *Report) domains() []string {
	var domains []string
	for _, p := range r.Probes {
		if !slices.Contains(domains, p.Domain) {
			domains = append(domains, p.Domain)
		}
	}
	return domains
}

// skipReasons are the reasons for which probes were skipped, each with how many and the first.
func (r *Report) skipReasons() []string {
	var order []string
	byReason := map[string][]string{}
	for _, p := range r.Probes {
		if p.State != Skipped {
			continue
		}
		if byReason[p.Observed] == nil {
			order = append(order, p.Observed)
		}
		byReason[p.Observed] = append(byReason[p.Observed], p.ID)
	}
	var lines []string
	for _, reason := range order {
		ids := byReason[reason]
		name := ids[0]
		if len(ids) > 1 {
			name = fmt.Sprintf("%s and %d more", ids[0], len(ids)-1)
		}
		lines = append(lines, name+": "+reason)
	}
	return lines
}

// WriteMarkdown writes the report as a page.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Probes of %s\n\n%s.\n", r.Cluster, r.line())
	cell := func(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s) }
	for _, domain := range r.domains() {
		fmt.Fprintf(&b, "\n## %s\n\n| result | probe | what is tried | expected | observed | controls |\n| --- | --- | --- | --- | --- | --- |\n", domain)
		var list []Result
		for _, p := range r.Probes {
			if p.Domain == domain {
				list = append(list, p)
			}
		}
		slices.SortStableFunc(list, func(a, b Result) int {
			return cmp.Compare(slices.Index(worst, a.State), slices.Index(worst, b.State))
		})
		for _, p := range list {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", p.State, p.ID, cell(p.Title), cell(p.Expected), cell(p.Observed), strings.Join(p.Controls, " "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// The part of the JUnit format that CI systems read.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Seconds float64      `xml:"time,attr"`
		Failure *junitResult `xml:"failure,omitempty"`
		Skipped *junitResult `xml:"skipped,omitempty"`
	}
	junitResult struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report for CI systems.
func (r *Report) WriteJUnit(w io.Writer) error {
	var all junitSuites
	for _, domain := range r.domains() {
		suite := junitSuite{Name: domain}
		for _, p := range r.Probes {
			if p.Domain != domain {
				continue
			}
			c := junitCase{Class: "k8ssec." + domain, Name: p.ID, Seconds: float64(p.Milliseconds) / 1000}
			suite.Tests++
			switch p.State {
			case Failed, NotEnforced:
				suite.Failures++
				c.Failure = &junitResult{
					Message: string(p.State) + ": " + p.Title,
					Text: fmt.Sprintf("expected: %s\nobserved: %s\ncontrols: %s\nartifacts: %s\n",
						p.Expected, p.Observed, strings.Join(p.Controls, ", "), strings.Join(p.Artifacts, ", ")),
				}
			case Skipped:
				suite.Skipped++
				c.Skipped = &junitResult{Message: p.Observed}
			}
			suite.Cases = append(suite.Cases, c)
		}
		all.Suites = append(all.Suites, suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
