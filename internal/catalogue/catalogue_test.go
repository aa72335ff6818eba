package catalogue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// ids are those of the sources: what a catalogue must have, no more and no less.
var ids = map[string][]string{
	"owasp-k8s-2025": {"K01", "K02", "K03", "K04", "K05", "K06", "K07", "K08", "K09", "K10"},
	"attack-containers-19": {
		"T1190", "T1133", "T1078", "T1609", "T1610", "T1053.007", "T1204.003", "T1059", "T1098.006", "T1136.001", "T1543.005", "T1525", "T1611", "T1068",
		"T1612", "T1562.001", "T1070", "T1036.005", "T1550.001", "T1110", "T1528", "T1552", "T1613", "T1046", "T1069", "T1485", "T1490", "T1496", "T1498",
	},
}

func TestComplete(t *testing.T) {
	for n := 9001; n <= 9041; n++ {
		if n != 9032 { // the source has no such id
			ids["ms-threat-matrix"] = append(ids["ms-threat-matrix"], fmt.Sprintf("MS-TA%d", n))
		}
	}
	list, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(ids) {
		t.Errorf("%d catalogues, want %d", len(list), len(ids))
	}
	for _, c := range list {
		var got []string
		for _, item := range c.Items {
			got = append(got, item.ID)
			if item.Title == "" || len(item.Prevent) == 0 {
				t.Errorf("%s %s has no title or nothing against it", c.ID, item.ID)
			}
			if c.ID != "owasp-k8s-2025" && item.Tactic == "" {
				t.Errorf("%s %s has no tactic", c.ID, item.ID)
			}
			seen := map[Need]bool{}
			for _, n := range append(slices.Clone(item.Prevent), item.Detect...) {
				if seen[n] {
					t.Errorf("%s %s names %s twice", c.ID, item.ID, n)
				}
				seen[n] = true
				for _, id := range n.Controls() {
					if id == "" || strings.ContainsAny(id, " ,") {
						t.Errorf("%s %s: %q is no control", c.ID, item.ID, n)
					}
				}
			}
		}
		want := slices.Sorted(slices.Values(ids[c.ID]))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", c.ID, got, want)
		}
		if c.Title == "" || !strings.HasPrefix(c.Source, "https://") {
			t.Errorf("%s has no title or source", c.ID)
		}
	}
}
