package resources

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const domain = "resources"

// criticalClasses are Kubernetes' own highest priorities. Any namespace may use them unless a quota
// says otherwise, and their pods evict all others.
var criticalClasses = []string{"system-cluster-critical", "system-node-critical"}

type generator struct{}

// New returns the generator of the resources domain.
func New() generators.Generator { return generator{} }

func (generator) Domain() string { return domain }

func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{}
	priorityQuotas, err := newPriorityQuotas(p)
	if err != nil {
		return nil, err
	}
	// Most tenants have the same limits, so each set of them is put together once.
	limits := map[posture.Limits]corev1.LimitRangeSpec{}
	for _, name := range p.NamespaceNames() {
		ns := p.Namespaces[name]
		objects, err := namespaceObjects(name, ns, limits)
		if err != nil {
			return nil, fmt.Errorf("namespace %s: %w", name, err)
		}
		if ns.Kind == "tenant" {
			objects = append(objects, priorityQuotas.in(name)...)
		}
		comment := "How much the namespace " + name + " may use. Read by the admission plug-ins ResourceQuota and LimitRanger of the API server."
		if name == p.Network.DNSNamespace {
			if len(objects) == 0 {
				comment = "What keeps cluster DNS up. Read by the eviction API, which every drain goes through."
			}
			objects = append(objects, dnsBudget(p))
		}
		if len(objects) > 0 {
			out.Artifacts = append(out.Artifacts, generators.Artifact{
				Path:    "manifests/resources/" + name + ".yaml",
				Comment: comment,
				Objects: objects,
			})
		}
	}
	if classes := priorityClasses(p); len(classes) > 0 {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path: "manifests/resources/cluster.priorities.yaml",
			Comment: "Which pods go first. Read by the admission plug-in Priority and by the scheduler.\n" +
				"The value of a class cannot change: make a new class, move the pods, remove the old one.",
			Objects: classes,
		})
	}
	if fairness := fairness(p); len(fairness) > 0 {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/resources/cluster.api-fairness.yaml",
			Comment: "Whose requests wait when the API server is busy. Read by API Priority and Fairness in the API server.",
			Objects: fairness,
		})
	}
	page, err := generators.Text("resources/resources.md.tmpl", newPage(p))
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, generators.Artifact{Path: "docs/resources.md", Kind: generators.Doc, Text: page})
	return out, nil
}

func list(values map[corev1.ResourceName]string) (corev1.ResourceList, error) {
	l := make(corev1.ResourceList, len(values))
	for name, value := range values {
		if value == "" {
			continue
		}
		q, err := resource.ParseQuantity(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", name, value, err)
		}
		l[name] = q
	}
	return l, nil
}

// namespaceObjects returns the quota and the limits of one namespace. Limits are for tenants, and
// for add-ons that have a quota: the default limit of a LimitRange would otherwise end up in
// containers that are meant to have none, and kill them.
func namespaceObjects(name string, ns posture.Namespace, limits map[posture.Limits]corev1.LimitRangeSpec) ([]generators.Object, error) {
	var objects []generators.Object
	if len(ns.Quota) > 0 {
		hard := make(map[corev1.ResourceName]string, len(ns.Quota))
		for k, v := range ns.Quota {
			hard[corev1.ResourceName(k)] = v
		}
		l, err := list(hard)
		if err != nil {
			return nil, err
		}
		object := generators.Object{
			Value: &corev1.ResourceQuota{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"},
				ObjectMeta: generators.Meta(domain, name, "namespace"),
				Spec:       corev1.ResourceQuotaSpec{Hard: l},
			},
			Why:    "What all pods of the namespace may use together. What would go beyond is refused when it is created, so the neighbours never feel it.",
			Claims: quotaClaims,
		}
		switch {
		case ns.Kind != "system" && ns.Quota["services.nodeports"] == "0":
			object.Claims = noPortsClaims
		case ns.Kind == "system":
			object.Why = "Nothing may run here. What is created without a namespace by mistake is refused, instead of running outside of every rule of its team."
			object.Claims = emptyClaims(name, ns)
		}
		objects = append(objects, object)
	}
	if ns.Kind == "tenant" || ns.Kind == "addon" && len(ns.Quota) > 0 {
		spec, ok := limits[ns.Limits]
		if !ok {
			var err error
			if spec, err = limitRange(ns.Limits); err != nil {
				return nil, err
			}
			limits[ns.Limits] = spec
		}
		objects = append(objects, generators.Object{
			Value: &corev1.LimitRange{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "LimitRange"},
				ObjectMeta: generators.Meta(domain, name, "namespace"),
				Spec:       spec,
			},
			Why: "Each container gets a request and a limit, its own or these, and none may ask for more than the maximum. " +
				"Without a memory limit one leak takes down the node; without a request the quota refuses the pod.",
			Claims: limitClaims,
		})
	}
	return objects, nil
}

// Claims that many objects share; nothing changes them.
var (
	quotaClaims    = generators.Claims("spec.hard", "nsa-N8", "res-1")
	noPortsClaims  = append(slices.Clone(quotaClaims), generators.Claim{Control: "res-6", Field: "spec.hard[services.nodeports]"})
	limitClaims    = generators.Claims("spec.limits", "nsa-N8", "res-2")
	priorityClaims = generators.Claims("spec.hard", "res-3")
)

func emptyClaims(name string, ns posture.Namespace) []generators.Claim {
	if name == "default" && ns.Quota["pods"] == "0" {
		return []generators.Claim{{Control: "cis-5.6.4", Field: "spec.hard[pods]"}}
	}
	return nil
}

func limitRange(limits posture.Limits) (corev1.LimitRangeSpec, error) {
	var (
		container = corev1.LimitRangeItem{Type: corev1.LimitTypeContainer}
		volume    = corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim}
	)
	for _, f := range []struct {
		to     *corev1.ResourceList
		values map[corev1.ResourceName]string
	}{
		{&container.Max, map[corev1.ResourceName]string{
			corev1.ResourceCPU: limits.MaxCPU, corev1.ResourceMemory: limits.MaxMemory, corev1.ResourceEphemeralStorage: limits.MaxEphemeral}},
		{&container.Default, map[corev1.ResourceName]string{
			corev1.ResourceCPU: limits.DefaultCPU, corev1.ResourceMemory: limits.DefaultMemory, corev1.ResourceEphemeralStorage: limits.DefaultEphemeral}},
		{&container.DefaultRequest, map[corev1.ResourceName]string{
			corev1.ResourceCPU: limits.DefaultRequestCPU, corev1.ResourceMemory: limits.DefaultRequestMemory, corev1.ResourceEphemeralStorage: limits.DefaultRequestEphemeral}},
		{&volume.Max, map[corev1.ResourceName]string{corev1.ResourceStorage: limits.MaxVolume}},
	} {
		l, err := list(f.values)
		if err != nil {
			return corev1.LimitRangeSpec{}, err
		}
		*f.to = l
	}
	return corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{container, volume}}, nil
}

// priorityQuotas are the same in each tenant's namespace.
type priorityQuotas struct {
	none []string                     // classes that tenants must not use
	some []string                     // classes that they may use for a number of pods
	hard map[string]resource.Quantity // that number, by class
}

func newPriorityQuotas(p *posture.Posture) (priorityQuotas, error) {
	q := priorityQuotas{none: slices.Clone(criticalClasses), hard: map[string]resource.Quantity{}}
	for _, name := range slices.Sorted(maps.Keys(p.Resources.PriorityClasses)) {
		class := p.Resources.PriorityClasses[name]
		switch {
		case class.TenantPods > 0:
			q.some = append(q.some, name)
			q.hard[name] = *resource.NewQuantity(int64(class.TenantPods), resource.DecimalSI)
		case class.GlobalDefault:
			return q, fmt.Errorf("priority class %s is the global default, but tenants may run no pod in it", name)
		default:
			q.none = append(q.none, name)
		}
	}
	slices.Sort(q.none)
	return q, nil
}

func (q priorityQuotas) in(namespace string) []generators.Object {
	objects := []generators.Object{{
		Value: priorityQuota(namespace, "priority-reserved", resource.Quantity{Format: resource.DecimalSI}, q.none),
		Why: "These priorities are the platform's: a pod that holds one evicts other teams' pods. Kubernetes lets every namespace use them " +
			"unless a quota like this one says no.",
		Claims: priorityClaims,
	}}
	for _, class := range q.some {
		objects = append(objects, generators.Object{
			Value:  priorityQuota(namespace, "priority-"+class, q.hard[class], []string{class}),
			Why:    "How many pods of the namespace may have the priority " + class + ": if all pods come first, none does.",
			Claims: priorityClaims,
		})
	}
	return objects
}

func priorityQuota(namespace, name string, pods resource.Quantity, classes []string) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"},
		ObjectMeta: generators.Meta(domain, namespace, name),
		Spec: corev1.ResourceQuotaSpec{
			Hard: corev1.ResourceList{corev1.ResourcePods: pods},
			ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{
				ScopeName: corev1.ResourceQuotaScopePriorityClass,
				Operator:  corev1.ScopeSelectorOpIn,
				Values:    classes,
			}}},
		},
	}
}

func priorityClasses(p *posture.Posture) []generators.Object {
	var objects []generators.Object
	for _, name := range slices.Sorted(maps.Keys(p.Resources.PriorityClasses)) {
		class := p.Resources.PriorityClasses[name]
		preemption := corev1.PreemptionPolicy(class.Preemption)
		objects = append(objects, generators.Object{
			Value: &schedulingv1.PriorityClass{
				TypeMeta:         metav1.TypeMeta{APIVersion: schedulingv1.SchemeGroupVersion.String(), Kind: "PriorityClass"},
				ObjectMeta:       generators.Meta(domain, "", name),
				Value:            int32(class.Value),
				GlobalDefault:    class.GlobalDefault,
				Description:      class.Description,
				PreemptionPolicy: &preemption,
			},
			Why:    strings.TrimSuffix(class.Description, ".") + ". " + tenantUse(class),
			Claims: generators.Claims("value", "res-3"),
		})
	}
	return objects
}

func tenantUse(class posture.PriorityClass) string {
	if class.TenantPods == 0 {
		return "No tenant may use it: a quota in each of their namespaces refuses it."
	}
	return fmt.Sprintf("A tenant may use it for %d pods a namespace.", class.TenantPods)
}

// dnsBudget keeps all but one of the cluster DNS pods running. kubeadm installs none.
func dnsBudget(p *posture.Posture) generators.Object {
	one := intstr.FromInt32(1)
	always := policyv1.AlwaysAllow
	return generators.Object{
		Value: &policyv1.PodDisruptionBudget{
			TypeMeta:   metav1.TypeMeta{APIVersion: policyv1.SchemeGroupVersion.String(), Kind: "PodDisruptionBudget"},
			ObjectMeta: generators.Meta(domain, p.Network.DNSNamespace, "cluster-dns"),
			Spec: policyv1.PodDisruptionBudgetSpec{
				MaxUnavailable:             &one,
				Selector:                   &metav1.LabelSelector{MatchLabels: p.Network.DNSPods},
				UnhealthyPodEvictionPolicy: &always,
			},
		},
		Why: "While nodes are drained, only one cluster DNS pod goes at a time; without it two drains can take all of them, and with DNS everything. " +
			"A pod that is not ready anyway never blocks a drain.",
		Claims: generators.Claims("spec.maxUnavailable", "res-5"),
	}
}
