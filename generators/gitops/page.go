package gitops

import (
	"path"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// tenantPath is a path inside of a tenant's repository, as Flux wants it.
func tenantPath(p string) string {
	return "./" + strings.TrimPrefix(path.Clean("/"+p), "/")
}

type waveRow struct{ Path, After, Why string }

type tenantRow struct{ Name, URL, Branch, Path string }

type pageData struct {
	GitOps    posture.GitOps
	Namespace string
	// Dir is the emitted repository inside of its Git repository, "." at the root, and Prefix the
	// same with a slash, empty at the root.
	Dir, Prefix, Branch, Secret, URL string
	SSH                              bool
	Waves                            []waveRow
	Tenants                          []tenantRow
	Deployer                         string
}

// page is docs/gitops.md.
func page(p *posture.Posture) (generators.Artifact, error) {
	d := pageData{
		GitOps:    p.GitOps,
		Namespace: p.GitOps.Namespace,
		Dir:       at(p),
		Branch:    p.GitOps.Branch,
		URL:       p.GitOps.URL,
		SSH:       strings.HasPrefix(p.GitOps.URL, "ssh://"),
		Secret:    sourceSecret(p),
		Deployer:  generators.DeployerAccount,
	}
	if d.Dir != "." {
		d.Prefix = d.Dir + "/"
	}
	for _, w := range active(p) {
		after := "nothing"
		if len(w.after) > 0 {
			after = strings.Join(w.after, ", ")
		}
		d.Waves = append(d.Waves, waveRow{Path: "manifests/" + w.domain, After: after, Why: w.why})
	}
	for _, name := range tenants(p) {
		s := p.Namespaces[name].GitSource
		d.Tenants = append(d.Tenants, tenantRow{name, s.URL, s.Branch, s.Path})
	}
	text, err := generators.Text("gitops/"+p.GitOps.Engine+".md.tmpl", d)
	if err != nil {
		return generators.Artifact{}, err
	}
	claims := []generators.Claim{
		{Control: "gitops-6", Field: "## What the controller may do"},
		{Control: "gitops-6", Field: "## When GitOps has locked itself out"},
	}
	if p.GitOps.Engine == "argocd" {
		claims = append(claims, generators.Claim{Control: "gitops-4", Field: "## Signed commits"})
	}
	return generators.Artifact{Path: "docs/gitops.md", Kind: generators.Procedure, Text: text, Claims: claims}, nil
}
