package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

func TestDecode(t *testing.T) {
	type doc struct {
		line                              int
		apiVersion, kind, namespace, name string
	}
	tests := map[string]struct {
		in   string
		want []doc
	}{
		"nothing":       {"", nil},
		"comments only": {"# x\n---\n# y\n", nil},
		"one":           {"# x\n\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n", []doc{{3, "v1", "Namespace", "", "a"}}},
		"two, CRLF and BOM": {
			"\ufeff# x\r\napiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {namespace: n, name: a}\r\n---\r\n---\r\nkind: Component\r\n",
			[]doc{{2, "v1", "ConfigMap", "n", "a"}, {7, "", "Component", "", ""}},
		},
		"a JSON patch":      {"- op: remove\n  path: /spec\n", []doc{{1, "", "", "", ""}}},
		"a long string tag": {"kind: !!str 1\n", []doc{{1, "", "1", "", ""}}},
		"metadata null":     {"kind: A\nmetadata:\n", []doc{{1, "", "A", "", ""}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			docs, err := Decode([]byte(test.in))
			if err != nil {
				t.Fatal(err)
			}
			var got []doc
			for _, d := range docs {
				got = append(got, doc{d.Line, d.APIVersion, d.Kind, d.Namespace, d.Name})
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'j'; c++ {
		p := string(c - 1)
		bomb += fmt.Sprintf("%c: &%c [*%s,*%s,*%s,*%s,*%s,*%s]\n", c, c, p, p, p, p, p, p)
	}
	tests := map[string]struct{ in, want string }{
		"duplicate key":         {"a: 1\nb: 2\na: 3\n", `3:1: "a" stands here twice; the first is on line 1`},
		"duplicate, nested":     {"- x:\n    b: 1\n    \"b\": 2\n", `3:5: "b" stands here twice`},
		"second document":       {"a: 1\n---\nb: 1\nb: 2\n", `4:1: "b" stands here twice`},
		"alias bomb":            {bomb, "1:4: anchor &a: write the value out"},
		"merge key":             {"a:\n  <<: {b: 1}\n", "2:3: merge key <<"},
		"custom tag":            {"a: !secret x\n", "1:4: tag !secret"},
		"binary tag":            {"a: !!binary eA==\n", "1:4: tag !!binary"},
		"int tag":               {"a: !!int \"1\"\n", "1:4: tag !!int"},
		"complex key":           {"? [a]\n: b\n", "1:3: a key must be a plain word"},
		"binary file":           {"\x7fELF\x00", "1:1: the character 0x7f has no place"},
		"NUL":                   {"a: 1\nb: \x00", "2:4: the character 0x00"},
		"latin-1":               {"a: 1\nb: caf\xe9\n", "2:7: the byte 0xe9 is not UTF-8"},
		"UTF-16":                {"\xff\xfea\x00", "1:1: the byte 0xff is not UTF-8"},
		"tab":                   {"a:\n\tb: 1\n", "2:1: a tab cannot indent YAML"},
		"a colon too many":      {"a: b: c\n", "1:1: not valid YAML: a key is not allowed here"},
		"bad indentation":       {"a:\n  b: 1\n c: 2\n", "3:2: not valid YAML: expected a key"},
		"no colon":              {"a: 1\nb\nc: 2\n", `2:1: not valid YAML: expected ": " after a key`},
		"at sign":               {"a: @x\n", "a value that begins with @"},
		"star":                  {"a: *\nb: 1\n", "not valid YAML"},
		"unknown alias":         {"a: *x\n", "a value that begins with * needs quotes"},
		"open quote":            {"a: 1\nb: \"x\nc: 1\nd: 2\n", "2:1: not valid YAML"},
		"open bracket":          {"b: 1\na: [x\nc: 1\n", "2:1: not valid YAML"},
		"deep":                  {strings.Repeat("[", 500) + strings.Repeat("]", 500), "nested deeper than 100 levels"},
		"deeper":                {strings.Repeat("[", 50000), "nested deeper than 100 levels"},
		"deep block":            {strings.Repeat("- ", 20000) + "a", "nested deeper than 100 levels"},
		"huge":                  {strings.Repeat("a: b\n", 8<<20), "a manifest may have 32"},
		"a directive too new":   {"%YAML 9.0\n---\na: 1\n", "not valid YAML"},
		"the bad document last": {"a: 1\n---\n}\n", "3:1: not valid YAML"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			docs, err := Decode([]byte(test.in))
			if err == nil {
				t.Fatalf("got %d documents", len(docs))
			}
			var all Errors
			var one *Error
			if !errors.As(err, &all) || !errors.As(err, &one) {
				t.Fatalf("%T is not Errors", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "line 0") || name != "huge" && one.Line == 0 {
				t.Errorf("no line in %q", err)
			}
		})
	}
}

func TestDecodeReportsEveryPlace(t *testing.T) {
	_, err := Decode([]byte("a: 1\na: 2\n---\nb: &x 1\nc: *x\n"))
	want := "2:1: \"a\" stands here twice; the first is on line 1\n" +
		"4:4: anchor &x: write the value out where it is used, so that what is reviewed is what is applied\n" +
		"5:4: alias *x: write the value out, so that what is reviewed is what is applied"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestLookup(t *testing.T) {
	const in = `metadata:
  name: web
  labels:
    a.b/c: label
spec:
  ports: [{port: 1}, {port: 2}]
  containers:
  - name: main
    image: x
  - {name: "1", image: y}
  conditions: [{type: Ready, status: yes}]
  tolerations: [{key: master, effect: No}]
  templates: [{metadata: {name: pods}, spec: 7}]
  policyTypes: [Ingress, Egress]
  args:
  - {name: audit-log-path, value: /x}
  empty:
`
	docs, err := Decode([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"metadata.name":                         "web",
		"metadata.labels[a.b/c]":                "label",
		"spec.ports[1].port":                    "2",
		"spec.containers[main].image":           "x",
		"spec.conditions[Ready].status":         "yes",
		"spec.tolerations[master].effect":       "No",
		"spec.templates[pods].spec":             "7",
		"spec.policyTypes[Egress]":              "Egress",
		"spec.policyTypes[0]":                   "Ingress",
		"spec.args[audit-log-path].value":       "/x",
		"spec.empty":                            "",
		"spec.containers[main]":                 "map",
		"":                                      "map",
		"spec.ports[2]":                         "none",
		"spec.ports[-1]":                        "none",
		"spec.ports[0].port.x":                  "none",
		"spec.policyTypes[Other]":               "none",
		"spec.nothing.more":                     "none",
		"spec.containers[main":                  "none",
		"metadata.labels[pod-security/enforce]": "none",
		"metadata.name[0]":                      "none",
	} {
		node, ok := Lookup(docs[0].Node, field)
		got := "none"
		if ok {
			if got = node.Value; node.Kind == yaml.MappingNode {
				got = "map"
			}
		}
		if got != want || ok != (node != nil) {
			t.Errorf("%s: got %s, want %s", field, got, want)
		}
	}
	if _, ok := Lookup(nil, ""); ok {
		t.Error("found something in nothing")
	}
}

// TestValueIsWhatKubectlReads holds Value and sigs.k8s.io/yaml together on plain words.
func TestValueIsWhatKubectlReads(t *testing.T) {
	for _, word := range []string{
		"yes", "No", "on", "OFF", "y", "N", "true", "False", "null", "~", "", "0777", "0o17", "0x1f", "0b11", "-0b11", "1_000", "-5", "+5",
		"1e3", "1.5", ".5", "1.", "08", "2026-01-02", "2026-01-02T03:04:05Z", "12:30", "1:2:3", "9223372036854775808", "18446744073709551616",
		"'1'", "\"yes\"", "!!str 1", "a", "-", "0b", "1_", "_1", "0x", "1e", "0b-1", "+.5", "|\n  x", ">\n  x\n",
	} {
		checkValue(t, []byte("k: "+word+"\nl: ["+strings.SplitN(word, "\n", 2)[0]+"]\n"))
		checkValue(t, []byte(word+": 1\n"))
	}
}

func checkValue(t *testing.T, in []byte) {
	t.Helper()
	docs, err := Decode(in)
	if err != nil || len(docs) != 1 || docs[0].Node.Kind != yaml.MappingNode {
		return // refused: kubectl never sees it from us
	}
	asJSON, err := sigsyaml.YAMLToJSONStrict(in)
	if err != nil {
		return
	}
	value, err := Value(docs[0].Node)
	if err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(asJSON, &want); err != nil {
		t.Fatal(err)
	}
	if got := throughJSON(t, value); !reflect.DeepEqual(got, want) {
		t.Errorf("%q:\ngot  %#v\nwant %#v", in, got, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"a: 1\n---\nb: [x, {y: z}]\n", "a: &x 1\nb: *x\n", "? a\n: b\n", "\ufeffa: \"\\u0041\"\r\n", "a: |\n  x\n\n  y\n", "%YAML 1.1\n---\n- 0777\n",
		"a:\n- b\n-  c: d\n", "!!map {a: 1}", "on: off\n", "{a: 1, a: 2}", "'a': >-\n x\n", "a: 2026-01-02 x\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := Decode(data)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 || all[0].Message == "" || all[0].Line < 0 {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		for _, d := range docs {
			if _, err := Value(d.Node); err != nil {
				t.Fatalf("%q: %v", data, err)
			}
			if found, ok := Lookup(d.Node, "metadata.labels[a].b[0]"); ok && found == nil {
				t.Fatal("found nothing")
			}
		}
		if len(docs) == 1 && !bytes.Contains(data, []byte("---")) && !bytes.ContainsAny(data, "\"!%") {
			checkValue(t, data)
		}
	})
}
