package app

import (
	"os"
	"regexp"
	"testing"
)

// TestRunbooks holds that each page that an alert sends a person to is there.
func TestRunbooks(t *testing.T) {
	source, err := os.ReadFile("../../testdata/complete/cluster.cue")
	if err != nil {
		t.Fatal(err)
	}
	_, tree := renderAll(t, source)
	pages := map[string]bool{}
	for _, f := range tree.Files {
		pages[f.Path] = true
	}
	named := regexp.MustCompile(`runbook: (docs/runbooks/[a-z-]+\.md)`)
	seen := 0
	for _, f := range tree.Files {
		if f.Domain != "alerts" {
			continue
		}
		for _, m := range named.FindAllSubmatch(f.Data, -1) {
			seen++
			if !pages[string(m[1])] {
				t.Errorf("%s sends people to %s, which is not emitted", f.Path, m[1])
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d alerts name a page", seen)
	}
}
