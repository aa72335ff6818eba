package runtime

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// policiesFile is where the policies of this domain are.
const policiesFile = "manifests/runtime/cluster.policies.yaml"

// Probes shows that pods without a sandbox or a user namespace are refused where one is asked for.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	if s := p.Runtime.Sandbox; s != nil {
		probes = append(probes, podPair(p, slices.Min(s.Namespaces), "runtime-sandbox", "a pod outside of the sandbox", "nsa-P9", "k8ssec-sandbox",
			[]string{policiesFile + ": RuntimeClass " + generators.SandboxClass}, func(spec *corev1.PodSpec) { spec.RuntimeClassName = nil })...)
	}
	if waived, everywhere := p.WaivedIn("rt-3"); p.Runtime.UserNamespaces && !everywhere {
		for _, name := range p.NamespacesOf("tenant") {
			if !slices.Contains(waived, name) {
				probes = append(probes, podPair(p, name, "runtime-user-namespaces", "a pod with the node's users", "rt-3", "k8ssec-user-namespaces",
					nil, func(spec *corev1.PodSpec) { spec.HostUsers = nil })...)
				break
			}
		}
	}
	return probes
}

// podPair asks for a pod that breaks one policy, and for one that breaks none.
func podPair(p *posture.Posture, namespace, id, title, control, policy string, more []string, change func(*corev1.PodSpec)) []generators.Probe {
	if p.Workloads.Enforcement == posture.Audit {
		return nil
	}
	bad, good := generators.ProbePod(p, namespace), generators.ProbePod(p, namespace)
	change(&bad.Spec)
	deny := generators.Admission{
		Verb: "create", Object: bad, By: "ValidatingAdmissionPolicy '" + policy + "' with binding '" + policy + "'",
		Warns: p.Workloads.Enforcement == posture.Warn,
	}
	allow := deny
	allow.Object = good
	artifacts := []string{policiesFile + ": ValidatingAdmissionPolicy " + policy, policiesFile + ": ValidatingAdmissionPolicyBinding " + policy}
	return []generators.Probe{
		{
			ID: id + "-deny", Domain: domain, Kind: generators.Deny, Title: title, Controls: []string{control},
			Artifacts: artifacts, Pair: id + "-allow", Check: deny,
		},
		{
			ID: id + "-allow", Domain: domain, Kind: generators.Allow, Title: "all else equal, but not " + title, Controls: []string{control},
			Artifacts: append(artifacts, more...), Pair: id + "-deny", Plain: generators.PlainTwin, Check: allow,
		},
	}
}
