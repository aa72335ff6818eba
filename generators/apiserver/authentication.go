package apiserver

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// authentication is bootstrap/control-plane/authentication.yaml.
func authentication(p *posture.Posture) generators.Artifact {
	config := &apiserverv1.AuthenticationConfiguration{
		TypeMeta:  metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "AuthenticationConfiguration"},
		Anonymous: &apiserverv1.AnonymousAuthConfig{Enabled: true},
	}
	for _, path := range anonymousPaths(p) {
		config.Anonymous.Conditions = append(config.Anonymous.Conditions, apiserverv1.AnonymousAuthCondition{Path: path})
	}
	note := "Limited to exact paths instead of switched off: kubeadm's probes carry no credentials. A scanner that reads only the flag --anonymous-auth cannot see it."
	claims := []generators.Claim{
		{Control: "cis-1.2.1", Field: "anonymous", Note: note},
		{Control: "nsa-A1", Field: "anonymous", Note: note},
		{Control: "api-1", Field: "anonymous"},
	}
	why := "Who the API server believes. Without credentials only these exact paths answer: the probes of the static pod"
	if slices.ContainsFunc(config.Anonymous.Conditions, func(c apiserverv1.AnonymousAuthCondition) bool { return c.Path == clusterInfoPath }) {
		why += ", and the CA that joining nodes read"
	}
	why += ". Everything else is 401.\nChanges of jwt are taken over within a minute; changes of anonymous need a restart of the API server."
	if p.Identity.OIDC != nil {
		config.JWT = []apiserverv1.JWTAuthenticator{jwtAuthenticator(p)}
		claims = append(claims,
			generators.Claim{Control: "nsa-A2", Field: "jwt"},
			generators.Claim{Control: "api-2", Field: "jwt"},
		)
	}
	return generators.Artifact{
		Path:    "bootstrap/control-plane/authentication.yaml",
		Kind:    generators.ControlPlane,
		Comment: "Read by kube-apiserver (--authentication-config) in " + generators.NodeDir + ".",
		Objects: []generators.Object{{Value: config, Why: why, Claims: claims}},
	}
}

// jwtAuthenticator trusts the identity provider for people, and for nothing else: no token of it can
// be a user or group of the system, live long, or be meant for another service.
func jwtAuthenticator(p *posture.Posture) apiserverv1.JWTAuthenticator {
	oidc := p.Identity.OIDC
	jwt := apiserverv1.JWTAuthenticator{
		Issuer: apiserverv1.Issuer{
			URL:                  oidc.IssuerURL,
			CertificateAuthority: oidc.CertificateAuthority,
			Audiences:            oidc.Audiences,
			AudienceMatchPolicy:  apiserverv1.AudienceMatchPolicyMatchAny,
		},
		ClaimMappings: apiserverv1.ClaimMappings{
			Username: apiserverv1.PrefixedClaimOrExpression{Claim: oidc.UsernameClaim, Prefix: &p.Identity.UsernamePrefix},
			Groups:   apiserverv1.PrefixedClaimOrExpression{Claim: oidc.GroupsClaim, Prefix: &p.Identity.GroupsPrefix},
			// Names are given to new people; the subject is not. The audit log has both.
			UID: apiserverv1.ClaimOrExpression{Claim: "sub"},
		},
		UserValidationRules: []apiserverv1.UserValidationRule{
			{Expression: "!user.username.startsWith('system:')", Message: "names that begin with system: belong to Kubernetes"},
			{Expression: "user.groups.all(group, !group.startsWith('system:'))", Message: "groups that begin with system: belong to Kubernetes"},
		},
	}
	for _, claim := range slices.Sorted(maps.Keys(oidc.RequiredClaims)) {
		jwt.ClaimValidationRules = append(jwt.ClaimValidationRules,
			apiserverv1.ClaimValidationRule{Claim: claim, RequiredValue: oidc.RequiredClaims[claim]})
	}
	// iat, not nbf: OpenID Connect requires iat in every ID token, and many providers send no nbf.
	jwt.ClaimValidationRules = append(jwt.ClaimValidationRules, apiserverv1.ClaimValidationRule{
		Expression: fmt.Sprintf("has(claims.iat) && claims.exp - claims.iat <= %d", oidc.MaxTokenHours*3600),
		Message:    fmt.Sprintf("the token must say when it was issued and live at most %d hours", oidc.MaxTokenHours),
	})
	// By itself the API server accepts an e-mail address without email_verified, and then whoever can
	// write any address into their profile is that person.
	if strings.EqualFold(oidc.UsernameClaim, "email") {
		jwt.ClaimValidationRules = append(jwt.ClaimValidationRules, apiserverv1.ClaimValidationRule{
			Expression: "claims.?email_verified.orValue(false) == true",
			Message:    "the provider must say that the e-mail address is verified (email_verified: true)",
		})
	}
	return jwt
}
