package runtime_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/runtime"
)

func TestGolden(t *testing.T) { generatortest.Run(t, runtime.New()) }

// falcoFile is the rules file of a cluster with every rule.
func falcoFile(t *testing.T) string {
	t.Helper()
	for _, f := range generatortest.Emit(t, runtime.New(), generatortest.Posture(t, `profiles: ["restricted"]
runtime: {detector: "falco", install: "existing"}
namespaces: {shop: owner: "shop", robots: {owner: "robots", apiAccess: true}}
`)) {
		if f.Name == "manifests/runtime/falco-rules.yaml" {
			var m struct{ Data map[string]string }
			if err := yaml.Unmarshal(f.Data, &m); err != nil {
				t.Fatal(err)
			}
			return m.Data["k8ssec_rules.yaml"]
		}
	}
	t.Fatal("no rules")
	return ""
}

// item is one entry of a rules file, with every key that engine 0.57 knows for what we emit.
type item struct {
	EngineVersion  string `yaml:"required_engine_version"`
	PluginVersions []struct {
		Name, Version string
	} `yaml:"required_plugin_versions"`
	List      string
	Items     []string
	Macro     string
	Rule      string
	Desc      string
	Condition string
	Output    string
	Priority  string
	Source    string
	Tags      []string
}

// fields are those of Falco's syscall source and of its container plugin that rules may use.
var fields = strings.Fields(`container.id container.name container.image.repository evt.arg.flags evt.args evt.is_open_read evt.is_open_write evt.type
	fd.name fd.num fd.sip fd.snet fd.type k8s.ns.name k8s.pod.name proc.cmdline proc.exepath proc.is_exe_from_memfd proc.is_exe_upper_layer proc.name
	proc.pname proc.tty user.name`)

// techniques are those of MITRE ATT&CK for Containers that have a meaning for system calls.
var techniques = strings.Fields("T1036 T1046 T1059 T1068 T1070 T1190 T1204 T1496 T1528 T1552 T1562 T1609 T1610 T1611 T1612 T1613")

var runbooks = strings.Fields(`leaked-token compromised-workload crypto-miner compromised-node malicious-image exposed-secret rbac-abuse
	ransomware-or-deletion control-plane-compromise lost-encryption-key`)

var operators = strings.Fields("and or not in contains startswith endswith exists true")

// TestFalcoRules is a strict check of our own, as Falco's loader is not to be had as a library: the
// form of each entry, that each name is defined before it is used and used at all, that each field
// exists, that parentheses and quotes close, and that each rule has its technique and its runbook.
func TestFalcoRules(t *testing.T) {
	text := falcoFile(t)
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	var items []item
	if err := d.Decode(&items); err != nil {
		t.Fatal(err)
	}
	defined := map[string]bool{}
	used := map[string]bool{}
	rules := map[string]bool{}
	condition := func(name, c string) {
		c = regexp.MustCompile(`"(?:\\.|[^"\\])*"`).ReplaceAllString(c, "")
		if strings.Contains(c, `"`) || strings.Count(c, "(") != strings.Count(c, ")") {
			t.Errorf("%s: quotes or parentheses: %s", name, c)
		}
		for _, word := range regexp.MustCompile(`[a-z_][a-z0-9_.]*|/[^\s()]+`).FindAllString(regexp.MustCompile(`(!=|>=|=)\s*[A-Za-z0-9_]+|startswith \S+|endswith \S+|\bin \([a-z0-9_ ,-]*\)`).ReplaceAllStringFunc(c, func(s string) string {
			for _, w := range regexp.MustCompile(`k8ssec_\w+`).FindAllString(s, -1) {
				if !defined[w] {
					t.Errorf("%s uses %s before it is defined", name, w)
				}
				used[w] = true
			}
			return ""
		}), -1) {
			switch {
			case slices.Contains(operators, word), slices.Contains(fields, word):
			case strings.HasPrefix(word, "k8ssec_"):
				if !defined[word] {
					t.Errorf("%s uses %s before it is defined", name, word)
				}
				used[word] = true
			default:
				t.Errorf("%s: %q is no field, macro or operator: %s", name, word, c)
			}
		}
	}
	for i, it := range items {
		switch {
		case it.EngineVersion != "":
			if i != 0 || it.EngineVersion != "0.57.0" {
				t.Errorf("entry %d: engine %s", i, it.EngineVersion)
			}
		case it.PluginVersions != nil:
		case it.List != "":
			defined[it.List] = true
		case it.Macro != "":
			condition(it.Macro, it.Condition)
			defined[it.Macro] = true
		case it.Rule != "":
			if rules[it.Rule] {
				t.Errorf("two rules %s", it.Rule)
			}
			rules[it.Rule] = true
			condition(it.Rule, it.Condition)
			checkRule(t, it)
		default:
			t.Errorf("entry %d is nothing: %+v", i, it)
		}
	}
	for name := range defined {
		if !used[name] {
			t.Errorf("%s is not used", name)
		}
	}
	if len(rules) < 14 {
		t.Errorf("only %d rules", len(rules))
	}
}

func checkRule(t *testing.T, it item) {
	t.Helper()
	if !strings.Contains(it.Condition, "evt.type") && !regexp.MustCompile(`^k8ssec_(spawned|read|write|connect|connect_unix) `).MatchString(it.Condition) {
		t.Errorf("%s does not begin with a type of event, so that Falco looks at each one", it.Rule)
	}
	for _, f := range regexp.MustCompile(`%([a-z0-9_.]+)`).FindAllStringSubmatch(it.Output, -1) {
		if !slices.Contains(fields, f[1]) {
			t.Errorf("%s puts out %s", it.Rule, f[1])
		}
	}
	if !slices.Contains([]string{"WARNING", "CRITICAL"}, it.Priority) || it.Source != "syscall" || it.Desc == "" {
		t.Errorf("%+v", it)
	}
	technique := slices.ContainsFunc(it.Tags, func(tag string) bool { return slices.Contains(techniques, tag) })
	tactic := slices.ContainsFunc(it.Tags, func(tag string) bool { return strings.HasPrefix(tag, "mitre_") })
	m := regexp.MustCompile(`runbook=docs/runbooks/([a-z-]+)\.md`).FindStringSubmatch(it.Output)
	if !technique || !tactic || m == nil || !slices.Contains(runbooks, m[1]) {
		t.Errorf("%s has the tags %v and the runbook %v", it.Rule, it.Tags, m)
	}
}

// TestExceptionsFollowThePosture shows that namespaces are exceptions by what the posture lets them do.
func TestExceptionsFollowThePosture(t *testing.T) {
	text := falcoFile(t)
	for list, want := range map[string]string{
		"k8ssec_api_namespaces":      `["robots"]`,
		"k8ssec_platform_namespaces": `"kube-system"`,
		"k8ssec_api_addresses":       `"10.96.0.1"`,
		"k8ssec_metadata":            `"169.254.169.254/32"`,
	} {
		m := regexp.MustCompile(`- list: ` + list + `\n  items: (.*)`).FindStringSubmatch(text)
		if len(m) != 2 || !strings.Contains(m[1], want) {
			t.Errorf("%s is %v, want %s", list, m, want)
		}
		if len(m) == 2 && strings.Contains(m[1], "shop") {
			t.Errorf("%s holds a tenant: %s", list, m[1])
		}
	}
}

// TestNamesAreAsTheKernelCutsThem holds the names of programs to 15 characters, which is all that
// proc.name has.
func TestNamesAreAsTheKernelCutsThem(t *testing.T) {
	for _, m := range regexp.MustCompile(`- list: k8ssec_(?:\w+_programs|shells|miners)\n  items: \[(.*)\]`).FindAllStringSubmatch(falcoFile(t), -1) {
		for _, name := range strings.Split(m[1], ", ") {
			if len(strings.Trim(name, `"`)) > 15 {
				t.Errorf("proc.name is never %s", name)
			}
		}
	}
}
