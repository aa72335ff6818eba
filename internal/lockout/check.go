package lockout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// Finding is one way that is closed and must be open, or open and must be closed.
type Finding struct {
	// Severity is an error where the repository must not be written.
	Severity diag.Severity
	// From, To and Port name the connection, where the finding is about one.
	From, To, Port string
	// Object breaks it, or is missing; File is where it stands or should stand.
	Object, File string
	// Message says what is wrong, in one line.
	Message string
	// Rule is what must hold, Why what happens on a cluster where it does not.
	Rule string
	Why  string
	// Fix says what to do.
	Fix string
}

// Diagnostic is the finding in the form that all commands print.
func (f Finding) Diagnostic() diag.Diagnostic {
	return diag.Diagnostic{Severity: f.Severity, File: f.File, Field: f.Object, Message: f.Message, Rule: f.Rule, Why: f.Why, Fix: f.Fix}
}

// What must hold, for the findings of each kind.
const (
	ruleOpen     = "the ways that a cluster lives on, and is repaired on, stay open"
	ruleDeclared = "a flow that cluster.cue declares is open, at both of its ends"
	ruleApart    = "tenants are kept apart unless both declare a flow"
	ruleMetadata = "no pod reaches the cloud metadata service"
	ruleAdmitted = "admission lets the pods of the system and of add-ons in"
	ruleOrder    = "what an object needs is applied before it"
	ruleReal     = "each policy has the effect that it seems to have"
)

// Object is one object of the tree. Value is a typed object, or what internal/manifest.Value gives.
type Object struct {
	File  string
	Value any
}

// Check checks what the generators emitted for the cluster. What people apply by hand in an emergency
// closes ways on purpose, and is not part of the cluster's state.
func Check(p *posture.Posture, artifacts []generators.Artifact) []Finding {
	n := 0
	for i := range artifacts {
		n += len(artifacts[i].Objects)
	}
	objects := make([]Object, 0, n)
	for i := range artifacts {
		if artifacts[i].Kind == generators.Procedure {
			continue
		}
		for _, o := range artifacts[i].Objects {
			objects = append(objects, Object{File: artifacts[i].Path, Value: o.Value})
		}
	}
	return CheckObjects(p, objects)
}

// CheckObjects checks the objects of a tree, typed or not.
func CheckObjects(p *posture.Posture, objects []Object) []Finding {
	w := newWorld(p)
	for i := range objects {
		w.add(&objects[i])
	}
	w.network()
	w.metadata()
	w.admission()
	w.order()
	return w.findings()
}

// world is the cluster as the objects make it.
type world struct {
	p      *posture.Posture
	cilium bool

	policies        map[string][]*policy
	clusterwide     []*policy
	namespaceLabels map[string]map[string]string
	namespaceFiles  map[string]string
	quotas          map[string][]placed[*corev1.ResourceQuota]
	limits          map[string][]placed[*corev1.LimitRange]
	admissionPolicy map[string]placed[*admissionv1.ValidatingAdmissionPolicy]
	bindings        []placed[*admissionv1.ValidatingAdmissionPolicyBinding]
	webhooks        []placed[webhook]
	steps           []step
	placedObjects   []located

	pods, services, nodes, metadataCIDRs []netip.Prefix
	// primary is the address space of the first family, in which the control plane speaks.
	primary netip.Prefix

	// selected remembers which tenants a selector of namespaces selects.
	selected map[string][]string

	found []Finding
	// groups collects findings that differ in where they come from alone.
	groups map[groupKey]*group
}

// placed is an object with its file.
type placed[T any] struct {
	value T
	file  string
}

type groupKey struct{ to, port, object, message string }

type group struct {
	finding Finding
	from    []string
	order   int
}

func newWorld(p *posture.Posture) *world {
	w := &world{
		p: p, cilium: p.Cluster.CNI == "cilium",
		policies:        make(map[string][]*policy, len(p.Namespaces)),
		namespaceLabels: make(map[string]map[string]string, len(p.Namespaces)),
		namespaceFiles:  make(map[string]string, len(p.Namespaces)),
		quotas:          map[string][]placed[*corev1.ResourceQuota]{},
		limits:          map[string][]placed[*corev1.LimitRange]{},
		admissionPolicy: map[string]placed[*admissionv1.ValidatingAdmissionPolicy]{},
		groups:          map[groupKey]*group{},
		selected:        map[string][]string{},
		primary:         anyIPv4,
	}
	parse := func(list []string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range list {
			if prefix, err := netip.ParsePrefix(s); err == nil {
				out = append(out, prefix.Masked())
			}
		}
		return out
	}
	w.pods, w.services, w.nodes = parse(p.Cluster.PodCIDRs), parse(p.Cluster.ServiceCIDRs), parse(p.Cluster.NodeCIDRs)
	w.metadataCIDRs = parse(p.Network.MetadataCIDRs)
	if len(w.pods) > 0 && !w.pods[0].Addr().Is4() {
		w.primary = anyIPv6
	}
	for name := range p.Namespaces {
		w.namespaceLabels[name] = nil
	}
	return w
}

// add takes one object into the model. Kinds that decide about nothing here are left alone.
func (w *world) add(o *Object) {
	value := o.Value
	if k, ok := value.(interface{ GetObjectKind() schema.ObjectKind }); ok {
		if kind := k.GetObjectKind().GroupVersionKind().GroupKind(); isStep(kind) || kind == kustomizeFile {
			// The gitops generator has types of its own for these; there are few of them.
			value = untyped(value)
		}
	}
	if m, ok := value.(map[string]any); ok {
		typed, err := w.typed(m, o.File)
		if err != nil {
			w.broken(o.File, ref(m), err)
			return
		}
		value = typed
	}
	w.locate(value, o.File)
	switch v := value.(type) {
	case *networkingv1.NetworkPolicy:
		pol, err := networkPolicy(v, o.File)
		if err != nil {
			w.broken(o.File, "NetworkPolicy "+v.Namespace+"/"+v.Name, err)
			return
		}
		w.policies[pol.namespace] = append(w.policies[pol.namespace], pol)
	case []*policy:
		for _, pol := range v {
			if pol.namespace == "" {
				w.clusterwide = append(w.clusterwide, pol)
			} else {
				w.policies[pol.namespace] = append(w.policies[pol.namespace], pol)
			}
		}
	case *corev1.Namespace:
		w.namespaceLabels[v.Name], w.namespaceFiles[v.Name] = v.Labels, o.File
	case *corev1.ResourceQuota:
		w.quotas[v.Namespace] = append(w.quotas[v.Namespace], placed[*corev1.ResourceQuota]{v, o.File})
	case *corev1.LimitRange:
		w.limits[v.Namespace] = append(w.limits[v.Namespace], placed[*corev1.LimitRange]{v, o.File})
	case *admissionv1.ValidatingAdmissionPolicy:
		w.admissionPolicy[v.Name] = placed[*admissionv1.ValidatingAdmissionPolicy]{v, o.File}
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		w.bindings = append(w.bindings, placed[*admissionv1.ValidatingAdmissionPolicyBinding]{v, o.File})
	case *admissionv1.ValidatingWebhookConfiguration:
		for i := range v.Webhooks {
			h := &v.Webhooks[i]
			w.webhooks = append(w.webhooks, placed[webhook]{webhook{
				"ValidatingWebhookConfiguration " + v.Name, h.Name, h.ClientConfig.Service, h.FailurePolicy, h.NamespaceSelector, h.ObjectSelector, h.Rules, len(h.MatchConditions) > 0,
			}, o.File})
		}
	case *admissionv1.MutatingWebhookConfiguration:
		for i := range v.Webhooks {
			h := &v.Webhooks[i]
			w.webhooks = append(w.webhooks, placed[webhook]{webhook{
				"MutatingWebhookConfiguration " + v.Name, h.Name, h.ClientConfig.Service, h.FailurePolicy, h.NamespaceSelector, h.ObjectSelector, h.Rules, len(h.MatchConditions) > 0,
			}, o.File})
		}
	case namespacePatches:
		// Flux makes its own namespace, and a patch of Flux's components labels it.
		for name, labels := range v {
			w.namespaceLabels[name], w.namespaceFiles[name] = labels, o.File
		}
	case step:
		v.file = o.File
		w.steps = append(w.steps, v)
	}
}

// typed turns an untyped object of a kind that matters into its type. Any other comes back as it is.
func (w *world) typed(m map[string]any, file string) (any, error) {
	apiVersion, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	group, _, _ := strings.Cut(apiVersion, "/")
	var into any
	switch kind {
	case "NetworkPolicy":
		if group == "networking.k8s.io" {
			return ParseNetworkPolicy(m)
		}
	case "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy":
		if group != "cilium.io" {
			break
		}
		if !w.cilium {
			return nil, fmt.Errorf("nothing reads it: cluster.cni is %q", w.p.Cluster.CNI)
		}
		return ciliumPolicy(m, file)
	case "Kustomization", "Application":
		switch k := (schema.GroupKind{Group: group, Kind: kind}); {
		case isStep(k):
			return w.step(m)
		case k == kustomizeFile:
			return patchedNamespaces(m)
		}
	case "Namespace":
		into = &corev1.Namespace{}
	case "ResourceQuota":
		into = &corev1.ResourceQuota{}
	case "LimitRange":
		into = &corev1.LimitRange{}
	case "ValidatingAdmissionPolicy":
		into = &admissionv1.ValidatingAdmissionPolicy{}
	case "ValidatingAdmissionPolicyBinding":
		into = &admissionv1.ValidatingAdmissionPolicyBinding{}
	case "ValidatingWebhookConfiguration":
		into = &admissionv1.ValidatingWebhookConfiguration{}
	case "MutatingWebhookConfiguration":
		into = &admissionv1.MutatingWebhookConfiguration{}
	}
	if into == nil {
		return m, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, into); err != nil {
		return nil, err
	}
	return into, nil
}

// untyped turns an object into what its JSON says.
func untyped(value any) any {
	data, err := json.Marshal(value)
	if err != nil {
		return value
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return value
	}
	return m
}

// ref names an untyped object for people.
func ref(m map[string]any) string {
	kind, _ := m["kind"].(string)
	meta, _ := m["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if namespace, _ := meta["namespace"].(string); namespace != "" {
		name = namespace + "/" + name
	}
	return kind + " " + name
}

// broken reports a policy that its reader refuses, and that therefore protects nobody.
func (w *world) broken(file, object string, err error) {
	w.found = append(w.found, Finding{
		Severity: diag.Error, Object: object, File: file,
		Rule:    ruleReal,
		Message: fmt.Sprintf("%s has no effect: %v", object, err),
		Why:     "What reads it refuses it as a whole, often without anybody noticing: the object is there and protects nobody.",
		Fix:     "Correct it, or remove it.",
	})
}

// report adds a finding.
func (w *world) report(f Finding) { w.found = append(w.found, f) }

// collect adds a finding that many namespaces may share; they are named together.
func (w *world) collect(f Finding) {
	key := groupKey{f.To, f.Port, f.Object, f.Message}
	g := w.groups[key]
	if g == nil {
		g = &group{finding: f, order: len(w.groups)}
		w.groups[key] = g
	}
	// Namespaces come one after the other, so a repetition is the last one.
	if len(g.from) == 0 || g.from[len(g.from)-1] != f.From {
		g.from = append(g.from, f.From)
	}
}

// findings returns all findings, errors first, in an order that depends on nothing else.
func (w *world) findings() []Finding {
	groups := slices.Collect(maps.Values(w.groups))
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Compare(a.order, b.order) })
	for _, g := range groups {
		f := g.finding
		f.From = someOf(g.from)
		f.Message = f.From + f.Message
		w.found = append(w.found, f)
	}
	slices.SortStableFunc(w.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.File, b.File), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(w.found)
}

// someOf names three of many.
func someOf(words []string) string {
	switch {
	case len(words) == 1:
		return words[0]
	case len(words) <= 3:
		return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:3], ", "), len(words)-3)
}
