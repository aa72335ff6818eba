package workloads

import (
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// page is the data of docs/workloads.md.
type page struct {
	Cluster     string
	Enforcement posture.Enforcement
	Policies    []row
	Off         []row
	Namespace   string
	Image       string
	Groups      []string
	Accounts    []string
	Static      bool
	StaticDir   string
	NodeDir     string
	AuditLog    string
}

// row is one policy in a table.
type row struct {
	Name, Refuses, Write, Needs string
	State                       string
	Controls                    string
}

// documentation returns docs/workloads.md, which developers are sent to by the policies' messages.
func documentation(p *posture.Posture) (generators.Artifact, error) {
	data := page{
		Cluster:     p.Cluster.Name,
		Enforcement: p.Workloads.Enforcement,
		Namespace:   "team-a",
		Image:       "registry.internal",
		Groups:      generators.EmergencyGroups(p),
		Accounts:    generators.GitOpsAccounts(p),
		Static:      p.Workloads.Static && p.Cluster.Minor() >= staticMinor,
		StaticDir:   staticDir,
		NodeDir:     staticFolder,
		AuditLog:    p.Logging.Audit.Path,
	}
	if names := p.NamespacesOf("tenant"); len(names) > 0 {
		data.Namespace = names[0]
	}
	if len(p.Images.Registries) > 0 {
		data.Image = p.Images.Registries[0]
	}
	for _, pol := range policies() {
		r := row{
			Name: pol.name, Refuses: cell(pol.refuses), Write: cell(pol.write), Needs: pol.needs,
			State: string(enforcement(p, pol.name)),
		}
		rules := pol.rules(p)
		controls := []string{pol.control}
		for _, rule := range rules {
			for _, v := range rule.validations {
				controls = append(controls, v.liftedBy()...)
			}
		}
		r.Controls = strings.Join(unique(controls), ", ")
		switch {
		case !p.Workloads.Policies[pol.name].Enabled:
			r.Needs = "`workloads: policies: \"" + pol.name + "\": enabled: true`"
			data.Off = append(data.Off, r)
		case len(rules) == 0:
			data.Off = append(data.Off, r)
		default:
			data.Policies = append(data.Policies, r)
		}
	}
	text, err := generators.Text("workloads/workloads.md.tmpl", data)
	if err != nil {
		return generators.Artifact{}, err
	}
	return generators.Artifact{Path: "docs/workloads.md", Text: text, Kind: generators.Doc}, nil
}

// cell is a text for a table of Markdown.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// unique returns the values without repetition, in their order.
func unique[T comparable](values []T) []T {
	var kept []T
	for _, v := range values {
		if !slices.Contains(kept, v) {
			kept = append(kept, v)
		}
	}
	return kept
}
