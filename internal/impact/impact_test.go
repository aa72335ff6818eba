package impact

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// Not named update: what is expected here must not change with the golden outputs.
var rewrite = flag.Bool("rewrite", false, "rewrite the expected results")

// TestPairs compares the prepared pairs of testdata: the files below before/ and after/. Each line of
// want is "direction | object | meaning"; the first is the one that a reviewer must see first.
func TestPairs(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 25 {
		t.Fatalf("%d pairs, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			p := &posture.Posture{Cluster: posture.Cluster{CNI: "other", PodCIDRs: []string{"10.244.0.0/16"}}}
			if strings.Contains(string(archive.Comment), "Cilium") {
				p.Cluster.CNI = "cilium"
			}
			serves := func(_, object string) []string {
				if strings.Contains(object, "serves") {
					return []string{"x-1"}
				}
				return nil
			}
			before := &Tree{Posture: p, Files: map[string][]byte{}}
			after := &Tree{Posture: p, Files: map[string][]byte{}, Serves: serves}
			want := ""
			rest := archive.Files[:0:0]
			for _, f := range archive.Files {
				if path, ok := strings.CutPrefix(f.Name, "both/"); ok {
					before.Files[path], after.Files[path] = f.Data, f.Data
				}
				if path, ok := strings.CutPrefix(f.Name, "before/"); ok {
					before.Files[path] = f.Data
				}
				if path, ok := strings.CutPrefix(f.Name, "after/"); ok {
					after.Files[path] = f.Data
				}
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				rest = append(rest, f)
			}
			r := Compare(before, after)
			var b strings.Builder
			for _, c := range r.Changes {
				fmt.Fprintf(&b, "%s | %s | %s\n", c.Direction, c.Object, c.Meaning)
			}
			if len(r.Changes) == 0 {
				fmt.Fprintf(&b, "no security change, %d rearranged\n", r.Rearranged)
			}
			if *rewrite {
				archive.Files = append(slices.Clone(rest), txtar.File{Name: "want", Data: []byte(b.String())})
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if b.String() != want {
				t.Errorf("got\n%swant\n%s", b.String(), want)
			}
			// The same tree twice changes nothing.
			if r := Compare(after, after); !r.Empty() {
				t.Errorf("a tree differs from itself: %+v", r)
			}
		})
	}
}

func TestControls(t *testing.T) {
	p := &posture.Posture{}
	before := &Tree{Posture: p, Controls: map[string]Control{
		"a": {State: "enforced", Title: "A"}, "b": {State: "undecided", Title: "B"}, "c": {State: "enforced", Title: "C"}, "e": {State: "enforced"},
	}, Waivers: map[string]string{"old": "x-1 in namespace a"}}
	after := &Tree{Posture: p, Controls: map[string]Control{
		"a": {State: "waived", Title: "A"}, "b": {State: "enforced", Title: "B"}, "d": {State: "enforced", Title: "D"}, "e": {State: "enforced"},
	}, Waivers: map[string]string{"new": "a in the whole cluster"}}
	var got []string
	for _, c := range Compare(before, after).Changes {
		got = append(got, fmt.Sprintf("%s | %s", c.Direction, c.Meaning))
	}
	want := []string{
		"weaker | waiver new lifts a in the whole cluster",
		"weaker | a goes from enforced to waived: A",
		"weaker | c is no longer asked for; it was enforced: C",
		"tighter | waiver old is gone: enforced again is x-1 in namespace a",
		"tighter | b goes from undecided to enforced: B",
		"tighter | d is asked for from now on, and is enforced: D",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
