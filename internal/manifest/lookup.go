package manifest

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Lookup finds the part of an object that a claim names (generators.Claim.Field): keys joined by
// dots, and in brackets the index of a list item, its name, key, type or metadata.name, its own
// value, or the key of a map with dots or slashes in it:
//
//	spec.validations[0].expression
//	apiServer.extraArgs[audit-log-path].value
//	spec.policyTypes[Egress]
//	metadata.labels[pod-security.kubernetes.io/enforce]
//
// An empty field is the whole object.
func Lookup(node *yaml.Node, field string) (*yaml.Node, bool) {
	if node != nil && node.Kind == yaml.DocumentNode && len(node.Content) == 1 {
		node = node.Content[0]
	}
	for field != "" && node != nil {
		if rest, ok := strings.CutPrefix(field, "["); ok {
			selector, rest, ok := strings.Cut(rest, "]")
			if !ok {
				return nil, false
			}
			node = selected(node, selector)
			field = strings.TrimPrefix(rest, ".")
			continue
		}
		key := field
		if i := strings.IndexAny(field, ".["); i >= 0 {
			key = field[:i]
		}
		node = child(node, key)
		field = strings.TrimPrefix(field[len(key):], ".")
	}
	return node, node != nil
}

// selected is the entry of a map or the item of a list that a selector in brackets names.
func selected(node *yaml.Node, selector string) *yaml.Node {
	if node.Kind == yaml.MappingNode {
		return child(node, selector)
	}
	if node.Kind != yaml.SequenceNode {
		return nil
	}
	if n, err := strconv.Atoi(selector); err == nil {
		if n >= 0 && n < len(node.Content) {
			return node.Content[n]
		}
		return nil
	}
	for _, key := range []string{"name", "key", "type"} {
		for _, item := range node.Content {
			if v := child(item, key); v != nil && text(v) == selector {
				return item
			}
		}
	}
	for _, item := range node.Content {
		if text(child(child(item, "metadata"), "name")) == selector || text(item) == selector {
			return item
		}
	}
	return nil
}
