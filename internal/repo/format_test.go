package repo

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
	sigsyaml "sigs.k8s.io/yaml"
)

const (
	someSHA  = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
	otherSHA = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"
)

func someLock() *Lock {
	return &Lock{Version: 2, Meta: meta, Files: map[string]LockedFile{
		"README.md": {SHA256: someSHA}, "bootstrap/x.sh": {SHA256: someSHA, Mode: "0755", Edited: otherSHA}, "a b/c": {SHA256: someSHA},
	}}
}

func TestLockFormat(t *testing.T) {
	want := `# Written by k8ssec: what the files of this repository were rendered from, and their digests.
# Do not edit. A file whose digest differs from its line here counts as edited by you; "edited" is
# the digest of one whose edits the last run has checked and kept.
version: 2
tool: "v0.1.0"
kubernetes: "1.37"
profiles:
- name: "cis"
  version: "2.0.1"
- name: "./profiles/a: b"
  digest: "sha256:2"
inputs: "sha256:1"
nextDeadline: "2027-01-01T00:00:00Z"
files:
  README.md: {sha256: "` + someSHA + `"}
  a b/c: {sha256: "` + someSHA + `"}
  bootstrap/x.sh: {sha256: "` + someSHA + `", mode: "0755", edited: "` + otherSHA + `"}
`
	got := someLock().format()
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	back, err := parseLock(got)
	if err != nil || !reflect.DeepEqual(back, someLock()) {
		t.Errorf("got %+v, %v", back, err)
	}
	// A formatter went over it: sorted keys, block style.
	reformatted, err := sigsyaml.YAMLToJSON(got)
	if err != nil {
		t.Fatal(err)
	}
	if reformatted, err = sigsyaml.JSONToYAML(reformatted); err != nil {
		t.Fatal(err)
	}
	back, err = parseLock(reformatted)
	if err != nil || !reflect.DeepEqual(back, someLock()) {
		t.Errorf("reformatted: got %+v, %v", back, err)
	}
	// The format before edits were known.
	old := strings.Replace(strings.Replace(string(got), "version: 2", "version: 1", 1), `, edited: "`+otherSHA+`"`, "", 1)
	back, err = parseLock([]byte(old))
	if x := back.Files["bootstrap/x.sh"]; err != nil || len(back.Files) != 3 || x.Mode != "0755" || x.Edited != "" {
		t.Errorf("version 1: got %+v, %v", back, err)
	}
	empty := &Lock{Version: 2}
	if back, err := parseLock(empty.format()); err != nil || len(back.Files) != 0 || back.Inputs != "" {
		t.Errorf("empty: got %+v, %v", back, err)
	}
}

// TestLockDamaged holds what must not be believed: the lock comes from the repository, and so from
// anyone who can open a pull request.
func TestLockDamaged(t *testing.T) {
	good := string(someLock().format())
	for name, test := range map[string]struct{ from, to, want string }{
		"newer":          {"version: 2", "version: 3", "newer k8ssec"},
		"older":          {"version: 2", "version: 0", "unknown"},
		"unknown field":  {"tool:", "tools:", "tools"},
		"conflict":       {"  README.md", "<<<<<<< HEAD\n  README.md", "conflict markers"},
		"head conflict":  {"inputs:", "<<<<<<< HEAD\ninputs:", "conflict markers"},
		"twice":          {"  a b/c", "  README.md", "already defined"},
		"short digest":   {someSHA + `"}`, someSHA[1:] + `"}`, "not a SHA-256"},
		"odd digest":     {someSHA[:60], strings.Repeat("z", 60), "not a SHA-256"},
		"odd edit":       {otherSHA[:60], strings.Repeat("z", 60), "not a SHA-256"},
		"mode":           {"0755", "4755", "4755"},
		"outside":        {"  README.md", "  ../README.md", "../README.md"},
		"absolute":       {"  README.md", "  /etc/passwd", "/etc/passwd"},
		"the git folder": {"  README.md", "  .git/config", ".git"},
		"our own folder": {"  README.md", "  .k8ssec/lock.yaml", ".k8ssec"},
		"the user's":     {"  README.md", "  cluster.cue", "is yours"},
		"a patch":        {"  README.md", "  patches/a/kustomization.yaml", "is yours"},
		"file in a file": {"  README.md", "  bootstrap", "directory"},
		"empty":          {good, "", ""},
		"binary":         {good, "\x00\x01", ""},
		"a list":         {good, "- 1\n", ""},
	} {
		in := strings.Replace(good, test.from, test.to, 1)
		if in == good {
			t.Errorf("%s: nothing replaced", name)
		}
		if lock, err := parseLock([]byte(in)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %+v, %v", name, lock, err)
		}
	}
}

func readBase(t interface{ Fatalf(string, ...any) }, data []byte) map[string]string {
	out := map[string]string{}
	if err := parseArchive(data, func(f baseFile) { out[f.path] = string(f.data) }); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return out
}

func TestArchive(t *testing.T) {
	contents := map[string]string{
		"docs/a": "one\ntwo\n", "docs/b": "", "docs/c": "no newline", "docs/d": "-- x --\n", "docs/e": "\\-- x --\n\\\\-- y\n-- ", "docs/f": "\n\n", "docs/g": "\r\n-- \r\n",
		"docs/h": "---\na: -- b --\n", "docs/i": "x\n\\\n", "docs/j": "-- docs/a --\n-- docs/a -- without a final newline",
	}
	var list []baseFile
	for _, f := range files(contents) {
		list = append(list, baseFile{f.Path, f.Data})
	}
	all := archives(list)
	data, ok := all[".k8ssec/base/docs/.base"]
	if len(all) != 1 || !ok {
		t.Fatalf("got %d archives", len(all))
	}
	if got := readBase(t, data); !reflect.DeepEqual(got, contents) {
		t.Errorf("got %q\nwant %q\nfrom\n%s", got, contents, data)
	}
	if !strings.HasPrefix(string(data), "The last render of the files in /docs, for merging.") {
		t.Errorf("got\n%s", data)
	}
}

func TestArchiveDamaged(t *testing.T) {
	for _, in := range []string{"x\ny\n", "-- a\n", "x\n-- a --\ny\n-- b\n"} {
		if err := parseArchive([]byte(in), func(baseFile) {}); err == nil {
			t.Errorf("%q passes", in)
		}
	}
	if err := parseArchive(nil, func(baseFile) {}); err != nil {
		t.Error(err)
	}
}

func TestArchiveRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"", "-- ", "-- a --", `\-- a --`, `\\`, "--", " -- without a final newline", "x", "\r", "\xff"})
		want := map[string]string{}
		var list []baseFile
		for i := range rapid.IntRange(0, 5).Draw(t, "files") {
			name := fmt.Sprintf("d/%d", i)
			content := strings.Join(rapid.SliceOf(line).Draw(t, "lines"), "\n")
			want[name] = content
			list = append(list, baseFile{name, []byte(content)})
		}
		got := map[string]string{}
		for _, data := range archives(list) {
			for name, content := range readBase(t, data) {
				got[name] = content
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// TestArchivesAreStable adds one file to a big directory: one archive changes, or is cut in two.
func TestArchivesAreStable(t *testing.T) {
	var list []baseFile
	for i := range 10000 {
		list = append(list, baseFile{fmt.Sprintf("manifests/network/team-%05d.yaml", 2*i), []byte("x\n")})
	}
	before := archives(list)
	if len(before) < 5 || len(before) > 25 {
		t.Errorf("%d archives for 10,000 files", len(before))
	}
	for i := range 50 {
		at := 200 * i
		more := append(append(append([]baseFile{}, list[:at]...), baseFile{fmt.Sprintf("manifests/network/team-%05d.yaml", 2*at-1), []byte("y\n")}), list[at:]...)
		if at == 0 {
			more[0].path = "manifests/network/aaa.yaml"
		}
		changed := 0
		for name, data := range archives(more) {
			if !bytes.Equal(before[name], data) {
				changed++
			}
		}
		if changed > 2 {
			t.Errorf("one more file changes %d archives", changed)
		}
	}
}

// TestBaseAfterGitMerge puts a file into another archive of its directory, as a merge of two
// branches can.
func TestBaseAfterGitMerge(t *testing.T) {
	dir := t.TempDir()
	mustRun(t, dir, map[string]string{"d/a": "1\n", "d/b": "2\n"})
	put(t, dir, map[string]string{
		".k8ssec/base/d/.base":  "The last render.\n-- d/a --\n1\n",
		".k8ssec/base/d/x.base": "The last render.\n-- d/b --\n2\n",
	})
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := r.Base("d/b"); err != nil || string(data) != "2\n" {
		t.Errorf("got %q, %v", data, err)
	}
	if s, err := r.Status(); err != nil || !s.Clean() {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := r.Base("d/none"); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	// A run makes it one archive again, and removes the other.
	mustRun(t, dir, map[string]string{"d/a": "1\n", "d/b": "2\n"})
	if _, ok := snapshot(t, dir)[".k8ssec/base/d/x.base"]; ok {
		t.Error("the other archive is still there")
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add(someLock().format())
	f.Add([]byte("version: 1\nfiles:\n  a: {sha256: \"" + someSHA + "\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lock, err := parseLock(data)
		if err != nil {
			return
		}
		again, err := parseLock(lock.format())
		if err != nil {
			t.Fatalf("%v\n%q\n%s", err, data, lock.format())
		}
		if len(lock.Files) == 0 {
			lock.Files, again.Files = nil, nil
		}
		if len(lock.Profiles) == 0 {
			lock.Profiles, again.Profiles = nil, nil
		}
		if !reflect.DeepEqual(lock, again) {
			t.Fatalf("got %+v, want %+v", again, lock)
		}
	})
}
