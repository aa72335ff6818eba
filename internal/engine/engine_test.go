package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func evaluateText(t testing.TB, files string) (*Result, error) {
	t.Helper()
	return evaluate(t, txtar.Parse([]byte(files)))
}

func mustEvaluate(t testing.TB, files string) *Result {
	t.Helper()
	result, err := evaluateText(t, files)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestLayers(t *testing.T) {
	p := mustEvaluate(t, `-- cluster.cue --
profiles: ["cis"]
cluster: {kubernetes: "1.36", cni: "calico"}
namespaces: "team-a": {owner: "team-a", quota: pods: "10"}
logging: audit: maxAgeDays: 90
`).Posture
	for _, test := range []struct {
		what      string
		got, want any
	}{
		{"the user's value", p.Cluster.Kubernetes, "1.36"},
		{"the user's value over the profile's", p.Logging.Audit.MaxAgeDays, 90},
		{"a default beside it", p.Logging.Audit.MaxBackups, 10},
		{"the profile over the defaults", p.Namespaces["team-a"].PodSecurity.Enforce, posture.Restricted},
		{"a namespace's own value", p.Namespaces["team-a"].Quota["pods"], "10"},
		{"a default of its kind", p.Namespaces["team-a"].Quota["services"], "20"},
		{"a namespace of the defaults", p.Namespaces["kube-system"].Kind, "system"},
		{"an add-on's home", p.Namespaces["flux-system"].Kind, "addon"},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v, want %v", test.what, test.got, test.want)
		}
	}
	if _, ok := p.Namespaces["velero"]; ok {
		t.Error("an add-on that is off has a namespace")
	}
}

func TestPlatformDefaults(t *testing.T) {
	if mustEvaluate(t, "-- cluster.cue --\nprofiles: [\"cis\"]\ncluster: platform: \"kind\"\n").Posture.Kubelet.FailCgroupV1 {
		t.Error("kind keeps failCgroupV1")
	}
	if !mustEvaluate(t, "-- cluster.cue --\nprofiles: [\"cis\"]\n").Posture.Kubelet.FailCgroupV1 {
		t.Error("kubeadm lost failCgroupV1")
	}
}

// TestProfileOrder holds that the order in which profiles are named does not matter.
func TestProfileOrder(t *testing.T) {
	one := mustEvaluate(t, "-- cluster.cue --\nprofiles: [\"cis\", \"nsa\"]\nnamespaces: a: owner: \"a\"\n")
	two := mustEvaluate(t, "-- cluster.cue --\nprofiles: [\"nsa\", \"cis\"]\nnamespaces: a: owner: \"a\"\n")
	one.Posture.Profiles, two.Posture.Profiles = nil, nil
	if !reflect.DeepEqual(one.Posture, two.Posture) {
		t.Error("the postures differ")
	}
	three := mustEvaluate(t, "-- cluster.cue --\nprofiles: [\"restricted\", \"baseline\"]\nnamespaces: a: owner: \"a\"\n")
	if got := three.Posture.Namespaces["a"].PodSecurity.Enforce; got != posture.Restricted {
		t.Errorf("the stricter profile lost: %s", got)
	}
}

// TestStricterWins holds that a control of one profile mends a looser default of an unrelated one.
func TestStricterWins(t *testing.T) {
	const (
		strict = "package anchor\nprofile: {name: \"anchor\", title: \"strict\", extends: [\"baseline\"], defaults: logging: audit: maxAgeDays: 60, controls: \"s-1\": {catalogue: \"s\", title: \"audit files stay for 60 days\", domain: \"logging\", why: \"law\", cluster: logging: audit: maxAgeDays: >=60}}\n"
		loose  = "package loose\nprofile: {name: \"loose\", title: \"loose\", extends: [\"baseline\"], defaults: logging: audit: maxAgeDays: 7}\n"
	)
	_, err := evaluateText(t, "-- cluster.cue --\nprofiles: [\"./loose\", \"./anchor\"]\n-- loose/p.cue --\n"+loose+"-- anchor/p.cue --\n"+strict)
	var found diag.List
	if !errors.As(err, &found) || found[0].Control != "s-1" || found[0].File != "loose/p.cue" {
		t.Errorf("two profiles of the user's that contradict each other are the user's to mend, got %+v", err)
	}
	// Named with a shipped profile, the stricter shipped default is taken in whatever order.
	p := mustEvaluate(t, "-- cluster.cue --\nprofiles: [\"baseline\", \"cis-l2\", \"nsa\"]\n").Posture
	if !p.Secrets.ForbidEnv {
		t.Error("cis-l2 asks for secrets as files")
	}
}

func TestUserProfile(t *testing.T) {
	const acme = `package acme

import "k8ssec.dev/cue/control"

profile: control.#Profile & {
	name:    "acme"
	title:   "Every cluster of Acme"
	extends: ["cis"]
	defaults: logging: audit: maxAgeDays: 90
	controls: "acme-1": {
		catalogue: "acme"
		title:     "Audit files are kept for at least 90 days"
		domain:    "logging"
		why:       "Our auditors look back one quarter."
		fix:       "logging: audit: maxAgeDays: 90"
		cluster: logging: audit: maxAgeDays: >=90
	}
}
`
	result := mustEvaluate(t, "-- cluster.cue --\nprofiles: [\"./profiles/acme\"]\n-- profiles/acme/acme.cue --\n"+acme)
	if result.Posture.Logging.Audit.MaxAgeDays != 90 {
		t.Error("the profile's default is not taken")
	}
	if len(result.Controls) < 131 {
		t.Errorf("the extended profile's controls are lost: %d", len(result.Controls))
	}
	_, err := evaluateText(t, "-- cluster.cue --\nprofiles: [\"./profiles/acme\"]\nlogging: audit: maxAgeDays: 60\n-- profiles/acme/acme.cue --\n"+acme)
	var found diag.List
	if !errors.As(err, &found) || found[0].Control != "acme-1" || found[0].Line != 2 {
		t.Errorf("want acme-1 at line 2, got %+v", err)
	}
	// It can add, never weaken: what it sets is held by the profiles that it extends.
	weak := strings.Replace(acme, "maxAgeDays: 90", "maxAgeDays: 3", 1)
	_, err = evaluateText(t, "-- cluster.cue --\nprofiles: [\"./profiles/acme\"]\n-- profiles/acme/acme.cue --\n"+weak)
	if !errors.As(err, &found) || found[0].File != "profiles/acme/acme.cue" || found[0].Line != 9 {
		t.Errorf("want a finding in profiles/acme/acme.cue:9, got %+v", found)
	}
	// An id belongs to one profile alone.
	stolen := strings.Replace(acme, `"acme-1"`, `"cis-1.2.17"`, 1)
	if _, err = evaluateText(t, "-- cluster.cue --\nprofiles: [\"./profiles/acme\"]\n-- profiles/acme/acme.cue --\n"+stolen); err == nil || !strings.Contains(err.Error(), "cis-1.2.17") {
		t.Errorf("a control of another profile was redefined: %v", err)
	}
}

func TestWaivers(t *testing.T) {
	file := func(expires, namespace string) string {
		return fmt.Sprintf(`-- cluster.cue --
profiles: ["cis"]
namespaces: "team-a": {owner: "team-a", podSecurity: enforce: "baseline"}
namespaces: "team-b": owner: "team-b"
waivers: legacy: {
	control: "cis-5.2.6"
	also: ["cis-5.2.8", "pss-restrictedVolumes", "pss-allowPrivilegeEscalation", "pss-runAsNonRoot", "pss-runAsUser", "pss-seccompProfile_restricted", "pss-capabilities_restricted", "pss-procMount_restricted"]
	scope: namespace: %q
	reason: "legacy batch jobs until they are rewritten"
	owner: "team-a"
	expires: %q
}
`, namespace, expires)
	}
	result := mustEvaluate(t, file("2027-01-31", "team-a"))
	if !result.Posture.Waivers["legacy"].Active {
		t.Error("the waiver is not active")
	}
	if got, _ := result.Posture.WaivedIn("cis-5.2.8"); !reflect.DeepEqual(got, []string{"team-a"}) {
		t.Errorf("cis-5.2.8 is waived in %v", got)
	}
	if want := time.Date(2027, 1, 18, 0, 0, 0, 0, time.UTC); !result.Deadline.Equal(want) {
		t.Errorf("the result changes first on %v, want %v, when the end comes near", result.Deadline, want)
	}
	// The last day counts, the next does not.
	if _, err := evaluateText(t, file("2026-11-22", "team-a")); err != nil {
		t.Errorf("on its last day: %v", err)
	}
	_, err := evaluateText(t, file("2026-11-21", "team-a"))
	if err == nil || !strings.Contains(err.Error(), "expired") || !strings.Contains(err.Error(), "weaker") {
		t.Errorf("an expired waiver still holds, or is not named: %v", err)
	}
	if _, err := evaluateText(t, file("2027-01-31", "team-b")); err == nil {
		t.Error("a waiver for team-b lifts a control in team-a")
	}
}

// TestForging holds that no line of CUE in a cluster file can weaken a profile.
func TestForging(t *testing.T) {
	for name, line := range map[string]string{
		"hidden field":       "_controls: {}\nlogging: audit: maxAgeDays: 1",
		"definition":         "#Posture: {...}\nlogging: audit: maxAgeDays: 1",
		"own controls":       "controls: \"cis-1.2.17\": {}\nlogging: audit: maxAgeDays: 1",
		"package":            "package posture\nlogging: audit: maxAgeDays: 1",
		"bottom":             "logging: audit: maxAgeDays: *1 | 30",
		"reference":          "_days: 1\nlogging: audit: maxAgeDays: _days",
		"comprehension":      "if true {logging: audit: maxAgeDays: 1}",
		"active":             "logging: audit: maxAgeDays: 1\nwaivers: w: {control: \"cis-1.2.17\", scope: cluster: true, reason: \"no reason at all\", owner: \"me\", expires: \"2020-01-01\", active: true}",
		"kind":               "namespaces: t: {owner: \"t\", kind: \"system\", podSecurity: enforce: \"privileged\"}",
		"import":             "import \"k8ssec.dev/cue/posture\"\nx: posture.defaults",
		"profile field":      "profile: controls: {}\nlogging: audit: maxAgeDays: 1",
		"number as a string": "logging: audit: maxAgeDays: \"1\"",
	} {
		t.Run(name, func(t *testing.T) {
			source := "profiles: [\"cis\"]\n" + line
			if strings.HasPrefix(line, "package") || strings.HasPrefix(line, "import") {
				source = line + "\nprofiles: [\"cis\"]\n"
			}
			if _, err := evaluateText(t, "-- cluster.cue --\n"+source+"\n"); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// TestMalformed holds that input of any kind ends in a clear error.
func TestMalformed(t *testing.T) {
	for name, test := range map[string]struct {
		source []byte
		want   string
	}{
		"binary":                  {[]byte("profiles\x00: [\"cis\"]"), "not text"},
		"latin-1":                 {[]byte("profiles: [\"c\xe9s\"]"), "not text"},
		"empty":                   {nil, "empty"},
		"spaces":                  {[]byte(" \n\t\n"), "empty"},
		"deep brackets":           {bytes.Repeat([]byte("["), 100000), "deep"},
		"deep objects":            {append([]byte("a: "), bytes.Repeat([]byte("{a: "), 50000)...), "deep"},
		"deep labels":             {append(bytes.Repeat([]byte("a: "), 50000), '1'), "deep"},
		"deep labels, one a line": {append(bytes.Repeat([]byte("a:\n"), 50000), '1'), "deep"},
		"long negation":           {append(append([]byte("a: "), bytes.Repeat([]byte("!"), 50000)...), []byte("true")...), "deep"},
		"long sum":                {append(append([]byte("a: 1"), bytes.Repeat([]byte("+1"), 50000)...), '\n'), "deep"},
		"only a byte mark":        {[]byte("\xef\xbb\xbf"), "empty"},
		"yaml":                    {[]byte("profiles:\n  - cis\n"), "not defined"},
		"json list":               {[]byte("[1, 2]"), ""},
		"cycle":                   {[]byte("profiles: [\"cis\"]\na: b\nb: a\n"), ""},
		"self":                    {[]byte("profiles: [\"cis\"]\ncluster: name: cluster.name\n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Evaluate(context.Background(), Options{Name: "cluster.cue", Source: test.source, Dir: t.TempDir(), Now: now})
			var found diag.List
			if !errors.As(err, &found) {
				t.Fatalf("want findings, got %v", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %q in %v", test.want, err)
			}
			if bad := forbidden.FindString(err.Error()); bad != "" {
				t.Errorf("the evaluator's words %q in %v", bad, err)
			}
		})
	}
}

// TestTolerated holds what is odd and harmless.
func TestTolerated(t *testing.T) {
	plain, err := Evaluate(context.Background(), Options{Name: "cluster.cue", Source: []byte("profiles: [\"cis\"]\nnamespaces: a: owner: \"a\"\n"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]string{
		"CRLF and byte mark":   "\xef\xbb\xbfprofiles: [\"cis\"]\r\nnamespaces: a: owner: \"a\"\r\n",
		"package and comments": "// hello\npackage cluster\n\nprofiles: [\"cis\"] // ours\nnamespaces: a: owner: \"a\"\n",
		"JSON":                 `{"profiles": ["cis"], "namespaces": {"a": {"owner": "a"}}}`,
		"computed":             "import \"strings\"\nprofiles: [strings.ToLower(\"CIS\")]\n_o: \"a\"\nfor n in [\"a\"] {namespaces: (n): owner: _o}\n",
		"split fields":         "profiles: [\"cis\"]\nnamespaces: a: owner: \"a\"\nnamespaces: a: {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			result, err := Evaluate(context.Background(), Options{Name: "cluster.cue", Source: []byte(source), Now: now})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(result.Posture, plain.Posture) {
				t.Error("the posture differs from the plain one")
			}
		})
	}
}

func TestReadClusterFile(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		prepare func(path string) error
		want    string
	}{
		"missing":      {func(string) error { return nil }, "no cluster file"},
		"directory":    {func(path string) error { return os.Mkdir(path, 0o755) }, "not a regular file"},
		"symlink loop": {func(path string) error { return os.Symlink(path, path) }, "cannot be read"},
		"50 MB":        {func(path string) error { return os.WriteFile(path, make([]byte, 50<<20), 0o644) }, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".cue")
			if err := test.prepare(path); err != nil {
				t.Fatal(err)
			}
			_, err := ReadClusterFile(path)
			var found diag.List
			if !errors.As(err, &found) || !strings.Contains(err.Error(), test.want) || found[0].Fix == "" {
				t.Errorf("want %q and a fix, got %+v", test.want, err)
			}
		})
	}
}

// FuzzEvaluate holds that no input makes the engine panic, hang or speak the evaluator's language,
// and that the short way for plain data gives what evaluation gives.
func FuzzEvaluate(f *testing.F) {
	archives, err := filepath.Glob("testdata/invalid/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Add([]byte("profiles: [\"cis\"]\nnamespaces: \"team-a\": owner: \"team-a\"\n"))
	f.Add([]byte(`a: b: "x\ny"` + "\na: c: 0x10\nd: '''\n x\n '''\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		if len(source) > 4096 {
			return
		}
		watchdog := time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("no end on %q", source)) })
		defer watchdog.Stop()
		l := newLoader("")
		file, err := parse("cluster.cue", source)
		if err == nil && len(file.Decls) > 0 {
			in := &layer{name: "cluster.cue", user: true}
			if fast, ok := literalFields(file.Decls, &node{layer: in}); ok {
				slow, err := l.evaluate(file, in)
				if err != nil {
					t.Fatalf("plain data does not evaluate: %v", err)
				}
				if a, b := asJSON(t, fast), asJSON(t, slow); a != b {
					t.Fatalf("the short way gives %s, evaluation %s", a, b)
				}
			}
		}
		_, err = Evaluate(context.Background(), Options{Name: "cluster.cue", Source: source, Now: now})
		var found diag.List
		if err != nil && !errors.As(err, &found) {
			t.Fatalf("not a finding: %v", err)
		}
	})
}

// asJSON is a tree without positions.
func asJSON(t testing.TB, n *node) string {
	t.Helper()
	var plain func(n *node) any
	plain = func(n *node) any {
		switch {
		case n.isList:
			list := []any{}
			for _, item := range n.list {
				list = append(list, plain(item))
			}
			return list
		case n.object != nil:
			object := map[string]any{}
			for key, value := range n.object {
				object[key] = plain(value)
			}
			return object
		}
		return n.scalar
	}
	b, err := json.Marshal(plain(n))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
