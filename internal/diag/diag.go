// Package diag holds the one type in which k8ssec tells a person what is wrong: where, what was
// found, what must hold and why, and what to write instead.
package diag

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Severity orders diagnostics. Only errors stop a command from writing.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Diagnostic is one finding. Message alone is required; every other field is left empty where it
// does not apply.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	// File, Line and Column are where the value stands; Line and Column count from 1.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Field is the path in the posture or object, for instance "namespaces.team-a.owner".
	Field string `json:"field,omitempty"`
	// Value is what was found, as it would be written.
	Value string `json:"value,omitempty"`
	// Control is the id of the control that the finding breaks.
	Control string `json:"control,omitempty"`
	// Controls are further ids, where one finding touches several.
	Controls []string `json:"controls,omitempty"`
	// Message says in one line what is wrong.
	Message string `json:"message"`
	// Rule is what must hold.
	Rule string `json:"rule,omitempty"`
	// Why is what goes wrong otherwise.
	Why string `json:"why,omitempty"`
	// Fix is what to write or do.
	Fix string `json:"fix,omitempty"`
}

// List is a set of diagnostics; as an error it stands for all of them.
type List []Diagnostic

// Error joins the findings, one line each.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, d := range l {
		lines[i] = d.Position() + d.Message
	}
	return strings.Join(lines, "\n")
}

// Errorf returns a list with one error that has no position.
func Errorf(format string, args ...any) List {
	return List{{Severity: Error, Message: fmt.Sprintf(format, args...)}}
}

// HasErrors reports whether any finding is an error.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error })
}

// Sort orders findings by file, place, field and control, so that output is the same each time,
// and drops repetitions.
func (l List) Sort() List {
	slices.SortStableFunc(l, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Control, b.Control), cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.CompactFunc(l, func(a, b Diagnostic) bool {
		return a.File == b.File && a.Line == b.Line && a.Field == b.Field && a.Control == b.Control && a.Message == b.Message
	})
}

// Position is "file:line:column: ", as far as it is known.
func (d Diagnostic) Position() string {
	switch {
	case d.File == "":
		return ""
	case d.Line == 0:
		return d.File + ": "
	default:
		return fmt.Sprintf("%s:%d:%d: ", d.File, d.Line, d.Column)
	}
}

// Style colours the parts of the text form; the zero value colours nothing.
type Style struct{ Colour bool }

func (s Style) wrap(code, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// WriteText writes the findings for a person.
func (l List) WriteText(w io.Writer, s Style) error {
	var b strings.Builder
	for _, d := range l {
		colour := "31;1"
		if d.Severity == Warning {
			colour = "33;1"
		}
		fmt.Fprintf(&b, "%s %s%s\n", s.wrap(colour, string(d.Severity)+":"), s.wrap("1", d.Position()), d.Message)
		rule := d.Rule
		if d.Control != "" {
			rule = strings.TrimRight(d.Control+": "+rule, ": ")
		}
		writePart(&b, s, "rule", rule)
		also := "serves"
		if d.Control != "" {
			also = "also"
		}
		writePart(&b, s, also, strings.Join(d.Controls, ", "))
		writePart(&b, s, "why", d.Why)
		writePart(&b, s, "write", d.Fix)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writePart(b *strings.Builder, s Style, name, text string) {
	if text == "" {
		return
	}
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(b, "  %s %s\n", s.wrap("2", fmt.Sprintf("%-6s", name)), line)
	}
}

// WriteJSON writes {"findings": [...]}.
func (l List) WriteJSON(w io.Writer) error {
	if l == nil {
		l = List{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Findings List `json:"findings"`
	}{l})
}

// Bold makes text stand out where colour is on.
func (s Style) Bold(text string) string { return s.wrap("1", text) }

// Dim makes text stand back where colour is on.
func (s Style) Dim(text string) string { return s.wrap("2", text) }

// Good colours text green where colour is on.
func (s Style) Good(text string) string { return s.wrap("32", text) }

// Bad colours text red where colour is on.
func (s Style) Bad(text string) string { return s.wrap("31;1", text) }

// Odd colours text yellow where colour is on.
func (s Style) Odd(text string) string { return s.wrap("33", text) }
