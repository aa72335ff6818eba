package addons

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Versions of the APIs of Flux and Argo CD.
const (
	sourceAPI = "source.toolkit.fluxcd.io/v1"
	helmAPI   = "helm.toolkit.fluxcd.io/v2"
	argoAPI   = "argoproj.io/v1alpha1"
)

// ArgoProject is the project of all add-ons with Argo CD.
const ArgoProject = "k8ssec-addons"

// installer is the service account that Flux installs charts as. It is Flux's own: a chart brings
// cluster-wide roles, webhooks and CRDs.
const installer = "helm-controller"

// chartLayer is the media type of the layer of a chart in a registry.
const chartLayer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

// The parts of Flux's APIs that are emitted; a test decodes them strictly into the real types.
type (
	source struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              sourceSpec `json:"spec"`
	}
	sourceSpec struct {
		URL           string         `json:"url"`
		Interval      string         `json:"interval"`
		Timeout       string         `json:"timeout"`
		Reference     *sourceRef     `json:"ref,omitempty"`
		LayerSelector *layerSelector `json:"layerSelector,omitempty"`
	}
	sourceRef struct {
		Tag    string `json:"tag,omitempty"`
		Digest string `json:"digest,omitempty"`
		Commit string `json:"commit,omitempty"`
	}
	layerSelector struct {
		MediaType string `json:"mediaType"`
		Operation string `json:"operation"`
	}

	helmRelease struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              helmReleaseSpec `json:"spec"`
	}
	helmReleaseSpec struct {
		Interval           string         `json:"interval"`
		Timeout            string         `json:"timeout"`
		Chart              *helmChart     `json:"chart,omitempty"`
		ChartRef           *objectRef     `json:"chartRef,omitempty"`
		ReleaseName        string         `json:"releaseName"`
		TargetNamespace    string         `json:"targetNamespace"`
		ServiceAccountName string         `json:"serviceAccountName"`
		MaxHistory         int            `json:"maxHistory"`
		DriftDetection     driftDetection `json:"driftDetection"`
		Install            helmAction     `json:"install"`
		Upgrade            helmAction     `json:"upgrade"`
		Values             map[string]any `json:"values,omitempty"`
	}
	helmChart struct {
		Spec helmChartSpec `json:"spec"`
	}
	helmChartSpec struct {
		Chart             string    `json:"chart"`
		Version           string    `json:"version,omitempty"`
		SourceRef         objectRef `json:"sourceRef"`
		ReconcileStrategy string    `json:"reconcileStrategy,omitempty"`
	}
	objectRef struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}
	driftDetection struct {
		Mode Drift `json:"mode"`
	}
	helmAction struct {
		CRDs          string          `json:"crds"`
		CleanupOnFail bool            `json:"cleanupOnFail,omitempty"`
		Remediation   helmRemediation `json:"remediation"`
	}
	helmRemediation struct {
		Retries int `json:"retries"`
	}
)

// Release returns the file that installs the add-on with the values; none with Argo CD while the
// repository's own URL is undecided, as nothing of it is applied then. Claims are those of the
// HelmRelease or Application: a field that begins with "values." is moved to where the values are.
func Release(p *posture.Posture, name string, values map[string]any, claims ...generators.Claim) ([]generators.Artifact, error) {
	all := Installed(p)
	i := slices.IndexFunc(all, func(a Addon) bool { return a.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("the posture does not install %s, or the table of add-ons does not know it", name)
	}
	pin, err := Lookup(name)
	if err != nil {
		return nil, err
	}
	return release(p, &all[i], &pin.Chart, values, claims), nil
}

func release(p *posture.Posture, a *Addon, c *Chart, values map[string]any, claims []generators.Claim) []generators.Artifact {
	if p.GitOps.Engine == "argocd" {
		if p.GitOps.URL == "" {
			return nil
		}
		return []generators.Artifact{{
			Path:    "gitops/" + a.Folder() + ".yaml",
			Comment: "Installs " + a.Name + ". Read by Argo CD.",
			Objects: []generators.Object{{
				Value:  application(p, a, c, values),
				Why:    why(a, c),
				Claims: move(claims, "spec.source.helm.valuesObject."),
			}},
		}}
	}
	from, installed := flux(p, a, c, values)
	return []generators.Artifact{{
		Path:    "manifests/" + a.Folder() + "/release.yaml",
		Comment: "Installs " + a.Name + ". Read by Flux's source-controller and helm-controller.",
		Objects: []generators.Object{
			{Value: from, Why: why(a, c)},
			{
				Value: installed,
				Why: "Installed into " + a.Namespace + " with the values below, and brought back to them.\n" +
					"It is applied as Flux's own " + installer + ", because a chart brings cluster-wide roles and CRDs.",
				Claims: move(claims, "spec.values."),
			},
		},
	}}
}

func why(a *Addon, c *Chart) string {
	text := a.Why + "\n"
	switch {
	case c.Digest != "":
		text += "Pinned by digest: the tag " + c.Version + " may move, what is installed does not."
	case strings.HasPrefix(c.URL, "oci://"), c.Path != "":
		text += "Pinned by its version tag; its digest is not known to this release of k8ssec."
	default:
		text += "Pinned by its version: a chart repository has nothing stronger."
	}
	return text
}

// move puts the values' place before the fields of claims.
func move(claims []generators.Claim, to string) []generators.Claim {
	out := slices.Clone(claims)
	for i := range out {
		if rest, ok := strings.CutPrefix(out[i].Field, "values."); ok {
			out[i].Field = to + rest
		}
	}
	return out
}

func flux(p *posture.Posture, a *Addon, c *Chart, values map[string]any) (*source, *helmRelease) {
	namespace := p.GitOps.Namespace
	from := &source{
		TypeMeta:   metav1.TypeMeta{APIVersion: sourceAPI, Kind: "OCIRepository"},
		ObjectMeta: generators.Meta(a.Domain, namespace, a.Name),
		Spec:       sourceSpec{URL: c.URL, Interval: "1h", Timeout: "60s"},
	}
	release := &helmRelease{
		TypeMeta:   metav1.TypeMeta{APIVersion: helmAPI, Kind: "HelmRelease"},
		ObjectMeta: generators.Meta(a.Domain, namespace, a.Name),
		Spec: helmReleaseSpec{
			Interval:           "1h",
			Timeout:            "10m",
			ReleaseName:        a.Name,
			TargetNamespace:    a.Namespace,
			ServiceAccountName: installer,
			MaxHistory:         5,
			DriftDetection:     driftDetection{Mode: a.Drift},
			Install:            helmAction{CRDs: "Create", Remediation: helmRemediation{Retries: 3}},
			Upgrade:            helmAction{CRDs: "CreateReplace", CleanupOnFail: true, Remediation: helmRemediation{Retries: 3}},
			Values:             values,
		},
	}
	switch {
	case c.Path != "":
		from.Kind = "GitRepository"
		from.Spec.Reference = &sourceRef{Tag: c.Version, Commit: c.Digest}
		if c.Digest != "" {
			from.Spec.Reference.Tag = ""
		}
		release.Spec.Chart = &helmChart{Spec: helmChartSpec{
			Chart: "./" + c.Path, SourceRef: objectRef{Kind: from.Kind, Name: a.Name}, ReconcileStrategy: "Revision",
		}}
	case c.Name != "":
		from.Kind = "HelmRepository"
		release.Spec.Chart = &helmChart{Spec: helmChartSpec{
			Chart: c.Name, Version: c.Version, SourceRef: objectRef{Kind: from.Kind, Name: a.Name},
		}}
	default:
		from.Spec.Reference = &sourceRef{Tag: c.Version, Digest: c.Digest}
		from.Spec.LayerSelector = &layerSelector{MediaType: chartLayer, Operation: "copy"}
		release.Spec.ChartRef = &objectRef{Kind: from.Kind, Name: a.Name}
	}
	return from, release
}

// application is the same for Argo CD. It has no finalizer: deleting it leaves what it installed.
func application(p *posture.Posture, a *Addon, c *Chart, values map[string]any) map[string]any {
	from := map[string]any{"repoURL": c.URL, "targetRevision": c.Version}
	switch {
	case c.Path != "":
		from["path"] = c.Path
	case c.Name != "":
		from["chart"] = c.Name
	default:
		from["path"] = "."
	}
	if c.Digest != "" && c.Name == "" {
		from["targetRevision"] = c.Digest
	}
	helm := map[string]any{"releaseName": a.Name}
	if len(values) > 0 {
		helm["valuesObject"] = values
	}
	from["helm"] = helm
	meta := generators.Meta(a.Domain, p.GitOps.Namespace, "k8ssec-"+a.Folder())
	labels := map[string]any{}
	for k, v := range meta.Labels {
		labels[k] = v
	}
	return map[string]any{
		"apiVersion": argoAPI,
		"kind":       "Application",
		"metadata": map[string]any{
			"namespace":   meta.Namespace,
			"name":        meta.Name,
			"labels":      labels,
			"annotations": map[string]any{"argocd.argoproj.io/sync-wave": ArgoWave},
		},
		"spec": map[string]any{
			"project":     ArgoProject,
			"source":      from,
			"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": a.Namespace},
			"syncPolicy": map[string]any{
				"automated":   map[string]any{"prune": p.GitOps.Prune, "selfHeal": a.Drift == DriftCorrect},
				"syncOptions": []any{"ServerSideApply=true", "CreateNamespace=false", "PruneLast=true"},
				"retry": map[string]any{
					"limit":   int64(-1),
					"backoff": map[string]any{"duration": "30s", "factor": int64(2), "maxDuration": "5m"},
				},
			},
		},
	}
}

// ArgoWave is the sync wave of all add-ons: after the fences, before what is configured for them.
const ArgoWave = "2"
