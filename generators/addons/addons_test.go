package addons

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/manifest"
	"github.com/k8ssec/k8ssec/internal/schema"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var charts = map[string]struct {
	chart Chart
	kind  string
	// source are the fields of the source that hold the version, and argo the revision.
	tag, digest, commit, version, argo string
}{
	"registry": {
		chart: Chart{URL: "oci://registry.internal/charts/app", Version: "1.2.3"}, kind: "OCIRepository", tag: "1.2.3", argo: "1.2.3",
	},
	"registry, by digest": {
		chart: Chart{URL: "oci://registry.internal/charts/app", Version: "1.2.3", Digest: digest}, kind: "OCIRepository",
		tag: "1.2.3", digest: digest, argo: digest,
	},
	"chart repository": {
		chart: Chart{URL: "https://charts.internal", Name: "app", Version: "1.2.3"}, kind: "HelmRepository", version: "1.2.3", argo: "1.2.3",
	},
	"git": {
		chart: Chart{URL: "https://git.internal/app", Path: "deploy/helm", Version: "v1"}, kind: "GitRepository", tag: "v1", argo: "v1",
	},
	"git, by commit": {
		chart: Chart{URL: "https://git.internal/app", Path: "deploy/helm", Version: "v1", Digest: strings.Repeat("a", 40)}, kind: "GitRepository",
		commit: strings.Repeat("a", 40), argo: strings.Repeat("a", 40),
	},
}

var app = Addon{Name: "app", Namespace: "apps", Domain: "images", Why: "An example.", Drift: DriftCorrect}

func decode(t *testing.T, o generators.Object, into any) {
	t.Helper()
	text, err := manifest.EncodeObject(o.Value)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := manifest.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range schema.Validate(37, docs[0].Node) {
		t.Errorf("%s: %s", p.Path, p.Message)
	}
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Error(err)
	}
}

// TestFlux decodes what is emitted strictly into Flux's own types and looks at what decides which
// chart is installed, where, and as whom.
func TestFlux(t *testing.T) {
	p := &posture.Posture{GitOps: posture.GitOps{Engine: "flux", Namespace: "flux-system"}}
	for name, c := range charts {
		t.Run(name, func(t *testing.T) {
			files := release(p, &app, &c.chart, map[string]any{"replicaCount": 2}, nil)
			if len(files) != 1 || files[0].Path != "manifests/addon-app/release.yaml" || len(files[0].Objects) != 2 {
				t.Fatalf("got %+v", files)
			}
			var h helmv2.HelmRelease
			decode(t, files[0].Objects[1], &h)
			var kind, from string
			switch {
			case h.Spec.ChartRef != nil:
				kind, from = h.Spec.ChartRef.Kind, h.Spec.ChartRef.Name
			case h.Spec.Chart != nil:
				kind, from = h.Spec.Chart.Spec.SourceRef.Kind, h.Spec.Chart.Spec.SourceRef.Name
				if h.Spec.Chart.Spec.Version != c.version {
					t.Errorf("the version is %q", h.Spec.Chart.Spec.Version)
				}
			}
			if kind != c.kind || from != "app" {
				t.Errorf("the chart comes from %s %s", kind, from)
			}
			if h.Namespace != "flux-system" || h.Spec.TargetNamespace != "apps" || h.Spec.ServiceAccountName != "helm-controller" || h.GetStorageNamespace() != "flux-system" {
				t.Errorf("installed from %s into %s as %s", h.Namespace, h.Spec.TargetNamespace, h.Spec.ServiceAccountName)
			}
			if h.GetInstall().CreateNamespace || !h.GetDriftDetection().MustDetectChanges() {
				t.Error("it makes its own namespace, without our labels, or changes to it stay")
			}
			switch c.kind {
			case "OCIRepository":
				var s sourcev1.OCIRepository
				decode(t, files[0].Objects[0], &s)
				if s.Spec.Reference.Tag != c.tag || s.Spec.Reference.Digest != c.digest || s.Spec.Insecure {
					t.Errorf("it is pinned by %+v", s.Spec.Reference)
				}
			case "GitRepository":
				var s sourcev1.GitRepository
				decode(t, files[0].Objects[0], &s)
				if s.Spec.Reference.Tag != c.tag || s.Spec.Reference.Commit != c.commit {
					t.Errorf("it is pinned by %+v", s.Spec.Reference)
				}
			case "HelmRepository":
				var s sourcev1.HelmRepository
				decode(t, files[0].Objects[0], &s)
			}
		})
	}
}

func TestArgo(t *testing.T) {
	p := &posture.Posture{GitOps: posture.GitOps{Engine: "argocd", Namespace: "argocd", URL: "https://git.internal/c.git"}}
	for name, c := range charts {
		t.Run(name, func(t *testing.T) {
			files := release(p, &app, &c.chart, map[string]any{"replicaCount": int64(2)}, []generators.Claim{{Control: "x-1", Field: "values.replicaCount"}})
			var a struct {
				APIVersion, Kind string
				Metadata         map[string]any
				Spec             struct {
					Project     string
					Source      map[string]any
					SyncPolicy  map[string]any
					Destination struct {
						Server, Namespace string
					}
				}
			}
			decode(t, files[0].Objects[0], &a)
			if a.Spec.Source["targetRevision"] != c.argo || a.Spec.Project != ArgoProject || a.Spec.Destination.Namespace != "apps" {
				t.Errorf("got %+v", a.Spec)
			}
			if got := files[0].Objects[0].Claims[0].Field; got != "spec.source.helm.valuesObject.replicaCount" {
				t.Errorf("the claim is on %s", got)
			}
		})
	}
	p.GitOps.URL = ""
	if files := release(p, &app, &Chart{}, nil, nil); files != nil {
		t.Errorf("nothing applies %s", files[0].Path)
	}
}

func TestUnknown(t *testing.T) {
	if _, err := Release(&posture.Posture{}, "no-such", nil); err == nil {
		t.Error("no error")
	}
}

var (
	sha256Digest = regexp.MustCompile(`^(sha256:[0-9a-f]{64})?$`)
	commitDigest = regexp.MustCompile(`^([0-9a-f]{40})?$`)
)

// TestPins holds the pins to what the code takes for granted.
func TestPins(t *testing.T) {
	pins, err := readPins()
	if err != nil {
		t.Fatal(err)
	}
	for name, pin := range pins {
		for part, image := range pin.Images {
			if host, path := image.Split(); !strings.Contains(host, ".") || path == "" || image.Tag == "" || image.Tag == "latest" || !sha256Digest.MatchString(image.Digest) {
				t.Errorf("%s %s: %+v", name, part, image)
			}
		}
		c := pin.Chart
		form := sha256Digest
		if c.Path != "" {
			form = commitDigest
		}
		if c == (Chart{}) {
			if slices.ContainsFunc(table(), func(a Addon) bool { return a.Name == name }) {
				t.Errorf("%s is in the table and has no chart", name)
			}
			continue
		}
		if !form.MatchString(c.Digest) || c.Name != "" && c.Digest != "" {
			t.Errorf("%s: the chart's digest %q", name, c.Digest)
		}
		if c == (Chart{}) {
			continue // tools that are no add-on
		}
		if c.Version == "" || !strings.HasPrefix(c.URL, "oci://") && !strings.HasPrefix(c.URL, "https://") ||
			strings.HasPrefix(c.URL, "https://") && (c.Name == "") == (c.Path == "") {
			t.Errorf("%s: the chart %+v", name, c)
		}
	}
	for i, a := range table() {
		if _, ok := pins[a.Name]; !ok {
			t.Errorf("%s has no pin", a.Name)
		}
		if i > 0 && table()[i-1].Name >= a.Name {
			t.Errorf("the table is not sorted at %s", a.Name)
		}
		if a.Namespace == "" || a.Domain == "" || a.Why == "" || a.when == nil || !slices.Contains([]Drift{DriftCorrect, DriftWarn}, a.Drift) {
			t.Errorf("%s is incomplete", a.Name)
		}
	}
}

func TestPinnedImage(t *testing.T) {
	i := Image{Repository: "ghcr.io/team/app", Tag: "v1", Digest: digest}
	if i.Pinned() != "v1@"+digest || i.Ref() != "ghcr.io/team/app:v1@"+digest {
		t.Errorf("got %s", i.Ref())
	}
	i.Digest = ""
	if i.Ref() != "ghcr.io/team/app:v1" {
		t.Errorf("got %s", i.Ref())
	}
}
