package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/render"
)

// WriteJSON writes the report for scripts.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes the report for people: the matrix first, and last what is short, because that is
// what stands on a screen when the command ends.
func (r *Report) WriteText(w io.Writer, s diag.Style) error {
	var b strings.Builder
	for _, c := range r.Summary.Catalogues {
		fmt.Fprintf(&b, "%s\n", s.Bold(c.Title))
		for _, x := range r.Controls {
			if x.Catalogue == c.Name {
				fmt.Fprintf(&b, "  %-30s %s %s\n", x.ID, coloured(s, x.State, fmt.Sprintf("%-10s", x.State)), x.Title)
			}
		}
		b.WriteString("\n")
	}
	short := false
	for _, x := range r.Controls {
		if !Short(x.State) {
			continue
		}
		if !short {
			b.WriteString(s.Bold("What falls short") + "\n")
			short = true
		}
		fmt.Fprintf(&b, "  %-30s %s %s\n", x.Catalogue+" "+x.ID, coloured(s, x.State, string(x.State)), s.Dim(x.Answer))
	}
	if short {
		b.WriteString("\n")
	}
	if len(r.Waivers) > 0 {
		b.WriteString(s.Bold("Waivers") + "\n")
		for _, x := range r.Waivers {
			scope := "the whole cluster"
			if x.Scope != "" {
				scope = "namespace " + x.Scope
			}
			fmt.Fprintf(&b, "  %-20s %s  %s in %s, owner %s: %s\n", x.Name, s.Odd(left(x)), strings.Join(x.Controls, ", "), scope, x.Owner, x.Reason)
		}
		b.WriteString("\n")
	}
	b.WriteString(s.Bold("Areas") + "\n")
	for _, c := range r.Summary.Areas {
		fmt.Fprintf(&b, "  %-12s %3d%% %s %s\n", c.Name, c.Score, bar(c.Score), counts(c))
	}
	b.WriteString("\n" + s.Bold("Catalogues") + "\n")
	for _, c := range r.Summary.Catalogues {
		fmt.Fprintf(&b, "  %-22s %3d: %s\n", c.Name, c.Total, counts(c))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func coloured(s diag.Style, state render.State, text string) string {
	switch state {
	case render.Enforced, render.Provider, render.ByProcedure:
		return s.Good(text)
	case render.Failing:
		return s.Bad(text)
	default:
		return s.Odd(text)
	}
}

// left says how long a waiver still holds.
func left(w Waiver) string {
	switch {
	case !w.Active:
		return "expired " + w.Expires
	case w.DaysLeft == 1:
		return "1 day left"
	default:
		return fmt.Sprintf("%d days left", w.DaysLeft)
	}
}

// bar draws a score on 20 columns.
func bar(score int) string {
	full := score / 5
	return strings.Repeat("#", full) + strings.Repeat(".", 20-full)
}

// counts lists the states that occur.
func counts(c Count) string {
	var parts []string
	for _, state := range render.States {
		if n := c.States[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(parts, ", ")
}

// WriteMarkdown writes the report for a page, a wiki or the summary of a CI job.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Security of %s\n\nKubernetes %s on %s, CNI %s, profiles %s.\n\n",
		r.Cluster.Name, r.Cluster.Kubernetes, r.Cluster.Platform, r.Cluster.CNI, strings.Join(r.Cluster.Profiles, ", "))
	table := func(title string, list []Count) {
		fmt.Fprintf(&b, "| %s | controls | holds |", title)
		for _, s := range render.States {
			fmt.Fprintf(&b, " %s |", s)
		}
		b.WriteString("\n| --- | ---: | ---: |" + strings.Repeat(" ---: |", len(render.States)) + "\n")
		for _, c := range list {
			fmt.Fprintf(&b, "| %s | %d | %d%% |", c.Title, c.Total, c.Score)
			for _, s := range render.States {
				fmt.Fprintf(&b, " %d |", c.States[s])
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	table("catalogue", r.Summary.Catalogues)
	table("area", r.Summary.Areas)
	if len(r.Waivers) > 0 {
		b.WriteString("## Waivers\n\n| waiver | controls | scope | owner | until | left | reason |\n| --- | --- | --- | --- | --- | --- | --- |\n")
		for _, x := range r.Waivers {
			scope := "cluster"
			if x.Scope != "" {
				scope = x.Scope
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n",
				cell(x.Name), cell(strings.Join(x.Controls, ", ")), scope, cell(x.Owner), x.Expires, left(x), cell(x.Reason))
		}
		b.WriteString("\n")
	}
	if len(r.Undecided) > 0 {
		b.WriteString("## Undecided\n\n| write in cluster.cue | switches on |\n| --- | --- |\n")
		for _, x := range r.Undecided {
			fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(x.Line, "|", `\|`), cell(x.Enables))
		}
		b.WriteString("\n")
	}
	for _, c := range r.Summary.Catalogues {
		fmt.Fprintf(&b, "## %s\n\n| id | what must hold | state | answer |\n| --- | --- | --- | --- |\n", c.Title)
		for _, x := range r.Controls {
			if x.Catalogue == c.Name {
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.ID, cell(x.Title), x.State, cell(x.Answer))
			}
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// cell makes a text safe for a cell of a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(text)
}

// Findings are the controls that fall short, for code scanning: at the line that an edit broke, else
// at the cluster file, which is where each of them is decided.
func (r *Report) Findings(clusterFile string) diag.List {
	list := diag.List{}
	for _, c := range r.Controls {
		if !Short(c.State) {
			continue
		}
		id := c.Control
		if id == "" {
			id = c.ID
		}
		if c.Finding != nil {
			d := *c.Finding
			d.Control, d.Controls, d.Rule = id, nil, c.Title
			list = append(list, d)
			continue
		}
		d := diag.Diagnostic{Severity: diag.Warning, File: clusterFile, Line: 1, Column: 1, Control: id, Rule: c.Title, Message: fmt.Sprintf("%s is %s", id, c.State), Why: c.Answer}
		if c.State == render.Failing {
			d.Severity = diag.Error
		}
		list = append(list, d)
	}
	return list
}
