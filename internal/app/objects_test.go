package app

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	policyconfigv1 "k8s.io/apiserver/pkg/admission/plugin/policy/config/apis/policyconfig/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes/scheme"
	kubeconfigv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	podsecurityv1 "k8s.io/pod-security-admission/admission/api/v1"
	kindv1alpha4 "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/lockout"
	"github.com/k8ssec/k8ssec/internal/manifest"
	"github.com/k8ssec/k8ssec/internal/render"
	"github.com/k8ssec/k8ssec/internal/schema"
)

// strict decodes every kind that we emit and that has Go types in reach.
func strict(t *testing.T) runtime.Decoder {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, helmv2.AddToScheme, kustomizev1.AddToScheme, sourcev1.AddToScheme, apiserverv1.AddToScheme, auditv1.AddToScheme,
		kubeletv1beta1.AddToScheme, kubeproxyv1alpha1.AddToScheme, podsecurityv1.AddToScheme, policyconfigv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
}

// plainTypes are kinds that a file has and no scheme: they are decoded strictly as they are.
var plainTypes = map[string]func() any{
	"kind.x-k8s.io/v1alpha4 Cluster": func() any { return &kindv1alpha4.Cluster{} },
	"v1 Config":                      func() any { return &kubeconfigv1.Config{} },
}

// bySchema are kinds without Go types in reach: the published schema alone holds them.
var bySchema = []string{
	"cilium.io/", "argoproj.io/", "external-secrets.io/", "policies.kyverno.io/", "policy.sigstore.dev/", "security-profiles-operator.x-k8s.io/",
	"kubeadm.k8s.io/", "kustomize.config.k8s.io/", "eventratelimit.admission.k8s.io/", "upgrade.cattle.io/", "velero.io/",
	"monitoring.coreos.com/", "cert-manager.io/",
}

// TestObjects decodes every object of every combination strictly into its Go type, and holds it
// against the OpenAPI schema of its own Kubernetes minor.
func TestObjects(t *testing.T) {
	decoder := strict(t)
	for _, c := range combinations(t) {
		t.Run(c.name, func(t *testing.T) {
			result, tree := renderAll(t, c.source)
			objects := 0
			for _, f := range tree.Files {
				if ext := path.Ext(f.Path); ext != ".yaml" {
					continue
				}
				docs, err := manifest.Decode(f.Data)
				if err != nil {
					t.Errorf("%s: %v", f.Path, err)
					continue
				}
				for _, d := range docs {
					objects++
					for _, p := range schema.Validate(result.Posture.Cluster.Minor(), d.Node) {
						t.Errorf("%s:%d: %s: %s: %s", f.Path, p.Line, objectName(d), p.Path, p.Message)
					}
					decodeStrictly(t, decoder, f.Path, d)
				}
			}
			if objects < 60 {
				t.Errorf("only %d objects were checked", objects)
			}
		})
	}
}

func decodeStrictly(t *testing.T, decoder runtime.Decoder, file string, d manifest.Document) {
	t.Helper()
	value, err := manifest.Value(d.Node)
	if err != nil {
		t.Errorf("%s: %v", file, err)
		return
	}
	data, err := yaml.Marshal(value)
	if err != nil {
		t.Errorf("%s: %v", file, err)
		return
	}
	if slices.ContainsFunc(bySchema, func(prefix string) bool { return strings.HasPrefix(d.APIVersion, prefix) }) {
		return
	}
	if plain := plainTypes[d.APIVersion+" "+d.Kind]; plain != nil {
		if err := yaml.UnmarshalStrict(data, plain()); err != nil {
			t.Errorf("%s: %s: %v", file, objectName(d), err)
		}
		return
	}
	if _, _, err := decoder.Decode(data, nil, nil); err != nil {
		t.Errorf("%s: %s %s: %v", file, d.APIVersion, objectName(d), err)
	}
}

// TestAnswers holds that every control of every combination has an answer, and that the claims
// name controls and fields that exist.
func TestAnswers(t *testing.T) {
	for _, c := range combinations(t) {
		t.Run(c.name, func(t *testing.T) {
			result, tree := renderAll(t, c.source)
			known := map[string]bool{}
			for _, control := range result.Controls {
				known[control.ID] = true
			}
			for _, a := range tree.Controls {
				switch a.State {
				case render.Failing:
					t.Errorf("%s: nothing serves it (%s)", a.Control.ID, a.Control.Title)
				case render.Undecided:
					if c.name == "complete" {
						t.Errorf("%s is undecided in the cluster that decides everything", a.Control.ID)
					}
				}
			}
			if c.name == "complete" {
				for _, d := range tree.Undecided {
					t.Errorf("undecided: %s", d.Line)
				}
			}
			for _, f := range tree.Files {
				if f.Artifact != nil {
					checkClaims(t, f)
				}
			}
			if c.name != reference {
				return
			}
			if n := len(slices.Collect(func(yield func(string) bool) {
				for id := range known {
					if strings.HasPrefix(id, "cis-") && !yield(id) {
						return
					}
				}
			})); n != 131 {
				t.Errorf("%d CIS controls, want 131", n)
			}
		})
	}
}

// checkClaims holds that the field of each claim is there.
func checkClaims(t *testing.T, f render.File) {
	t.Helper()
	for _, c := range f.Artifact.Claims {
		if c.Field != "" && len(claimedLines(c.Field, string(f.Data))) == 0 {
			t.Errorf("%s claims %s with %q, which is not in the text", f.Path, c.Control, c.Field)
		}
	}
	if len(f.Artifact.Objects) == 0 {
		return
	}
	docs, err := manifest.Decode(f.Data)
	if err != nil {
		t.Errorf("%s: %v", f.Path, err)
		return
	}
	if len(docs) != len(f.Artifact.Objects) {
		t.Errorf("%s has %d documents for %d objects", f.Path, len(docs), len(f.Artifact.Objects))
		return
	}
	names := map[string]bool{}
	for i, o := range f.Artifact.Objects {
		if name := objectName(docs[i]); names[name] {
			t.Errorf("%s has two objects %s", f.Path, name)
		} else {
			names[name] = true
		}
		for _, c := range o.Claims {
			if _, ok := manifest.Lookup(docs[i].Node, c.Field); !ok && !absentField(f.Artifact.Kind, c) {
				t.Errorf("%s: %s claims %s with %q, which is not there", f.Path, objectName(docs[i]), c.Control, c.Field)
			}
		}
	}
}

// absentField says that a claim is about something that must not be there: an argument of a control
// plane component whose default is right. The note says so; nothing else may claim what is absent.
func absentField(kind generators.Kind, c generators.Claim) bool {
	return kind == generators.ControlPlane && c.Note != ""
}

// TestLockout holds that no combination would lock its cluster out.
func TestLockout(t *testing.T) {
	for _, c := range combinations(t) {
		t.Run(c.name, func(t *testing.T) {
			result, tree := renderAll(t, c.source)
			for _, f := range lockout.Check(result.Posture, tree.Artifacts()) {
				t.Errorf("%s: %s (%s)", f.Severity, f.Message, f.Fix)
			}
		})
	}
}

// TestNoSecrets holds that nothing that looks like a secret is ever emitted.
func TestNoSecrets(t *testing.T) {
	for _, c := range combinations(t) {
		_, tree := renderAll(t, c.source)
		for _, f := range tree.Files {
			var docs []manifest.Document
			if path.Ext(f.Path) == ".yaml" {
				docs, _ = manifest.Decode(f.Data)
			}
			for _, d := range findSecrets(f.Path, f.Data, docs) {
				t.Errorf("%s: %s:%d: %s", c.name, d.File, d.Line, d.Message)
			}
			for _, forbidden := range []string{"example.com", "CHANGE-ME", "CHANGEME", "TODO"} {
				if bytes.Contains(f.Data, []byte(forbidden)) {
					t.Errorf("%s: %s holds %q", c.name, f.Path, forbidden)
				}
			}
		}
	}
}

// TestDecisions holds that each line that a person is told to write is accepted as it stands, and
// decides what it says: written down, it is no longer undecided.
func TestDecisions(t *testing.T) {
	for _, c := range combinations(t) {
		if strings.Contains(c.name, "-1.35-") || strings.Contains(c.name, "-1.36-") {
			continue // the same lines as the versions beside them
		}
		t.Run(c.name, func(t *testing.T) {
			_, tree := renderAll(t, c.source)
			for _, d := range tree.Undecided {
				source := append(slices.Clone(c.source), "\n"+d.Line+"\n"...)
				if value, ok := strings.CutPrefix(d.Line, "cluster: kubernetes: "); ok {
					// The file has that field already.
					source = regexp.MustCompile(`kubernetes: "[0-9.]+"`).ReplaceAll(c.source, []byte("kubernetes: "+value))
				}
				_, decided := renderAll(t, source)
				if slices.ContainsFunc(decided.Undecided, func(o generators.Decision) bool { return o.Line == d.Line }) {
					t.Errorf("%s is written and still undecided", d.Line)
				}
			}
		})
	}
}
