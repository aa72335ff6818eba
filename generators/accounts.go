package generators

import "github.com/k8ssec/k8ssec/cue/posture"

// GitOpsAccounts are the user names of the controllers that apply the repository, sorted.
func GitOpsAccounts(p *posture.Posture) []string {
	account := "system:serviceaccount:" + p.GitOps.Namespace + ":"
	if p.GitOps.Engine == "argocd" {
		return []string{account + "argocd-application-controller"}
	}
	return []string{account + "helm-controller", account + "kustomize-controller"}
}
