// Package render turns a posture into the files of the emitted repository: it runs every
// generator, adds the files that span domains, and computes from the artifacts' own claims how
// each control is answered.
package render

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

// File is one file to write.
type File struct {
	// Path is relative to the repository, with slashes.
	Path       string
	Data       []byte
	Executable bool
	// Own marks a file that is created once and belongs to the user from then on.
	Own bool
	// Artifact is what the file was made of; nil for files that span domains.
	Artifact *generators.Artifact
	// Domain is the generator that emitted it, or empty.
	Domain string
}

// Tree is the whole rendered repository.
type Tree struct {
	Files []File
	// Undecided lists what stays out until the user gives a value.
	Undecided []generators.Decision
	// Controls are the answers to all controls, in the profiles' order.
	Controls []Answer
}

// Render runs the generators in parallel. The result is the same for the same input.
func Render(ctx context.Context, result *engine.Result, list []generators.Generator) (*Tree, error) {
	outputs := make([]*generators.Output, len(list))
	if err := inParallel(ctx, len(list), func(i int) error {
		var err error
		if outputs[i], err = list[i].Generate(result.Posture); err != nil {
			return fmt.Errorf("%s: %w", list[i].Domain(), err)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	t := &Tree{}
	for i, out := range outputs {
		for k := range out.Artifacts {
			a := &out.Artifacts[k]
			t.Files = append(t.Files, File{Path: a.Path, Executable: a.Executable, Artifact: a, Domain: list[i].Domain()})
		}
		t.Undecided = append(t.Undecided, out.Undecided...)
	}
	t.Files = append(t.Files, kustomizations(t.Files)...)
	t.Controls = answers(result, t, list)
	docs, err := documents(result, t)
	if err != nil {
		return nil, err
	}
	t.Files = append(t.Files, docs...)
	if err := inParallel(ctx, len(t.Files), func(i int) error {
		f := &t.Files[i]
		if f.Data != nil {
			return nil
		}
		var err error
		f.Data, err = manifest.Encode(f.Artifact)
		return err
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(t.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for i := 1; i < len(t.Files); i++ {
		if t.Files[i].Path == t.Files[i-1].Path {
			return nil, fmt.Errorf("%s is emitted twice", t.Files[i].Path)
		}
	}
	return t, nil
}

// inParallel calls do for 0..n-1 on all processors and returns the error of the lowest index.
func inParallel(ctx context.Context, n int, do func(int) error) error {
	workers := min(runtime.GOMAXPROCS(0), n)
	errs := make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				errs[i] = do(i)
			}
		})
	}
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// kustomizations lists the files of each manifests/<domain> in one kustomization, with the user's
// patches as a component, and the domains in one for the whole.
func kustomizations(files []File) []File {
	byDomain := map[string][]string{}
	for _, f := range files {
		if dir, name := path.Split(f.Path); path.Dir(path.Clean(dir)) == "manifests" {
			byDomain[path.Base(dir)] = append(byDomain[path.Base(dir)], name)
		}
	}
	var domains []string
	for domain := range byDomain {
		domains = append(domains, domain)
	}
	slices.Sort(domains)
	var out []File
	var all strings.Builder
	all.WriteString("# Emitted by k8ssec. Everything at once, to look at: kubectl kustomize manifests\n" +
		"# GitOps applies the domains one by one and in order; see gitops/.\n" +
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for _, domain := range domains {
		slices.Sort(byDomain[domain])
		var b strings.Builder
		b.WriteString("# Emitted by k8ssec. Your own changes belong into patches/" + domain + ", where a rerun never touches them.\n" +
			"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
		for _, name := range byDomain[domain] {
			b.WriteString("  - " + name + "\n")
		}
		b.WriteString("components:\n  - ../../patches/" + domain + "\n")
		all.WriteString("  - " + domain + "\n")
		out = append(out,
			File{Path: "manifests/" + domain + "/kustomization.yaml", Data: []byte(b.String()), Domain: domain},
			File{Path: "patches/" + domain + "/kustomization.yaml", Data: []byte(patches(domain)), Own: true, Domain: domain},
		)
	}
	return append(out, File{Path: "manifests/kustomization.yaml", Data: []byte(all.String())})
}

// patches is the user's own kustomization of one domain. The empty list is there because kustomize
// refuses a kustomization without any field.
func patches(domain string) string {
	return "# Yours: k8ssec made this file once and never changes it. Put kustomize patches for\n" +
		"# manifests/" + domain + " here, for instance:\n" +
		"#\n" +
		"#   patches:\n" +
		"#     - path: my-patch.yaml\n" +
		"#       target: {kind: NetworkPolicy, namespace: team-a}\n" +
		"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches: []\n"
}

// Artifacts are the artifacts of all files that were made of one.
func (t *Tree) Artifacts() []generators.Artifact {
	artifacts := make([]generators.Artifact, 0, len(t.Files))
	for _, f := range t.Files {
		if f.Artifact != nil {
			artifacts = append(artifacts, *f.Artifact)
		}
	}
	return artifacts
}
