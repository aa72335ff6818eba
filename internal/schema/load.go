package schema

import (
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

//go:embed data/*.json.gz
var data embed.FS

// Minors are the supported minor versions of Kubernetes 1, oldest first.
var minors = []int{34, 35, 36, 37}

// source is one embedded bundle, read once.
type source struct {
	name    string
	once    sync.Once
	bundle  Bundle
	err     error
	schemas sync.Map // name of a definition to *Schema
}

var (
	custom     = &source{name: "custom"}
	kubernetes = perMinor("kubernetes")
	files      = perMinor("files")
)

func perMinor(name string) map[int]*source {
	sources := make(map[int]*source, len(minors))
	for _, m := range minors {
		sources[m] = &source{name: fmt.Sprintf("%s-1.%d", name, m)}
	}
	return sources
}

func (s *source) load() (*Bundle, error) {
	s.once.Do(func() {
		f, err := data.Open("data/" + s.name + ".json.gz")
		if err != nil {
			s.err = err
			return
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			s.err = err
			return
		}
		s.err = json.NewDecoder(z).Decode(&s.bundle)
	})
	return &s.bundle, s.err
}

// schema decodes one definition, once.
func (s *source) schema(name string) (*Schema, error) {
	if known, ok := s.schemas.Load(name); ok {
		return known.(*Schema), nil
	}
	raw, ok := s.bundle.Definitions[name]
	if !ok {
		return nil, fmt.Errorf("schema %s: no definition %s", s.name, name)
	}
	fresh := new(Schema)
	if err := json.Unmarshal(raw, fresh); err != nil {
		return nil, fmt.Errorf("schema %s: %s: %w", s.name, name, err)
	}
	known, _ := s.schemas.LoadOrStore(name, fresh)
	return known.(*Schema), nil
}

// patterns holds compiled regular expressions by their text.
var patterns sync.Map

func compiled(pattern string) (*regexp.Regexp, error) {
	if re, ok := patterns.Load(pattern); ok {
		return re.(*regexp.Regexp), nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	patterns.Store(pattern, re)
	return re, nil
}

// found is a kind and where its schema is.
type found struct {
	source *source
	kind   Kind
}

// find looks for a kind in a minor.
func find(minor int, apiVersion, kind string) (found, bool, error) {
	for _, s := range []*source{kubernetes[minor], custom, files[minor]} {
		if s == nil {
			continue
		}
		b, err := s.load()
		if err != nil {
			return found{}, false, err
		}
		if k, ok := b.Kinds[apiVersion+" "+kind]; ok {
			return found{s, k}, true, nil
		}
	}
	return found{}, false, nil
}

// ScopeOf says where objects of a kind live in a minor; false if the kind is not known there.
func ScopeOf(minor int, apiVersion, kind string) (Scope, bool) {
	f, ok, err := find(minor, apiVersion, kind)
	return f.kind.Scope, ok && err == nil
}

// offByDefault reports whether the API server of a new cluster does not serve a kind. Since 1.24
// beta APIs are off like alpha ones, and those from before have all gone.
func (f found) offByDefault(apiVersion string) bool {
	_, version, ok := strings.Cut(apiVersion, "/")
	return ok && f.kind.Scope != File && f.source != custom && (strings.Contains(version, "alpha") || strings.Contains(version, "beta"))
}

// missing explains why a kind is not known in a minor. The second result is false if nothing at all
// is known of its group: then it is somebody's custom kind, and cannot be judged.
func missing(minor int, apiVersion, kind string) (string, bool, error) {
	if !slices.Contains(minors, minor) {
		return fmt.Sprintf("Kubernetes 1.%d is not supported; supported are 1.%d to 1.%d", minor, minors[0], minors[len(minors)-1]), true, nil
	}
	key := apiVersion + " " + kind
	first, last := 0, 0
	for _, m := range minors {
		if _, ok, err := find(m, apiVersion, kind); err != nil {
			return "", false, err
		} else if ok {
			if last = m; first == 0 {
				first = m
			}
		}
	}
	switch {
	case first > minor:
		return fmt.Sprintf("%s exists from Kubernetes 1.%d on, not in 1.%d", key, first, minor), true, nil
	case first > 0:
		return fmt.Sprintf("%s exists up to Kubernetes 1.%d, not in 1.%d", key, last, minor), true, nil
	}
	group, _, _ := strings.Cut(apiVersion, "/")
	if !strings.Contains(apiVersion, "/") {
		group = ""
	}
	var versions, kinds []string
	known, whole := false, false // whole: every kind of the group is known
	for _, s := range []*source{kubernetes[minor], custom, files[minor]} {
		for k := range s.bundle.Kinds {
			version, name, _ := strings.Cut(k, " ")
			if name == kind {
				versions = append(versions, version)
			}
			if g, _, ok := strings.Cut(version, "/"); ok && g == group || !ok && group == "" {
				known, whole = true, whole || s != custom
				kinds = append(kinds, name)
			}
		}
	}
	slices.Sort(versions)
	// Of an add-on's group only the kinds are known that are emitted.
	if known && !whole && len(versions) == 0 && suggestion(kind, kinds, "") == "" {
		return fmt.Sprintf("no schema of %s is known here: it is not checked", key), false, nil
	}
	switch {
	case len(versions) > 0 && (known || isBuiltIn(group)):
		return fmt.Sprintf("%s does not exist in Kubernetes 1.%d; %s is %s", key, minor, kind, strings.Join(versions, " or ")), true, nil
	case known:
		return fmt.Sprintf("%s does not exist in Kubernetes 1.%d%s", key, minor, suggestion(kind, kinds, "")), true, nil
	case isBuiltIn(group):
		return fmt.Sprintf("%s does not exist in Kubernetes 1.%d", key, minor), true, nil
	}
	return fmt.Sprintf("no schema of %s is known here: it is not checked", key), false, nil
}

// isBuiltIn reports whether only Kubernetes itself may serve a group. Its own custom resources have
// x-k8s.io and other names under k8s.io.
func isBuiltIn(group string) bool {
	switch group {
	case "", "apps", "autoscaling", "batch", "extensions", "policy":
		return true
	}
	name, ok := strings.CutSuffix(group, ".k8s.io")
	return ok && slices.Contains([]string{
		"admissionregistration", "apiextensions", "apiregistration", "authentication", "authorization", "certificates", "coordination",
		"discovery", "events", "flowcontrol.apiserver", "internal.apiserver", "networking", "node", "rbac.authorization", "resource",
		"scheduling", "storage", "storagemigration",
	}, name)
}
