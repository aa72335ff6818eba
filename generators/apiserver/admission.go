package apiserver

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyconfigv1 "k8s.io/apiserver/pkg/admission/plugin/policy/config/apis/policyconfig/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	podsecurityv1 "k8s.io/pod-security-admission/admission/api/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// admissionConfiguration is AdmissionConfiguration with the plug-ins' configurations inside, which
// the library's type keeps as raw JSON.
type admissionConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	Plugins         []admissionPlugin `json:"plugins"`
}

type admissionPlugin struct {
	Name          string `json:"name"`
	Configuration any    `json:"configuration"`
}

// eventRateLimit is Configuration of eventratelimit.admission.k8s.io/v1alpha1, the only version there
// is; its Go type is part of k8s.io/kubernetes, which is no library.
type eventRateLimit struct {
	metav1.TypeMeta `json:",inline"`
	Limits          []eventLimit `json:"limits"`
}

type eventLimit struct {
	Type  string `json:"type"`
	QPS   int    `json:"qps"`
	Burst int    `json:"burst"`
}

// exemptNamespaces are exempt from Pod Security. kube-system must be: its label comes with GitOps,
// long after kubeadm has made kube-proxy there, which a default of baseline would refuse.
func exemptNamespaces(p *posture.Posture) []string {
	names := append([]string{metav1.NamespaceSystem}, p.APIServer.ExemptNamespaces...)
	if p.Cluster.Platform == "kind" {
		// kind's volume provisioner; its helper pods mount the node's disk.
		names = append(names, "local-path-storage")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// admission is bootstrap/control-plane/admission.yaml.
func admission(p *posture.Posture) generators.Artifact {
	version := "v" + p.Cluster.Kubernetes
	defaults := p.APIServer.PodSecurityDefaults
	config := &admissionConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "AdmissionConfiguration"},
		Plugins: []admissionPlugin{{
			Name: "PodSecurity",
			Configuration: &podsecurityv1.PodSecurityConfiguration{
				TypeMeta: metav1.TypeMeta{APIVersion: podsecurityv1.SchemeGroupVersion.String(), Kind: "PodSecurityConfiguration"},
				Defaults: podsecurityv1.PodSecurityDefaults{
					Enforce: string(defaults.Enforce), EnforceVersion: version,
					Audit: string(defaults.Audit), AuditVersion: version,
					Warn: string(defaults.Warn), WarnVersion: version,
				},
				Exemptions: podsecurityv1.PodSecurityExemptions{Namespaces: exemptNamespaces(p)},
			},
		}},
	}
	const podSecurity = "plugins[PodSecurity].configuration"
	claims := []generators.Claim{
		{Control: "cis-5.2.1", Field: podSecurity, Note: "The floor for namespaces without labels of their own; the namespaces of the repository carry labels."},
		{Control: "api-3", Field: podSecurity},
		{Control: "nsa-S2", Field: "plugins"},
	}
	if hasPlugin(p, "EventRateLimit") {
		limits := p.APIServer.EventRateLimit
		config.Plugins = append(config.Plugins, admissionPlugin{
			Name: "EventRateLimit",
			Configuration: &eventRateLimit{
				TypeMeta: metav1.TypeMeta{APIVersion: "eventratelimit.admission.k8s.io/v1alpha1", Kind: "Configuration"},
				Limits: []eventLimit{
					{Type: "Namespace", QPS: limits.NamespaceQPS, Burst: limits.NamespaceBurst},
					{Type: "User", QPS: limits.UserQPS, Burst: limits.UserBurst},
				},
			},
		})
		claims = append(claims, generators.Claim{Control: "cis-1.2.9", Field: "plugins[EventRateLimit].configuration.limits"})
	}
	if staticAdmission(p) {
		config.Plugins = append(config.Plugins, admissionPlugin{
			Name: "ValidatingAdmissionPolicy",
			Configuration: &policyconfigv1.ValidatingAdmissionPolicyConfiguration{
				TypeMeta:           metav1.TypeMeta{APIVersion: policyconfigv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicyConfiguration"},
				StaticManifestsDir: generators.NodeDir + "/admission/validating",
			},
		})
	}
	return generators.Artifact{
		Path:    "bootstrap/control-plane/admission.yaml",
		Kind:    generators.ControlPlane,
		Comment: "Read by kube-apiserver (--admission-control-config-file) in " + generators.NodeDir + " when it starts.",
		Objects: []generators.Object{{
			Value: config,
			Why: "The floor for pods in every namespace that has no Pod Security labels: a namespace that somebody makes by hand is not an open door. " +
				"The version is pinned, because each Kubernetes release may change what a level means.",
			Claims: claims,
		}},
	}
}

// etcdUID is the user and group that own etcd and its data where apiserver.etcdUser is set. The
// node script makes the user; the number must be the same in both places.
const etcdUID = 2379

// etcdCertsDir is where the node script keeps copies of etcd's certificates that its user can read.
// The originals stay root's: benchmark and kubeadm want them so.
const etcdCertsDir = "/var/lib/k8ssec-etcd-pki"

// etcdPatch is kubeadm's patch of etcd's static pod. It changes what the mount named etcd-certs
// shows, so that kubeadm's own arguments stay as they are.
func etcdPatch() (generators.Artifact, error) {
	text, err := generators.Text("apiserver/etcd-patch.yaml.tmpl", struct {
		UID      int
		Patches  string
		CertsDir string
	}{etcdUID, generators.NodeDir + "/patches", etcdCertsDir})
	return generators.Artifact{
		Path:   "bootstrap/control-plane/patches/etcd.yaml",
		Kind:   generators.ControlPlane,
		Text:   text,
		Claims: generators.Claims("runAsUser:", "cis-1.1.12", "nsa-N2"),
	}, err
}
