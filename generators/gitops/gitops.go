package gitops

import (
	"path"
	"slices"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

const domain = "gitops"

// wave is one folder below manifests/ that is applied as a unit.
type wave struct {
	domain string
	// after are the domains that must be there, and healthy, before.
	after []string
	// addons are those that bring the kinds which the folder holds; it waits for the installed ones.
	addons []string
	// number is the same order for Argo CD, which knows no dependencies.
	number string
	why    string
	// loose waves are ready when they are applied, whether or not what they hold is healthy: a
	// tenant's broken repository is not the platform's failure.
	loose bool
	// when says whether the posture has this folder; nil means always.
	when func(*posture.Posture) bool
}

// fences are what must stand before anything that runs pods.
var fences = []string{"access", "resources", "network", "workloads"}

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
		domain: "secrets", after: fences, addons: []string{"external-secrets"}, number: "3",
		loose: true,
		why:   "Which entries of the secret store each namespace reads. A pod that starts before its secret is there waits for it, and needs no restart.",
		when: func(p *posture.Posture) bool {
			return p.Secrets.Install != posture.InstallOff && addons.StoreDecided(p)
		},
	},
	{
		domain: "backup", after: fences, addons: []string{"velero"}, number: "3",
		why: "What is backed up, when, and to where, once Velero is there to read it.",
		when: func(p *posture.Posture) bool {
			return p.Backup.Install != posture.InstallOff && p.Backup.Location != nil
		},
	},
	{
		domain: "upgrades", after: fences, number: "3",
		why: "What the system upgrade controller does on the nodes.",
		when: func(p *posture.Posture) bool {
			return p.Upgrades.NodePatching == "system-upgrade-controller" && p.Upgrades.Round != ""
		},
	},
	{
		domain: "benchmark", after: fences, number: "3",
		why:  "The jobs that look at the nodes.",
		when: func(p *posture.Posture) bool { return p.Benchmark.KubeBench == posture.InstallInstall },
	},
	{
		domain: "logging", after: fences, addons: []string{"cert-manager"}, number: "3",
		why:  "The shipper and its store, before anything that is worth recording.",
		when: (*posture.Posture).ShipsLogs,
	},
	{
		domain: "alerts", after: fences, addons: []string{"kube-prometheus-stack"}, number: "3",
		why:  "Rules and receivers, after the operator that reads them.",
		when: func(p *posture.Posture) bool { return p.Alerts.Install != posture.InstallOff },
	},
	{
		domain: "images", after: fences, addons: []string{"kyverno", "policy-controller"}, number: "3",
		why:  "Whose signature an image needs, before tenants' workloads.",
		when: func(p *posture.Posture) bool { return p.Images.Verify != "off" && len(p.Images.Signers) > 0 },
	},
	{
		domain: "runtime", after: fences, addons: []string{"security-profiles-operator", "tetragon"}, number: "3",
		why:  "What watches and confines containers, before tenants' workloads.",
		when: addons.RuntimeManifests,
	},
	{
		domain: domain, after: fences, number: "4",
		loose: true,
		why:   "The tenants' own repositories, last: what they bring meets every rule above.",
		when:  func(p *posture.Posture) bool { return len(tenants(p)) > 0 },
	},
}

// tenants are the namespaces that are deployed from a Git repository of their own.
func tenants(p *posture.Posture) []string {
	return slices.DeleteFunc(p.NamespaceNames(), func(name string) bool { return p.Namespaces[name].GitSource == nil })
}

// active are the waves of this posture, with a wave for each add-on. With Argo CD an add-on is an
// Application of its own (generators/addons), so that it is a wave for Flux only.
func active(p *posture.Posture) []wave {
	installed := addons.Installed(p)
	folder := func(name string) (string, bool) {
		i := slices.IndexFunc(installed, func(a addons.Addon) bool { return a.Name == name })
		if i < 0 {
			return "", false
		}
		return installed[i].Folder(), true
	}
	var out []wave
	for _, w := range waves {
		if w.when != nil && !w.when(p) {
			continue
		}
		if p.GitOps.Engine == "flux" {
			w.after = slices.Clone(w.after)
			for _, name := range w.addons {
				if f, ok := folder(name); ok {
					w.after = append(w.after, f)
				}
			}
		}
		out = append(out, w)
	}
	if p.GitOps.Engine != "flux" {
		return out
	}
	first := slices.IndexFunc(out, func(w wave) bool { return len(w.after) > 0 && !slices.Contains(w.after, "namespaces") })
	if first < 0 {
		first = len(out)
	}
	for _, a := range installed {
		w := wave{domain: a.Folder(), after: slices.Clone(fences), why: a.Why}
		for _, name := range a.After {
			if f, ok := folder(name); ok {
				w.after = append(w.after, f)
			}
		}
		out = slices.Insert(out, first, w)
		first++
	}
	return out
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
		var err error
		if out, err = argo(p); err != nil {
			return nil, err
		}
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
