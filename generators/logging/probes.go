package logging

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes send harmless requests of each kind that the policy treats in its own way, and look at
// which level the API server records them. They go to kube-system, which every cluster has.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	meta := metav1.ObjectMeta{Name: generators.ProbeName, Namespace: metav1.NamespaceSystem}
	full := p.Logging.Audit.Policy == "full"
	pods := "Request"
	if full {
		pods = "RequestResponse"
	}
	var probes []generators.Probe
	for _, a := range []struct {
		slug, title, why, level string
		controls                []string
		request                 generators.Admission
	}{
		{
			"secret", "a secret that is written is recorded, without its body", "The log is a copy of every secret, or says nothing about them.", "Metadata",
			[]string{"cis-3.2.1", "cis-3.2.2", "nsa-L1", "log-1"},
			generators.Admission{Verb: "create", Object: &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta}},
		},
		{
			"config", "a ConfigMap that is written is recorded, without its body", "Configuration that people mistake for a place for passwords ends up in the log.", "Metadata",
			[]string{"cis-3.2.2", "log-1"},
			generators.Admission{Verb: "create", Object: &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta}},
		},
		{
			"exec", "a shell in a container is recorded", "Nobody can tell afterwards who was in which container.", "Metadata",
			[]string{"cis-3.2.1", "cis-3.2.2", "nsa-L1"},
			generators.Admission{Verb: "connect", Object: generators.ProbePod(p, metav1.NamespaceSystem), Subresource: "exec"},
		},
		{
			"rights", "a role that is written is recorded, with its body", "Nobody can tell afterwards who was given which right.", "RequestResponse",
			[]string{"cis-3.2.1", "cis-3.2.2", "nsa-L1"},
			generators.Admission{Verb: "create", Object: &rbacv1.Role{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, ObjectMeta: meta}},
		},
		{
			"pod", "a pod that is made is recorded, with its body", "Nobody can tell afterwards what was started.", pods,
			[]string{"cis-3.2.1", "cis-3.2.2", "nsa-L1"},
			generators.Admission{Verb: "create", Object: generators.ProbePod(p, metav1.NamespaceSystem)},
		},
	} {
		probes = append(probes, generators.Probe{
			ID: "logging-audit-" + a.slug + "-allow", Domain: "logging", Kind: generators.Allow, Title: a.title, Why: a.why,
			Controls: a.controls, Artifacts: []string{"bootstrap/control-plane/audit-policy.yaml"},
			Check: generators.Audited{Request: a.request, Level: a.level},
		})
	}
	return probes
}
