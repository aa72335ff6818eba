// Package generatortest holds generators against golden files.
package generatortest

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Now is the moment at which every test runs.
var Now = time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)

// Posture evaluates a cluster file.
func Posture(t testing.TB, clusterFile string) *posture.Posture {
	t.Helper()
	result, err := engine.Evaluate(context.Background(), engine.Options{
		Name: "cluster.cue", Source: []byte(clusterFile), Dir: t.TempDir(), Now: Now,
	})
	var found diag.List
	if errors.As(err, &found) {
		var b strings.Builder
		_ = found.WriteText(&b, diag.Style{})
		t.Fatal("the cluster file has errors:\n" + b.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	return result.Posture
}

// Run renders each testdata/*.txtar: its section cluster.cue is the cluster file, every other
// section is an expected file, and no other file may be emitted. With -update the expected files
// are rewritten. The archive's comment may name path prefixes, one a line after "only:", to keep
// a golden to the files that it is about.
func Run(t *testing.T, generator generators.Generator) {
	t.Helper()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no golden files in testdata: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "cluster.cue" })
			if i < 0 {
				t.Fatal("no section cluster.cue")
			}
			input := archive.Files[i]
			got := &txtar.Archive{Comment: archive.Comment, Files: []txtar.File{input}}
			for _, f := range Emit(t, generator, Posture(t, string(input.Data))) {
				if selected(f.Name, string(archive.Comment)) {
					got.Files = append(got.Files, f)
				}
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, archive, got)
		})
	}
}

// Emit returns the encoded files of one generator, sorted by path.
func Emit(t testing.TB, generator generators.Generator, p *posture.Posture) []txtar.File {
	t.Helper()
	out, err := generator.Generate(p)
	if err != nil {
		t.Fatal(err)
	}
	var files []txtar.File
	for i := range out.Artifacts {
		data, err := manifest.Encode(&out.Artifacts[i])
		if err != nil {
			t.Fatalf("%s: %v", out.Artifacts[i].Path, err)
		}
		files = append(files, txtar.File{Name: out.Artifacts[i].Path, Data: data})
	}
	slices.SortFunc(files, func(a, b txtar.File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

func selected(name, comment string) bool {
	_, only, found := strings.Cut(comment, "only:")
	if !found {
		return true
	}
	return slices.ContainsFunc(strings.Fields(only), func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func compare(t *testing.T, want, got *txtar.Archive) {
	t.Helper()
	expected := map[string]string{}
	for _, f := range want.Files {
		expected[f.Name] = string(f.Data)
	}
	for _, f := range got.Files {
		text, ok := expected[f.Name]
		delete(expected, f.Name)
		switch {
		case !ok:
			t.Errorf("%s is emitted and not expected; run the test with -update and read the diff", f.Name)
		case text != string(f.Data):
			t.Errorf("%s differs; run the test with -update and read the diff\n%s", f.Name, firstDifference(text, string(f.Data)))
		}
	}
	for name := range expected {
		t.Errorf("%s is expected and not emitted", name)
	}
}

func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "want " + a[i] + "\ngot  " + b[i]
		}
	}
	return "one is longer than the other"
}
