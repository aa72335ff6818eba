package app

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/internal/engine"
)

// Values are what init can be told; empty ones are left to the defaults.
type Values struct {
	Name       string
	Profiles   []string
	Platform   string
	Kubernetes string
	CNI        string
	GitOps     string
	GitURL     string
	GitPath    string
	Secrets    string
	OIDCIssuer string
	Registries []string
}

// clusterFile writes the first cluster file: what was told, and an example tenant.
func clusterFile(v Values) ([]byte, error) {
	var b strings.Builder
	b.WriteString("// The security posture of this cluster. The file is yours: k8ssec reads it and never changes it.\n")
	b.WriteString("// Everything that is not written here has the value of the profiles, or a default.\n" +
		"// k8ssec schema shows every field; k8ssec explain shows what a control asks for.\npackage cluster\n\n")
	fmt.Fprintf(&b, "profiles: [%s]\n\ncluster: {\n\tname: %q\n\tplatform: %q\n\tkubernetes: %q\n\tcni: %q\n}\n",
		list(v.Profiles), v.Name, v.Platform, v.Kubernetes, v.CNI)
	if v.OIDCIssuer != "" {
		fmt.Fprintf(&b, "\n// People log in at this issuer. Its groups are bound to the roles below access and namespaces.\nidentity: oidc: issuerURL: %q\n", v.OIDCIssuer)
	}
	b.WriteString("\n// Groups of the identity provider.\naccess: {\n\tplatformAdmins: [\"platform-admins\"]\n\tviewers: [\"platform-viewers\"]\n\tauditors: [\"security-auditors\"]\n}\n")
	if len(v.Registries) > 0 {
		fmt.Fprintf(&b, "\n// Images come from here and from nowhere else.\nimages: registries: [%s]\n", list(v.Registries))
	}
	if v.Secrets != "" {
		fmt.Fprintf(&b, "\nsecrets: provider: %q\n", v.Secrets)
	}
	if v.GitOps != "" || v.GitURL != "" || v.GitPath != "" {
		b.WriteString("\ngitops: {\n")
		for _, f := range []struct{ name, value string }{{"engine", v.GitOps}, {"url", v.GitURL}, {"path", v.GitPath}} {
			if f.value != "" {
				fmt.Fprintf(&b, "\t%s: %q\n", f.name, f.value)
			}
		}
		if v.GitOps == "argocd" {
			b.WriteString("\tnamespace: \"argocd\"\n")
		}
		b.WriteString("}\n")
	}
	b.WriteString(exampleTenant)
	return engine.Format([]byte(b.String()))
}

const exampleTenant = `
// An example tenant: rename it, copy it, or delete it. All traffic that no flow declares is denied.
namespaces: "team-a": {
	owner: "team-a"
	purpose: "Example tenant"
	groups: {
		owners: ["team-a-owners"]
		developers: ["team-a-developers"]
		viewers: ["team-a-viewers"]
	}
}
`

func list(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = strconv.Quote(item)
	}
	return strings.Join(quoted, ", ")
}
