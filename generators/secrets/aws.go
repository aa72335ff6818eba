package secrets

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// maxRoleName is the longest name of an IAM role.
const maxRoleName = 64

// The parts of an IAM policy document that are emitted, in the order in which they are written.
type (
	policyDocument struct {
		Version   string
		Statement []statement
	}
	statement struct {
		Sid       string                    `json:",omitempty"`
		Effect    string                    //
		Principal any                       `json:",omitempty"`
		Action    []string                  //
		Resource  []string                  `json:",omitempty"`
		Condition map[string]map[string]any `json:",omitempty"`
	}
)

func allow(sid string, s statement) statement {
	s.Sid, s.Effect = sid, "Allow"
	return s
}

func document(statements ...statement) policyDocument {
	return policyDocument{Version: "2012-10-17", Statement: statements}
}

// partition is AWS's partition of a region.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// serviceDomain is the suffix of the names of AWS's services in a region.
func serviceDomain(region string) string {
	if partition(region) == "aws-cn" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// arn is the ARN of something in the posture's account.
func arn(p *posture.Posture, service, region, resource string) string {
	a := p.Secrets.AWS
	return "arn:" + partition(a.Region) + ":" + service + ":" + region + ":" + a.AccountID + ":" + resource
}

// roleName is the name of the reader's role. A name that is too long ends in a digest of the whole.
func (r reader) roleName(p *posture.Posture) string {
	name := r.name(p)
	if len(name) <= maxRoleName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:maxRoleName-9] + "." + hex.EncodeToString(sum[:4])
}

func (r reader) roleARN(p *posture.Posture) string { return arn(p, "iam", "", "role/"+r.roleName(p)) }

// controllerRole is the role of External Secrets itself, for EKS Pod Identity.
func controllerRole(p *posture.Posture) string { return p.Cluster.Name + ".external-secrets" }

// secretARN is the ARN of a secret, with the six characters that AWS adds to each name.
func secretARN(p *posture.Posture, namespace, path string) string {
	return arn(p, "secretsmanager", p.Secrets.AWS.Region, "secret:"+entry(p, namespace, path)+"-??????")
}

// awsTrust says who may take on the reader's role.
func (r reader) awsTrust(p *posture.Posture) policyDocument {
	a := p.Secrets.AWS
	if a.Identity == "irsa" {
		return document(allow("Reader", statement{
			Principal: map[string]string{"Federated": arn(p, "iam", "", "oidc-provider/"+a.OIDCProvider)},
			Action:    []string{"sts:AssumeRoleWithWebIdentity"},
			Condition: map[string]map[string]any{"StringEquals": {
				a.OIDCProvider + ":aud": "sts.amazonaws.com",
				a.OIDCProvider + ":sub": "system:serviceaccount:" + r.namespace + ":" + r.account(),
			}},
		}))
	}
	return document(allow("ExternalSecrets", statement{
		Principal: map[string]string{"AWS": arn(p, "iam", "", "role/"+controllerRole(p))},
		Action:    []string{"sts:AssumeRole", "sts:TagSession"},
	}))
}

// awsPolicy is what the reader's role may do.
func (r reader) awsPolicy(p *posture.Posture) policyDocument {
	a := p.Secrets.AWS
	var secrets []string
	for _, path := range r.entries {
		secrets = append(secrets, secretARN(p, r.namespace, path))
	}
	statements := []statement{allow("ReadEntries", statement{
		Action:   []string{"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"},
		Resource: secrets,
	})}
	if a.KMSKeyARN != "" {
		statements = append(statements, allow("Decrypt", statement{
			Action:   []string{"kms:Decrypt"},
			Resource: []string{a.KMSKeyARN},
			Condition: map[string]map[string]any{
				"StringEquals": {"kms:ViaService": "secretsmanager." + a.Region + "." + serviceDomain(a.Region)},
				"StringLike":   {"kms:EncryptionContext:SecretARN": secrets},
			},
		}))
	}
	return document(statements...)
}

// podIdentityTrust lets EKS give the controller's role to the one service account of External
// Secrets, in this cluster alone.
func podIdentityTrust(p *posture.Posture) policyDocument {
	namespace, account, _ := strings.Cut(p.Secrets.Account, "/")
	return document(allow("PodIdentity", statement{
		Principal: map[string]string{"Service": "pods.eks.amazonaws.com"},
		Action:    []string{"sts:AssumeRole", "sts:TagSession"},
		Condition: map[string]map[string]any{"StringEquals": {
			"aws:RequestTag/eks-cluster-name":           p.Cluster.Name,
			"aws:RequestTag/kubernetes-namespace":       namespace,
			"aws:RequestTag/kubernetes-service-account": account,
			"aws:SourceAccount":                         p.Secrets.AWS.AccountID,
		}},
	}))
}

// controllerPolicy is what the controller's role may do: take on the readers' roles.
func controllerPolicy(p *posture.Posture, readers []reader) policyDocument {
	var roles []string
	for _, r := range readers {
		roles = append(roles, r.roleARN(p))
	}
	return document(allow("TakeOnReaders", statement{Action: []string{"sts:AssumeRole", "sts:TagSession"}, Resource: roles}))
}

// resourcePolicies are the policies of the secrets themselves, by the secret's name: nobody but the
// readers gets the value, whatever another IAM policy of the account allows. Who may replace the value,
// or the policy, is left as it is, so that nobody is locked out.
func resourcePolicies(p *posture.Posture, readers []reader) map[string]policyDocument {
	principals := map[string][]string{}
	for _, r := range readers {
		for _, path := range r.entries {
			name := entry(p, r.namespace, path)
			principals[name] = append(principals[name], r.roleARN(p))
		}
	}
	policies := map[string]policyDocument{}
	for _, name := range slices.Sorted(maps.Keys(principals)) {
		slices.Sort(principals[name])
		policies[name] = document(statement{
			Sid: "ReadersOnly", Effect: "Deny", Principal: "*",
			Action:    []string{"secretsmanager:GetSecretValue"},
			Resource:  []string{"*"},
			Condition: map[string]map[string]any{"ArnNotEquals": {"aws:PrincipalArn": principals[name]}},
		})
	}
	return policies
}
