// Package generators says what a generator is: a pure function from a posture to artifacts.
// Each domain has one, in its own folder; generators/all lists them.
package generators

import (
	"fmt"
	"strings"
	"text/template"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec"
	"github.com/k8ssec/k8ssec/cue/posture"
)

// Generator emits the artifacts of one domain. Implementations hold no state: they are called in
// parallel with one shared posture, which they must not change, and must return the same artifacts
// in the same order for the same posture.
type Generator interface {
	// Domain is the name of the domain, the same as its folder, its CUE fragment and its docs.
	Domain() string
	// Generate returns the artifacts. An error means that the posture cannot be rendered at all;
	// everything that a user can get wrong is found before, by the engine.
	Generate(p *posture.Posture) (*Output, error)
}

// Output is everything that one domain has to say about one posture.
type Output struct {
	Artifacts []Artifact
	// Undecided lists what stays out until the user gives a value that only they have.
	Undecided []Decision
}

// Artifact is one emitted file.
type Artifact struct {
	// Path is relative to the repository, with slashes: "manifests/network/team-a.yaml".
	Path string
	// Exactly one of Objects and Text is set.
	Objects []Object
	Text    string
	// Comment begins a file of objects: what it holds and what reads it, without "# ".
	Comment string
	// Executable gives the file mode 0755 instead of 0644.
	Executable bool
	// Claims are the controls that a Text serves. Objects carry their own.
	Claims []Claim
	// Kind says what reads the file.
	Kind Kind
}

// Kind says what reads an artifact, and so in which state the controls end that it serves.
type Kind int

const (
	// Manifest is applied to the cluster by GitOps: its controls are enforced.
	Manifest Kind = iota
	// ControlPlane is read by kubeadm, kind or a control plane component: enforced.
	ControlPlane
	// Node is run or read on the nodes: enforced.
	Node
	// Procedure is followed by people: its controls end as "procedure".
	Procedure
	// Doc explains; it serves no control.
	Doc
)

// Object is one Kubernetes object of a file.
type Object struct {
	// Value is a pointer to a typed API object whose TypeMeta is filled in, or a
	// map[string]any for an API without light Go types.
	Value any
	// Why is a comment above the object, without "# ": what it does and what breaks without it.
	Why string
	// Claims are the controls that the object serves.
	Claims []Claim
}

// Claim says that an artifact serves a control, and with which part of it. The same claim is what
// verify checks on an edited tree, what explain shows and what the coverage is computed from.
type Claim struct {
	// Control is the id, for instance "cis-1.2.16". An id that no catalogue knows is a bug.
	Control string
	// Field is the part that serves it. In an object: a path from the object's root, with keys in
	// brackets for lists of named items ("apiServer.extraArgs[audit-log-path]", by name, key or
	// type) and numbers for others ("spec.validations[0]"), label keys in brackets too
	// ("metadata.labels[pod-security.kubernetes.io/enforce]"). In a text: a string; the claim is
	// on all lines that contain it, and for a heading ("## ...") on the section below it. Empty
	// means the whole object or text.
	Field string
	// Note says what is true of this cluster, where the field alone does not: one short sentence.
	Note string
}

// Decision is a value that only the user has.
type Decision struct {
	// Controls wait for it.
	Controls []string
	// Line is what to write in cluster.cue, complete and valid but for the value.
	Line string
	// Enables says what it will switch on.
	Enables string
}

// Claims returns one claim for each control id, all on the same field.
func Claims(field string, controls ...string) []Claim {
	claims := make([]Claim, len(controls))
	for i, c := range controls {
		claims[i] = Claim{Control: c, Field: field}
	}
	return claims
}

// Labels that every emitted object or namespace carries.
const (
	// LabelManagedBy marks what k8ssec emitted.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelDomain is the domain of an object.
	LabelDomain = "k8ssec.dev/domain"
	// LabelKind is the kind of a namespace: tenant, system or addon. Policies select by it, and one
	// of them protects it.
	LabelKind = "k8ssec.dev/kind"
	// LabelOwner is the team that answers for a namespace.
	LabelOwner = "k8ssec.dev/owner"
	// LabelSecrets marks, with the value "read", a namespace that reads the secret store. External
	// Secrets may write nowhere else.
	LabelSecrets = "k8ssec.dev/secrets"
	// LabelSigned marks, with the value "true", a namespace whose images sigstore's policy controller
	// checks.
	LabelSigned = "policy.sigstore.dev/include"
	// LabelDataClass is the data class of a namespace.
	LabelDataClass = "k8ssec.dev/data-class"
	// LabelQuarantine marks a pod that may talk to nobody; its value names the incident. Policies that
	// open something to all pods of a namespace leave out the pods that have it.
	LabelQuarantine = "k8ssec.dev/quarantine"
)

// Meta returns the metadata that every emitted object begins with. An empty namespace means a
// cluster-scoped object.
func Meta(domain, namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: namespace,
		Labels:    map[string]string{LabelManagedBy: "k8ssec", LabelDomain: domain},
	}
}

// Text renders templates/<name> with data. A template that does not parse or render is a bug of
// ours, found by the tests of the generator that uses it.
func Text(name string, data any) (string, error) {
	src, err := k8ssec.Assets.ReadFile("templates/" + name)
	if err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	t, err := template.New(name).Option("missingkey=error").Parse(string(src))
	if err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	return b.String(), nil
}
