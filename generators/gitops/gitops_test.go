package gitops_test

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/access"
	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/gitops"
	"github.com/k8ssec/k8ssec/generators/namespaces"
	"github.com/k8ssec/k8ssec/generators/network"
	"github.com/k8ssec/k8ssec/generators/resources"
	"github.com/k8ssec/k8ssec/generators/workloads"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, gitops.New()) }

const tenant = `
namespaces: "team-a": {
	owner: "team-a"
	gitSource: {url: "https://git.internal/team-a/deploy.git", branch: "main", path: "/deploy/", secretRef: "git"}
}
`

var files = map[string]string{
	"flux":            `package cluster, profiles: ["cis"], cluster: name: "c"`,
	"flux, complete":  `package cluster, profiles: ["restricted"], cluster: name: "c", gitops: {url: "ssh://git@git.internal/c.git", path: "c", verifyKeys: "keys"}` + tenant,
	"flux, keys only": `package cluster, profiles: ["baseline"], cluster: name: "c", gitops: verifyKeys: "keys"` + tenant,
	"argocd":          `package cluster, profiles: ["cis"], cluster: name: "c", gitops: {engine: "argocd", namespace: "argocd", url: "https://git.internal/c.git"}` + tenant,
}

func clusterFile(name string) string {
	return strings.ReplaceAll(files[name], ", ", "\n")
}

// documents are the objects of everything that is emitted, as JSON.
func documents(t *testing.T, out *generators.Output) map[string][]json.RawMessage {
	t.Helper()
	docs := map[string][]json.RawMessage{}
	for _, a := range out.Artifacts {
		for _, o := range a.Objects {
			b, err := manifest.EncodeObject(o.Value)
			if err != nil {
				t.Fatal(err)
			}
			j, err := yaml.YAMLToJSON(b)
			if err != nil {
				t.Fatal(err)
			}
			docs[a.Path] = append(docs[a.Path], j)
		}
	}
	return docs
}

func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// TestFluxTypes decodes each object strictly into the type of the controller that reads it.
func TestFluxTypes(t *testing.T) {
	for name := range files {
		out, err := gitops.New().Generate(generatortest.Posture(t, clusterFile(name)))
		if err != nil {
			t.Fatal(err)
		}
		for file, docs := range documents(t, out) {
			for _, doc := range docs {
				var meta struct{ APIVersion, Kind string }
				if err := json.Unmarshal(doc, &meta); err != nil {
					t.Fatal(err)
				}
				var into any
				switch meta.APIVersion + " " + meta.Kind {
				case "kustomize.toolkit.fluxcd.io/v1 Kustomization":
					into = &kustomizev1.Kustomization{}
				case "source.toolkit.fluxcd.io/v1 GitRepository":
					into = &sourcev1.GitRepository{}
				case "v1 ConfigMap":
					into = &corev1.ConfigMap{}
				case "kustomize.config.k8s.io/v1beta1 Kustomization", "argoproj.io/v1alpha1 AppProject", "argoproj.io/v1alpha1 Application":
					continue
				default:
					t.Errorf("%s: %s: nothing is known that reads %s %s", name, file, meta.APIVersion, meta.Kind)
					continue
				}
				if err := strict(doc, into); err != nil {
					t.Errorf("%s: %s: %v", name, file, err)
				}
				if k, ok := into.(*kustomizev1.Kustomization); ok {
					if k.Spec.ServiceAccountName == "" {
						t.Errorf("%s: %s: %s names no account, so it would be applied as one that may do nothing", name, file, k.Name)
					}
					if k.Spec.SourceRef.Namespace != "" {
						t.Errorf("%s: %s: %s refers to another namespace, which the controller refuses", name, file, k.Name)
					}
				}
			}
		}
	}
}

// applied lists the folders that each wave of the posture applies, in order.
func applied(t *testing.T, p *posture.Posture, out *generators.Output) []string {
	t.Helper()
	var folders []string
	for _, file := range []string{"gitops/platform.yaml", "gitops/applications.yaml"} {
		for _, doc := range documents(t, out)[file] {
			var o struct {
				Spec struct {
					Path   string
					Source struct{ Path string }
				}
			}
			if err := json.Unmarshal(doc, &o); err != nil {
				t.Fatal(err)
			}
			folder := path.Join(o.Spec.Path, o.Spec.Source.Path)
			if p.GitOps.Path != "." {
				folder = strings.TrimPrefix(folder, p.GitOps.Path+"/")
			}
			if folder != "gitops" {
				folders = append(folders, folder)
			}
		}
	}
	return folders
}

// TestEverythingIsApplied shows that each folder of manifests/ that any domain writes has a wave, and
// that no wave waits for a folder that is not there.
func TestEverythingIsApplied(t *testing.T) {
	for name := range files {
		p := generatortest.Posture(t, clusterFile(name))
		var written []string
		var own *generators.Output
		for _, g := range []generators.Generator{access.New(), gitops.New(), namespaces.New(), network.New(), resources.New(), workloads.New()} {
			out, err := g.Generate(p)
			if err != nil {
				t.Fatal(err)
			}
			if g.Domain() == "gitops" {
				own = out
			}
			for _, a := range out.Artifacts {
				if dir := path.Dir(a.Path); strings.HasPrefix(dir, "manifests/") && !slices.Contains(written, dir) {
					written = append(written, dir)
				}
			}
		}
		got := applied(t, p, own)
		slices.Sort(written)
		slices.Sort(got)
		if !slices.Equal(got, written) {
			t.Errorf("%s: applied %v, written %v", name, got, written)
		}
	}
}

// TestTenantActsAsItself shows that the account that a tenant's delivery acts as is one that the
// access domain makes, binds to the deployer's role, and binds to nothing else.
func TestTenantActsAsItself(t *testing.T) {
	p := generatortest.Posture(t, clusterFile("flux, complete"))
	out, err := gitops.New().Generate(p)
	if err != nil {
		t.Fatal(err)
	}
	var found bool
	for _, doc := range documents(t, out)["manifests/gitops/team-a.yaml"] {
		var k kustomizev1.Kustomization
		if err := json.Unmarshal(doc, &k); err != nil {
			t.Fatal(err)
		}
		if k.Kind != "Kustomization" {
			continue
		}
		found = true
		if k.Namespace != "team-a" || k.Spec.TargetNamespace != "team-a" || k.Spec.Path != "./deploy" {
			t.Errorf("applied in %s into %s from %s", k.Namespace, k.Spec.TargetNamespace, k.Spec.Path)
		}
		rights, err := access.New().Generate(p)
		if err != nil {
			t.Fatal(err)
		}
		var account bool
		for _, a := range rights.Artifacts {
			for _, o := range a.Objects {
				if sa, ok := o.Value.(*corev1.ServiceAccount); ok && sa.Namespace == "team-a" && sa.Name == k.Spec.ServiceAccountName {
					account = true
				}
			}
		}
		if !account {
			t.Errorf("the access domain makes no account %s", k.Spec.ServiceAccountName)
		}
	}
	if !found {
		t.Error("no Kustomization for the tenant")
	}
}
