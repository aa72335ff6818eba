package app

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/impact"
)

// summary counts.
type diffSummary struct {
	Weaker     int `json:"weaker"`
	Tighter    int `json:"tighter"`
	Neutral    int `json:"neutral"`
	Objects    int `json:"objects"`
	Texts      int `json:"texts"`
	Rearranged int `json:"rearranged"`
	Conflicts  int `json:"conflicts"`
}

func (d *Differences) summary() diffSummary {
	return diffSummary{
		d.Count(impact.Weaker), d.Count(impact.Tighter), d.Count(impact.Neutral), len(d.Objects), len(d.Texts), d.Rearranged, len(d.Conflicts),
	}
}

func (d *Differences) show(file string) string {
	if file == "" {
		return ""
	}
	return filepath.Join(d.dir, filepath.FromSlash(file))
}

// WriteJSON writes the differences for scripts.
func (d *Differences) WriteJSON(w io.Writer) error {
	out := struct {
		Changes   []impact.Change       `json:"changes"`
		Conflicts []Conflict            `json:"conflicts"`
		Objects   []impact.ObjectChange `json:"objects"`
		Texts     []string              `json:"texts"`
		Summary   diffSummary           `json:"summary"`
	}{[]impact.Change{}, []Conflict{}, []impact.ObjectChange{}, []string{}, d.summary()}
	for _, c := range d.Changes {
		c.File = d.show(c.File)
		out.Changes = append(out.Changes, c)
	}
	out.Conflicts = append(out.Conflicts, d.Conflicts...)
	for _, o := range d.Objects {
		o.File = d.show(o.File)
		out.Objects = append(out.Objects, o)
	}
	for _, t := range d.Texts {
		out.Texts = append(out.Texts, d.show(t))
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

// WriteSARIF writes what becomes weaker as warnings, and conflicts as errors.
func (d *Differences) WriteSARIF(w io.Writer, version string) error {
	var found diag.List
	for _, c := range d.Changes {
		if c.Direction != impact.Weaker {
			continue
		}
		message := c.Meaning
		if c.Object != "" {
			message = c.Object + ": " + message
		}
		found = append(found, diag.Diagnostic{Severity: diag.Warning, File: d.show(c.File), Line: 1, Controls: c.Controls, Message: message, Rule: "this change makes the cluster weaker"})
	}
	for _, c := range d.Conflicts {
		found = append(found, diag.Diagnostic{Severity: diag.Error, File: c.File, Line: max(c.Line, 1), Field: c.Field, Message: c.Field + " changed on both sides", Rule: "what you edited is never overwritten"})
	}
	return found.WriteSARIF(w, version)
}

// headline says in one line how things stand.
func (d *Differences) headline() string {
	s := d.summary()
	switch {
	case d.Empty() && s.Conflicts == 0:
		return "no change"
	case len(d.Changes) == 0 && s.Conflicts == 0:
		var parts []string
		if s.Rearranged > 0 {
			parts = append(parts, files(s.Rearranged)+" in order, comments or layout alone")
		}
		if s.Texts > 0 {
			parts = append(parts, fmt.Sprintf("%d pages or scripts change", s.Texts))
		}
		if len(parts) == 0 {
			parts = append(parts, "objects move between files")
		}
		return "no security change: " + strings.Join(parts, ", ")
	}
	text := fmt.Sprintf("%d weaker, %d tighter, %d neutral", s.Weaker, s.Tighter, s.Neutral)
	if s.Conflicts > 0 {
		text += fmt.Sprintf(", %d conflicts", s.Conflicts)
	}
	return text
}

func files(n int) string {
	if n == 1 {
		return "1 file changes"
	}
	return fmt.Sprintf("%d files change", n)
}

// WriteText writes the differences for people: the meaning by risk, then the objects, then the texts.
func (d *Differences) WriteText(w io.Writer, s diag.Style) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.Bold(d.dir+": "+d.headline()))
	for _, c := range d.Conflicts {
		fmt.Fprintf(&b, "\n%s %s\n    %s\n    base %s, yours %s, new %s\n", s.Bad("conflict"), c.Field, s.Dim(c.File), value(c.Base), value(c.Yours), value(c.New))
	}
	for _, part := range []struct {
		direction impact.Direction
		mark      string
		style     func(string) string
	}{{impact.Weaker, "!", s.Bad}, {impact.Tighter, "+", s.Good}, {impact.Neutral, "·", s.Dim}} {
		if d.Count(part.direction) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", s.Bold(string(part.direction)))
		for _, c := range d.Changes {
			if c.Direction != part.direction {
				continue
			}
			fmt.Fprintf(&b, "  %s %s\n", part.style(part.mark), c.Meaning)
			if place := d.place(c); place != "" {
				fmt.Fprintf(&b, "      %s\n", s.Dim(place))
			}
		}
	}
	if len(d.Objects) > 0 {
		fmt.Fprintf(&b, "\n%s\n", s.Bold("objects"))
	}
	for _, o := range d.Objects {
		fmt.Fprintf(&b, "  %s  %s\n", o.Object, s.Dim(o.Change+", "+d.show(o.File)))
		for _, f := range o.Fields {
			fmt.Fprintf(&b, "      %s\n", f.Path)
			if f.Old != "" {
				fmt.Fprintf(&b, "        %s\n", s.Bad("- "+oneLine(f.Old)))
			}
			if f.New != "" {
				fmt.Fprintf(&b, "        %s\n", s.Good("+ "+oneLine(f.New)))
			}
		}
	}
	if len(d.Texts) > 0 {
		fmt.Fprintf(&b, "\n%s\n", s.Bold("pages, scripts and lists"))
		for _, t := range d.Texts {
			fmt.Fprintf(&b, "  %s\n", d.show(t))
		}
	}
	if d.Rearranged > 0 && len(d.Changes) > 0 {
		fmt.Fprintf(&b, "\n%s in order, comments or layout alone\n", files(d.Rearranged))
	}
	for _, t := range d.texts {
		fmt.Fprintf(&b, "\n%s", t)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func oneLine(text string) string {
	text = strings.ReplaceAll(text, "\n", `\n`)
	if runes := []rune(text); len(runes) > 160 {
		return string(runes[:157]) + "..."
	}
	return text
}

// place says where a change is and what it serves.
func (d *Differences) place(c impact.Change) string {
	var parts []string
	if c.Object != "" {
		parts = append(parts, c.Object)
	}
	if c.File != "" {
		parts = append(parts, d.show(c.File))
	}
	if n := len(c.Controls); n > 6 {
		parts = append(parts, strings.Join(c.Controls[:6], " ")+fmt.Sprintf(" and %d more", n-6))
	} else if n > 0 {
		parts = append(parts, strings.Join(c.Controls, " "))
	}
	return strings.Join(parts, "  ")
}

// maxMarkdown fits the comment of a pull request: GitHub takes 65,536 characters, GitLab more.
const maxMarkdown = 60_000

// WriteMarkdown writes the differences as a comment of a pull request.
func (d *Differences) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### k8ssec: `%s`: %s\n", d.dir, d.headline())
	for _, c := range d.Conflicts {
		fmt.Fprintf(&b, "\n- :red_circle: conflict in `%s`, %s: base %s, yours %s, new %s\n", c.File, cell(c.Field), cell(value(c.Base)), cell(value(c.Yours)), cell(value(c.New)))
	}
	for _, part := range []struct {
		direction impact.Direction
		title     string
		open      bool
	}{{impact.Weaker, ":warning: weaker", true}, {impact.Tighter, ":lock: tighter", true}, {impact.Neutral, "neutral", false}} {
		n := d.Count(part.direction)
		if n == 0 {
			continue
		}
		if part.open {
			fmt.Fprintf(&b, "\n**%s (%d)**\n\n", part.title, n)
		} else {
			fmt.Fprintf(&b, "\n<details><summary>%s (%d)</summary>\n\n", part.title, n)
		}
		b.WriteString("| what | where | controls |\n| --- | --- | --- |\n")
		for _, c := range d.Changes {
			if c.Direction == part.direction {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(c.Meaning), cell(strings.TrimSpace(c.Object+" `"+d.show(c.File)+"`")), cell(shortList(c.Controls)))
			}
		}
		if !part.open {
			b.WriteString("\n</details>\n")
		}
	}
	head := b.String()
	var tail strings.Builder
	if len(d.Objects) > 0 {
		fmt.Fprintf(&tail, "\n<details><summary>objects (%d)</summary>\n\n```diff\n", len(d.Objects))
		for _, o := range d.Objects {
			fmt.Fprintf(&tail, "  %s (%s, %s)\n", o.Object, o.Change, d.show(o.File))
			for _, f := range o.Fields {
				fmt.Fprintf(&tail, "    %s\n", f.Path)
				if f.Old != "" {
					fmt.Fprintf(&tail, "-     %s\n", fence(oneLine(f.Old)))
				}
				if f.New != "" {
					fmt.Fprintf(&tail, "+     %s\n", fence(oneLine(f.New)))
				}
			}
		}
		tail.WriteString("```\n\n</details>\n")
	}
	for _, t := range d.texts {
		fmt.Fprintf(&tail, "\n<details><summary>text</summary>\n\n```diff\n%s```\n\n</details>\n", fence(t))
	}
	const left = "\n(the rest is left out: it does not fit into a comment; run k8ssec diff)\n"
	switch {
	case len(head) > maxMarkdown:
		cut := strings.LastIndexByte(head[:maxMarkdown], '\n') + 1
		head = head[:cut] + left
	case len(head)+tail.Len() > maxMarkdown:
		head += "\n" + fmt.Sprintf("%d objects change; their fields do not fit into a comment: run k8ssec diff\n", len(d.Objects))
	default:
		head += tail.String()
	}
	_, err := io.WriteString(w, head)
	return err
}

// cell makes a text one cell of a table: what users and files bring must not break out of it.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", ">", "&gt;", "@", "@\u200b").Replace(text)
}

func fence(text string) string { return strings.ReplaceAll(text, "```", "'''") }

func shortList(list []string) string {
	if len(list) > 6 {
		return strings.Join(list[:6], " ") + fmt.Sprintf(" and %d more", len(list)-6)
	}
	return strings.Join(list, " ")
}
