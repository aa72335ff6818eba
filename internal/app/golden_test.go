package app

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/k8ssec/k8ssec/generators/all"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/render"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)

// combination is one cluster file whose whole render is golden.
type combination struct {
	name   string
	source []byte
}

// reference is the render against which all others are written as a difference.
const reference = "cis-kubeadm-1.37-cilium"

// combinations are each profile on each platform and minor, the other CNIs and GitOps engines with
// the cis profile, and the cluster that decides everything. The reference comes first.
func combinations(t testing.TB) []combination {
	t.Helper()
	var list []combination
	add := func(v Values) {
		source, err := clusterFile(v)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s-%s-%s-%s", strings.Join(v.Profiles, "+"), v.Platform, v.Kubernetes, v.CNI)
		if v.GitOps != "" {
			name += "-" + v.GitOps
		}
		c := combination{name, source}
		if name == reference {
			list = append([]combination{c}, list...)
		} else {
			list = append(list, c)
		}
	}
	base := Values{Name: "cluster", Platform: "kubeadm", Kubernetes: "1.37", CNI: "cilium"}
	for _, profile := range engine.ShippedProfiles() {
		for _, platform := range []string{"kubeadm", "kind"} {
			for _, minor := range []string{"1.34", "1.35", "1.36", "1.37"} {
				v := base
				v.Profiles, v.Platform, v.Kubernetes = []string{profile}, platform, minor
				add(v)
			}
		}
	}
	for _, cni := range []string{"calico", "other"} {
		v := base
		v.Profiles, v.CNI = []string{"cis"}, cni
		add(v)
	}
	v := base
	v.Profiles, v.GitOps, v.GitURL = []string{"cis"}, "argocd", "https://git.acme.internal/platform/prod.git"
	add(v)
	v = base
	v.Profiles = []string{"cis", "nsa"}
	add(v)
	list = append(list, combination{"no-tenant", []byte("profiles: [\"cis\", \"nsa\"]\n")})
	complete, err := os.ReadFile("../../testdata/complete/cluster.cue")
	if err != nil {
		t.Fatal(err)
	}
	return append(list, combination{"complete", complete})
}

// renderAll renders one cluster file.
func renderAll(t testing.TB, source []byte) (*engine.Result, *render.Tree) {
	t.Helper()
	result, err := engine.Evaluate(context.Background(), engine.Options{Name: "cluster.cue", Source: source, Now: now})
	var found diag.List
	if errors.As(err, &found) {
		var b strings.Builder
		_ = found.WriteText(&b, diag.Style{})
		t.Fatal(b.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	tree, err := render.Render(context.Background(), result, all.List())
	if err != nil {
		t.Fatal(err)
	}
	return result, tree
}

// TestGolden holds the whole output of every combination. The reference is written in full, all
// others as the files that differ from it and the names of those that are not there.
func TestGolden(t *testing.T) {
	var base map[string][]byte
	for _, c := range combinations(t) {
		_, tree := renderAll(t, c.source)
		files := map[string][]byte{}
		got := &txtar.Archive{Comment: []byte(fmt.Sprintf("%s: what differs from %s\n", c.name, reference))}
		if base == nil {
			got.Comment = []byte(fmt.Sprintf("%s: every file\n", c.name))
		}
		got.Files = append(got.Files, txtar.File{Name: "cluster.cue", Data: c.source})
		for _, f := range tree.Files {
			files[f.Path] = f.Data
			if base == nil || !bytes.Equal(base[f.Path], f.Data) {
				got.Files = append(got.Files, txtar.File{Name: f.Path, Data: f.Data})
			}
		}
		var absent []string
		for path := range base {
			if files[path] == nil {
				absent = append(absent, path)
			}
		}
		if len(absent) > 0 {
			got.Files = append(got.Files, txtar.File{Name: "absent", Data: []byte(strings.Join(slices.Sorted(slices.Values(absent)), "\n") + "\n")})
		}
		if base == nil {
			base = files
		}
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join("testdata", "golden", c.name+".txtar")
			if *update {
				if err := os.WriteFile(name, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			compareArchives(t, want, got)
		})
	}
}

func compareArchives(t *testing.T, want, got *txtar.Archive) {
	t.Helper()
	expected := map[string][]byte{}
	for _, f := range want.Files {
		expected[f.Name] = f.Data
	}
	for _, f := range got.Files {
		data, ok := expected[f.Name]
		delete(expected, f.Name)
		if !ok {
			t.Errorf("%s is new; make update, then read the diff", f.Name)
		} else if !bytes.Equal(data, f.Data) {
			t.Errorf("%s differs at line %d; make update, then read the diff", f.Name, firstDifferentLine(data, f.Data))
		}
	}
	for name := range expected {
		t.Errorf("%s is gone; make update, then read the diff", name)
	}
}

// TestKindConfig holds that the kind-config.yaml at the root of this project is what the cis
// profile emits for kind.
func TestKindConfig(t *testing.T) {
	source, err := clusterFile(Values{Profiles: []string{"cis"}, Name: "cluster", Platform: "kind", Kubernetes: "1.37", CNI: "cilium"})
	if err != nil {
		t.Fatal(err)
	}
	_, tree := renderAll(t, source)
	i := slices.IndexFunc(tree.Files, func(f render.File) bool { return f.Path == "bootstrap/kind-config.yaml" })
	if i < 0 {
		t.Fatal("no kind config is emitted")
	}
	const name = "../../kind-config.yaml"
	if *update {
		if err := os.WriteFile(name, tree.Files[i].Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, tree.Files[i].Data) {
		t.Errorf("kind-config.yaml differs at line %d; make update, then read the diff", firstDifferentLine(want, tree.Files[i].Data))
	}
}
