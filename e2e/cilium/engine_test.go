// Package cilium runs the emitted network policies through the policy engine of Cilium itself: the same
// code that its agent compiles policies with decides here who may talk to whom. It shows that Cilium
// accepts each object, and that internal/lockout reads them as Cilium does.
package cilium

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/identity/identitymanager"
	ipcachetypes "github.com/cilium/cilium/pkg/ipcache/types"
	"github.com/cilium/cilium/pkg/k8s"
	ciliumv2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	slim "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/networking/v1"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/policy/types"
	"github.com/cilium/cilium/pkg/policy/utils"
	testpolicy "github.com/cilium/cilium/pkg/testutils/policy"
	"github.com/cilium/cilium/pkg/u8proto"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/network"
)

const clusterName = "default"

// example has each kind of flow.
const example = `
profiles: ["restricted"]
cluster: cni: "cilium"
network: monitoringNamespace: "monitoring"
alerts: install: "install"
gitops: url: "ssh://git@git.internal:2222/prod.git"
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
			ports: [{port: 8000, end: 8010, protocol: "TCP"}]
		}
		egress: mixed: {
			peers: [{entity: "nodes"}, {entity: "world"}, {cidr: "169.254.0.0/16"}]
			ports: [{port: 443, protocol: "TCP"}]
		}
		egress: partner: {
			pods: app: "shop"
			peers: [{fqdn: "api.partner.org"}]
			ports: [{port: 5432, protocol: "TCP"}]
		}
	}
	"team-b": {
		owner: "team-b"
		sameNamespace: false
		egress: "to-team-a": {
			pods: app: "web"
			peers: [{namespace: "team-a", pods: app: "api"}]
			ports: [{port: 8000, end: 8010, protocol: "TCP"}]
		}
	}
}
`

// engine is Cilium's policy repository with the identities that the flows are between.
type engine struct {
	t          *testing.T
	repo       *policy.Repository
	manager    identitymanager.IDManager
	identities map[string]*identity.Identity
}

var setUp = sync.OnceFunc(func() {
	api.InitEntities(clusterName)
	policy.SetPolicyEnabled(option.DefaultEnforcement)
	// The agent's own defaults (daemon/cmd): auto becomes always in Kubernetes.
	option.Config.UnsafeDaemonConfigOption.AllowLocalhost = option.AllowLocalhostAlways
	option.Config.EnableIPv4 = true
	option.Config.EnableL7Proxy = true
	option.Config.EnableNonDefaultDenyPolicies = true
})

func pod(namespace string, podLabels ...string) labels.LabelArray {
	list := []string{
		"k8s:io.kubernetes.pod.namespace=" + namespace,
		"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=" + namespace,
		"k8s:io.cilium.k8s.policy.cluster=" + clusterName,
	}
	for _, l := range podLabels {
		list = append(list, "k8s:"+l)
	}
	return labels.ParseLabelArray(list...)
}

func address(prefix string) labels.LabelArray {
	return labels.GetCIDRLabels(netip.MustParsePrefix(prefix)).LabelArray()
}

// newEngine loads the objects; edit may change them before.
func newEngine(t *testing.T, p *posture.Posture, edit func(name string, spec map[string]any)) *engine {
	setUp()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := &engine{t: t, manager: identitymanager.NewIDManager(logger), identities: map[string]*identity.Identity{}}
	ids := identity.IdentityMap{}
	next := identity.NumericIdentity(1000)
	local := identity.IdentityScopeLocal
	for name, l := range map[string]labels.LabelArray{
		"a":           pod("team-a"),
		"a/api":       pod("team-a", "app=api"),
		"quarantined": pod("team-a", "app=api", "k8ssec.dev/quarantine=inc-123"),
		"a/shop":      pod("team-a", "app=shop"),
		"b":           pod("team-b"),
		"b/web":       pod("team-b", "app=web"),
		"unknown":     pod("somebody-elses"),
		"dns":         pod("kube-system", "k8s-app=kube-dns"),
		"metrics":     pod("kube-system", "k8s-app=metrics-server"),
		"relay":       pod("kube-system", "k8s-app=hubble-relay"),
		"system":      pod("kube-system"),
		"source":      pod("flux-system", "app=source-controller"),
		"kustomize":   pod("flux-system", "app=kustomize-controller"),
		"prometheus":  pod("monitoring"),
		"host":        labels.ParseLabelArray("reserved:host"),
		"node":        labels.ParseLabelArray("reserved:remote-node"),
		"apiserver":   labels.ParseLabelArray("reserved:remote-node", "reserved:kube-apiserver"),
		"world":       address("203.0.113.5/32"),
		"metadata":    address("169.254.169.254/32"),
		"wireserver":  address("168.63.129.16/32"),
		// An address that the DNS proxy has seen in an answer for the name.
		"partner": append(address("198.51.100.7/32"), labels.NewLabel("api.partner.org", "", labels.LabelSourceFQDN)),
		// The same, where somebody let the name point to the metadata service.
		"rebound": append(address("100.100.100.200/32"), labels.NewLabel("api.partner.org", "", labels.LabelSourceFQDN)),
	} {
		id := next
		switch name {
		case "host":
			id = identity.ReservedIdentityHost
		case "node":
			id = identity.ReservedIdentityRemoteNode
		case "apiserver":
			id = identity.ReservedIdentityKubeAPIServer
		case "world", "metadata", "wireserver", "partner", "rebound":
			local++
			id = local
		default:
			next++
		}
		e.identities[name] = identity.NewIdentity(id, l.Labels())
		ids[id] = l
	}
	e.repo = policy.NewPolicyRepository(logger, ids, nil, nil, e.manager, testpolicy.NewPolicyMetricsNoop())
	wg := &sync.WaitGroup{}
	e.repo.GetSubjectSelectorCache().UpdateIdentities(maps.Clone(ids), nil, wg)
	wg.Wait()

	out, err := network.New().Generate(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range out.Artifacts {
		for _, o := range a.Objects {
			e.add(logger, a.Path, o, edit)
		}
	}
	return e
}

// add loads one object as the agent does: from its JSON, with Cilium's own parser.
func (e *engine) add(logger *slog.Logger, path string, o generators.Object, edit func(string, map[string]any)) {
	e.t.Helper()
	data, err := json.Marshal(o.Value)
	if err != nil {
		e.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		e.t.Fatal(err)
	}
	metadata := m["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	name := namespace + "/" + metadata["name"].(string)
	if edit != nil {
		edit(name, m["spec"].(map[string]any))
		if m["spec"].(map[string]any)["delete"] != nil {
			return
		}
		if data, err = json.Marshal(m); err != nil {
			e.t.Fatal(err)
		}
	}
	var entries types.PolicyEntries
	kind := m["kind"].(string)
	switch kind {
	case "NetworkPolicy":
		var np slim.NetworkPolicy
		strict(e.t, path, data, &np)
		entries, err = k8s.ParseNetworkPolicy(logger, clusterName, &np)
	case "CiliumNetworkPolicy":
		var np ciliumv2.CiliumNetworkPolicy
		strict(e.t, path, data, &np)
		var rules api.Rules
		rules, err = np.Parse(logger, clusterName)
		entries = utils.RulesToPolicyEntries(rules)
	case "CiliumClusterwideNetworkPolicy":
		var np ciliumv2.CiliumClusterwideNetworkPolicy
		strict(e.t, path, data, &np)
		var rules api.Rules
		rules, err = np.Parse(logger, clusterName)
		entries = utils.RulesToPolicyEntries(rules)
	default:
		e.t.Fatalf("%s: unexpected kind %s", path, kind)
	}
	if err != nil {
		e.t.Fatalf("%s: Cilium refuses %s %s: %v", path, kind, name, err)
	}
	e.repo.ReplaceByResource(entries, ipcachetypes.ResourceID(kind+"/"+name))
}

func strict(t *testing.T, path string, data []byte, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// flow is a connection and what both of its ends must say: "open", "closed", or which end is closed. An end
// that is no pod has no policy and is always open.
type flow struct {
	from, to string
	proto    string
	port     uint16
	want     string
}

func (e *engine) check(f flow) {
	e.t.Helper()
	proto, err := u8proto.ParseProtocol(f.proto)
	if err != nil {
		e.t.Fatal(err)
	}
	from, to := e.identities[f.from], e.identities[f.to]
	if from == nil || to == nil {
		e.t.Fatalf("no identity %q or %q", f.from, f.to)
	}
	verdict, _, _, err := policy.LookupFlow(slog.New(slog.NewTextHandler(io.Discard, nil)), e.repo, e.manager, types.Flow{From: from, To: to, Proto: proto, Dport: f.port})
	if err != nil {
		e.t.Fatal(err)
	}
	got := "open"
	switch {
	case verdict.Egress != types.DecisionAllowed && verdict.Ingress != types.DecisionAllowed:
		got = "closed"
	case verdict.Egress != types.DecisionAllowed:
		got = "egress closed"
	case verdict.Ingress != types.DecisionAllowed:
		got = "ingress closed"
	}
	if got != f.want {
		e.t.Errorf("%s -> %s %s/%d: %s, want %s", f.from, f.to, f.proto, f.port, got, f.want)
	}
}

func TestEmittedPolicies(t *testing.T) {
	e := newEngine(t, generatortest.Posture(t, example), nil)
	for _, f := range []flow{
		// Cluster DNS answers everybody, and asks its resolvers, also those at a metadata address.
		{"a", "dns", "UDP", 53, "open"},
		{"a", "dns", "TCP", 53, "open"},
		{"a/shop", "dns", "UDP", 53, "open"},
		{"source", "dns", "UDP", 53, "open"},
		{"unknown", "dns", "UDP", 53, "open"},
		{"host", "dns", "UDP", 53, "open"},
		{"node", "dns", "UDP", 53, "open"},
		{"apiserver", "dns", "UDP", 53, "open"},
		{"world", "dns", "UDP", 53, "ingress closed"},
		{"dns", "world", "UDP", 53, "open"},
		{"dns", "node", "UDP", 53, "open"},
		{"dns", "metadata", "UDP", 53, "open"},
		{"dns", "metadata", "TCP", 80, "egress closed"},
		{"dns", "apiserver", "TCP", 6443, "open"},
		{"prometheus", "dns", "TCP", 9153, "open"},
		{"a", "dns", "TCP", 9153, "closed"},
		{"host", "dns", "TCP", 8181, "open"},

		// The API server: those with apiAccess, that port alone.
		{"a", "apiserver", "TCP", 6443, "open"},
		{"a", "apiserver", "TCP", 10250, "egress closed"},
		{"a", "node", "TCP", 6443, "egress closed"},
		{"b", "apiserver", "TCP", 6443, "egress closed"},
		{"kustomize", "apiserver", "TCP", 6443, "open"},
		{"system", "apiserver", "TCP", 6443, "open"},

		// Webhooks, from whichever node and under whichever identity; probes from the own node.
		{"apiserver", "a", "TCP", 9443, "open"},
		{"node", "a", "TCP", 9443, "open"},
		{"host", "a", "TCP", 9443, "open"},
		{"host", "b", "TCP", 12345, "open"},
		{"node", "b", "TCP", 12345, "ingress closed"},
		{"apiserver", "metrics", "TCP", 10250, "open"},
		{"node", "metrics", "TCP", 10250, "open"},
		{"metrics", "node", "TCP", 10250, "open"},
		{"metrics", "host", "TCP", 10250, "open"},
		{"system", "node", "TCP", 10250, "egress closed"},
		{"relay", "node", "TCP", 4244, "open"},

		// Metrics, GitOps.
		{"prometheus", "a", "TCP", 8080, "open"},
		{"prometheus", "a", "TCP", 8081, "closed"},
		{"b", "a", "TCP", 8080, "closed"},
		{"source", "world", "TCP", 2222, "open"},
		{"source", "world", "TCP", 443, "open"},
		{"source", "world", "TCP", 80, "egress closed"},
		{"kustomize", "world", "TCP", 443, "egress closed"},
		{"kustomize", "source", "TCP", 9090, "open"},
		{"source", "metadata", "TCP", 443, "egress closed"},

		// Tenants: what both declare, and nothing else.
		{"b/web", "a/api", "TCP", 8005, "open"},
		{"b/web", "a/api", "TCP", 8011, "closed"},
		{"b", "a/api", "TCP", 8005, "closed"},
		{"b/web", "a", "TCP", 8005, "closed"},
		{"a", "b", "TCP", 443, "closed"},
		{"a", "a/api", "TCP", 12345, "open"},
		{"b", "b/web", "TCP", 80, "closed"},
		{"unknown", "a", "TCP", 9443, "ingress closed"},
		{"world", "a", "TCP", 8443, "open"},
		{"node", "a", "TCP", 8443, "open"},
		{"unknown", "a", "TCP", 8443, "ingress closed"},
		{"a", "world", "TCP", 443, "open"},
		{"a", "node", "TCP", 443, "open"},
		{"b", "world", "TCP", 443, "egress closed"},

		// Names open what the proxy has learnt, and lookups go through it for those pods.
		{"a/shop", "partner", "TCP", 5432, "open"},
		{"a", "partner", "TCP", 5432, "egress closed"},
		{"a/shop", "world", "TCP", 5432, "egress closed"},

		// The metadata service, from everywhere, by range and by name.
		{"a", "metadata", "TCP", 443, "egress closed"},
		{"a", "wireserver", "TCP", 443, "egress closed"},
		{"a/shop", "rebound", "TCP", 5432, "egress closed"},
		{"unknown", "metadata", "TCP", 80, "egress closed"},
		{"unknown", "world", "TCP", 80, "open"},
		{"unknown", "unknown", "TCP", 80, "open"},
	} {
		e.check(f)
	}
}

// TestTraps shows that the forms that were avoided do what the comments in the emitted files say.
func TestTraps(t *testing.T) {
	p := generatortest.Posture(t, example)
	t.Run("a deny without enableDefaultDeny denies everything", func(t *testing.T) {
		e := newEngine(t, p, func(name string, spec map[string]any) {
			if name == "/block-metadata" {
				delete(spec, "enableDefaultDeny")
			}
		})
		e.check(flow{"unknown", "dns", "UDP", 53, "egress closed"})
	})
	t.Run("a deny without exceptions takes the resolver away", func(t *testing.T) {
		e := newEngine(t, p, func(name string, spec map[string]any) {
			if name == "/block-metadata" {
				spec["endpointSelector"] = map[string]any{}
			}
		})
		e.check(flow{"dns", "metadata", "UDP", 53, "egress closed"})
	})
	t.Run("kube-apiserver is not what a call from another node looks like", func(t *testing.T) {
		e := newEngine(t, p, func(name string, spec map[string]any) {
			if name == "team-a/webhooks" {
				spec["ingress"].([]any)[0].(map[string]any)["fromEntities"] = []any{"kube-apiserver"}
			}
		})
		e.check(flow{"node", "a", "TCP", 9443, "ingress closed"})
	})
	t.Run("the exceptions close the metadata service without the deny", func(t *testing.T) {
		e := newEngine(t, p, func(name string, spec map[string]any) {
			if name == "/block-metadata" {
				spec["delete"] = true
			}
		})
		e.check(flow{"a", "metadata", "TCP", 443, "egress closed"})
		e.check(flow{"a", "wireserver", "TCP", 443, "egress closed"})
		// But not against a name that points there: the deny is needed.
		e.check(flow{"a/shop", "rebound", "TCP", 5432, "open"})
	})
}
