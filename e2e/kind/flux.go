package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// GitSecret names the secret with which Flux trusts the Git server.
const GitSecret = "git-server"

// fluxControllers are the parts of Flux that a repository of manifests needs.
var fluxControllers = []string{components.SourceController, components.KustomizeController}

// BootstrapFlux does what `flux bootstrap git --path=gitops --network-policy=false` does: it writes
// Flux's components into the repository, where the emitted sync is already, commits, applies that folder
// once by hand, and from then on Flux applies everything.
func (c *Cluster) BootstrapFlux(ctx context.Context, g *GitServer, repository string) error {
	parts, err := c.fluxComponents(ctx)
	if err != nil {
		return err
	}
	folder := filepath.Join(repository, "gitops", "flux-system")
	if err := os.WriteFile(filepath.Join(folder, "gotk-components.yaml"), []byte(parts), 0o644); err != nil {
		return err
	}
	if err := g.Push(ctx, repository, "Flux and the posture"); err != nil {
		return err
	}
	// The components first, for the kinds of the sync are among them.
	if err := c.Apply(ctx, parts); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		return err
	}
	secret, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": GitSecret, "namespace": "flux-system"},
		"stringData": map[string]any{"ca.crt": string(g.CA)},
	})
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, string(secret)); err != nil {
		return err
	}
	return c.applyFrom(ctx, nil, "-k", folder)
}

// fluxComponents builds the manifests of Flux from the modules of Flux and its controllers, as the
// release of Flux is built, for the controllers that run here.
func (c *Cluster) fluxComponents(ctx context.Context) (string, error) {
	flux, err := components.Module("github.com/fluxcd/flux2/v2")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(c.dir, "flux-")
	if err != nil {
		return "", err
	}
	manifests := filepath.Join(flux, "manifests")
	if err := copyTree(filepath.Join(dir, "rbac"), filepath.Join(manifests, "rbac")); err != nil {
		return "", err
	}
	if err := copyTree(dir, filepath.Join(manifests, "install")); err != nil {
		return "", err
	}
	root := map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "flux-system",
		"transformers": []string{"labels.yaml"},
	}
	// As flux install names them, one for each namespace that Flux is in.
	roles := map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "nameSuffix": "-flux-system",
		"resources": []string{"../rbac"},
	}
	if err := writeYAML(filepath.Join(dir, "roles", "kustomization.yaml"), roles); err != nil {
		return "", err
	}
	resources, images := []string{"namespace.yaml", "roles"}, []any{}
	for _, name := range fluxControllers {
		module, err := components.Module("github.com/fluxcd/" + name)
		if err != nil {
			return "", err
		}
		version, err := components.ModuleVersion("github.com/fluxcd/" + name)
		if err != nil {
			return "", err
		}
		base := filepath.Join(dir, name)
		for _, from := range []string{filepath.Join(manifests, "bases", name), filepath.Join(module, "config/manager")} {
			if err := copyTree(base, from); err != nil {
				return "", err
			}
		}
		if err := copyTree(filepath.Join(base, "crds"), filepath.Join(module, "config/crd/bases")); err != nil {
			return "", err
		}
		if err := withoutEvents(filepath.Join(base, "patch.yaml")); err != nil {
			return "", err
		}
		if err := fluxBase(base, filepath.Join(manifests, "bases", name, "kustomization.yaml")); err != nil {
			return "", err
		}
		resources = append(resources, name)
		images = append(images, map[string]any{"name": "fluxcd/" + name, "newName": "ghcr.io/fluxcd/" + name, "newTag": version})
	}
	root["resources"], root["images"] = resources, images
	if err := writeYAML(filepath.Join(dir, "kustomization.yaml"), root); err != nil {
		return "", err
	}
	return c.Kubectl(ctx, "kustomize", dir)
}

// fluxBase replaces the addresses of a release in one of Flux's bases by the files that the release is
// made of.
func fluxBase(base, original string) error {
	b, err := os.ReadFile(original)
	if err != nil {
		return err
	}
	var k map[string]any
	if err := yaml.Unmarshal(b, &k); err != nil {
		return err
	}
	resources := []any{}
	list, _ := k["resources"].([]any)
	for _, r := range list {
		if text, ok := r.(string); ok && !strings.HasPrefix(text, "https://") {
			resources = append(resources, text)
		}
	}
	for _, glob := range []string{"crds/*.yaml", "deployment.yaml", "service.yaml"} {
		found, err := filepath.Glob(filepath.Join(base, glob))
		if err != nil {
			return err
		}
		for _, f := range found {
			rel, err := filepath.Rel(base, f)
			if err != nil {
				return err
			}
			resources = append(resources, rel)
		}
	}
	k["resources"] = resources
	return writeYAML(filepath.Join(base, "kustomization.yaml"), k)
}

// withoutEvents lets a controller send no events: as flux install does where there is no
// notification-controller.
func withoutEvents(patch string) error {
	b, err := os.ReadFile(patch)
	if err != nil {
		return err
	}
	const address = "--events-addr="
	text := string(b)
	i := strings.Index(text, address)
	if i < 0 {
		return fmt.Errorf("%s sets no %s", patch, address)
	}
	end := i + strings.IndexByte(text[i:], '\n')
	return os.WriteFile(patch, []byte(text[:i]+address+text[end:]), 0o644)
}

func writeYAML(name string, value any) error {
	b, err := yaml.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}

// copyTree copies the files of a folder, which may come from the read-only module cache.
func copyTree(to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Kustomization is the state of one of Flux's Kustomizations.
type Kustomization struct {
	Name, Ready, Message, Revision string
	DependsOn                      []string
	// ReadySince is when it became ready first.
	ReadySince time.Time
}

// Kustomizations returns the state of all of them, by name.
func (c *Cluster) Kustomizations(ctx context.Context) ([]Kustomization, error) {
	out, err := c.Kubectl(ctx, "-n", "flux-system", "get", "kustomizations.kustomize.toolkit.fluxcd.io", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct {
				DependsOn []struct{ Name string }
			}
			Status struct {
				LastAppliedRevision string
				Conditions          []struct {
					Type, Status, Message string
					LastTransitionTime    time.Time
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	all := make([]Kustomization, 0, len(list.Items))
	for _, i := range list.Items {
		k := Kustomization{Name: i.Metadata.Name, Revision: i.Status.LastAppliedRevision}
		for _, d := range i.Spec.DependsOn {
			k.DependsOn = append(k.DependsOn, d.Name)
		}
		for _, cond := range i.Status.Conditions {
			if cond.Type == "Ready" {
				k.Ready, k.Message, k.ReadySince = cond.Status, cond.Message, cond.LastTransitionTime
			}
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b Kustomization) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Synced waits until every Kustomization is ready at a revision that ends in the commit.
func (c *Cluster) Synced(ctx context.Context, commit string, most time.Duration) ([]Kustomization, error) {
	var all []Kustomization
	err := Eventually(ctx, most, func() (err error) {
		if all, err = c.Kustomizations(ctx); err != nil {
			return err
		}
		if len(all) == 0 {
			return errors.New("there is no Kustomization")
		}
		var waiting []string
		for _, k := range all {
			if k.Ready != "True" || !strings.HasSuffix(k.Revision, commit) {
				waiting = append(waiting, fmt.Sprintf("%s: %s %s %s", k.Name, k.Ready, k.Revision, k.Message))
			}
		}
		if len(waiting) > 0 {
			return errors.New(strings.Join(waiting, "\n"))
		}
		return nil
	})
	return all, err
}

// Reconcile asks Flux to fetch and apply at once, as `flux reconcile` does.
func (c *Cluster) Reconcile(ctx context.Context) error {
	at := "reconcile.fluxcd.io/requestedAt=" + time.Now().Format(time.RFC3339Nano)
	for _, kind := range []string{"gitrepositories.source.toolkit.fluxcd.io", "kustomizations.kustomize.toolkit.fluxcd.io"} {
		if _, err := c.Kubectl(ctx, "-n", "flux-system", "annotate", "--overwrite", kind, "--all", at); err != nil {
			return err
		}
	}
	return nil
}
