package secrets_test

import (
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/secrets"
)

func TestGolden(t *testing.T) { generatortest.Run(t, secrets.New()) }

func emit(t *testing.T, clusterFile string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, f := range generatortest.Emit(t, secrets.New(), generatortest.Posture(t, clusterFile)) {
		files[f.Name] = string(f.Data)
	}
	return files
}

const vault = `profiles: ["restricted"]
cluster: {name: "prod", controlPlaneEndpoint: "api.internal:6443"}
secrets: {provider: "vault", vault: address: "https://vault.internal:8200"}
namespaces: {
	shop: {owner: "shop", secrets: {database: path: "database", report: {path: "report", purpose: "batch"}, again: path: "database"}}
	billing: {owner: "billing", secrets: ledger: path: "ledger"}
}
`

// TestReadersAreSeparate shows that what one reader may read in Vault, no other may, and that the role
// of each names one service account of one namespace.
func TestReadersAreSeparate(t *testing.T) {
	files := emit(t, vault)
	granted := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) != ".hcl" {
			continue
		}
		reader := strings.TrimSuffix(path.Base(name), ".hcl")
		for _, m := range regexp.MustCompile(`path "kv/(.*)"`).FindAllStringSubmatch(files[name], -1) {
			if other, ok := granted[m[1]]; ok {
				t.Errorf("%s reads %s, and so does %s", reader, m[1], other)
			}
			granted[m[1]] = reader
		}
		if strings.ContainsAny(files[name], "*+") {
			t.Errorf("%s has a wildcard:\n%s", name, files[name])
		}
		var role struct {
			Names      []string `json:"bound_service_account_names"`
			Namespaces []string `json:"bound_service_account_namespaces"`
			Audience   string   `json:"audience"`
			Policies   []string `json:"token_policies"`
			NoDefault  bool     `json:"token_no_default_policy"`
			TTL        string   `json:"token_max_ttl"`
		}
		if err := json.Unmarshal([]byte(files[strings.TrimSuffix(name, ".hcl")+".role.json"]), &role); err != nil {
			t.Fatal(err)
		}
		namespace, purpose, _ := strings.Cut(reader, ".")
		if !slices.Equal(role.Names, []string{"secrets-" + purpose}) || !slices.Equal(role.Namespaces, []string{namespace}) ||
			role.Audience != "vault" || !slices.Equal(role.Policies, []string{"prod." + reader}) || !role.NoDefault || role.TTL != "15m" {
			t.Errorf("the role of %s is %+v", reader, role)
		}
	}
	want := map[string]string{"data/prod/shop/database": "shop.app", "data/prod/shop/report": "shop.batch", "data/prod/billing/ledger": "billing.app"}
	if !maps.Equal(granted, want) {
		t.Errorf("got %v, want %v", granted, want)
	}
}

// TestIAM holds the form of every policy document: what IAM would refuse, or read otherwise.
func TestIAM(t *testing.T) {
	for _, identity := range []string{`identity: "irsa", oidcProvider: "oidc.internal/id/A"`, `identity: "pod-identity"`} {
		files := emit(t, `profiles: ["restricted"]
cluster: name: "prod"
secrets: {provider: "aws", aws: {region: "eu-central-1", accountID: "123456789012", kmsKeyARN: "arn:aws:kms:eu-central-1:123456789012:key/1", `+identity+`}}
namespaces: {
	shop: {owner: "shop", secrets: {database: path: "database", report: {path: "a/b", purpose: "batch"}, other: {path: "a_b", purpose: "batch"}}}
	billing: {owner: "billing", secrets: ledger: path: "ledger"}
}
`)
		var plan struct {
			Steps []struct {
				Service, Action string
				Input           map[string]any
			}
		}
		if err := json.Unmarshal([]byte(files["bootstrap/secrets/aws/plan.json"]), &plan); err != nil {
			t.Fatal(err)
		}
		documents := 0
		for _, s := range plan.Steps {
			for _, field := range []string{"AssumeRolePolicyDocument", "PolicyDocument", "ResourcePolicy"} {
				if text, ok := s.Input[field].(string); ok {
					documents++
					trust := field == "AssumeRolePolicyDocument" || s.Action == "UpdateAssumeRolePolicy"
					checkDocument(t, text, trust, field == "ResourcePolicy")
					if !strings.Contains(compactJSON(t, files["bootstrap/secrets/aws/secrets.tf"]), text) {
						t.Errorf("Terraform does not have the same document: %s", text)
					}
				}
			}
			if name, ok := s.Input["RoleName"].(string); ok && (len(name) > 64 || !regexp.MustCompile(`^[\w+=,.@-]+$`).MatchString(name)) {
				t.Errorf("IAM refuses the role name %s", name)
			}
		}
		if documents < 12 {
			t.Errorf("only %d documents", documents)
		}
		labels := regexp.MustCompile(`(?m)^(resource|data) "(\w+)" "([^"]+)"`).FindAllString(files["bootstrap/secrets/aws/secrets.tf"], -1)
		if n := len(slices.Compact(slices.Sorted(slices.Values(labels)))); n != len(labels) {
			t.Errorf("two blocks of one name: %v", labels)
		}
	}
}

// compactJSON takes the indentation out of heredocs.
func compactJSON(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	for _, m := range regexp.MustCompile(`(?s)<<JSON\n(.*?)JSON\n`).FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "${") || strings.Contains(m[1], "%{") {
			t.Errorf("Terraform would read this: %s", m[1])
		}
		var d json.RawMessage = []byte(m[1])
		out, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(out)
		b.WriteByte('\n')
	}
	return b.String()
}

var arnForm = regexp.MustCompile(`^arn:aws(-cn|-us-gov)?:(secretsmanager|kms|iam):[a-z0-9-]*:\d{12}:[^*]+$`)

func checkDocument(t *testing.T, text string, trust, resource bool) {
	t.Helper()
	var d struct {
		Version   string
		Statement []struct {
			Sid, Effect      string
			Principal        any
			Action, Resource []string
			Condition        map[string]map[string]any
		}
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if d.Version != "2012-10-17" || len(d.Statement) == 0 {
		t.Errorf("version %q, %d statements", d.Version, len(d.Statement))
	}
	for _, s := range d.Statement {
		if len(s.Action) == 0 || !regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(s.Sid) {
			t.Errorf("statement %+v", s)
		}
		for _, a := range s.Action {
			if !regexp.MustCompile(`^(secretsmanager|kms|sts):[A-Za-z]+$`).MatchString(a) {
				t.Errorf("the action %s", a)
			}
		}
		switch {
		case trust:
			if s.Principal == nil || s.Principal == "*" || s.Resource != nil || s.Effect != "Allow" {
				t.Errorf("a trust policy names who, and no resource: %+v", s)
			}
			if p, ok := s.Principal.(map[string]any); ok && p["AWS"] == nil && len(s.Condition) == 0 {
				t.Errorf("anybody of the provider may take on the role: %+v", s)
			}
		case resource:
			if s.Effect != "Deny" || s.Principal != "*" || len(s.Condition) == 0 || !slices.Equal(s.Action, []string{"secretsmanager:GetSecretValue"}) {
				t.Errorf("a policy of a secret refuses its value to others, and nothing else: %+v", s)
			}
		default:
			if s.Principal != nil || len(s.Resource) == 0 || s.Effect != "Allow" {
				t.Errorf("a policy of a role names resources and no principal: %+v", s)
			}
			for _, r := range s.Resource {
				if !arnForm.MatchString(r) {
					t.Errorf("the resource %s", r)
				}
			}
		}
	}
}

// TestLongRoleName shows that names that are too long for IAM stay different.
func TestLongRoleName(t *testing.T) {
	files := emit(t, `profiles: ["restricted"]
cluster: name: "a-cluster-with-a-rather-long-name-in-front"
secrets: {provider: "aws", aws: {region: "eu-central-1", accountID: "123456789012", oidcProvider: "oidc.internal/id/A"}}
namespaces: {
	"a-namespace-with-a-rather-long-name-1": {owner: "shop", secrets: x: path: "x"}
	"a-namespace-with-a-rather-long-name-2": {owner: "shop", secrets: x: path: "x"}
}
`)
	names := regexp.MustCompile(`"RoleName": "([^"]+)"`).FindAllStringSubmatch(files["bootstrap/secrets/aws/plan.json"], -1)
	distinct := map[string]bool{}
	for _, m := range names {
		distinct[m[1]] = true
		if len(m[1]) > 64 {
			t.Errorf("%s has %d characters", m[1], len(m[1]))
		}
	}
	if len(distinct) != 2 {
		t.Errorf("got %v", distinct)
	}
}

func TestUndecided(t *testing.T) {
	storeOnly, _, _ := strings.Cut(vault, "namespaces")
	for file, line := range map[string]string{
		`profiles: ["restricted"]`:                               `secrets: {provider: "vault"`,
		"profiles: [\"restricted\"]\nsecrets: provider: \"aws\"": `secrets: aws:`,
		storeOnly: `namespaces: "team-a"`,
	} {
		out, err := secrets.New().Generate(generatortest.Posture(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(out.Undecided, func(d generators.Decision) bool { return strings.HasPrefix(d.Line, line) }) {
			t.Errorf("nothing says %s: %+v", line, out.Undecided)
		}
	}
}
