package schema

import (
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
)

// metadata checks what the API server checks of every object's metadata and what no schema says:
// names, labels, and that objects of the cluster have no namespace.
func (v *validator) metadata(object *yaml.Node, scope Scope, apiVersion, kind string) {
	meta := child(object, "metadata")
	v.push("metadata")
	defer v.pop()
	name := child(meta, "name")
	switch {
	case name != nil:
		v.name(name, apiVersion, kind)
	case child(meta, "generateName") != nil:
		v.push("generateName")
		v.problem(child(meta, "generateName"), "an object that GitOps applies needs a name of its own: write name instead")
		v.pop()
	case !v.patch && !strings.HasSuffix(kind, "Review"):
		at := object
		if meta != nil {
			at = meta
		}
		v.push("name")
		v.problem(at, "name is required")
		v.pop()
	}
	if namespace := child(meta, "namespace"); namespace != nil && !isNull(namespace) {
		v.push("namespace")
		if scope == Cluster {
			v.problem(namespace, "a %s belongs to the whole cluster and has no namespace", kind)
		} else if text, ok := scalarOf(namespace).(string); ok {
			v.all(namespace, validation.IsDNS1123Label(text))
		}
		v.pop()
	}
	v.keys(meta, "labels", func(key, value *yaml.Node) {
		v.all(key, validation.IsQualifiedName(key.Value))
		if text, ok := scalarOf(value).(string); ok {
			v.all(value, validation.IsValidLabelValue(text))
		}
	})
	v.keys(meta, "annotations", func(key, _ *yaml.Node) { v.all(key, validation.IsQualifiedName(strings.ToLower(key.Value))) })
}

// name checks the name of an object, by the rule of its kind.
func (v *validator) name(n *yaml.Node, apiVersion, kind string) {
	text, ok := scalarOf(n).(string)
	if !ok {
		return // the schema has said so
	}
	v.push("name")
	defer v.pop()
	switch {
	case text == "":
		v.problem(n, "name must not be empty")
	case strings.HasPrefix(apiVersion, "rbac.authorization.k8s.io/"):
		v.all(n, content.IsPathSegmentName(text))
	case apiVersion == "v1" && kind == "Namespace":
		v.all(n, validation.IsDNS1123Label(text))
	case apiVersion == "v1" && kind == "Service":
		if v.minor < 36 {
			v.all(n, validation.IsDNS1035Label(text))
		} else {
			v.all(n, validation.IsDNS1123Label(text))
		}
	default:
		v.all(n, validation.IsDNS1123Subdomain(text))
	}
}

// keys calls check for each entry of a map in the metadata.
func (v *validator) keys(meta *yaml.Node, name string, check func(key, value *yaml.Node)) {
	m := child(meta, name)
	if m == nil || m.Kind != yaml.MappingNode {
		return
	}
	v.push(name)
	for i := 0; i+1 < len(m.Content); i += 2 {
		v.push(m.Content[i].Value)
		check(m.Content[i], m.Content[i+1])
		v.pop()
	}
	v.pop()
}

// all reports what the rules of Kubernetes say about a value.
func (v *validator) all(n *yaml.Node, messages []string) {
	for _, m := range messages {
		v.problem(n, "%s: %s", shown(n), m)
	}
}
