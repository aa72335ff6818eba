package upgrade

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8ssec/k8ssec/internal/manifest"
	"github.com/k8ssec/k8ssec/internal/schema"
)

// Finding is something that the upgrade breaks or changes.
type Finding struct {
	Level   Level  `json:"level"`
	Message string `json:"message"`
	// Where is the file or the object of the cluster; Line counts from 1.
	Where string `json:"where,omitempty"`
	Line  int    `json:"line,omitempty"`
	Fix   string `json:"fix,omitempty"`
	// Source says from where this is known.
	Source string `json:"source,omitempty"`
}

// Sort orders findings: blocking, risky, information; then by place.
func Sort(list []Finding) {
	order := []Level{Blocking, Risky, Information}
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(slices.Index(order, a.Level)-slices.Index(order, b.Level), cmp.Compare(a.Where, b.Where), a.Line-b.Line, cmp.Compare(a.Message, b.Message))
	})
}

// Scan looks through the files of a repository, ours and the user's, for what does not exist in a
// minor any more.
func Scan(files map[string][]byte, from, to int) []Finding {
	s := &scanner{from: from, to: to, gates: goneBy(to), flags: flagsGoneBy(to)}
	for name, data := range files {
		s.file(name, data)
	}
	Sort(s.found)
	return slices.CompactFunc(s.found, func(a, b Finding) bool { return a == b })
}

// ScanText looks through one text, of a ConfigMap of the cluster for instance.
func ScanText(name, text string, from, to int) []Finding {
	return Scan(map[string][]byte{name: []byte(text)}, from, to)
}

type scanner struct {
	from, to int
	gates    map[string]int
	flags    map[Flag]int
	found    []Finding
	name     string
}

func (s *scanner) add(level Level, line int, message, fix, source string) {
	s.found = append(s.found, Finding{level, message, s.name, line, fix, source})
}

func (s *scanner) file(name string, data []byte) {
	s.name = name
	ext := path.Ext(name)
	if ext == ".md" || ext == ".cue" || len(data) > 8<<20 {
		return
	}
	if ext != ".yaml" && ext != ".yml" {
		s.lines(string(data), 1)
		return
	}
	docs, err := manifest.Decode(data)
	if err != nil {
		s.lines(string(data), 1) // a template of Helm, perhaps
		for i, line := range strings.Split(string(data), "\n") {
			if version, ok := strings.CutPrefix(strings.TrimSpace(line), "apiVersion: "); ok {
				s.api(strings.Trim(version, `"'`), "", i+1)
			}
		}
		return
	}
	for _, d := range docs {
		gone := s.api(d.APIVersion, d.Kind, d.Line)
		s.node(d.Node, nil)
		if !gone && !strings.HasPrefix(name, "patches/") {
			s.validate(d)
		}
	}
}

// api reports whether an API is gone, as a finding too.
func (s *scanner) api(version, kind string, line int) bool {
	a, minor, ok := apiGone(version, kind, s.to)
	if ok {
		if kind != "" {
			kind += " "
		}
		s.add(Blocking, line, fmt.Sprintf("%sof %s is no longer served in 1.%d", kind, version, minor), "instead: "+a.Instead, fmt.Sprintf("removed in 1.%d", minor))
	}
	return ok
}

// validate finds fields that the new minor does not have.
func (s *scanner) validate(d manifest.Document) {
	known := map[string]bool{}
	for _, p := range schema.Validate(s.from, d.Node) {
		known[p.Path+p.Message] = true
	}
	for _, p := range schema.Validate(s.to, d.Node) {
		if known[p.Path+p.Message] {
			continue
		}
		level := Blocking
		if p.Warning {
			level = Information
		}
		s.add(level, p.Line, fmt.Sprintf("%s: %s", p.Path, p.Message), "mend the field before the upgrade", fmt.Sprintf("the API of 1.%d", s.to))
	}
}

// components of the fields of kubeadm's configuration.
var components = map[string]string{
	"apiServer": "kube-apiserver", "controllerManager": "kube-controller-manager", "scheduler": "kube-scheduler", "kubeletExtraArgs": "kubelet", "etcd": "etcd",
}

// node looks at values: feature gates in maps, arguments of kubeadm, and texts that may be a command
// line or a configuration of their own.
func (s *scanner) node(n *yaml.Node, keys []string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if len(keys) > 0 && keys[len(keys)-1] == "featureGates" {
				s.gate(key.Value, key.Line)
			}
			s.node(value, append(keys, key.Value))
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if name, value := argument(item); name != "" && len(keys) > 0 && strings.HasSuffix(strings.ToLower(keys[len(keys)-1]), "extraargs") {
				component := ""
				for _, k := range keys {
					if c := components[k]; c != "" {
						component = c
					}
				}
				s.flag(component, name, item.Line)
				if name == "feature-gates" {
					s.gateList(value, item.Line)
				}
			}
			s.node(item, keys)
		}
	case yaml.ScalarNode:
		if strings.Contains(n.Value, "--") || strings.Contains(n.Value, "featureGates") || strings.Contains(n.Value, "apiVersion:") {
			s.lines(n.Value, n.Line)
		}
	}
}

// argument is a name and value of kubeadm's v1beta4.
func argument(n *yaml.Node) (name, value string) {
	if n.Kind != yaml.MappingNode {
		return "", ""
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case "name":
			name = n.Content[i+1].Value
		case "value":
			value = n.Content[i+1].Value
		}
	}
	return name, value
}

var (
	flagWord = regexp.MustCompile(`(?:^|[\s"'=])--([a-z0-9-]+)(?:[=\s"']([^\s"']*))?`)
	gateWord = regexp.MustCompile(`\b([A-Z][A-Za-z0-9]+)\s*[=:]\s*(?:true|false)\b`)
)

// lines looks at a text line by line.
func (s *scanner) lines(text string, first int) {
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		component := ""
		for _, c := range []string{"kube-controller-manager", "kube-apiserver", "kube-scheduler", "kube-proxy", "kubelet", "etcd"} {
			if strings.Contains(line, c) || strings.Contains(strings.ToLower(s.name), c) || c == "kubelet" && strings.Contains(line, "KUBELET_") {
				component = c
				break
			}
		}
		for _, m := range flagWord.FindAllStringSubmatch(line, -1) {
			if m[1] == "feature-gates" {
				s.gateList(m[2], first+i)
			} else {
				s.flag(component, m[1], first+i)
			}
		}
		for _, m := range gateWord.FindAllStringSubmatch(line, -1) {
			s.gate(m[1], first+i)
		}
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "apiVersion: "); ok {
			s.api(strings.Trim(version, `"'`), "", first+i)
		}
	}
}

func (s *scanner) gateList(list string, line int) {
	for item := range strings.SplitSeq(list, ",") {
		name, _, _ := strings.Cut(item, "=")
		s.gate(strings.TrimSpace(name), line)
	}
}

func (s *scanner) gate(name string, line int) {
	if minor, ok := s.gates[name]; ok {
		s.add(Blocking, line, fmt.Sprintf("the feature gate %s does not exist from 1.%d on: a component that is given it does not start", name, minor),
			"remove it before the upgrade", fmt.Sprintf("pkg/features of 1.%d", minor))
		return
	}
	step, err := StepTo(s.to)
	if err == nil && slices.Contains(step.Locked, name) {
		s.add(Risky, line, fmt.Sprintf("the feature gate %s is locked to its default in 1.%d: any other value stops the component", name, s.to),
			"remove it before the upgrade", fmt.Sprintf("pkg/features of 1.%d", s.to))
	}
}

// flag finds a flag that is gone. Without a component the name alone must be one of a component.
func (s *scanner) flag(component, name string, line int) {
	for _, c := range []string{"kubelet", "kube-controller-manager", "kube-apiserver", "kube-scheduler"} {
		minor, ok := s.flags[Flag{c, name}]
		if !ok || component != "" && component != c || component == "" && !distinct(name) {
			continue
		}
		s.add(Blocking, line, fmt.Sprintf("%s has no flag --%s from 1.%d on, and does not start with it", c, name, minor), "remove it before the upgrade", fmt.Sprintf("release notes of 1.%d", minor))
	}
}

// distinct reports whether a name is a flag of Kubernetes wherever it stands; --containerd could be
// anybody's.
func distinct(name string) bool { return strings.Contains(name, "-") && name != "cloud-config" }
