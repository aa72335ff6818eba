package engine

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/k8ssec/k8ssec/internal/diag"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// now is the moment at which the tests run.
var now = time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)

// forbidden are the evaluator's own words and names, which no user must see.
var forbidden = regexp.MustCompile(`conflicting values|empty disjunction|incomplete value|non-concrete|field not allowed|mismatched types|invalid value|out of bound|_\|_|#[A-Z]`)

// evaluate runs the engine on a cluster file beside the other files of an archive.
func evaluate(t testing.TB, archive *txtar.Archive) (*Result, error) {
	t.Helper()
	dir := t.TempDir()
	var source []byte
	for _, f := range archive.Files {
		if f.Name == "cluster.cue" {
			source = f.Data
		}
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Evaluate(context.Background(), Options{Name: "cluster.cue", Source: source, Dir: dir, Now: now})
}

// TestInvalid holds that each invalid cluster file gives its own clear error: where, which field,
// which value, what must hold and what to write. The words are golden.
func TestInvalid(t *testing.T) {
	archives, err := filepath.Glob("testdata/invalid/*.txtar")
	if err != nil || len(archives) < 60 {
		t.Fatalf("want at least 60 fixtures, have %d (%v)", len(archives), err)
	}
	seen := map[string]string{}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			inputs := archive.Files[:0:0]
			want := ""
			for _, f := range archive.Files {
				if f.Name == "error" {
					want = string(f.Data)
				} else {
					inputs = append(inputs, f)
				}
			}
			archive.Files = inputs
			_, err = evaluate(t, archive)
			var found diag.List
			if !errors.As(err, &found) || !found.HasErrors() {
				t.Fatalf("want findings, got %v", err)
			}
			var b strings.Builder
			if err := found.WriteText(&b, diag.Style{}); err != nil {
				t.Fatal(err)
			}
			got := b.String()
			if bad := forbidden.FindString(got); bad != "" {
				t.Errorf("the error uses the evaluator's words %q:\n%s", bad, got)
			}
			for _, d := range found {
				if d.File == "" || d.Line == 0 || d.Column == 0 {
					t.Errorf("no position: %+v", d)
				}
				if d.Fix == "" || d.Rule == "" && d.Control == "" && !strings.Contains(d.Message, "read as CUE") {
					t.Errorf("no rule or no fix: %+v", d)
				}
			}
			if other := seen[found[0].Message]; other != "" {
				t.Errorf("the same words as %s: %s", other, found[0].Message)
			}
			seen[found[0].Message] = t.Name()
			if *update {
				archive.Files = append(archive.Files, txtar.File{Name: "error", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("want\n%sgot\n%s", want, got)
			}
		})
	}
}
