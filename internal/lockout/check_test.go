package lockout

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/all"
	"github.com/k8ssec/k8ssec/generators/generatortest"
)

// render returns what all generators emit.
func render(t testing.TB, p *posture.Posture) []generators.Artifact {
	t.Helper()
	var artifacts []generators.Artifact
	for _, g := range all.List() {
		out, err := g.Generate(p)
		if err != nil {
			t.Fatal(err)
		}
		artifacts = append(artifacts, out.Artifacts...)
	}
	return artifacts
}

// example has each thing that a namespace can ask for, declared at both ends.
const example = `
namespaces: {
	"team-a": {
		owner: "team-a"
		apiAccess: true
		webhooks: [9443]
		metrics: [8080]
		ingress: web: {
			peers: [{entity: "world"}]
			ports: [{port: 8443, protocol: "TCP"}]
		}
		ingress: "from-team-b": {
			pods: app: "api"
			peers: [{namespace: "team-b", pods: app: "web"}]
			ports: [{port: 8080, protocol: "TCP"}]
		}
		ingress: agents: {
			peers: [{entity: "nodes"}]
			ports: [{port: 9000, end: 9010, protocol: "UDP"}]
		}
		egress: mixed: {
			peers: [{entity: "apiserver"}, {entity: "nodes"}, {entity: "world"}, {cidr: "203.0.113.0/24", except: ["203.0.113.8/29"]}]
			ports: [{port: 443, protocol: "TCP"}]
		}
		gitSource: {url: "ssh://git@git.internal:7999/team-a/deploy.git", branch: "main", path: "deploy"}
	}
	"team-b": {
		owner: "team-b"
		sameNamespace: false
		egress: "to-team-a": {
			pods: app: "web"
			peers: [{namespace: "team-a", pods: app: "api"}]
			ports: [{port: 8080, protocol: "TCP"}]
		}
		egress: everybody: {
			peers: [{entity: "cluster"}]
			ports: [{port: 7000, protocol: "TCP"}]
		}
	}
	"team-c": owner: "team-c"

}
network: monitoringNamespace: "monitoring"
alerts: install: "install"
`

const decided = `
cluster: nodeCIDRs: ["192.168.10.0/24"]
cluster: apiEndpoints: [{address: "192.168.10.2", port: 6443}, {address: "192.168.10.3", port: 6444}]
network: upstreamDNS: ["192.168.10.5", "192.168.1.1"]
`

const dualStack = `
cluster: podCIDRs: ["10.244.0.0/16", "fd00:10:244::/56"]
cluster: serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"]
cluster: nodeCIDRs: ["192.168.10.0/24", "fd00:192:168::/64"]
`

func profile(name, cni string) string {
	return fmt.Sprintf("profiles: [%q]\ncluster: cni: %q\n", name, cni)
}

func TestCorrectPostureHasNoFindings(t *testing.T) {
	for name, cluster := range map[string]string{
		"baseline":   `profiles: ["baseline"]` + example,
		"restricted": `profiles: ["restricted"]` + example,
		"cis":        `profiles: ["cis"]` + example,
		"cis-l2":     `profiles: ["cis-l2"]` + example,
		"nsa":        `profiles: ["nsa"]` + example,
		"alone":      `profiles: ["baseline"]`,
		"addresses":  `profiles: ["baseline"]` + example + decided,
		"dual":       `profiles: ["baseline"]` + example + dualStack,
		"argocd":     `profiles: ["baseline"]` + example + `gitops: {engine: "argocd", namespace: "argocd", url: "https://git.internal:8443/prod.git"}`,
		"git":        `profiles: ["baseline"]` + "\n" + `gitops: {url: "ssh://git@git.internal:2222/prod.git", path: "clusters/prod"}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := generatortest.Posture(t, cluster)
			for _, cni := range []string{"cilium", "calico", "other"} {
				for _, deny := range []bool{true, false} {
					p.Cluster.CNI, p.Network.DefaultDeny = cni, deny
					for _, f := range Check(p, render(t, p)) {
						t.Errorf("%s: %s: %s\n\t%s", cni, f.File, f.Message, f.Fix)
					}
				}
			}
		})
	}
}

// FuzzObjects holds the reader against objects that no generator writes.
func FuzzObjects(f *testing.F) {
	p := generatortest.Posture(f, profile("baseline", "cilium")+example)
	for _, a := range render(f, p) {
		for _, o := range a.Objects {
			data, err := json.Marshal(o.Value)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m map[string]any
		if json.Unmarshal(data, &m) != nil {
			return
		}
		for _, finding := range CheckObjects(p, []Object{{File: "manifests/x.yaml", Value: m}}) {
			if finding.Message == "" {
				t.Errorf("a finding says nothing: %+v", finding)
			}
		}
	})
}

func TestNamesPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"api.partner.org", "api.partner.org", true},
		{"api.partner.org", "API.partner.org.", true},
		{"api.partner.org", "x.api.partner.org", false},
		{"*.partner.org", "a.partner.org", true},
		{"*.partner.org", "partner.org", false},
		{"*.partner.org", "a.b.partner.org", false},
		{"api-*.partner.*", "api-7.partner.org", true},
		{"*", "partner.org", false},
	} {
		if got := fqdnMatches(c.pattern, c.name); got != c.want {
			t.Errorf("fqdnMatches(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

// many is a cluster file with n tenants that each have a flow from the one before.
func many(n int, cni string) string {
	var b strings.Builder
	b.WriteString(profile("cis", cni))
	b.WriteString("network: monitoringNamespace: \"monitoring\"\nalerts: install: \"install\"\n")
	for i := range n {
		fmt.Fprintf(&b, `namespaces: "team-%d": {
	owner: "team-%d"
	apiAccess: true
	metrics: [8080]
	ingress: before: {peers: [{namespace: "team-%d"}], ports: [{port: 8080, protocol: "TCP"}]}
	egress: after: {peers: [{namespace: "team-%d"}], ports: [{port: 8080, protocol: "TCP"}]}
	egress: out: {peers: [{entity: "world"}], ports: [{port: 443, protocol: "TCP"}]}
}
`, i, i, (i+n-1)%n, (i+1)%n)
	}
	return b.String()
}

func BenchmarkCheck(b *testing.B) {
	for _, cni := range []string{"cilium", "calico"} {
		for _, n := range []int{100, 1000} {
			p := generatortest.Posture(b, many(n, cni))
			artifacts := render(b, p)
			b.Run(fmt.Sprintf("%s/%d", cni, n), func(b *testing.B) {
				for b.Loop() {
					if found := Check(p, artifacts); len(found) > 0 {
						b.Fatal(found[0].Message)
					}
				}
			})
		}
	}
}
