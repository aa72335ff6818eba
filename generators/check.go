package generators

import (
	"fmt"
	"strings"
)

// Admission sends a request that changes nothing (a server-side dry run; for connect, one to a pod
// that does not exist) and looks at what admission says. A deny counts only where the refusal names
// By: another 403 proves nothing about the rule.
type Admission struct {
	As Identity
	// Verb is create, patch, delete or connect.
	Verb string
	// Object is the object to create; for the others it names the target (apiVersion, kind,
	// metadata), and for patch it is the merge patch as well. It is a pointer to a typed API object
	// with its TypeMeta, or a map[string]any. For connect it is the Pod and Subresource says how.
	Object any
	// Subresource is, for instance, "exec" or "ephemeralcontainers".
	Subresource string
	// Select picks the target of a patch by label where its name is not known: the first, by name.
	Select map[string]string
	// By is a part of the refusal's message that names the policy or plug-in.
	By string
	// Also is a further part of that message; empty means any.
	Also string
	// Warns says that the rule only warns: the request passes, with a warning that contains By.
	Warns bool
	// Sandbox runs the request in a short-lived namespace. Object has no namespace then.
	Sandbox Sandbox
	// Returns are fields that the answer of an allowed request must have.
	Returns []FieldValue
}

// Sandbox is a kind of short-lived namespace.
type Sandbox string

// The kinds.
const (
	// Open has Pod Security switched off and nothing else of its own, so no other rule answers first.
	Open Sandbox = "open"
	// Bare has no labels at all, like one that somebody makes by hand.
	Bare Sandbox = "bare"
)

// FieldValue is a field, as in Claim.Field, and its value; an empty value means that it is absent.
type FieldValue struct{ Field, Value string }

// Access asks the authorizer, by a SubjectAccessReview, whether somebody may do something.
type Access struct {
	As   Identity
	Verb string
	// Group is the API group, Resource the plural name with its subresource: "pods/exec".
	Group, Resource, Namespace, Name string
	// Path is a non-resource URL; Verb alone goes with it.
	Path string
}

// Request is one HTTPS request to the API server.
type Request struct {
	// Anonymous leaves out every credential; Token sends this one, which must not be a real one.
	Anonymous bool
	Token     string
	As        Identity
	Method    string
	Path      string
	// Status are the answers that pass.
	Status []int
	// Contains must be in the body, Lacks must not; empty means any.
	Contains, Lacks string
}

// Handshake opens a TLS connection to the API server, offering at most MaxVersion and, below TLS
// 1.3, only the suites. Both are numbers of crypto/tls.
type Handshake struct {
	MaxVersion uint16
	Suites     []uint16
}

// InPlace compares objects in the cluster with those that are emitted: each emitted field must be
// there with its value. It is for what no request shows by itself, labels for instance, and for
// objects that others cover for: with two rules for one thing, no request misses either.
type InPlace struct {
	Objects []any
	// Patched says that the user's own patches may change any field: then the objects must be there.
	Patched bool
}

// Fairness sends a request and asks by which flow schema and priority level the API server sorted it.
type Fairness struct {
	As            Identity
	Schema, Level string
}

// Flag looks at an argument with which a control plane component runs: kube-apiserver,
// kube-controller-manager, kube-scheduler or etcd.
type Flag struct {
	Component, Name string
	// Value is the argument's value. An empty one means that the argument is not set.
	Value string
}

// KubeletSetting looks at the configuration with which each kubelet really runs.
type KubeletSetting struct {
	// Field is a dotted path in the KubeletConfiguration; Value is its value as JSON.
	Field, Value string
}

// NodeRequest is one HTTPS request to a port of each node, without credentials and straight from where
// the probes run. Where no node is reachable it is skipped.
type NodeRequest struct {
	Port int
	Path string
	// Status is the answer that passes.
	Status int
}

// Audited sends requests that change nothing and looks at how many records of which level the API
// server says it has written.
type Audited struct {
	// Requests are what to send; the answer does not matter.
	Request Admission
	// Level is Metadata, Request or RequestResponse: the one that must be written, and none with
	// more in it.
	Level string
}

// AtRest asks the API server's own count of what it wrote to etcd how it stores a resource.
type AtRest struct {
	// Resource is, for instance, "secrets"; Prefix is what etcd holds before the data, for instance
	// "k8s:enc:secretbox:v1:".
	Resource, Prefix string
}

// Stored writes a secret and reads it out of etcd, past the API server.
type Stored struct{ Prefix string }

// Burst sends many events of one account at once: some must get 429.
type Burst struct{ Events int }

// Traffic opens a connection from one pod to another or to an address.
type Traffic struct {
	From, To Endpoint
	Port     int
	Protocol string // TCP or UDP
}

// Endpoint is one end of a connection: a pod that is made in Namespace with Labels, or something
// that is there already.
type Endpoint struct {
	// Namespace is where the pod runs; empty means a short-lived namespace without any policy.
	Namespace string
	Labels    map[string]string
	// Address is an address or name to connect to instead of a pod.
	Address string
	// Entity is "apiserver", "dns" or "node" instead of a pod.
	Entity string
}

func (e Endpoint) String() string {
	switch {
	case e.Entity == "apiserver":
		return "the API server"
	case e.Entity == "dns":
		return "cluster DNS"
	case e.Entity == "node":
		return "a node"
	case e.Address != "":
		return e.Address
	case e.Namespace == "":
		return "a pod of another namespace"
	}
	return "a pod of " + e.Namespace
}

// Active is true for what creates something, even for a moment.
func (c Admission) Active() bool { return c.Sandbox != "" }

// Active implements Check.
func (Access) Active() bool { return false }

// Active implements Check.
func (Request) Active() bool { return false }

// Active implements Check.
func (Handshake) Active() bool { return false }

// Active implements Check.
func (InPlace) Active() bool { return false }

// Active implements Check.
func (Fairness) Active() bool { return false }

// Active implements Check.
func (Flag) Active() bool { return false }

// Active implements Check.
func (KubeletSetting) Active() bool { return false }

// Active implements Check.
func (NodeRequest) Active() bool { return false }

// Active implements Check.
func (Audited) Active() bool { return false }

// Active implements Check.
func (AtRest) Active() bool { return false }

// Active implements Check.
func (Stored) Active() bool { return true }

// Active implements Check.
func (Burst) Active() bool { return true }

// Active implements Check.
func (Traffic) Active() bool { return true }

// Expected says what must happen.
func (c Admission) Expected(kind ProbeKind) string {
	switch {
	case kind == Deny && c.Warns:
		return "a warning by " + c.By
	case kind == Deny:
		return strings.TrimSuffix("refused by "+c.By+": "+c.Also, ": ")
	case len(c.Returns) > 0:
		words := make([]string, len(c.Returns))
		for i, f := range c.Returns {
			words[i] = f.Field + " = " + f.Value
			if f.Value == "" {
				words[i] = "no " + f.Field
			}
		}
		return "accepted, with " + strings.Join(words, ", ")
	case c.Warns:
		return "accepted without a warning by " + c.By
	}
	return "accepted"
}

// Expected implements Check.
func (Access) Expected(kind ProbeKind) string {
	if kind == Deny {
		return "not allowed by the authorizer"
	}
	return "allowed by the authorizer"
}

// Expected implements Check.
func (c Request) Expected(ProbeKind) string {
	words := make([]string, len(c.Status))
	for i, s := range c.Status {
		words[i] = fmt.Sprint(s)
	}
	text := "status " + strings.Join(words, " or ")
	if c.Contains != "" {
		text += " with " + c.Contains
	}
	if c.Lacks != "" {
		text += " without " + c.Lacks
	}
	return text
}

// Expected implements Check.
func (Handshake) Expected(kind ProbeKind) string {
	if kind == Deny {
		return "the handshake fails"
	}
	return "the handshake succeeds"
}

// Expected implements Check.
func (c InPlace) Expected(ProbeKind) string {
	if len(c.Objects) == 1 {
		return "there, with each field as emitted"
	}
	return fmt.Sprintf("%d objects are there, with each field as emitted", len(c.Objects))
}

// Expected implements Check.
func (c Fairness) Expected(ProbeKind) string {
	return "sorted by flow schema " + c.Schema + " into priority level " + c.Level
}

// Expected implements Check.
func (c Flag) Expected(ProbeKind) string {
	if c.Value == "" {
		return "--" + c.Name + " is not set"
	}
	return "--" + c.Name + "=" + c.Value
}

// Expected implements Check.
func (c KubeletSetting) Expected(ProbeKind) string { return c.Field + ": " + c.Value + " on each node" }

// Expected implements Check.
func (c NodeRequest) Expected(ProbeKind) string {
	return fmt.Sprintf("status %d from each node", c.Status)
}

// Expected implements Check.
func (c Audited) Expected(ProbeKind) string { return "recorded at level " + c.Level }

// Expected implements Check.
func (c AtRest) Expected(ProbeKind) string { return c.Resource + " are written to etcd as " + c.Prefix }

// Expected implements Check.
func (c Stored) Expected(ProbeKind) string { return "etcd holds " + c.Prefix + " and ciphertext" }

// Expected implements Check.
func (Burst) Expected(ProbeKind) string { return "429 for some of them" }

// Expected implements Check.
func (c Traffic) Expected(kind ProbeKind) string {
	if kind == Deny {
		return "no connection"
	}
	return "connected"
}
