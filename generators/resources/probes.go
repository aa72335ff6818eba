package resources

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes ask each tenant for more than its quota, its limits and its priorities allow, and for what
// they do.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	pair := func(deny, allow generators.Probe) {
		deny.Domain, allow.Domain, deny.Kind, allow.Kind = domain, domain, generators.Deny, generators.Allow
		deny.Pair, allow.Pair = allow.ID, deny.ID
		probes = append(probes, deny, allow)
	}
	for _, name := range p.NamespacesOf("tenant") {
		ns := p.Namespaces[name]
		file := "manifests/resources/" + name + ".yaml: "
		quota, limits := []string{file + "ResourceQuota " + name + "/namespace"}, []string{file + "LimitRange " + name + "/namespace"}
		few := generators.Admission{Verb: "create", Object: generators.ProbePod(p, name)}
		if many := beyondQuota(p, name, ns); many != nil {
			pair(generators.Probe{
				ID: "resources-quota-" + name + "-deny", Title: "more memory than all of " + name + " may ask for",
				Why: "Without a quota one team can take the room of all others.", Controls: []string{"nsa-N8", "res-1"}, Artifacts: quota,
				Check: generators.Admission{Verb: "create", Object: many, By: "exceeded quota: namespace"},
			}, generators.Probe{
				ID: "resources-quota-" + name + "-allow", Title: "a small pod of " + name, Plain: generators.PlainTwin,
				Why: "The quota is used up, or leaves no room at all.", Controls: []string{"nsa-N8", "res-1"}, Artifacts: quota, Check: few,
			})
		}
		huge, bare := generators.ProbePod(p, name), generators.ProbePod(p, name)
		most, err := resource.ParseQuantity(ns.Limits.MaxMemory)
		if err == nil {
			most.Add(resource.MustParse("1Mi"))
			huge.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory] = most
			bare.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
			pair(generators.Probe{
				ID: "resources-limits-" + name + "-deny", Title: "a container of " + name + " with more memory than " + ns.Limits.MaxMemory,
				Why: "One container can take a whole node.", Controls: []string{"nsa-N8", "res-2"}, Artifacts: limits,
				Check: generators.Admission{Verb: "create", Object: huge, By: "maximum memory usage per Container"},
			}, generators.Probe{
				ID: "resources-limits-" + name + "-allow", Title: "a container of " + name + " that asks for nothing gets requests and limits",
				Why: "A leak takes the node down, and the scheduler plans blindly.", Controls: []string{"nsa-N8", "res-2"}, Artifacts: limits,
				Check: generators.Admission{Verb: "create", Object: bare, Returns: []generators.FieldValue{
					{Field: "spec.containers[0].resources.limits.memory", Value: canonical(ns.Limits.DefaultMemory)},
					{Field: "spec.containers[0].resources.requests.memory", Value: canonical(ns.Limits.DefaultRequestMemory)},
					{Field: "spec.containers[0].resources.limits.ephemeral-storage", Value: canonical(ns.Limits.DefaultEphemeral)},
				}},
			})
		}
		if ns.Quota["services.nodeports"] == "0" && !p.Workloads.Policies["service-types"].Enabled {
			service := &corev1.Service{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
				ObjectMeta: metav1.ObjectMeta{Name: generators.ProbeName, Namespace: name},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
			}
			probes = append(probes, generators.Probe{
				ID: "resources-node-port-" + name + "-deny", Domain: domain, Kind: generators.Deny, Title: "a port of every node for a service of " + name,
				Controls: []string{"res-6"}, Artifacts: quota, Check: generators.Admission{Verb: "create", Object: service, By: "exceeded quota: namespace"},
			})
		}
		probes = append(probes, priorityProbes(p, name, file)...)
	}
	return append(probes, fairnessProbes(p)...)
}

// beyondQuota is a pod with as many containers as it takes to ask for more memory than the quota of
// the namespace, each within its limits.
func beyondQuota(p *posture.Posture, name string, ns posture.Namespace) *corev1.Pod {
	hard, err := resource.ParseQuantity(ns.Quota["limits.memory"])
	if err != nil {
		return nil
	}
	most, err := resource.ParseQuantity(ns.Limits.MaxMemory)
	if err != nil || most.Sign() <= 0 {
		return nil
	}
	pod := generators.ProbePod(p, name)
	one := pod.Spec.Containers[0]
	one.Resources.Limits[corev1.ResourceMemory] = most
	pod.Spec.Containers = nil
	const sensible = 200
	for total := (resource.Quantity{}); total.Cmp(hard) <= 0; total.Add(most) {
		if len(pod.Spec.Containers) == sensible {
			return nil
		}
		c := *one.DeepCopy()
		c.Name = fmt.Sprintf("probe-%d", len(pod.Spec.Containers))
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

// canonical is a quantity as the API server prints it.
func canonical(s string) string {
	q, err := resource.ParseQuantity(s)
	if err != nil {
		return s
	}
	return q.String()
}

// priorityProbes ask for a priority that is the platform's, and for one that tenants may have.
func priorityProbes(p *posture.Posture, namespace, file string) []generators.Probe {
	with := func(class string) *corev1.Pod {
		pod := generators.ProbePod(p, namespace)
		pod.Spec.PriorityClassName = class
		return pod
	}
	const classes = "manifests/resources/cluster.priorities.yaml: PriorityClass "
	var probes []generators.Probe
	reserved := append(slices.Clone(criticalClasses), slices.Sorted(maps.Keys(p.Resources.PriorityClasses))...)
	allowed := ""
	for _, class := range reserved {
		own, ours := p.Resources.PriorityClasses[class]
		artifacts := []string{file + "ResourceQuota " + namespace + "/priority-reserved"}
		if ours {
			artifacts = append(artifacts, classes+class)
		}
		if own.TenantPods == 0 {
			probes = append(probes, generators.Probe{
				ID: "resources-priority-" + class + "-" + namespace + "-deny", Domain: domain, Kind: generators.Deny,
				Title: "a pod of " + namespace + " with the priority " + class, Why: "Its pods push out those of every other team.",
				Controls: []string{"res-3"}, Artifacts: artifacts,
				Check: generators.Admission{Verb: "create", Object: with(class), By: "exceeded quota: priority-reserved"},
			})
			continue
		}
		allowed = "resources-priority-" + class + "-" + namespace + "-allow"
		probes = append(probes, generators.Probe{
			ID: allowed, Domain: domain, Kind: generators.Allow,
			Title: "a pod of " + namespace + " with the priority " + class, Why: "The class is gone or has another value, or its quota is used up.",
			Controls:  []string{"res-3"},
			Artifacts: []string{file + "ResourceQuota " + namespace + "/priority-" + class, classes + class},
			Check: generators.Admission{Verb: "create", Object: with(class), Returns: []generators.FieldValue{
				{Field: "spec.priority", Value: fmt.Sprint(own.Value)},
			}},
		})
	}
	if allowed != "" {
		for i := range probes {
			if probes[i].ID == allowed {
				probes[i].Pair, probes[0].Pair = probes[0].ID, allowed
			}
		}
	}
	return probes
}

// fairnessProbes ask the API server how it sorts requests.
func fairnessProbes(p *posture.Posture) []generators.Probe {
	tenants := p.NamespacesOf("tenant")
	if !p.Resources.Fairness.Enabled || len(tenants) == 0 {
		return nil
	}
	const file = "manifests/resources/cluster.api-fairness.yaml: "
	var probes []generators.Probe
	add := func(slug, title, schema, level string, id generators.Identity) {
		artifacts := []string{file + "FlowSchema " + schema}
		if level == tenantLevel {
			artifacts = append(artifacts, file+"PriorityLevelConfiguration "+tenantLevel)
		}
		probes = append(probes, generators.Probe{
			ID: "resources-fairness-" + slug + "-allow", Domain: domain, Kind: generators.Allow, Title: title,
			Why: "Who floods the API server takes the share of others.", Controls: []string{"res-4"}, Artifacts: artifacts,
			Check: generators.Fairness{As: id, Schema: schema, Level: level},
		})
	}
	if len(p.Access.PlatformAdmins) > 0 {
		add("platform", "requests of the platform's admins are sorted apart from those of tenants", "k8ssec-platform", "global-default",
			generators.Person(p, slices.Min(p.Access.PlatformAdmins)))
	}
	add("break-glass", "requests of the break-glass group are sorted apart from those of tenants", "k8ssec-platform", "global-default",
		generators.Person(p, p.Access.BreakGlass.Group))
	for _, name := range tenants {
		add("accounts-"+name, "requests of the service accounts of "+name+" have the tenants' share", "k8ssec-tenant-accounts", tenantLevel,
			generators.ServiceAccount(name, "default"))
		g := p.Namespaces[name].Groups
		if groups := slices.Concat(g.Owners, g.Developers, g.Viewers); len(groups) > 0 {
			add("people-"+name, "requests of the people of "+name+" have the tenants' share", "k8ssec-tenant-people", tenantLevel,
				generators.Person(p, slices.Min(groups)))
		}
	}
	return probes
}
