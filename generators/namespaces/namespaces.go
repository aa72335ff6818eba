package namespaces

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

type generator struct{}

// New returns the generator of the namespaces domain.
func New() generators.Generator { return generator{} }

func (generator) Domain() string { return "namespaces" }

func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{}
	claims := newClaims(p)
	for _, name := range p.NamespaceNames() {
		if FluxOwns(p, name) {
			continue
		}
		ns := p.Namespaces[name]
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/namespaces/" + name + ".yaml",
			Comment: "The namespace " + name + ". Its labels are read by Pod Security in the API server and by the admission policies.",
			Objects: []generators.Object{{
				Value: &corev1.Namespace{
					TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
					ObjectMeta: metav1.ObjectMeta{
						Name:        name,
						Labels:      generators.NamespaceLabels(p, ns),
						Annotations: generators.NamespaceAnnotations(p, ns),
					},
				},
				Why:    why(ns),
				Claims: claims.of(p, ns),
			}},
		})
	}
	page, err := generators.Text("namespaces/namespaces.md.tmpl", newPage(p))
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, generators.Artifact{
		Path: "docs/namespaces.md", Kind: generators.Doc, Text: page,
	})
	return out, nil
}

// FluxOwns says whether the Namespace object is part of Flux's own components. Two Kustomizations
// must not apply one object: the one without our labels would take them away again at each of its
// runs, because both apply as the same field manager. So the gitops domain labels this namespace
// by a patch on Flux's components.
func FluxOwns(p *posture.Posture, name string) bool {
	return p.GitOps.Engine == "flux" && p.GitOps.Namespace == name
}

func why(ns posture.Namespace) string {
	s := ns.Purpose
	if s == "" {
		s = "A namespace of the team " + ns.Owner + "."
	}
	switch ns.PodSecurity.Enforce {
	case posture.Restricted:
		s += "\nPods here run without root, privileges, host access or added capabilities; anything else is refused."
	case posture.Baseline:
		s += "\nPods here get nothing of the host; that they do not run as root is only warned about and recorded."
	case posture.Privileged:
		s += "\nPods here may own the node, so who may start one owns the cluster."
	}
	if ns.Why != "" {
		s += " Why: " + ns.Why
	}
	return s
}

// claims are the controls that the label of each level serves. Nothing changes a slice that is in use.
type claims struct {
	byLevel map[posture.PodSecurityLevel][]generators.Claim
	common  []generators.Claim
	keep    generators.Claim
	byKind  map[kindOf][]generators.Claim
}

const enforceLabel = "metadata.labels[pod-security.kubernetes.io/enforce]"

// What each level of the Pod Security Standards refuses (k8s.io/pod-security-admission/policy).
var (
	baselineControls = []string{
		"cis-5.2.1", "cis-5.2.2", "cis-5.2.3", "cis-5.2.4", "cis-5.2.5", "cis-5.2.10", "cis-5.2.11", "cis-5.2.12",
		"nsa-P4", "nsa-P5",
		"pss-privileged", "pss-hostNamespaces", "pss-hostPathVolumes", "pss-hostPorts", "pss-hostProbesAndHostLifecycle",
		"pss-capabilities_baseline", "pss-appArmorProfile", "pss-seLinuxOptions", "pss-procMount",
		"pss-seccompProfile_baseline", "pss-sysctls", "pss-windowsHostProcess",
	}
	restrictedControls = []string{
		"cis-5.2.6", "cis-5.2.8", "cis-5.2.9", "cis-5.6.2", "cis-5.6.3", "nsa-P1", "nsa-P6", "nsa-P7",
		"pss-restrictedVolumes", "pss-allowPrivilegeEscalation", "pss-seccompProfile_restricted", "pss-capabilities_restricted",
	}
	// rootControls hold but for pods in a user namespace, from policy version 1.35 on.
	rootControls = []string{"cis-5.2.7", "pss-runAsNonRoot", "pss-runAsUser"}
)

func newClaims(p *posture.Posture) claims {
	baseline := generators.Claims(enforceLabel, baselineControls...)
	restricted := slices.Concat(baseline, generators.Claims(enforceLabel, restrictedControls...))
	for _, c := range generators.Claims(enforceLabel, rootControls...) {
		if p.Cluster.Minor() >= 35 {
			c.Note = "From 1.35 on, a pod with hostUsers: false may be root inside of its own user namespace, where it is nobody on the host."
		}
		restricted = append(restricted, c)
	}
	procMount := generators.Claim{Control: "pss-procMount_restricted", Field: enforceLabel}
	if p.Cluster.Minor() < 35 {
		procMount.Note = "Before 1.35 the check procMount has no exception for user namespaces, so it refuses these pods itself."
	}
	restricted = append(restricted, procMount)
	keep, _ := generators.KeepAnnotation(p)
	return claims{
		byLevel: map[posture.PodSecurityLevel][]generators.Claim{
			posture.Baseline:   baseline,
			posture.Restricted: restricted,
		},
		common: []generators.Claim{
			{Control: "ns-1", Field: "metadata.labels[" + generators.LabelOwner + "]"},
			{Control: "ns-1", Field: "metadata.labels[" + generators.LabelDataClass + "]"},
			{Control: "ns-2", Field: "metadata.labels[pod-security.kubernetes.io/enforce-version]"},
			{Control: "ns-3", Field: "metadata.labels[" + generators.LabelKind + "]"},
		},
		byKind: map[kindOf][]generators.Claim{},
		keep:   generators.Claim{Control: "ns-4", Field: "metadata.annotations[" + keep + "]"},
	}
}

// of returns the claims of one namespace. Most namespaces of a cluster have the same, so they are put
// together once for each kind of namespace that there is.
func (c claims) of(p *posture.Posture, ns posture.Namespace) []generators.Claim {
	key, _ := generators.KeepAnnotation(p)
	kind := kindOf{
		level:     ns.PodSecurity.Enforce,
		tenant:    ns.Kind == "tenant",
		kept:      ns.Annotations[key] == "",
		explained: ns.Why != "",
	}
	list, ok := c.byKind[kind]
	if ok {
		return list
	}
	list = slices.Concat(c.byLevel[kind.level], c.common)
	if kind.kept {
		list = append(list, c.keep)
	}
	if kind.tenant {
		list = append(list, generators.Claim{Control: "cis-5.6.1"})
	}
	if kind.explained {
		list = append(list, generators.Claim{Control: "ns-5", Field: "metadata.annotations[k8ssec.dev/why]"})
	}
	c.byKind[kind] = list
	return list
}

type kindOf struct {
	level                   posture.PodSecurityLevel
	tenant, kept, explained bool
}
