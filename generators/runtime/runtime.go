package runtime

import (
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const domain = "runtime"

// The controls that the objects serve.
var (
	detectControls  = []string{"nsa-L6", "rt-1"}
	sandboxControls = []string{"nsa-P9"}
)

type generator struct{}

// New returns the generator of the domain runtime.
func New() generators.Generator { return generator{} }

// Domain is "runtime".
func (generator) Domain() string { return domain }

// Generate emits the detector with its rules, the profiles, and the policies about sandbox and user
// namespaces.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{}
	add := func(artifacts []generators.Artifact, err error) error {
		out.Artifacts = append(out.Artifacts, artifacts...)
		return err
	}
	switch {
	case p.Runtime.Detector == "off" || p.Runtime.Install == posture.InstallOff:
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: detectControls,
			Line:     `runtime: detector: "falco"`,
			Enables:  "system calls are watched on each node, and what this posture forbids is reported when it happens",
		})
	case p.Runtime.Detector == "falco":
		if err := add(falco(p)); err != nil {
			return nil, err
		}
	default:
		if err := add(tetragon(p)); err != nil {
			return nil, err
		}
	}
	if p.Runtime.SecurityProfiles != posture.InstallOff {
		if err := add(profiles(p)); err != nil {
			return nil, err
		}
	}
	if p.Runtime.SecurityProfiles == posture.InstallOff {
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"rt-2"},
			Line:     `runtime: securityProfiles: "install", encryption: certManager: "existing"`,
			Enables:  "pods may name a seccomp profile that is stricter than the runtime's own",
		})
	}
	if !p.Runtime.UserNamespaces {
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{"rt-3"},
			Line:     `runtime: userNamespaces: true`,
			Enables:  "root in a tenant's pod is nobody on the node; it needs Linux 6.3 and containerd 2.0 or CRI-O 1.25",
		})
	}
	if p.Runtime.Sandbox == nil {
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: sandboxControls,
			Line:     sandboxLine(p),
			Enables:  "pods of these namespaces run with that handler (gVisor, Kata Containers), which the container runtime of the nodes must have",
		})
	}
	if policies := confinement(p); len(policies) > 0 {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/runtime/cluster.policies.yaml",
			Comment: "What keeps tenants' containers apart from the node's kernel. Read by the API server.",
			Objects: policies,
		})
	}
	page, err := page(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, page)
	return out, nil
}

// sandboxLine is the line that decides the sandbox, for the first tenant or for a new one.
func sandboxLine(p *posture.Posture) string {
	name, owner := "team-a", `namespaces: "team-a": owner: "team-a", `
	if tenants := p.NamespacesOf("tenant"); len(tenants) > 0 {
		name, owner = tenants[0], ""
	}
	return owner + `runtime: sandbox: {handler: "runsc", namespaces: ["` + name + `"]}`
}

// platformNamespaces are the namespaces of the system and of add-ons, sorted.
func platformNamespaces(p *posture.Posture) []string {
	names := slices.Concat(p.NamespacesOf("system"), p.NamespacesOf("addon"))
	if p.Cluster.CNI == "calico" {
		names = append(names, "calico-apiserver", "calico-system", "tigera-operator")
	}
	if p.Cluster.Platform == "kind" {
		names = append(names, "local-path-storage")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// apiNamespaces are the namespaces whose pods may call the API server.
func apiNamespaces(p *posture.Posture) []string {
	var names []string
	for _, name := range p.NamespacesOf("tenant") {
		if p.Namespaces[name].APIAccess {
			names = append(names, name)
		}
	}
	return names
}

// apiAddresses are the addresses of the API server: its service, and its endpoints where they are known.
func apiAddresses(p *posture.Posture) []string {
	var addresses []string
	for _, cidr := range p.Cluster.ServiceCIDRs {
		if first, ok := firstAddress(cidr); ok {
			addresses = append(addresses, first)
		}
	}
	for _, e := range p.Cluster.APIEndpoints {
		addresses = append(addresses, e.Address)
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

// runbook is the path of a runbook of the incident domain.
func runbook(name string) string { return "docs/runbooks/" + name + ".md" }

// sentence begins with a capital letter and ends with a full stop.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

func anyList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// meta is the metadata of an object that is a map.
func meta(namespace, name string) map[string]any {
	labels := map[string]any{}
	for k, v := range generators.Meta(domain, namespace, name).Labels {
		labels[k] = v
	}
	out := map[string]any{"name": name, "labels": labels}
	if namespace != "" {
		out["namespace"] = namespace
	}
	return out
}
