package logging

import (
	"path"
	"strings"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// New returns the generator of the domain logging.
func New() generators.Generator { return generator{} }

type generator struct{}

// Domain is "logging".
func (generator) Domain() string { return "logging" }

// Generate emits the audit policy, the audit webhook where there is one, and docs/logging.md. The
// flags that switch both on are part of the apiserver domain's configuration.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{Artifacts: []generators.Artifact{policyFile(p)}}
	if p.Logging.Audit.Webhook != nil {
		out.Artifacts = append(out.Artifacts, webhookFile(p))
	} else {
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"nsa-L4"},
			Line:     `logging: audit: webhook: url: "https://collector.internal/audit"`,
			Enables:  "the API server sends each audit record to a collector outside of the cluster, where nobody who takes the cluster can delete it",
		})
	}
	switch {
	case p.ShipsLogs():
		files, err := shipping(p)
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, files...)
		if p.OwnLoki() && !mutualTLS(p) {
			out.Undecided = append(out.Undecided, generators.Decision{
				Controls: []string{"log-5"},
				Line:     `encryption: certManager: "install"`,
				Enables:  "the shipper and Loki know each other by certificates, and records travel encrypted",
			})
		}
	case p.Logging.Shipper == "off":
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"log-4", "log-5"},
			Line:     `logging: shipper: "vector"`,
			Enables:  "the audit log and all other logs leave the nodes at once, into a Loki in the cluster or the sink that logging.sink names",
		})
	}
	text, err := generators.Text("logging/logging.md.tmpl", struct {
		*posture.Posture
		AuditDir string
		AuditGB  int
		PerNode  string
	}{
		Posture:  p,
		AuditDir: path.Dir(p.Logging.Audit.Path),
		AuditGB:  (p.Logging.Audit.MaxSizeMB*(p.Logging.Audit.MaxBackups+1) + 1023) / 1024,
		PerNode:  strings.TrimSuffix(p.Kubelet.ContainerLogMaxSize, "i") + "B",
	})
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, generators.Artifact{
		Path: "docs/logging.md",
		Kind: generators.Procedure,
		Text: text,
		Claims: []generators.Claim{
			{Control: "nsa-L3", Field: "## What writes which log"},
			{Control: "nsa-L7", Field: "## When logging itself fails"},
		},
	})
	return out, nil
}

// policyFile is bootstrap/control-plane/audit-policy.yaml.
func policyFile(p *posture.Posture) generators.Artifact {
	return generators.Artifact{
		Path:    "bootstrap/control-plane/audit-policy.yaml",
		Kind:    generators.ControlPlane,
		Comment: "Read by kube-apiserver (--audit-policy-file) in " + generators.NodeDir + " when it starts.",
		Objects: []generators.Object{{
			Value: auditPolicy(p),
			Why: "What the audit log records. The first rule that matches decides, so the order matters: heartbeats of the control plane are silent, " +
				"then secrets, tokens and the ways into containers are recorded without bodies whoever uses them, then rights, admission and workloads with them; " +
				"everything else leaves at least who, what, from where and the answer. docs/logging.md explains the rules and how to ask the log.\n" +
				"A rule of level None names users, verbs and resources. Keep it so: what a rule silences, an intruder can hide in.",
			Claims: generators.Claims("rules", "cis-3.2.1", "cis-3.2.2", "nsa-L1", "log-1"),
		}},
	}
}

// webhookFile is bootstrap/control-plane/audit-webhook.yaml, a kubeconfig without credentials.
func webhookFile(p *posture.Posture) generators.Artifact {
	webhook := p.Logging.Audit.Webhook
	config := &clientcmdv1.Config{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []clientcmdv1.NamedCluster{{
			Name: "collector",
			Cluster: clientcmdv1.Cluster{
				Server:                   webhook.URL,
				CertificateAuthorityData: []byte(webhook.CertificateAuthority),
			},
		}},
		AuthInfos:      []clientcmdv1.NamedAuthInfo{{Name: "kube-apiserver"}},
		Contexts:       []clientcmdv1.NamedContext{{Name: "collector", Context: clientcmdv1.Context{Cluster: "collector", AuthInfo: "kube-apiserver"}}},
		CurrentContext: "collector",
	}
	return generators.Artifact{
		Path:    "bootstrap/control-plane/audit-webhook.yaml",
		Kind:    generators.ControlPlane,
		Comment: "Read by kube-apiserver (--audit-webhook-config-file) in " + generators.NodeDir + " when it starts.",
		Objects: []generators.Object{{
			Value: config,
			Why: "Where each audit record goes besides the file of the node: out of reach of whoever takes the cluster. " +
				"It holds no credentials, because it is in the repository; the collector takes records from the addresses of the control plane only.",
			Claims: generators.Claims("clusters[collector].cluster.server", "nsa-L4"),
		}},
	}
}
