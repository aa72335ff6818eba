package merge

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/k8ssec/k8ssec/internal/manifest"
)

// Not named update: what is expected here must not change with the golden outputs.
var rewrite = flag.Bool("rewrite", false, "rewrite the expected results")

// TestCases merges each case of testdata: base, yours and new (any may be missing) must give want, or
// the conflicts. A case with conflicts also says what each strategy gives.
func TestCases(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 40 {
		t.Fatalf("%d cases, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			f := File{Path: "x.yaml"}
			for _, part := range archive.Files {
				kind, ext, _ := strings.Cut(part.Name, ".")
				switch kind {
				case "base":
					f.Base = part.Data
				case "yours":
					f.Yours = part.Data
				case "new":
					f.New = part.Data
				}
				if ext != "" && (kind == "base" || kind == "yours" || kind == "new") {
					f.Path = "x." + ext
				}
			}
			got := outcome(t, f)
			var kept []txtar.File
			want := map[string]string{}
			for _, part := range archive.Files {
				switch part.Name {
				case "want", "conflicts", "want-yours", "want-new", "error":
					want[part.Name] = string(part.Data)
				default:
					kept = append(kept, part)
				}
			}
			if *rewrite {
				for _, part := range []string{"want", "error", "conflicts", "want-yours", "want-new"} {
					if text, ok := got[part]; ok {
						kept = append(kept, txtar.File{Name: part, Data: []byte(text)})
					}
				}
				archive.Files = kept
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(want) == 0 {
				t.Fatal("the case expects nothing")
			}
			for _, part := range []string{"want", "error", "conflicts", "want-yours", "want-new"} {
				if got[part] != want[part] {
					t.Errorf("%s:\n%s\nwant:\n%s", part, got[part], want[part])
				}
			}
		})
	}
}

// outcome is everything that a merge says.
func outcome(t *testing.T, f File) map[string]string {
	t.Helper()
	r, err := Merge(f, Refuse)
	if err != nil {
		return map[string]string{"error": err.Error() + "\n"}
	}
	readable(t, f, r)
	if len(r.Conflicts) == 0 {
		again, err := Merge(File{Path: f.Path, Base: f.New, Yours: r.Data, New: f.New}, Refuse)
		if err != nil || string(again.Data) != string(r.Data) {
			t.Errorf("the next run changes the file again: %v\n%s", err, again.Data)
		}
		return map[string]string{"want": string(r.Data)}
	}
	out := map[string]string{}
	var b strings.Builder
	for _, c := range r.Conflicts {
		fmt.Fprintf(&b, "%d: %s\n", c.Line, c.Describe())
	}
	out["conflicts"] = b.String()
	for part, s := range map[string]Strategy{"want-yours": Yours, "want-new": New} {
		decided, err := Merge(f, s)
		if err != nil {
			t.Fatal(err)
		}
		readable(t, f, decided)
		out[part] = string(decided.Data)
	}
	return out
}

func readable(t *testing.T, f File, r *Result) {
	t.Helper()
	if IsYAML(f.Path) {
		if _, err := manifest.Decode(r.Data); err != nil {
			t.Errorf("the result cannot be read: %v\n%s", err, r.Data)
		}
	}
	for _, mark := range []string{"<<<<<<<", ">>>>>>>", "|||||||"} {
		if strings.Contains(string(r.Data), mark) {
			t.Errorf("a conflict marker is in the result:\n%s", r.Data)
		}
	}
}
