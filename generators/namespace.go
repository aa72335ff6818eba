package generators

import (
	"maps"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// DeployerAccount is the service account of a tenant with a Git repository of its own: the GitOps
// controller impersonates it, so that it can do no more in the namespace than the tenant may.
const DeployerAccount = "gitops-deployer"

// NamespaceLabels are the labels of a Namespace object: those of the user below ours, because the
// API server and the admission policies of this repository decide by ours. They are used by two
// domains, as Flux's own namespace is created by Flux and only labelled by this repository.
func NamespaceLabels(p *posture.Posture, ns posture.Namespace) map[string]string {
	labels := make(map[string]string, len(ns.Labels)+11)
	maps.Copy(labels, ns.Labels)
	if ns.Kind == "tenant" && p.Images.Verify == "policy-controller" && len(p.Images.Signers) > 0 {
		labels[LabelSigned] = "true"
	}
	version := "v" + p.Cluster.Kubernetes
	labels[LabelManagedBy] = "k8ssec"
	labels[LabelDomain] = "namespaces"
	labels[LabelKind] = ns.Kind
	labels[LabelOwner] = ns.Owner
	labels[LabelDataClass] = ns.DataClass
	if len(ns.Secrets) > 0 {
		labels[LabelSecrets] = "read"
	}
	labels["pod-security.kubernetes.io/enforce"] = string(ns.PodSecurity.Enforce)
	labels["pod-security.kubernetes.io/enforce-version"] = version
	labels["pod-security.kubernetes.io/audit"] = string(ns.PodSecurity.Audit)
	labels["pod-security.kubernetes.io/audit-version"] = version
	labels["pod-security.kubernetes.io/warn"] = string(ns.PodSecurity.Warn)
	labels["pod-security.kubernetes.io/warn-version"] = version
	return labels
}

// NamespaceAnnotations are the annotations of a Namespace object. Those of the user win, so that a
// namespace can be given up in two reviewed steps: first let the GitOps controller prune it, then
// take it out.
func NamespaceAnnotations(p *posture.Posture, ns posture.Namespace) map[string]string {
	annotations := make(map[string]string, len(ns.Annotations)+3)
	if ns.Purpose != "" {
		annotations["k8ssec.dev/purpose"] = ns.Purpose
	}
	if ns.Why != "" {
		annotations["k8ssec.dev/why"] = ns.Why
	}
	key, value := KeepAnnotation(p)
	annotations[key] = value
	maps.Copy(annotations, ns.Annotations)
	return annotations
}

// KeepAnnotation tells the GitOps controller never to delete an object, not even when its file
// leaves the repository.
func KeepAnnotation(p *posture.Posture) (key, value string) {
	if p.GitOps.Engine == "argocd" {
		return "argocd.argoproj.io/sync-options", "Prune=false,Delete=false"
	}
	return "kustomize.toolkit.fluxcd.io/prune", "disabled"
}

// Groups of credentials that kubeadm makes: super-admin.conf and the API server's own loopback client,
// and admin.conf. Both are for emergencies and for bootstrapping.
const (
	GroupMasters       = "system:masters"
	GroupClusterAdmins = "kubeadm:cluster-admins"
)

// EmergencyGroups are the groups of whoever handles an emergency, as the API server sees them: the two
// of kubeadm and break-glass.
func EmergencyGroups(p *posture.Posture) []string {
	return []string{GroupMasters, GroupClusterAdmins, p.Identity.GroupsPrefix + p.Access.BreakGlass.Group}
}
