package gitops

import (
	"path"
	"slices"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const domain = "gitops"

// wave is one folder below manifests/ that is applied as a unit.
type wave struct {
	domain string
	// after are the domains that must be there, and healthy, before.
	after []string
	// number is the same order for Argo CD, which knows no dependencies.
	number string
	why    string
	// loose waves are ready when they are applied, whether or not what they hold is healthy: a
	// tenant's broken repository is not the platform's failure.
	loose bool
	// when says whether the posture has this folder; nil means always.
	when func(*posture.Posture) bool
}

// waves is the order in which the domains are applied: the fence before what it holds.
var waves = []wave{
	{
		domain: "namespaces", number: "0",
		why: "First the namespaces with their labels: Pod Security holds from the first pod on, and everything else needs a namespace to be in.",
	},
	{
		domain: "access", after: []string{"namespaces"}, number: "1",
		why: "Roles and bindings, and default service accounts without a token, before a pod could use one.",
	},
	{
		domain: "resources", after: []string{"namespaces"}, number: "1",
		why: "Quotas and default limits. They are read when a pod is created: what comes before them stays without.",
	},
	{
		domain: "network", after: []string{"namespaces"}, number: "1",
		why: "Default deny and the declared flows, each namespace's together, so that no flow is closed without its exceptions.",
	},
	{
		domain: "workloads", after: []string{"namespaces"}, number: "1",
		why: "Admission policies and their bindings, before the workloads that they are for.",
	},
	{
		domain: domain, after: []string{"access", "resources", "network", "workloads"}, number: "2",
		loose: true,
		why:   "The tenants' own repositories, last: what they bring meets every rule above.",
		when:  func(p *posture.Posture) bool { return len(tenants(p)) > 0 },
	},
}

// tenants are the namespaces that are deployed from a Git repository of their own.
func tenants(p *posture.Posture) []string {
	return slices.DeleteFunc(p.NamespaceNames(), func(name string) bool { return p.Namespaces[name].GitSource == nil })
}

// active are the waves of this posture.
func active(p *posture.Posture) []wave {
	return slices.DeleteFunc(slices.Clone(waves), func(w wave) bool { return w.when != nil && !w.when(p) })
}

// at is a path inside of the Git repository that holds the emitted one.
func at(p *posture.Posture, elements ...string) string {
	return path.Join(append([]string{p.GitOps.Path}, elements...)...)
}

type generator struct{}

// New returns the generator of the gitops domain.
func New() generators.Generator { return generator{} }

func (generator) Domain() string { return domain }

func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	var out *generators.Output
	if p.GitOps.Engine == "argocd" {
		out = argo(p)
	} else {
		out = flux(p)
	}
	page, err := page(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, page)
	return out, nil
}
