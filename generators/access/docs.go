package access

import (
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// docs returns the two pages for people: who holds what, and what to do in an emergency.
func docs(p *posture.Posture) ([]generators.Artifact, error) {
	access, err := generators.Text("access/access.md.tmpl", accessPage(p))
	if err != nil {
		return nil, err
	}
	breakGlass, err := generators.Text("access/break-glass.md.tmpl", breakGlassPage(p))
	if err != nil {
		return nil, err
	}
	return []generators.Artifact{
		{
			Path: "docs/access.md",
			Kind: generators.Procedure,
			Text: access,
			Claims: []generators.Claim{
				{Control: "cis-3.1.1", Field: "## Client certificates"},
				{Control: "cis-3.1.2", Field: "## Service account tokens"},
				{Control: "cis-3.1.3", Field: "## Bootstrap tokens"},
				{Control: "cis-5.1.1", Field: "## Review of cluster-admin and system:masters"},
				{Control: "cis-5.1.7", Field: "## Review of cluster-admin and system:masters"},
				{Control: "cis-5.1.2", Field: "## Review of roles that others brought"},
				{Control: "cis-5.1.3", Field: "## Review of roles that others brought"},
				{Control: "cis-5.1.8", Field: "## Review of roles that others brought"},
				{Control: "cis-5.1.10", Field: "## Review of roles that others brought"},
				{Control: "cis-5.1.11", Field: "## Review of roles that others brought"},
				{Control: "cis-5.1.13", Field: "## Review of roles that others brought"},
			},
		},
		{
			Path: "docs/break-glass.md",
			Kind: generators.Procedure,
			Text: breakGlass,
			Claims: []generators.Claim{
				{Control: "access-3", Field: "systemd-run"},
				{Control: "cis-5.1.1", Field: "## 4. Close"},
			},
		},
	}, nil
}

type rolePage struct{ Name, Why, Holders string }

type tenantPage struct{ Name, Owners, Developers, Viewers, Deployers string }

type accessData struct {
	Cluster, Prefix, Issuer, AuditLog, ExpectedAdmins string
	Roles                                             []rolePage
	Tenants                                           []tenantPage
	DeveloperSecrets, DeveloperExec, CreateTokens     bool
}

func accessPage(p *posture.Posture) accessData {
	d := accessData{
		Cluster:          p.Cluster.Name,
		Prefix:           p.Identity.GroupsPrefix,
		AuditLog:         p.Logging.Audit.Path,
		DeveloperSecrets: p.Access.DeveloperSecrets,
		DeveloperExec:    p.Access.DeveloperExec,
		CreateTokens:     p.Access.HumansCreateTokens,
	}
	if p.Identity.OIDC != nil {
		d.Issuer = p.Identity.OIDC.IssuerURL
	}
	if p.GitOps.Engine == "flux" {
		d.ExpectedAdmins = ", cluster-reconciler-" + p.GitOps.Namespace + " (Flux)"
	}
	holders := map[string]string{
		PlatformAdmin:   list(p.Access.PlatformAdmins),
		PlatformViewer:  list(p.Access.Viewers),
		PlatformAuditor: list(p.Access.Auditors),
	}
	for _, r := range roles {
		h := holders[r.name]
		if h == "" {
			h = "see the namespaces below"
		}
		d.Roles = append(d.Roles, rolePage{Name: RoleName(r.name), Why: r.why, Holders: h})
	}
	for _, name := range p.NamespaceNames() {
		ns := p.Namespaces[name]
		deployers := ns.CI
		if ns.GitSource != nil {
			deployers = append([]string{name + "/" + generators.DeployerAccount}, deployers...)
		}
		t := tenantPage{
			Name:       name,
			Owners:     list(ns.Groups.Owners),
			Developers: list(ns.Groups.Developers),
			Viewers:    list(ns.Groups.Viewers),
			Deployers:  list(deployers),
		}
		if t != (tenantPage{Name: name, Owners: nobody, Developers: nobody, Viewers: nobody, Deployers: nobody}) {
			d.Tenants = append(d.Tenants, t)
		}
	}
	return d
}

const nobody = "nobody"

// list writes names as Markdown code, for a table.
func list(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) == 0 {
		return nobody
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

type breakGlassData struct {
	Hours, Drills                   int
	Group, Subject, Binding, Issuer string
	// Shell runs one command on the control plane node, ShellStdin the same with standard input,
	// and Script a quoted script.
	Shell, ShellStdin, Script, Copy string
	AdminConf, Pause                string
	Interval, AuditLog              string
	Static                          bool
}

func breakGlassPage(p *posture.Posture) breakGlassData {
	d := breakGlassData{
		Hours:      p.Access.BreakGlass.MaxHours,
		Drills:     p.Incident.DrillsPerYear,
		Group:      p.Access.BreakGlass.Group,
		Subject:    p.Identity.GroupsPrefix + p.Access.BreakGlass.Group,
		Binding:    BreakGlassBinding,
		Shell:      "ssh root@$NODE",
		ShellStdin: "ssh root@$NODE",
		Script:     "ssh root@$NODE",
		Copy:       "scp root@$NODE:/root/alice.conf .",
		AdminConf:  "/etc/kubernetes/admin.conf",
		Interval:   p.GitOps.Interval,
		AuditLog:   p.Logging.Audit.Path,
		Static:     p.Workloads.Static && p.Cluster.Minor() >= 37,
	}
	if p.Cluster.Platform == "kind" {
		d.Shell, d.ShellStdin = "docker exec $NODE", "docker exec -i $NODE"
		d.Script, d.Copy = "docker exec $NODE sh -c", "docker cp $NODE:/root/alice.conf ."
	}
	if p.Identity.OIDC != nil {
		d.Issuer = p.Identity.OIDC.IssuerURL
	}
	controller := "deployment/kustomize-controller"
	if p.GitOps.Engine == "argocd" {
		controller = "statefulset/argocd-application-controller"
	}
	d.Pause = "kubectl -n " + p.GitOps.Namespace + " scale " + controller + " --replicas=0   # at the end: --replicas=1"
	return d
}
