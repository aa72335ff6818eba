// Package profiles_test holds the shipped profiles: that they are complete, that they can be
// satisfied, and that each of their controls can fail.
package profiles_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func evaluate(source string) (*engine.Result, error) {
	return engine.Evaluate(context.Background(), engine.Options{
		Name: "cluster.cue", Source: []byte(source), Dir: ".", Now: now,
	})
}

// everything returns the controls of all shipped profiles, by id.
func everything(t *testing.T) map[string]*engine.Control {
	t.Helper()
	r, err := evaluate(`profiles: ["baseline", "restricted", "cis", "cis-l2", "nsa"]`)
	if err != nil {
		t.Fatalf("all shipped profiles at once: %v", err)
	}
	controls := map[string]*engine.Control{}
	for _, c := range r.Controls {
		if controls[c.ID] != nil {
			t.Errorf("%s is defined by profile %s and by profile %s", c.ID, controls[c.ID].Profile, c.Profile)
		}
		controls[c.ID] = c
	}
	return controls
}

// level2 are the benchmark's controls of level 2; all others are of level 1.
var level2 = []string{
	"1.2.12", "1.2.13", "1.2.14", "2.7", "3.2.2", "4.2.8", "5.2.7", "5.2.9",
	"5.3.2", "5.4.1", "5.4.2", "5.5.1", "5.6.2", "5.6.3", "5.6.4",
}

// sections are the benchmark's sections: how many controls each has, and the numbers of those that
// it checks automatically.
var sections = []struct {
	name      string
	controls  int
	automated []int
}{
	{"1.1", 21, []int{1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 18, 19}},
	{"1.2", 30, []int{2, 4, 5, 6, 7, 8, 10, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 26, 30}},
	{"1.3", 7, []int{2, 3, 4, 5, 6, 7}},
	{"1.4", 2, []int{1, 2}},
	{"2", 7, []int{1, 2, 3, 4, 5, 6}},
	{"3.1", 3, nil},
	{"3.2", 2, nil},
	{"4.1", 10, []int{1, 2, 5, 6, 9, 10}},
	{"4.2", 14, []int{1, 2, 3, 6, 10}},
	{"4.3", 1, []int{1}},
	{"5.1", 13, nil},
	{"5.2", 12, nil},
	{"5.3", 2, nil},
	{"5.4", 2, nil},
	{"5.5", 1, nil},
	{"5.6", 4, nil},
}

// chapters are the NSA and CISA guide's, with the number of recommendations in each.
var chapters = []struct {
	letter string
	rows   int
}{{"P", 9}, {"N", 10}, {"A", 3}, {"L", 7}, {"U", 3}, {"S", 3}}

// checks are the Pod Security checks of k8s.io/pod-security-admission v0.37.
var checks = map[string][]string{
	"baseline": {
		"appArmorProfile", "capabilities_baseline", "hostNamespaces", "hostPathVolumes", "hostPorts",
		"hostProbesAndHostLifecycle", "privileged", "procMount", "seLinuxOptions", "seccompProfile_baseline",
		"sysctls", "windowsHostProcess",
	},
	"restricted": {
		"allowPrivilegeEscalation", "capabilities_restricted", "procMount_restricted", "restrictedVolumes",
		"runAsNonRoot", "runAsUser", "seccompProfile_restricted",
	},
}

func TestCatalogues(t *testing.T) {
	controls := everything(t)
	type want struct {
		profile, catalogue string
		level              int
		automated          bool
	}
	wanted := map[string]want{}
	for _, s := range sections {
		for n := 1; n <= s.controls; n++ {
			number := fmt.Sprintf("%s.%d", s.name, n)
			level := 1
			if slices.Contains(level2, number) {
				level = 2
			}
			wanted["cis-"+number] = want{"cis", "cis-2.0.1", level, slices.Contains(s.automated, n)}
		}
	}
	for _, c := range chapters {
		for n := 1; n <= c.rows; n++ {
			wanted[fmt.Sprintf("nsa-%s%d", c.letter, n)] = want{"nsa", "nsa-1.2", 1, false}
		}
	}
	for profile, ids := range checks {
		for _, id := range ids {
			wanted["pss-"+id] = want{profile, "pss-1.37", 1, true}
		}
	}
	if n := len(wanted); n != 131+35+19 {
		t.Fatalf("the test itself expects %d controls, not 131 + 35 + 19", n)
	}
	for id, w := range wanted {
		c := controls[id]
		if c == nil {
			t.Errorf("%s is missing", id)
			continue
		}
		if got := (want{c.Profile, c.Catalogue, c.Level, c.Automated}); got != w {
			t.Errorf("%s: have %+v, want %+v", id, got, w)
		}
	}
	counts := map[string]int{}
	for id, c := range controls {
		if c.Catalogue == "k8ssec" {
			continue
		}
		if _, ok := wanted[id]; !ok {
			t.Errorf("%s is in no catalogue", id)
		}
		counts[c.Catalogue]++
		if c.Catalogue == "cis-2.0.1" {
			counts[fmt.Sprintf("level %d", c.Level)]++
			if c.Automated {
				counts["automated"]++
			}
		}
	}
	for what, n := range map[string]int{
		"cis-2.0.1": 131, "nsa-1.2": 35, "pss-1.37": 19, "level 1": 116, "level 2": 15, "automated": 65,
	} {
		if counts[what] != n {
			t.Errorf("%s: %d controls, want %d", what, counts[what], n)
		}
	}
}

// TestWords holds the texts: a title says what must hold, a reason says what goes wrong, and none
// is another control's or the benchmark's own.
func TestWords(t *testing.T) {
	titles, reasons := map[string]string{}, map[string]string{}
	for id, c := range everything(t) {
		if c.Title == "" || strings.HasSuffix(c.Title, ".") || strings.ContainsRune(c.Title, '\n') || len(c.Title) > 110 {
			t.Errorf("%s: the title is one short line without a full stop: %q", id, c.Title)
		}
		for _, copied := range []string{"Ensure", "Minimize", "argument", "parameter"} {
			if strings.Contains(c.Title, copied) {
				t.Errorf("%s: the title uses the benchmark's word %q: %q", id, copied, c.Title)
			}
		}
		if c.Why == "" || !strings.HasSuffix(c.Why, ".") {
			t.Errorf("%s: the reason is a sentence: %q", id, c.Why)
		}
		// Own controls may say the same as a benchmark's, in another profile; within one catalogue
		// two equal titles are two controls that nobody can tell apart.
		key := c.Catalogue + ": " + c.Title
		if other := titles[key]; other != "" {
			t.Errorf("%s and %s have the same title: %q", id, other, c.Title)
		}
		titles[key] = id
		if other := reasons[c.Why]; other != "" {
			t.Errorf("%s and %s have the same reason: %q", id, other, c.Why)
		}
		reasons[c.Why] = id
	}
}

// TestNoInput shows that each profile is satisfied by its own defaults, everywhere.
func TestNoInput(t *testing.T) {
	for _, profile := range engine.ShippedProfiles() {
		for _, platform := range []string{"kubeadm", "kind"} {
			for _, minor := range []string{"1.34", "1.35", "1.36", "1.37"} {
				for _, cni := range []string{"cilium", "calico", "other"} {
					source := fmt.Sprintf("profiles: [%q]\ncluster: {platform: %q, kubernetes: %q, cni: %q}", profile, platform, minor, cni)
					if _, err := evaluate(source); err != nil {
						t.Errorf("%s: %v", source, err)
					}
				}
			}
		}
	}
}

// TestTogether shows that all shipped profiles can be named together, in any order.
func TestTogether(t *testing.T) {
	names := engine.ShippedProfiles()
	for _, a := range names {
		for _, b := range names {
			if a == b {
				continue
			}
			if _, err := evaluate(fmt.Sprintf("profiles: [%q, %q]", a, b)); err != nil {
				t.Errorf("%s and %s: %v", a, b, err)
			}
		}
	}
}

// TestLevels shows that level 2 is in force under cis-l2 and known under cis.
func TestLevels(t *testing.T) {
	for profile, want := range map[string]bool{"cis": false, "cis-l2": true} {
		r, err := evaluate(fmt.Sprintf("profiles: [%q]", profile))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range r.Controls {
			switch {
			case c.Level == 2:
				n++
				if c.InForce != want {
					t.Errorf("%s: %s in force is %t", profile, c.ID, c.InForce)
				}
			case !c.InForce:
				t.Errorf("%s: %s is not in force", profile, c.ID)
			}
		}
		if n != len(level2) {
			t.Errorf("%s knows %d controls of level 2, want %d", profile, n, len(level2))
		}
	}
}

// fixture is one control's file in testdata: a header and sections. pass.cue is a cluster file
// that satisfies the control. Either fail.cue is one that does not, and the header's "field" names
// the field that is reported; or fail.edit changes one emitted file, and verify reports it.
type fixture struct {
	header map[string]string
	files  map[string]string
}

func readFixture(t *testing.T, profile, id string) fixture {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join(profile, "testdata", id+".txtar"))
	if err != nil {
		t.Fatalf("each control has a fixture that passes and one that fails: %v", err)
	}
	f := fixture{header: settings(string(archive.Comment)), files: map[string]string{}}
	for _, file := range archive.Files {
		f.files[file.Name] = string(file.Data)
	}
	if f.files["pass.cue"] == "" {
		t.Fatal("no section pass.cue")
	}
	if (f.files["fail.cue"] == "") == (f.files["fail.edit"] == "") {
		t.Fatal("exactly one of the sections fail.cue and fail.edit must be there")
	}
	return f
}

// settings reads lines of the form "name: value".
func settings(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			m[name] = value
		}
	}
	return m
}

func TestFixtures(t *testing.T) {
	for id, c := range everything(t) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			f := readFixture(t, c.Profile, id)
			r, err := evaluate(f.files["pass.cue"])
			if err != nil {
				t.Fatalf("pass.cue: %v", err)
			}
			if i := slices.IndexFunc(r.Controls, func(c *engine.Control) bool { return c.ID == id }); i < 0 || !r.Controls[i].InForce {
				t.Fatal("pass.cue: the control is not in force there")
			}
			if fail := f.files["fail.cue"]; fail != "" {
				refused(t, c, f.header["field"], fail)
			}
		})
	}
}

// refused shows that a cluster file is refused for one control, with a finding that a person can
// act on.
func refused(t *testing.T, c *engine.Control, field, source string) {
	t.Helper()
	_, err := evaluate(source)
	var found diag.List
	if !errors.As(err, &found) {
		t.Fatalf("fail.cue: not refused, but %v", err)
	}
	for _, d := range found {
		if d.Control != c.ID && !slices.Contains(d.Controls, c.ID) {
			continue
		}
		if d.Field != field {
			t.Errorf("the finding is about %s, not %q", d.Field, field)
		}
		if c.Fix == "" {
			t.Error("a control that a cluster file can break says what to write instead")
		}
		if d.Control == c.ID && !strings.Contains(d.Fix, c.Fix) {
			t.Errorf("the finding does not say %q but %q", c.Fix, d.Fix)
		}
		if d.Line == 0 || d.Why == "" || d.Rule == "" {
			t.Errorf("the finding lacks a place, a reason or a rule: %+v", d)
		}
		return
	}
	t.Errorf("fail.cue: no finding names %s: %v", c.ID, err)
}

// TestNoStrayFixtures shows that each fixture belongs to a control of its profile.
func TestNoStrayFixtures(t *testing.T) {
	controls := everything(t)
	files, err := filepath.Glob("*/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		profile, _, _ := strings.Cut(filepath.ToSlash(file), "/")
		id := strings.TrimSuffix(filepath.Base(file), ".txtar")
		if c := controls[id]; c == nil || c.Profile != profile {
			t.Errorf("%s belongs to no control of profile %s", file, profile)
		}
	}
}

// TestReadmes shows that each profile says whom it is for.
func TestReadmes(t *testing.T) {
	for _, profile := range engine.ShippedProfiles() {
		text, err := os.ReadFile(filepath.Join(profile, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, section := range []string{"# " + profile + "\n", "## For whom", "## What it asks", "## What it does to a running cluster", "## What it does not cover", "## Extend it"} {
			if !strings.Contains(string(text), section) {
				t.Errorf("%s/README.md has no section %q", profile, section)
			}
		}
	}
}
