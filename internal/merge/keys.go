package merge

import (
	"fmt"
	"strings"
)

// mergeKeys are the fields by which Kubernetes, or the component that reads the list, tells its items
// apart: the patchMergeKey and listMapKey of k8s.io/api, subjects as RBAC compares them, and the
// lists of named things of kubeadm. A list in no line here is matched by "name" where each of its
// items has one of its own, else by value.
var mergeKeys = map[string][][]string{
	"auditAnnotations":          {{"key"}},
	"conditions":                {{"type"}},
	"hostAliases":               {{"ip"}},
	"ownerReferences":           {{"uid"}},
	"subjects":                  {{"kind", "name", "namespace"}},
	"topologySpreadConstraints": {{"topologyKey", "whenUnsatisfiable"}},
	"volumeDevices":             {{"devicePath"}},
	"volumeMounts":              {{"mountPath"}},
	// The ports of a container; of a Service. Those of a NetworkPolicy have no key.
	"ports":     {{"containerPort", "protocol"}},
	"addresses": {{"type", "address"}},
	"items":     {{"kind", "namespace", "name"}},
}

// optional are parts of a merge key that an item may leave out.
var optional = map[string]string{"namespace": "", "protocol": "TCP", "whenUnsatisfiable": "DoNotSchedule"}

// keyed gives the items of each list their key and reports whether every item has one of its own.
func (m *merger) keyed(field string, lists ...[]*entry) bool {
	candidates := append([][]string(nil), mergeKeys[field]...)
	if field == "ports" && m.kind == "Service" {
		candidates = [][]string{{"port", "protocol"}}
	}
	if field == "command" || field == "args" {
		return flags(lists)
	}
	candidates = append(candidates, []string{"name", "namespace"})
	for _, fields := range candidates {
		if assign(lists, func(value any) (string, bool) { return keyOf(value, fields) }) {
			return true
		}
	}
	return false
}

// assign sets the ids of all items if each list has each id once at most.
func assign(lists [][]*entry, key func(any) (string, bool)) bool {
	ids := make([][]string, len(lists))
	for i, list := range lists {
		seen := make(map[string]bool, len(list))
		for _, e := range list {
			id, ok := key(e.value)
			if !ok || seen[id] {
				return false
			}
			seen[id] = true
			ids[i] = append(ids[i], id)
		}
	}
	for i, list := range lists {
		for k, e := range list {
			e.id = ids[i][k]
		}
	}
	return true
}

func keyOf(value any, fields []string) (string, bool) {
	object, ok := value.(map[string]any)
	if !ok {
		return "", false
	}
	parts := make([]string, 0, len(fields))
	for i, field := range fields {
		part, ok := object[field]
		if !ok {
			standard, may := optional[field]
			if !may || i == 0 {
				return "", false
			}
			part = standard
		}
		switch part.(type) {
		case map[string]any, []any, nil:
			return "", false
		}
		if text := fmt.Sprint(part); text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " "), len(parts) > 0
}

// flags keys the arguments of a command by the flag that they set.
func flags(lists [][]*entry) bool {
	return assign(lists, func(value any) (string, bool) {
		text, ok := value.(string)
		if !ok {
			return "", false
		}
		if flag, _, ok := strings.Cut(text, "="); ok && strings.HasPrefix(text, "-") {
			return flag, true
		}
		return text, true
	})
}
