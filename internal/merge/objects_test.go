package merge

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMove(t *testing.T) {
	const (
		one   = "# Of the file.\n\n# One.\nkind: A\nmetadata:\n  name: one\n"
		two   = "# Two.\nkind: A\nmetadata:\n  name: two\n"
		three = "kind: B\nmetadata:\n  name: three\n"
	)
	if got := Objects([]byte(one + "---\n" + two)); !slices.Equal(got, []string{"A one", "A two"}) {
		t.Errorf("objects %q", got)
	}
	from, to := Move([]byte(one+"---\n"+two), []byte(three), map[string]bool{"A two": true})
	if string(from) != one || string(to) != three+"---\n"+two {
		t.Errorf("moved:\n%s\nto:\n%s", from, to)
	}
	from, to = Move([]byte(two), nil, map[string]bool{"A two": true})
	if from != nil || string(to) != two {
		t.Errorf("moved:\n%s\nto:\n%s", from, to)
	}
	if from, to = Move([]byte("a: ["), []byte(three), map[string]bool{"A two": true}); string(from) != "a: [" || string(to) != three {
		t.Errorf("moved:\n%s\nto:\n%s", from, to)
	}
	if ids := Objects([]byte("\x00")); ids != nil {
		t.Errorf("objects %q", ids)
	}
}

// TestTextEditsSurvive holds for texts what TestEditsSurvive does for YAML.
func TestTextEditsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"", "a", "b", "c", "d"})
		base := rapid.SliceOfN(line, 0, 30).Draw(t, "base")
		edit := func(side string) (lines, tokens []string) {
			lines = slices.Clone(base)
			for range rapid.IntRange(0, 4).Draw(t, side) {
				token := side + strings.Repeat("x", len(tokens))
				at := rapid.IntRange(0, len(lines)).Draw(t, "line")
				lines = slices.Insert(lines, at, token)
				tokens = append(tokens, token)
			}
			return lines, tokens
		}
		join := func(lines []string) string {
			if len(lines) == 0 {
				return ""
			}
			return strings.Join(lines, "\n") + "\n"
		}
		yours, own := edit("mine")
		next, theirs := edit("new")
		r := mergeText(join(base), join(yours), join(next), Yours)
		got := splitLines(string(r.Data))
		for _, token := range own {
			if !slices.Contains(got, token+"\n") {
				t.Fatalf("%q is lost: %q", token, got)
			}
		}
		if len(r.Conflicts) == 0 {
			for _, token := range theirs {
				if !slices.Contains(got, token+"\n") {
					t.Fatalf("%q is lost: %q", token, got)
				}
			}
			if len(got) != len(base)+len(own)+len(theirs) {
				t.Fatalf("%q of %q", got, base)
			}
		}
		if r := mergeText(join(base), join(yours), join(base), Refuse); string(r.Data) != join(yours) || len(r.Conflicts) > 0 {
			t.Fatalf("%q, want yours", r.Data)
		}
		if r := mergeText(join(base), join(base), join(next), Refuse); string(r.Data) != join(next) || len(r.Conflicts) > 0 {
			t.Fatalf("%q, want new", r.Data)
		}
	})
}
