// Package profiles_test holds the shipped profiles: that they are complete, that they can be
// satisfied, and that each of their controls can fail.
package profiles_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/k8ssec/k8ssec/generators/all"
	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/render"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func evaluate(source string) (*engine.Result, error) {
	return engine.Evaluate(context.Background(), engine.Options{
		Name: "cluster.cue", Source: []byte(source), Dir: ".", Now: now,
	})
}

// passing evaluates each cluster file once: most controls share theirs.
var passing = struct {
	sync.Mutex
	results map[string]func() (*engine.Result, error)
}{results: map[string]func() (*engine.Result, error){}}

func evaluateOnce(source string) (*engine.Result, error) {
	passing.Lock()
	once := passing.results[source]
	if once == nil {
		once = sync.OnceValues(func() (*engine.Result, error) { return evaluate(source) })
		passing.results[source] = once
	}
	passing.Unlock()
	return once()
}

// everything returns the controls of all shipped profiles, by id.
func everything(t *testing.T) map[string]*engine.Control {
	t.Helper()
	r, err := evaluateOnce(`profiles: ["baseline", "restricted", "cis", "cis-l2", "nsa"]`)
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

// fixture is one control's file in testdata. The section pass.cue is a cluster file that satisfies
// the control. Then either sections fail.cue, fail2.cue, ... are cluster files that do not, each
// with the field that is reported in its first line; or fail.edit changes one emitted file of
// pass.cue, and verify reports it. A control whose domain is not built yet has pass.cue alone.
type fixture struct {
	pass  string
	fails []string
	edit  string
}

func readFixture(t *testing.T, profile, id string) fixture {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join(profile, "testdata", id+".txtar"))
	if err != nil {
		t.Fatalf("each control has a fixture that passes and one that fails: %v", err)
	}
	var f fixture
	for _, file := range archive.Files {
		switch text := string(file.Data); {
		case file.Name == "pass.cue":
			f.pass = text
		case file.Name == "fail.edit":
			f.edit = text
		case strings.HasPrefix(file.Name, "fail") && strings.HasSuffix(file.Name, ".cue"):
			f.fails = append(f.fails, text)
		default:
			t.Fatalf("unknown section %q", file.Name)
		}
	}
	if f.pass == "" || (len(f.fails) > 0 && f.edit != "") {
		t.Fatal("a fixture has pass.cue, and either fail.cue or fail.edit")
	}
	return f
}

func TestFixtures(t *testing.T) {
	for id, c := range everything(t) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			f := readFixture(t, c.Profile, id)
			r, err := evaluateOnce(f.pass)
			if err != nil {
				t.Fatalf("pass.cue: %v", err)
			}
			if i := slices.IndexFunc(r.Controls, func(c *engine.Control) bool { return c.ID == id }); i < 0 || !r.Controls[i].InForce {
				t.Fatal("pass.cue: the control is not in force there")
			}
			for _, fail := range f.fails {
				refused(t, c, fail)
			}
		})
	}
}

// refused shows that a cluster file is refused for one control, with a finding that a person can
// act on.
func refused(t *testing.T, c *engine.Control, source string) {
	t.Helper()
	first, _, _ := strings.Cut(source, "\n")
	field, ok := strings.CutPrefix(first, "// field: ")
	if !ok {
		t.Fatalf("the first line names no field: %q", first)
	}
	_, err := evaluate(source)
	var found diag.List
	if !errors.As(err, &found) {
		t.Fatalf("not refused, but %v:\n%s", err, source)
	}
	for _, d := range found {
		if d.Field != field || (d.Control != c.ID && !slices.Contains(d.Controls, c.ID)) {
			continue
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
	t.Errorf("no finding about %s names %s: %v\n%s", field, c.ID, err, source)
}

// TestEdits shows that an edit of one emitted file is reported for each control that no cluster file
// can break. Controls with the same pass.cue share one repository.
func TestEdits(t *testing.T) {
	type edit struct {
		control *engine.Control
		text    string
	}
	byPass := map[string][]edit{}
	for id, c := range everything(t) {
		f := readFixture(t, c.Profile, id)
		if len(f.fails) == 0 {
			byPass[f.pass] = append(byPass[f.pass], edit{c, f.edit})
		}
	}
	for pass, edits := range byPass {
		t.Run(pass, func(t *testing.T) {
			t.Parallel()
			a := &app.App{Now: func() time.Time { return now }, Stdout: io.Discard, Stderr: io.Discard, Version: "test", Generators: all.List()}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, app.ClusterFile), []byte(pass), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Generate(t.Context(), app.GenerateOptions{Dir: dir}); err != nil {
				t.Fatal(err)
			}
			if found := verify(t, a, dir); found.HasErrors() {
				t.Fatalf("verify before any edit: %v", found)
			}
			r, err := evaluateOnce(pass)
			if err != nil {
				t.Fatal(err)
			}
			tree, err := render.Render(t.Context(), r, a.Generators)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range edits {
				if e.text == "" {
					i := slices.IndexFunc(tree.Controls, func(c render.Answer) bool { return c.Control.ID == e.control.ID })
					if state := tree.Controls[i].State; state != render.Planned {
						t.Errorf("%s is %s: its fixture needs fail.cue or fail.edit", e.control.ID, state)
					}
					continue
				}
				t.Run(e.control.ID, func(t *testing.T) { reported(t, a, dir, e.control, e.text) })
			}
		})
	}
}

func verify(t *testing.T, a *app.App, dir string) diag.List {
	t.Helper()
	v, err := a.Verify(t.Context(), app.VerifyOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return v.Findings
}

// reported makes an edit, shows that verify names the control and the file, and takes it back. The
// edit is a line "file: path" and the lines of one place in it, as a diff has them.
func reported(t *testing.T, a *app.App, dir string, c *engine.Control, text string) {
	t.Helper()
	first, hunk, _ := strings.Cut(text, "\n")
	path, ok := strings.CutPrefix(first, "file: ")
	if !ok {
		t.Fatalf("the first line names no file: %q", first)
	}
	var before, after strings.Builder
	for line := range strings.Lines(hunk) {
		switch line[0] {
		case '-':
			before.WriteString(line[1:])
		case '+':
			after.WriteString(line[1:])
		default:
			before.WriteString(line[1:])
			after.WriteString(line[1:])
		}
	}
	name := filepath.Join(dir, filepath.FromSlash(path))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count("\n"+string(data), "\n"+before.String()); n != 1 {
		t.Fatalf("%s has these lines %d times, not once:\n%s", path, n, before.String())
	}
	edited := strings.Replace("\n"+string(data), "\n"+before.String(), "\n"+after.String(), 1)[1:]
	if err := os.WriteFile(name, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	found := verify(t, a, dir)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	// A finding without a control of its own lists what the file serves, not what the edit weakens.
	i := slices.IndexFunc(found, func(d diag.Diagnostic) bool {
		return d.File == name && d.Control != "" && (d.Control == c.ID || slices.Contains(d.Controls, c.ID))
	})
	switch {
	case i < 0:
		t.Errorf("no finding about %s names %s: %v", path, c.ID, found)
	case found[i].Severity != diag.Error || found[i].Fix == "" || found[i].Line == 0:
		t.Errorf("the finding lacks a place or a fix, or is none: %+v", found[i])
	}
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

// TestReadmeExamples shows that what the README of cis tells people to write works: the waiver, and
// the profile of their own.
func TestReadmeExamples(t *testing.T) {
	data, err := os.ReadFile("cis/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(begin string) string {
		_, rest, ok := strings.Cut(string(data), begin)
		text, _, ok2 := strings.Cut(rest, "\n```\n")
		if !ok || !ok2 {
			t.Fatalf("cis/README.md has no block after %q", begin)
		}
		return text
	}
	r, err := evaluate("profiles: [\"cis\"]\n" + block("\n```cue cluster\n"))
	if err != nil {
		t.Fatalf("the waiver: %v", err)
	}
	if len(r.Posture.Waivers) != 1 || r.Posture.Kubelet.ImagePullCredentials != "NeverVerify" {
		t.Errorf("the waiver lifts nothing: %+v", r.Posture.Waivers)
	}

	dir := t.TempDir()
	acme := filepath.Join(dir, "profiles", "acme")
	if err := os.MkdirAll(acme, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(acme, "profile.cue"), []byte(block("\n```cue\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own := func(line string) (*engine.Result, error) {
		return engine.Evaluate(t.Context(), engine.Options{
			Name: "cluster.cue", Source: []byte("profiles: [\"./profiles/acme\"]\n" + line), Dir: dir, Now: now,
		})
	}
	if r, err = own(""); err != nil {
		t.Fatalf("the profile acme: %v", err)
	}
	if r.Posture.Logging.Audit.MaxAgeDays != 90 {
		t.Errorf("the default of acme does not hold: %d", r.Posture.Logging.Audit.MaxAgeDays)
	}
	var found diag.List
	if _, err = own("logging: audit: maxAgeDays: 60\n"); !errors.As(err, &found) || found[0].Control != "acme-1" {
		t.Errorf("the control of acme does not hold: %v", err)
	}
	if _, err = own("apiserver: profiling: true\n"); !errors.As(err, &found) || found[0].Control != "cis-1.2.15" {
		t.Errorf("acme does not keep the controls of cis: %v", err)
	}
}

var update = flag.Bool("update", false, "rewrite the tables of the profiles' READMEs")

// The table of a README stands between these lines.
const (
	countsBegin = "<!-- counts: go test ./profiles -run TestReadmes -update -->\n"
	countsEnd   = "<!-- end of counts -->\n"
)

// TestReadmes shows that each profile says whom it is for, with numbers that are true.
func TestReadmes(t *testing.T) {
	for _, profile := range engine.ShippedProfiles() {
		name := filepath.Join(profile, "README.md")
		data, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		text := string(data)
		for _, section := range []string{"# " + profile + "\n", "## For whom", "## What it asks", "## What it does to a running cluster", "## What it does not cover", "## How it relates to the others", "## Extend it"} {
			if !strings.Contains(text, section) {
				t.Errorf("%s has no section %q", name, section)
			}
		}
		before, rest, ok := strings.Cut(text, countsBegin)
		have, after, ok2 := strings.Cut(rest, countsEnd)
		if !ok || !ok2 {
			t.Errorf("%s has no table of counts", name)
			continue
		}
		want := counts(t, profile)
		if have == want {
			continue
		}
		if !*update {
			t.Errorf("%s: the table is not true any more (-update rewrites it); want\n%s", name, want)
			continue
		}
		if err := os.WriteFile(name, []byte(before+countsBegin+want+countsEnd+after), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// counts is the table of one README.
func counts(t *testing.T, profile string) string {
	t.Helper()
	r, err := evaluateOnce(fmt.Sprintf("profiles: [%q]\n", profile))
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ known, inForce, own, automated int }
	rows := map[string]row{}
	for _, c := range r.Controls {
		for _, key := range []string{c.Catalogue, "all"} {
			n := rows[key]
			n.known++
			if c.InForce {
				n.inForce++
			}
			if c.Profile == profile {
				n.own++
			}
			if c.Automated {
				n.automated++
			}
			rows[key] = n
		}
	}
	var b strings.Builder
	b.WriteString("\n| catalogue | controls | in force | defined here | automated |\n| --- | ---: | ---: | ---: | ---: |\n")
	names := slices.Sorted(maps.Keys(rows))
	names = append(slices.DeleteFunc(names, func(n string) bool { return n == "all" }), "all")
	for _, name := range names {
		n := rows[name]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", name, n.known, n.inForce, n.own, n.automated)
	}
	return b.String() + "\n"
}
