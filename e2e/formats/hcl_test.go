package formats

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

const readers = `namespaces: {
	shop: {owner: "shop", secrets: {database: path: "database", report: {path: "a/report", purpose: "batch"}}}
	billing: {owner: "billing", secrets: ledger: path: "ledger"}
}
`

// TestVaultPolicies parses each policy and holds it to the blocks that Vault knows.
func TestVaultPolicies(t *testing.T) {
	dir := generated(t, "profiles: [\"restricted\"]\ncluster: controlPlaneEndpoint: \"api.internal:6443\"\n"+
		"secrets: {provider: \"vault\", vault: address: \"https://vault.internal:8200\"}\n"+readers)
	files, err := filepath.Glob(filepath.Join(dir, "bootstrap/secrets/vault/*.hcl"))
	if err != nil || len(files) != 3 {
		t.Fatalf("%d policies: %v", len(files), err)
	}
	for _, name := range files {
		for _, block := range parse(t, name).Blocks {
			if block.Type != "path" || len(block.Labels) != 1 || len(block.Body.Attributes) != 1 || block.Body.Attributes["capabilities"] == nil {
				t.Errorf("%s: Vault does not know block %s %v", name, block.Type, block.Labels)
				continue
			}
			value, diags := block.Body.Attributes["capabilities"].Expr.Value(nil)
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			for _, c := range value.AsValueSlice() {
				if c.AsString() != "read" && (c.AsString() != "update" || block.Labels[0] != "auth/token/revoke-self") {
					t.Errorf("%s: %s on %s", name, c.AsString(), block.Labels[0])
				}
			}
		}
	}
}

// TestTerraform parses the Terraform form and shows that every resource that is referred to is there.
func TestTerraform(t *testing.T) {
	for _, identity := range []string{`identity: "irsa", oidcProvider: "oidc.internal/id/A"`, `identity: "pod-identity"`} {
		dir := generated(t, "profiles: [\"restricted\"]\nsecrets: {provider: \"aws\", aws: {region: \"eu-central-1\", accountID: \"123456789012\", "+identity+"}}\n"+readers)
		body := parse(t, filepath.Join(dir, "bootstrap/secrets/aws/secrets.tf"))
		defined := map[string]bool{}
		for _, block := range body.Blocks {
			switch block.Type {
			case "resource":
				defined[block.Labels[0]+"."+block.Labels[1]] = true
			case "data":
				defined["data."+block.Labels[0]+"."+block.Labels[1]] = true
			}
		}
		if len(defined) < 9 {
			t.Errorf("only %v", defined)
		}
		for _, block := range body.Blocks {
			for _, attribute := range block.Body.Attributes {
				for _, traversal := range attribute.Expr.Variables() {
					name := traversal.RootName()
					for i, step := range traversal {
						if a, ok := step.(hcl.TraverseAttr); ok && (i == 1 || i == 2 && traversal.RootName() == "data") {
							name += "." + a.Name
						}
					}
					if !defined[name] {
						t.Errorf("%s is not there", name)
					}
				}
			}
		}
	}
}

func parse(t *testing.T, name string) *hclsyntax.Body {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file, diags := hclsyntax.ParseConfig(text, filepath.Base(name), hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return file.Body.(*hclsyntax.Body)
}
