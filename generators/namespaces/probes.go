package namespaces

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes ask each namespace in which somebody may run pods for one that its Pod Security level
// refuses, and for one that it lets pass. The refusal names the level, so a weaker label is seen even
// where other rules refuse the pod as well.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	for _, name := range p.NamespaceNames() {
		ns := p.Namespaces[name]
		if ns.Kind == "system" || ns.PodSecurity.Enforce == posture.Privileged {
			continue
		}
		level := string(ns.PodSecurity.Enforce)
		pod := generators.ProbePod(p, name)
		pod.Spec.HostPID = true
		controls := []string{"cis-5.2.1", "cis-5.2.3", "pss-hostNamespaces"}
		title := "a pod of " + name + " among the processes of its node"
		if ns.PodSecurity.Enforce == posture.Restricted {
			pod = generators.ProbePod(p, name)
			pod.Spec.SecurityContext.RunAsNonRoot, pod.Spec.SecurityContext.RunAsUser = nil, nil
			controls = []string{"cis-5.2.1", "cis-5.2.7", "pss-runAsNonRoot"}
			title = "a pod of " + name + " that may run as root"
		}
		file := "manifests/namespaces/" + name + ".yaml"
		if FluxOwns(p, name) {
			file = "gitops/" + name + "/kustomization.yaml"
		}
		deny := generators.Probe{
			ID: "namespaces-pod-security-" + name + "-deny", Domain: "namespaces", Kind: generators.Deny, Title: title,
			Why:      "The label of the namespace is gone or weaker, and with it what pods there may be.",
			Controls: controls, Artifacts: []string{file}, Pair: "namespaces-pod-security-" + name + "-allow",
			Check: generators.Admission{
				Verb: "create", Object: pod, By: `violates PodSecurity "` + level + ":v" + p.Cluster.Kubernetes + `"`,
			},
		}
		allow := deny
		allow.ID, allow.Pair, allow.Kind = deny.Pair, deny.ID, generators.Allow
		allow.Title = "a pod of " + name + " that keeps every rule"
		allow.Why = "A namespace in which nothing can run is of no use: somebody will take the rules away."
		allow.Plain = generators.PlainTwin
		allow.Check = generators.Admission{Verb: "create", Object: generators.ProbePod(p, name)}
		probes = append(probes, deny, allow)
	}
	if ns := p.Namespaces["default"]; ns.PodSecurity.Enforce != "" && ns.PodSecurity.Enforce != posture.Privileged {
		pod := generators.ProbePod(p, "default")
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
		probes = append(probes, generators.Probe{
			ID: "namespaces-pod-security-default-deny", Domain: "namespaces", Kind: generators.Deny,
			Title: "a privileged pod in the namespace default", Why: "The label of the namespace is gone or weaker.",
			Controls: []string{"cis-5.2.1", "cis-5.2.2", "pss-privileged"}, Artifacts: []string{"manifests/namespaces/default.yaml"},
			Check: generators.Admission{
				Verb: "create", Object: pod, By: `violates PodSecurity "` + string(ns.PodSecurity.Enforce) + ":v" + p.Cluster.Kubernetes + `"`,
			},
		})
	}
	return probes
}
