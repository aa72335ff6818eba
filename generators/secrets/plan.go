package secrets

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const planDir = "bootstrap/secrets/"

// vaultStep is one request to Vault.
type vaultStep struct {
	Why    string `json:"why"`
	Method string `json:"method"`
	Path   string `json:"path"`
	// Exactly one of Payload, PayloadFile and PolicyFile is set; files are beside the plan.
	Payload     map[string]any `json:"payload,omitempty"`
	PayloadFile string         `json:"payloadFile,omitempty"`
	PolicyFile  string         `json:"policyFile,omitempty"`
	// Once marks a request that fails, and is left out, where what it makes is there already.
	Once bool `json:"once,omitempty"`
	// FillFrom are fields of the payload that come from the cluster itself; none of them is a secret.
	FillFrom map[string]string `json:"fillFrom,omitempty"`
}

type vaultPlan struct {
	Address   string      `json:"address"`
	Namespace string      `json:"namespace,omitempty"`
	Steps     []vaultStep `json:"steps"`
}

// awsStep is one request to AWS, by the name and the input of the API.
type awsStep struct {
	Why     string `json:"why"`
	Service string `json:"service"`
	Action  string `json:"action"`
	Input   any    `json:"input"`
	Once    bool   `json:"once,omitempty"`
}

type awsPlan struct {
	Region  string    `json:"region"`
	Account string    `json:"account"`
	Steps   []awsStep `json:"steps"`
}

// storePlan is what the store has to know, for k8ssec secrets apply and for people.
func storePlan(p *posture.Posture, readers []reader) ([]generators.Artifact, []generators.Decision, error) {
	if p.Secrets.Provider == "aws" {
		artifacts, err := awsFiles(p, readers)
		return artifacts, nil, err
	}
	artifacts, err := vaultFiles(p, readers)
	var decisions []generators.Decision
	if apiURL(p) == "" {
		decisions = append(decisions, generators.Decision{
			Line:    `cluster: controlPlaneEndpoint: "api.internal:6443"`,
			Enables: "the step that tells Vault where the API server is, in bootstrap/secrets/vault/plan.json",
		})
	}
	return artifacts, decisions, err
}

func vaultFiles(p *posture.Posture, readers []reader) ([]generators.Artifact, error) {
	v := p.Secrets.Vault
	plan := vaultPlan{Address: v.Address, Namespace: v.Namespace, Steps: []vaultStep{
		{
			Why: "The engine that holds the entries, with versions, so that an overwritten one can be brought back.", Once: true,
			Method: "POST", Path: "/v1/sys/mounts/" + v.Mount, Payload: map[string]any{"type": "kv", "options": map[string]any{"version": "2"}},
		},
		{
			Why: "The way in for service accounts of this cluster.", Once: true,
			Method: "POST", Path: "/v1/sys/auth/" + v.AuthPath, Payload: map[string]any{"type": "kubernetes"},
		},
	}}
	if api := apiURL(p); api != "" {
		config := vaultStep{
			Why:    "Where Vault asks whether a token is good. The certificate is the cluster's own CA, which is public.",
			Method: "POST", Path: "/v1/auth/" + v.AuthPath + "/config",
			Payload: map[string]any{"kubernetes_host": api, "disable_local_ca_jwt": clientReviews(p)},
		}
		if clientReviews(p) {
			config.FillFrom = map[string]string{"kubernetes_ca_cert": "ConfigMap default/kube-root-ca.crt, key ca.crt"}
		}
		plan.Steps = append(plan.Steps, config)
	}
	var files []generators.Artifact
	for _, r := range readers {
		policy, role := r.namespace+"."+r.purpose+".hcl", r.namespace+"."+r.purpose+".role.json"
		plan.Steps = append(plan.Steps,
			vaultStep{
				Why:    "What " + r.namespace + " (" + r.purpose + ") reads.",
				Method: "PUT", Path: "/v1/sys/policies/acl/" + r.name(p), PolicyFile: policy,
			},
			vaultStep{
				Why:    "Who is that reader: one service account of one namespace.",
				Method: "POST", Path: "/v1/auth/" + v.AuthPath + "/role/" + r.name(p), PayloadFile: role,
			},
		)
		text, err := jsonText(r.vaultRole(p))
		if err != nil {
			return nil, err
		}
		files = append(files,
			generators.Artifact{
				Path: planDir + "vault/" + policy, Text: r.vaultPolicy(p), Kind: generators.ControlPlane,
				Claims: []generators.Claim{{Control: "sec-1", Field: `capabilities = ["read"]`}},
			},
			generators.Artifact{
				Path: planDir + "vault/" + role, Text: text, Kind: generators.ControlPlane,
				Claims: []generators.Claim{
					{Control: "sec-1", Field: "bound_service_account_n"},
					{Control: "sec-5", Field: `"token_max_ttl"`},
				},
			},
		)
	}
	text, err := jsonText(plan)
	if err != nil {
		return nil, err
	}
	script, err := generators.Text("secrets/vault.sh.tmpl", struct {
		*posture.Vault
		Cluster, API string
		Client       bool
	}{v, p.Cluster.Name, apiURL(p), clientReviews(p)})
	if err != nil {
		return nil, err
	}
	return append(files,
		generators.Artifact{Path: planDir + "vault/plan.json", Text: text, Kind: generators.ControlPlane},
		generators.Artifact{Path: planDir + "vault/apply.sh", Text: script, Executable: true, Kind: generators.ControlPlane},
	), nil
}

func awsFiles(p *posture.Posture, readers []reader) ([]generators.Artifact, error) {
	plan := awsPlan{Region: p.Secrets.AWS.Region, Account: p.Secrets.AWS.AccountID, Steps: []awsStep{}}
	var tf terraform
	role := func(name, why string, trust, policy policyDocument) error {
		trustText, err := compact(trust)
		if err != nil {
			return err
		}
		policyText, err := compact(policy)
		if err != nil {
			return err
		}
		plan.Steps = append(plan.Steps,
			awsStep{Why: why, Service: "iam", Action: "CreateRole", Once: true, Input: map[string]any{
				"RoleName": name, "AssumeRolePolicyDocument": trustText, "MaxSessionDuration": 3600,
			}},
			awsStep{Why: "The same, where the role is there already.", Service: "iam", Action: "UpdateAssumeRolePolicy", Input: map[string]any{
				"RoleName": name, "PolicyDocument": trustText,
			}},
			awsStep{Why: "What it may do.", Service: "iam", Action: "PutRolePolicy", Input: map[string]any{
				"RoleName": name, "PolicyName": "k8ssec", "PolicyDocument": policyText,
			}},
		)
		return tf.role(name, why, trust, policy)
	}
	if p.Secrets.AWS.Identity == "pod-identity" && len(readers) > 0 {
		namespace, account, _ := strings.Cut(p.Secrets.Account, "/")
		name := controllerRole(p)
		if err := role(name, "External Secrets itself. It reads nothing, it only takes on the readers' roles.", podIdentityTrust(p), controllerPolicy(p, readers)); err != nil {
			return nil, err
		}
		plan.Steps = append(plan.Steps, awsStep{
			Why: "Gives that role to the service account of External Secrets.", Service: "eks", Action: "CreatePodIdentityAssociation", Once: true,
			Input: map[string]any{
				"clusterName": p.Cluster.Name, "namespace": namespace, "serviceAccount": account, "roleArn": arn(p, "iam", "", "role/"+name),
			},
		})
		tf.association(p.Cluster.Name, namespace, account, name)
	}
	for _, r := range readers {
		if err := role(r.roleName(p), "Reads for "+r.namespace+" ("+r.purpose+").", r.awsTrust(p), r.awsPolicy(p)); err != nil {
			return nil, err
		}
	}
	policies := resourcePolicies(p, readers)
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		text, err := compact(policies[name])
		if err != nil {
			return nil, err
		}
		plan.Steps = append(plan.Steps, awsStep{
			Why: "Nobody but the readers gets the value, whatever another policy of the account allows.", Service: "secretsmanager", Action: "PutResourcePolicy",
			Input: map[string]any{"SecretId": name, "ResourcePolicy": text, "BlockPublicPolicy": true},
		})
		if err := tf.secretPolicy(name, policies[name]); err != nil {
			return nil, err
		}
	}
	text, err := jsonText(plan)
	if err != nil {
		return nil, err
	}
	claims := []generators.Claim{}
	if len(readers) > 0 {
		claims = append(claims, generators.Claim{Control: "sec-1", Field: "secretsmanager:GetSecretValue"}, generators.Claim{Control: "sec-5", Field: `"MaxSessionDuration"`})
	}
	return []generators.Artifact{
		{Path: planDir + "aws/plan.json", Text: text, Kind: generators.ControlPlane, Claims: claims},
		{Path: planDir + "aws/secrets.tf", Text: tf.text(p.Secrets.AWS), Kind: generators.ControlPlane},
	}, nil
}

// jsonText is a value as an indented JSON file.
func jsonText(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return b.String(), nil
}

// compact is a policy document in one line, as AWS's API takes it.
func compact(d policyDocument) (string, error) {
	data, err := json.Marshal(d)
	return string(data), err
}
