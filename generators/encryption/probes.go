package encryption

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes ask how the API server stores what is encrypted at rest.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	prefix := "k8s:enc:secretbox:v1:"
	if p.Encryption.Provider == "kms" {
		prefix = "k8s:enc:kms:v2:"
	}
	var probes []generators.Probe
	for _, resource := range p.Encryption.Resources {
		if strings.ContainsAny(resource, ".*") {
			continue // another group than the core's, or a wildcard
		}
		probes = append(probes, generators.Probe{
			ID: "encryption-" + resource + "-at-rest-allow", Domain: "encryption", Kind: generators.Allow,
			Title: "the API server decrypts what it reads of " + resource, Why: "Whoever has a backup or a disk of etcd has every secret.",
			Controls: []string{"cis-1.2.27", "cis-1.2.28", "nsa-N4"}, Artifacts: []string{encryptedBy(p)},
			Check: generators.AtRest{Resource: resource, Prefix: prefix},
		})
	}
	return append(probes, generators.Probe{
		ID: "encryption-etcd-deny", Domain: "encryption", Kind: generators.Deny, Title: "a secret is read out of etcd, past the API server",
		Why:      "Whoever has a backup or a disk of etcd has every secret.",
		Controls: []string{"cis-1.2.27", "cis-1.2.28", "nsa-N4"}, Artifacts: []string{encryptedBy(p)},
		Check: generators.Stored{Prefix: prefix},
	})
}

// encryptedBy is the file that switches encryption on.
func encryptedBy(p *posture.Posture) string {
	if p.Cluster.Platform == "kind" {
		return "bootstrap/kind-config.yaml"
	}
	return "bootstrap/kubeadm.yaml"
}
