package app

import (
	"reflect"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/impact"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

// broken is one claim that an edited file no longer keeps.
type broken struct {
	claim  generators.Claim
	object string // as objectName prints it; empty for a text
	line   int    // where the part stands in the edited file, or where its object does; 0 if gone
}

// difference is what an edit of one file amounts to.
type difference struct {
	broken []broken
	// touched are the controls of every object that changed in any way; for a file whose objects
	// are all the same (a comment changed) the controls of the whole file.
	touched []string
	// line is the first line that differs.
	line int
}

// compare holds an edited file against the artifact that was rendered for it.
func compare(a *generators.Artifact, rendered, tree []byte) (difference, error) {
	d := difference{line: firstDifferentLine(rendered, tree)}
	if len(a.Objects) == 0 {
		for _, c := range a.Claims {
			d.touched = appendOnce(d.touched, c.Control)
			if line, kept := textClaimKept(c.Field, string(rendered), string(tree)); !kept {
				d.broken = append(d.broken, broken{claim: c, line: line})
			}
		}
		return d, nil
	}
	want, err := manifest.Decode(rendered)
	if err != nil {
		return d, err
	}
	got, err := manifest.Decode(tree)
	if err != nil {
		return d, err
	}
	for i, o := range a.Objects {
		if i >= len(want) {
			break
		}
		key := objectName(want[i])
		k := slices.IndexFunc(got, func(g manifest.Document) bool { return objectName(g) == key })
		if k < 0 {
			for _, c := range o.Claims {
				d.broken = append(d.broken, broken{claim: c, object: key})
				d.touched = appendOnce(d.touched, c.Control)
			}
			continue
		}
		before, err := manifest.Value(want[i].Node)
		if err != nil {
			return d, err
		}
		after, err := manifest.Value(got[k].Node)
		if err != nil {
			return d, err
		}
		if reflect.DeepEqual(before, after) {
			continue
		}
		for _, c := range o.Claims {
			d.touched = appendOnce(d.touched, c.Control)
			if line, kept := objectClaimKept(c.Field, want[i], got[k]); !kept {
				d.broken = append(d.broken, broken{claim: c, object: key, line: line})
			}
		}
	}
	if len(d.touched) == 0 {
		for _, o := range a.Objects {
			for _, c := range o.Claims {
				d.touched = appendOnce(d.touched, c.Control)
			}
		}
	}
	return d, nil
}

func objectClaimKept(field string, want, got manifest.Document) (line int, kept bool) {
	if field == "" {
		return got.Node.Line, sameObject(want, got)
	}
	before, ok := manifest.Lookup(want.Node, field)
	if !ok {
		// A claim on something that is absent ("no such argument") is kept while it stays absent.
		after, there := manifest.Lookup(got.Node, field)
		if there {
			return after.Line, false
		}
		return 0, true
	}
	after, ok := manifest.Lookup(got.Node, field)
	if !ok {
		return got.Node.Line, false
	}
	a, errA := manifest.Value(before)
	b, errB := manifest.Value(after)
	if errA != nil || errB != nil {
		return after.Line, false
	}
	return after.Line, impact.Equal(want.Kind, field, a, b) || field == "subjects" && subjectsKept(a, b)
}

// sameObject reports whether an edited object is the rendered one but for annotations and for labels
// that no policy of ours selects by. Annotations and labels that serve a control are claimed one by one.
func sameObject(want, got manifest.Document) bool {
	strip := func(d manifest.Document) any {
		value, err := manifest.Value(d.Node)
		object, ok := value.(map[string]any)
		if err != nil || !ok {
			return err
		}
		metadata, _ := object["metadata"].(map[string]any)
		delete(metadata, "annotations")
		labels, _ := metadata["labels"].(map[string]any)
		for name := range labels {
			if !strings.HasPrefix(name, "k8ssec.dev/") && !strings.HasPrefix(name, "pod-security.kubernetes.io/") {
				delete(labels, name)
			}
		}
		return value
	}
	return impact.Equal(want.Kind, "", strip(want), strip(got))
}

// subjectsKept reports whether edited subjects of a binding keep what the controls ask of them: there
// is one, and each that was not rendered is a group of people or a service account. A single person
// and the groups of the API server itself (everyone, every account, system:masters) are not.
func subjectsKept(rendered, edited any) bool {
	before, _ := rendered.([]any)
	after, _ := edited.([]any)
	for _, subject := range after {
		if slices.ContainsFunc(before, func(b any) bool { return reflect.DeepEqual(b, subject) }) {
			continue
		}
		fields, _ := subject.(map[string]any)
		name, _ := fields["name"].(string)
		group := fields["kind"] == "Group" && !strings.HasPrefix(name, "system:")
		if name == "" || !group && fields["kind"] != "ServiceAccount" {
			return false
		}
	}
	return len(after) > 0
}

// textClaimKept says whether every line that a claim is on still stands, in order; for a heading,
// whether its whole section does.
func textClaimKept(field, rendered, tree string) (line int, kept bool) {
	if field == "" {
		return firstDifferentLine([]byte(rendered), []byte(tree)), rendered == tree
	}
	want := claimedLines(field, rendered)
	got := strings.Split(tree, "\n")
	next := 0
	for _, w := range want {
		i := slices.Index(got[next:], w)
		if i < 0 {
			return min(next+1, len(got)), false
		}
		next += i + 1
	}
	return 0, true
}

// claimedLines are the lines of a text that a claim is on.
func claimedLines(field, text string) []string {
	lines := strings.Split(text, "\n")
	if strings.HasPrefix(field, "#") {
		level := len(field) - len(strings.TrimLeft(field, "#"))
		start := slices.IndexFunc(lines, func(l string) bool { return strings.TrimSpace(l) == strings.TrimSpace(field) })
		if start < 0 {
			start = slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, field) })
		}
		if start < 0 {
			return nil
		}
		end := start + 1
		fenced := false
		for end < len(lines) {
			if strings.HasPrefix(strings.TrimSpace(lines[end]), "```") {
				fenced = !fenced
			}
			if fenced {
				end++ // a comment in a block of code is no heading
				continue
			}
			hashes := len(lines[end]) - len(strings.TrimLeft(lines[end], "#"))
			if hashes > 0 && hashes <= level && strings.HasPrefix(lines[end][hashes:], " ") {
				break
			}
			end++
		}
		return lines[start:end]
	}
	var claimed []string
	for _, l := range lines {
		if strings.Contains(l, field) {
			claimed = append(claimed, l)
		}
	}
	return claimed
}

func firstDifferentLine(a, b []byte) int {
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return i + 1
		}
	}
	return min(len(x), len(y))
}

func appendOnce(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// objectName names an object for people: "NetworkPolicy team-a/default-deny". It is unique in a
// file, and what an edited object is found again by.
func objectName(d manifest.Document) string {
	name := d.Name
	if d.Namespace != "" {
		name = d.Namespace + "/" + name
	}
	return strings.TrimSpace(d.Kind + " " + name)
}
