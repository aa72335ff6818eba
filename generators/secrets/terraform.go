package secrets

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// terraform collects the plan for AWS as Terraform. The policies are the same documents, in heredocs:
// none of them holds "${" or "%{", which Terraform would read.
type terraform struct{ blocks []string }

// label is a name as Terraform's names of resources are: letters, digits, '_' and '-'. A name in which
// that may be ambiguous ends in a digest of the whole.
func label(name string) string {
	out := strings.NewReplacer(".", "_", "/", "_", "+", "_", "=", "_", "@", "_").Replace(name)
	if strings.ContainsAny(name, "/_+=@") {
		sum := sha256.Sum256([]byte(name))
		out += "_" + hex.EncodeToString(sum[:4])
	}
	return out
}

func heredoc(d policyDocument) (string, error) {
	text, err := jsonText(d)
	if err != nil {
		return "", err
	}
	return "<<JSON\n" + text + "JSON\n", nil
}

func (t *terraform) add(block string) { t.blocks = append(t.blocks, block) }

func (t *terraform) role(name, why string, trust, policy policyDocument) error {
	trustText, err := heredoc(trust)
	if err != nil {
		return err
	}
	policyText, err := heredoc(policy)
	if err != nil {
		return err
	}
	t.add("# " + why + "\nresource \"aws_iam_role\" " + strconv.Quote(label(name)) + " {\n" +
		"  name                 = " + strconv.Quote(name) + "\n  max_session_duration = 3600\n  assume_role_policy   = " + trustText + "}\n")
	t.add("resource \"aws_iam_role_policy\" " + strconv.Quote(label(name)) + " {\n" +
		"  name   = \"k8ssec\"\n  role   = aws_iam_role." + label(name) + ".name\n  policy = " + policyText + "}\n")
	return nil
}

func (t *terraform) association(cluster, namespace, account, role string) {
	t.add("resource \"aws_eks_pod_identity_association\" \"external_secrets\" {\n" +
		"  cluster_name    = " + strconv.Quote(cluster) + "\n  namespace       = " + strconv.Quote(namespace) +
		"\n  service_account = " + strconv.Quote(account) + "\n  role_arn        = aws_iam_role." + label(role) + ".arn\n}\n")
}

func (t *terraform) secretPolicy(name string, policy policyDocument) error {
	text, err := heredoc(policy)
	if err != nil {
		return err
	}
	t.add("data \"aws_secretsmanager_secret\" " + strconv.Quote(label(name)) + " {\n  name = " + strconv.Quote(name) + "\n}\n")
	t.add("resource \"aws_secretsmanager_secret_policy\" " + strconv.Quote(label(name)) + " {\n" +
		"  secret_arn          = data.aws_secretsmanager_secret." + label(name) + ".arn\n  block_public_policy = true\n  policy              = " + text + "}\n")
	return nil
}

func (t *terraform) text(a *posture.AWSSecrets) string {
	head := "# Emitted by k8ssec: the same as plan.json, for those who keep AWS in Terraform. Use one of the two.\n" +
		"# The secrets themselves are not made here: their values would be in Terraform's state.\n" +
		"terraform {\n  required_providers {\n    aws = {\n      source  = \"hashicorp/aws\"\n      version = \">= 5.30\"\n    }\n  }\n}\n\n" +
		"provider \"aws\" {\n  region              = " + strconv.Quote(a.Region) + "\n  allowed_account_ids = [" + strconv.Quote(a.AccountID) + "]\n}\n"
	return head + "\n" + strings.Join(t.blocks, "\n")
}
