package app

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/render"
	"github.com/k8ssec/k8ssec/internal/repo"
)

// WriteJSON writes what was done, for scripts.
func (w *Written) WriteJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(w)
}

// WriteText writes what was done, for people. first is the summary of init: what is there now, how
// the controls stand, and what to do next.
func (w *Written) WriteText(out io.Writer, s diag.Style, first bool) error {
	var b strings.Builder
	if len(w.Warnings) > 0 {
		if err := w.Warnings.WriteText(&b, s); err != nil {
			return err
		}
	}
	verb := "wrote"
	if w.DryRun {
		verb = "would write"
	}
	written := 0
	for _, c := range w.Changes {
		if c.op.Writes() {
			written++
		}
	}
	switch {
	case first:
		fmt.Fprintf(&b, "%s %d files to %s in %d ms\n\n", verb, written, s.Bold(w.Dir+"/"), w.elapsed.Milliseconds())
		w.directories(&b, s)
		w.controls(&b, s)
		w.undecided(&b, s)
		w.next(&b, s)
	case written == 0 && len(w.Changes) == 0 && w.kept > 0:
		fmt.Fprintf(&b, "nothing to do: %d files are as the posture says, %d of them with edits of yours\n", w.Unchanged, w.kept)
	case written == 0 && len(w.Changes) == 0:
		fmt.Fprintf(&b, "nothing to do: %d files are as the posture says\n", w.Unchanged)
	default:
		for _, c := range w.Changes {
			fmt.Fprintf(&b, "  %s  %s\n", c.Path, s.Dim(c.Op))
		}
		fmt.Fprintf(&b, "%s %d files, left %d\n", verb, written, w.Unchanged+len(w.Changes)-written)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// purposes say what each part of the repository is, in the order in which a person meets it.
var purposes = []struct{ name, purpose string }{
	{"cluster.cue", "yours: the posture of the cluster"},
	{"bootstrap", "control plane and node files, before GitOps"},
	{"gitops", "the order in which everything is applied"},
	{"manifests", "Kubernetes objects, a directory a domain"},
	{"patches", "yours: kustomize patches that no rerun touches"},
	{"docs", "pages for people, and the answer to every control"},
	{"break-glass", "emergency access, applied by hand only"},
}

func (w *Written) directories(b *strings.Builder, s diag.Style) {
	count := map[string]int{}
	for _, c := range w.Changes {
		if c.op == repo.Create {
			top, _, _ := strings.Cut(c.Path, "/")
			count[top]++
		}
	}
	for _, p := range purposes {
		if count[p.name] == 0 {
			continue
		}
		files := fmt.Sprintf("%d files", count[p.name])
		if count[p.name] == 1 {
			files = "1 file"
		}
		name := p.name
		if path.Ext(name) == "" {
			name += "/"
		}
		fmt.Fprintf(b, "  %-14s %9s  %s\n", name, files, s.Dim(p.purpose))
	}
	b.WriteString("\n")
}

func (w *Written) controls(b *strings.Builder, s diag.Style) {
	for _, summary := range w.tree.Summaries() {
		var parts []string
		for _, state := range render.States {
			n := summary.Count[state]
			if n == 0 {
				continue
			}
			part := fmt.Sprintf("%d %s", n, state)
			switch state {
			case render.Enforced, render.Provider:
				part = s.Good(part)
			case render.Failing:
				part = s.Bad(part)
			case render.ByProcedure:
				part = fmt.Sprintf("%d by procedure", n)
			default:
				part = s.Odd(part)
			}
			parts = append(parts, part)
		}
		fmt.Fprintf(b, "  %-11s %3d controls: %s\n", summary.Catalogue, summary.Total, strings.Join(parts, ", "))
	}
	b.WriteString("\n")
}

func (w *Written) undecided(b *strings.Builder, s diag.Style) {
	if len(w.tree.Undecided) == 0 {
		return
	}
	fmt.Fprintf(b, "  Undecided, because only you know it; %s/README.md has each line in full:\n", w.Dir)
	for _, d := range w.tree.Undecided {
		fmt.Fprintf(b, "    %-30s %s\n", key(d.Line), s.Dim(clause(d.Enables)))
	}
	b.WriteString("\n")
}

// key is the path of the first field that a line of CUE sets.
func key(line string) string {
	if i := strings.IndexAny(line, "{[\""); i >= 0 {
		line = line[:i]
	}
	return strings.TrimRight(strings.TrimSpace(line), ": ")
}

// clause is the first clause of a text.
func clause(text string) string {
	if i := strings.IndexAny(text, ".:;,("); i > 0 {
		text = text[:i]
	}
	text = strings.TrimSpace(text)
	return strings.ToLower(text[:1]) + text[1:]
}

func (w *Written) next(b *strings.Builder, s diag.Style) {
	if w.gitPath != "" {
		fmt.Fprintf(b, "  %s this directory is %s in its Git repository; so that GitOps finds it, write\n    gitops: path: %q\n  in cluster.cue and run k8ssec generate %s\n\n",
			s.Odd("note:"), w.gitPath, w.gitPath, w.Dir)
	}
	fmt.Fprintf(b, "%s\n", s.Bold("next"))
	fmt.Fprintf(b, "  $EDITOR %s/cluster.cue && k8ssec generate %s\n", w.Dir, w.Dir)
	fmt.Fprintf(b, "  k8ssec verify %s\n", w.Dir)
	fmt.Fprintf(b, "  git add %s && git commit -m \"Security posture of %s\"\n", w.Dir, w.name)
}
