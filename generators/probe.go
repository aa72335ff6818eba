package generators

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// Prober is a generator whose artifacts have an effect that a live cluster can show. It derives its
// probes from the same posture as its artifacts, so what is emitted is what is checked.
type Prober interface {
	// Probes returns the probes of the domain, in a stable order. It must not change the posture.
	Probes(p *posture.Posture) []Probe
}

// Probe is one check against a live cluster, as pure data: internal/probe runs it. Probes come in
// pairs where they can, a request that must be denied and its harmless twin that must be allowed:
// the one shows that a rule holds, the other that it is not simply everything that fails.
type Probe struct {
	// ID is unique and stable: "<domain>-<what>-deny" or "-allow", and "<domain>-<what>-<namespace>-deny"
	// where there is one for each namespace.
	ID     string
	Domain string
	Kind   ProbeKind
	// Title says what is tried, for people: "a pod with a hostPath volume".
	Title string
	// Why says what it means when the probe fails, in one sentence; empty where the title does.
	Why string
	// Controls are the ids that the probe is evidence for.
	Controls []string
	// Artifacts are what the probe turns red without: "path" or "path: Kind namespace/name".
	Artifacts []string
	// Pair is the ID of the opposite probe, or empty.
	Pair string
	// Plain says why the probe passes on a cluster without this repository too. Empty means that it
	// must fail there: a test holds it.
	Plain string
	// Check is what to do; exactly one of the types in this package.
	Check Check
}

// ProbeKind says whether a probe expects a refusal.
type ProbeKind string

// The kinds.
const (
	Deny  ProbeKind = "deny"
	Allow ProbeKind = "allow"
)

// PlainTwin is the reason of every probe that shows that a rule refuses no more than it should.
const PlainTwin = "Nothing refuses it on a cluster without the rule either."

// ProbeNamespace stands for the short-lived namespace wherever a probe names it, in the user name of
// a service account for instance; the runner puts the real name there.
const ProbeNamespace = "k8ssec-probe-sandbox"

// Check is one way to look at a cluster: one of the types of this package, each of which the runner
// knows.
type Check interface {
	// Active says that the check creates something that lives for a moment, so it runs only when
	// asked for.
	Active() bool
	// Expected says for people what must happen, given the kind of the probe.
	Expected(kind ProbeKind) string
}

// Identity is somebody whom the runner impersonates. The zero value is whoever runs the probes.
type Identity struct {
	User string
	// Groups do not hold system:authenticated; the runner adds it.
	Groups []string
}

// ServiceAccount is the identity of a service account, with the groups that the API server gives it.
func ServiceAccount(namespace, name string) Identity {
	return Identity{
		User:   "system:serviceaccount:" + namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace},
	}
}

// Person is a member of groups of the identity provider, as the API server sees them.
func Person(p *posture.Posture, groups ...string) Identity {
	id := Identity{User: p.Identity.UsernamePrefix + "k8ssec-probe"}
	for _, g := range groups {
		id.Groups = append(id.Groups, p.Identity.GroupsPrefix+g)
	}
	return id
}

// Janitor is Kubernetes' garbage collector. RBAC lets it change and delete every object, and no
// policy of this repository exempts it: what it is refused, admission refuses.
func Janitor() Identity { return ServiceAccount("kube-system", "generic-garbage-collector") }

// String names the identity for people.
func (id Identity) String() string {
	switch {
	case id.User == "":
		return "you"
	case len(id.Groups) == 0 || strings.HasPrefix(id.User, "system:serviceaccount:"):
		return strings.TrimPrefix(id.User, "system:serviceaccount:")
	}
	return "a member of " + strings.Join(id.Groups, ", ")
}
