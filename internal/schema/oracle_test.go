package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes/scheme"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	podsecurityv1 "k8s.io/pod-security-admission/admission/api/v1"
	kindv1alpha4 "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/randfill"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/internal/manifest"
)

// newest is the minor that the Go types of this module are from.
var newest = minors[len(minors)-1]

// configTypes are the Go types of files, and of custom kinds, that can be imported.
var configTypes = map[string]func() any{
	"kubelet.config.k8s.io/v1beta1 KubeletConfiguration":               func() any { return &kubeletv1beta1.KubeletConfiguration{} },
	"kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration":          func() any { return &kubeproxyv1alpha1.KubeProxyConfiguration{} },
	"apiserver.config.k8s.io/v1 AdmissionConfiguration":                func() any { return &apiserverv1.AdmissionConfiguration{} },
	"apiserver.config.k8s.io/v1 AuthenticationConfiguration":           func() any { return &apiserverv1.AuthenticationConfiguration{} },
	"apiserver.config.k8s.io/v1 AuthorizationConfiguration":            func() any { return &apiserverv1.AuthorizationConfiguration{} },
	"apiserver.config.k8s.io/v1 EncryptionConfiguration":               func() any { return &apiserverv1.EncryptionConfiguration{} },
	"audit.k8s.io/v1 Policy":                                           func() any { return &auditv1.Policy{} },
	"pod-security.admission.config.k8s.io/v1 PodSecurityConfiguration": func() any { return &podsecurityv1.PodSecurityConfiguration{} },
	"v1 Config":                                    func() any { return &clientcmdv1.Config{} },
	"kind.x-k8s.io/v1alpha4 Cluster":               func() any { return &kindv1alpha4.Cluster{} },
	"kustomize.toolkit.fluxcd.io/v1 Kustomization": func() any { return &kustomizev1.Kustomization{} },
	"source.toolkit.fluxcd.io/v1 GitRepository":    func() any { return &sourcev1.GitRepository{} },
}

// typeOf returns a new value of the Go type of a kind, or nil where none can be imported.
func typeOf(apiVersion, kind string) any {
	if fresh, ok := configTypes[apiVersion+" "+kind]; ok {
		return fresh()
	}
	object, err := scheme.Scheme.New(schema.FromAPIVersionAndKind(apiVersion, kind))
	if err != nil {
		return nil
	}
	return object
}

// TestGoTypesFit fills the Go type of every kind with random values, writes it as generators'
// objects are written, and reads it by the schema: a field that the schema does not know, or of
// another type, is a mistake of the schema, of the writer or of the validator.
func TestGoTypesFit(t *testing.T) {
	fill := randfill.NewWithSeed(1).NilChance(0.3).NumElements(1, 2).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(1e6), resource.DecimalSI)
		},
		func(i *intstr.IntOrString, c randfill.Continue) {
			if *i = intstr.FromInt32(c.Int31()); c.Bool() {
				*i = intstr.FromString("25%")
			}
		},
		func(v *metav1.Time, c randfill.Continue) { *v = metav1.NewTime(time.Unix(c.Int63n(1e9), 0)) },
		func(v *metav1.MicroTime, c randfill.Continue) { *v = metav1.NewMicroTime(time.Unix(c.Int63n(1e9), 0)) },
		func(v *metav1.Duration, c randfill.Continue) { v.Duration = time.Duration(c.Int63n(1e12)) },
		func(v *runtime.RawExtension, c randfill.Continue) { v.Raw = []byte(`{"x":1}`) },
		func(v *runtime.Unknown, c randfill.Continue) {
			v.Raw, v.ContentType = []byte(`{"x":1}`), runtime.ContentTypeJSON
		},
		func(v *metav1.FieldsV1, c randfill.Continue) { v.SetRawBytes([]byte(`{"f:a":{}}`)) },
		func(s *string, c randfill.Continue) { *s = fmt.Sprintf("s%d", c.Int31n(100)) },
	)
	checked := 0
	for _, s := range []*source{kubernetes[newest], files[newest], custom} {
		b, err := s.load()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range slices.Sorted(maps.Keys(b.Kinds)) {
			apiVersion, kind, _ := strings.Cut(key, " ")
			if typeOf(apiVersion, kind) == nil {
				continue
			}
			checked++
			for range 10 {
				object := typeOf(apiVersion, kind)
				fill.Fill(object)
				setType(object, apiVersion, kind)
				text, err := manifest.EncodeObject(object)
				if err != nil {
					t.Fatal(err)
				}
				docs, err := manifest.Decode(text)
				if err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				for _, p := range Validate(newest, docs[0].Node) {
					if strings.Contains(p.Message, "unknown field") || strings.Contains(p.Message, "stands where") || strings.Contains(p.Message, "must be a") ||
						strings.Contains(p.Message, "quantity") || strings.Contains(p.Message, "base64") || strings.Contains(p.Message, "no duration") || strings.Contains(p.Message, "is no time") {
						t.Errorf("%s: %s: %s", key, p.Path, p.Message)
					}
				}
			}
		}
	}
	if checked < 90 {
		t.Errorf("only %d kinds have a Go type", checked)
	}
}

// setType writes TypeMeta, whose type differs between the packages.
func setType(object any, apiVersion, kind string) {
	meta := reflect.ValueOf(object).Elem().FieldByName("TypeMeta")
	if !meta.IsValid() { // a kubeconfig has the fields itself
		meta = reflect.ValueOf(object).Elem()
	}
	meta.FieldByName("APIVersion").SetString(apiVersion)
	meta.FieldByName("Kind").SetString(kind)
}

// TestGoodDecodesStrictly reads what the schema finds good into the Go types: what it would miss,
// their decoder refuses.
func TestGoodDecodesStrictly(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	decoded := 0
	for _, d := range decode(t, string(good)) {
		object := typeOf(d.APIVersion, d.Kind)
		if object == nil || d.Kind == "List" {
			continue
		}
		value, err := manifest.Value(d.Node)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if err := sigsyaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s %s: %v", d.APIVersion, d.Kind, err)
		}
		decoded++
	}
	if decoded < 26 {
		t.Errorf("only %d documents have a Go type", decoded)
	}
}

// TestAgainstJSONSchema breaks good objects at random and asks an independent validator, over the
// same schema, whether they are still good.
func TestAgainstJSONSchema(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewSource(1))
	agreed := map[bool]int{}
	for _, d := range decode(t, string(good)) {
		if d.Kind == "List" || d.Kind == "AdmissionConfiguration" {
			continue // objects in objects, by their own schema
		}
		f, ok, err := find(newest, d.APIVersion, d.Kind)
		if err != nil || !ok {
			t.Fatal(d.Kind, err)
		}
		independent := compileIndependent(t, f)
		for range 300 {
			value, err := manifest.Value(d.Node)
			if err != nil {
				t.Fatal(err)
			}
			object := throughJSON(t, value).(map[string]any)
			for range 1 + random.Intn(2) {
				mutate(random, object)
			}
			object = withoutNulls(object).(map[string]any) // an unknown field is unknown also when it is null
			object["apiVersion"], object["kind"] = d.APIVersion, d.Kind
			text, err := manifest.EncodeObject(object)
			if err != nil {
				t.Fatal(err)
			}
			v := &validator{minor: newest, source: f.source}
			v.check(&Schema{Ref: f.kind.Definition}, decode(t, string(text))[0].Node, false)
			theirs := independent.Validate(object)
			if (len(v.problems) == 0) != (theirs == nil) {
				t.Fatalf("%s\nours:\n%s\ntheirs:\n%v", text, textOf(v.problems), theirs)
			}
			agreed[theirs == nil]++
		}
	}
	if agreed[true] < 1000 || agreed[false] < 1000 {
		t.Errorf("agreed on %d good and %d bad objects: the test does not reach both", agreed[true], agreed[false])
	}
}

func textOf(problems []Problem) string { return text(problems) }

func throughJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// withoutNulls drops null fields: to the API they are not there, to JSON Schema they are.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, item := range v {
			if item != nil {
				out[key] = withoutNulls(item)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = withoutNulls(v[i])
		}
		return out
	}
	return v
}

// mutate changes one place of an object.
func mutate(random *rand.Rand, object map[string]any) {
	values := []any{
		nil, true, 1.0, -1.0, 1.5, 5e9, "", "a", "80", "10m", "100m", "TCP", "Always", []any{}, []any{"a"}, []any{nil}, map[string]any{}, map[string]any{"a": "b"},
		map[string]any{"name": "a"}, strings.Repeat("x", 300),
	}
	var at any = object
	for {
		switch here := at.(type) {
		case map[string]any:
			keys := slices.Sorted(maps.Keys(here))
			if len(keys) == 0 || random.Intn(12) == 0 {
				here[[]string{"name", "unknown", "spec", "port"}[random.Intn(4)]] = values[random.Intn(len(values))]
				return
			}
			key := keys[random.Intn(len(keys))]
			switch random.Intn(8) {
			case 0:
				delete(here, key)
				return
			case 1:
				here[key] = values[random.Intn(len(values))]
				return
			}
			if !isContainer(here[key]) {
				here[key] = values[random.Intn(len(values))]
				return
			}
			at = here[key]
		case []any:
			if len(here) == 0 {
				return
			}
			i := random.Intn(len(here))
			if !isContainer(here[i]) {
				here[i] = values[random.Intn(len(values))]
				return
			}
			at = here[i]
		default:
			return
		}
	}
}

func isContainer(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// compileIndependent turns a schema into JSON Schema and compiles it with another implementation.
func compileIndependent(t *testing.T, f found) *jsonschema.Schema {
	t.Helper()
	defs := map[string]any{}
	var convert func(s *Schema, partial bool) map[string]any
	convert = func(s *Schema, partial bool) map[string]any {
		if s.Ref != "" {
			key := strings.NewReplacer("/", "_", "~", "_").Replace(s.Ref)
			if _, ok := defs[key]; !ok {
				defs[key] = true
				target, err := f.source.schema(s.Ref)
				if err != nil {
					t.Fatal(err)
				}
				defs[key] = convert(target, partial)
			}
			return map[string]any{"$ref": "#/$defs/" + key}
		}
		out := map[string]any{}
		switch {
		case s.IntOrString:
			out["type"] = []any{"integer", "string"}
		case s.Format == "quantity":
			out["type"], out["format"] = []any{"number", "string"}, "quantity"
		case s.Format == "duration-or-nanoseconds":
			out["type"], out["format"] = []any{"integer", "string"}, "go-duration"
		case s.Type != "":
			out["type"] = s.Type
		}
		switch s.Format {
		case "byte", "date-time", "int32", "cidr", "ipv4", "ipv6":
			out["format"] = "k8s-" + s.Format
		case "duration":
			out["format"] = "go-duration"
		}
		if s.Type == "integer" && s.Format == "int64" {
			out["maximum"] = 9.3e18
		}
		properties := map[string]any{}
		for name, p := range s.Properties {
			properties[name] = convert(p, partial)
		}
		if len(properties) > 0 {
			out["properties"] = properties
		}
		switch {
		case s.Additional != nil:
			out["additionalProperties"] = convert(s.Additional, partial)
		case s.Type == "object" && !s.Open && !partial && !s.Embedded && (s.Closed || len(s.Properties) > 0):
			out["additionalProperties"] = false
		}
		if s.Items != nil {
			out["items"] = convert(s.Items, partial)
		}
		for key, list := range map[string][]*Schema{"allOf": s.AllOf, "anyOf": s.AnyOf, "oneOf": s.OneOf} {
			var parts []any
			for _, p := range list {
				parts = append(parts, convert(p, true))
			}
			if parts != nil {
				out[key] = parts
			}
		}
		if s.Not != nil {
			out["not"] = convert(s.Not, true)
		}
		if len(s.Enum) > 0 {
			out["enum"] = s.Enum
		}
		if s.Required != nil {
			required := make([]any, len(s.Required))
			for i, r := range s.Required {
				required[i] = r
			}
			out["required"] = required
		}
		if s.Pattern != "" {
			out["pattern"] = s.Pattern
		}
		for key, n := range map[string]*int{"minLength": s.MinLength, "maxLength": s.MaxLength, "minItems": s.MinItems, "maxItems": s.MaxItems, "minProperties": s.MinProperties, "maxProperties": s.MaxProperties} {
			if n != nil {
				out[key] = float64(*n)
			}
		}
		if s.Minimum != nil {
			out["minimum"] = *s.Minimum
		}
		if s.Maximum != nil {
			out["maximum"] = *s.Maximum
		}
		return out
	}
	root := convert(&Schema{Ref: f.kind.Definition}, false)
	root["$defs"] = defs
	text, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for name, check := range map[string]func(v any) error{
		"quantity": func(v any) error {
			if s, ok := v.(string); ok {
				_, err := resource.ParseQuantity(s)
				return err
			}
			return nil
		},
		"go-duration": func(v any) error {
			if s, ok := v.(string); ok {
				_, err := time.ParseDuration(s)
				return err
			}
			return nil
		},
		"k8s-byte": func(v any) error {
			if s, ok := v.(string); ok {
				var out []byte
				return json.Unmarshal([]byte(fmt.Sprintf("%q", s)), &out)
			}
			return nil
		},
		"k8s-cidr": func(v any) error {
			if s, ok := v.(string); ok {
				_, _, err := net.ParseCIDR(s)
				return err
			}
			return nil
		},
		"k8s-ipv4": address(func(ip net.IP) bool { return ip.To4() != nil }),
		"k8s-ipv6": address(func(ip net.IP) bool { return ip.To4() == nil }),
		"k8s-date-time": func(v any) error {
			if s, ok := v.(string); ok {
				_, err := time.Parse(time.RFC3339, s)
				return err
			}
			return nil
		},
		"k8s-int32": func(v any) error {
			if f, ok := v.(float64); ok && f != float64(int32(f)) {
				return fmt.Errorf("%v is too large", f)
			}
			return nil
		},
	} {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: check})
	}
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func address(family func(net.IP) bool) func(any) error {
	return func(v any) error {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		if ip := net.ParseIP(s); ip == nil || !family(ip) {
			return fmt.Errorf("%q is no address", s)
		}
		return nil
	}
}

// TestData looks at everything that is embedded.
func TestData(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, minor := range minors {
		for _, s := range []*source{kubernetes[minor], files[minor], custom} {
			b, err := s.load()
			if err != nil {
				t.Fatal(err)
			}
			compressed, err := data.ReadFile("data/" + s.name + ".json.gz")
			if err != nil {
				t.Fatal(err)
			}
			if len(compressed) > 150_000 {
				t.Errorf("%s: %d KB", s.name, len(compressed)>>10)
			}
			total += len(compressed)
			if len(b.Sources) == 0 || len(b.Kinds) == 0 {
				t.Errorf("%s: %v, %d kinds", s.name, b.Sources, len(b.Kinds))
			}
			for key, k := range b.Kinds {
				if _, ok := b.Definitions[k.Definition]; !ok {
					t.Errorf("%s: %s has no schema", s.name, key)
				}
				if k.Scope != Namespaced && k.Scope != Cluster && k.Scope != File {
					t.Errorf("%s: %s is %q", s.name, key, k.Scope)
				}
			}
			for name := range b.Definitions {
				definition, err := s.schema(name)
				if err != nil {
					t.Fatal(err)
				}
				look(t, s, name, definition)
			}
		}
		if b, err := kubernetes[minor].load(); err != nil || !strings.HasPrefix(b.Sources[0], fmt.Sprintf("k8s.io/kubernetes@v1.%d.", minor)) {
			t.Errorf("1.%d comes from %v", minor, b.Sources)
		}
	}
	// The objects are built from the Go types of the newest minor: both must be one release.
	b, err := kubernetes[newest].load()
	if err != nil {
		t.Fatal(err)
	}
	if release := strings.TrimPrefix(b.Sources[0], "k8s.io/kubernetes@v1."); !strings.Contains(string(mod), "k8s.io/api v0."+release+"\n") {
		t.Errorf("the schemas are from %s, and go.mod has another k8s.io/api: edit the table in gen and run go generate ./internal/schema", b.Sources[0])
	}
	// A custom kind that is checked must be the version that is emitted.
	b, err = custom.load()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"github.com/fluxcd/kustomize-controller", "github.com/fluxcd/source-controller"} {
		if !slices.ContainsFunc(b.Sources, func(s string) bool {
			_, version, _ := strings.Cut(s, "@")
			return strings.HasPrefix(s, module+"@") && strings.Contains(string(mod), module+"/api "+version+"\n")
		}) {
			t.Errorf("the schema of %s is from %v, and go.mod has another", module, b.Sources)
		}
	}
}

// look checks a schema for what would only be noticed when an object needs it.
func look(t *testing.T, s *source, where string, definition *Schema) {
	t.Helper()
	if definition == nil {
		return
	}
	if definition.Ref != "" {
		if _, ok := s.bundle.Definitions[definition.Ref]; !ok {
			t.Errorf("%s: %s: no definition %s", s.name, where, definition.Ref)
		}
	}
	if definition.Pattern != "" {
		if _, err := compiled(definition.Pattern); err != nil {
			t.Errorf("%s: %s: %v", s.name, where, err)
		}
	}
	switch definition.Type {
	case "", "object", "array", "string", "integer", "number", "boolean":
	default:
		t.Errorf("%s: %s: type %s", s.name, where, definition.Type)
	}
	for name, p := range definition.Properties {
		look(t, s, where+"."+name, p)
	}
	for _, list := range [][]*Schema{definition.AllOf, definition.AnyOf, definition.OneOf, {definition.Items, definition.Additional, definition.Not}} {
		for _, p := range list {
			look(t, s, where, p)
		}
	}
}
