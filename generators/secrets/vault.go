package secrets

import (
	"net"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// apiAudience is the audience that the API server takes for itself: its issuer, which kubeadm and
// kind set to this.
func apiAudience(p *posture.Posture) string {
	return "https://kubernetes.default.svc." + p.Cluster.DNSDomain
}

func (r reader) vaultProvider(p *posture.Posture) *vaultProvider {
	v := p.Secrets.Vault
	// Where Vault shows the token to the API server as a credential too, it must be meant for both.
	audiences := storeAudiences(p)
	return &vaultProvider{
		Server:    v.Address,
		Path:      v.Mount,
		Version:   "v2",
		Namespace: v.Namespace,
		CABundle:  []byte(v.CABundle),
		Auth: vaultAuth{Kubernetes: vaultKubernetes{
			MountPath:         v.AuthPath,
			Role:              r.name(p),
			ServiceAccountRef: accountRef{Name: r.account(), Audiences: audiences},
		}},
	}
}

// vaultPolicy is the reader's policy: its entries by their full names, and the two requests about its
// own token that External Secrets makes.
func (r reader) vaultPolicy(p *posture.Posture) string {
	var b strings.Builder
	b.WriteString("# Emitted by k8ssec. What " + r.namespace + " (" + r.purpose + ") reads; Vault's policy " + r.name(p) + ".\n" +
		"# Entries are named in full: a policy with a wildcard would also cover what is added later.\n")
	for _, path := range r.entries {
		b.WriteString("path " + strconv.Quote(p.Secrets.Vault.Mount+"/data/"+entry(p, r.namespace, path)) + " {\n  capabilities = [\"read\"]\n}\n")
	}
	b.WriteString("# The role gives no default policy: looking at its own token and giving it back is all that is needed of it.\n" +
		"path \"auth/token/lookup-self\" {\n  capabilities = [\"read\"]\n}\n" +
		"path \"auth/token/revoke-self\" {\n  capabilities = [\"update\"]\n}\n")
	return b.String()
}

// vaultRole is the payload of the reader's role.
func (r reader) vaultRole(p *posture.Posture) map[string]any {
	v := p.Secrets.Vault
	return map[string]any{
		"bound_service_account_names":      []string{r.account()},
		"bound_service_account_namespaces": []string{r.namespace},
		"audience":                         v.Audience,
		"alias_name_source":                "serviceaccount_uid",
		"token_policies":                   []string{r.name(p)},
		"token_no_default_policy":          true,
		"token_ttl":                        v.TokenTTL,
		"token_max_ttl":                    v.TokenTTL,
	}
}

// apiURL is where Vault reaches the API server, or empty while that is undecided.
func apiURL(p *posture.Posture) string {
	switch {
	case p.Secrets.Vault.TokenReviewer == "vault":
		return "https://kubernetes.default.svc." + p.Cluster.DNSDomain
	case p.Cluster.ControlPlaneEndpoint != "":
		return "https://" + p.Cluster.ControlPlaneEndpoint
	case len(p.Cluster.APIEndpoints) > 0:
		e := p.Cluster.APIEndpoints[0]
		return "https://" + net.JoinHostPort(e.Address, strconv.Itoa(e.Port))
	}
	return ""
}
