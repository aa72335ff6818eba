package admission_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// fixture is one file of generators/workloads/testdata/<policy>. Its name begins with what must
// happen: pass, warn or fail. One document is created; of two, the first is there before the policies
// are, and the second is the update. Lines that begin with #+ say more:
//
//	#+user: the user name, oidc:alice where there is none
//	#+groups: groups of the user
//	#+subresource: the subresource that the request goes to
//	#+also: policies that refuse the object as well, because it cannot be built otherwise
//	#+since: the first minor whose API has the field
type fixture struct {
	policy, name string
	want         string
	user         string
	groups       []string
	subresource  string
	also         []string
	since        string
	before       *unstructured.Unstructured
	object       *unstructured.Unstructured
}

const fixtureDir = "../../generators/workloads/testdata"

// fixtures returns the fixtures of every policy, by policy.
func fixtures(t *testing.T) map[string][]fixture {
	t.Helper()
	files, err := filepath.Glob(fixtureDir + "/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]fixture{}
	for _, file := range files {
		f, err := readFixture(file)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[f.policy] = append(all[f.policy], f)
	}
	return all
}

func readFixture(file string) (fixture, error) {
	f := fixture{
		policy: filepath.Base(filepath.Dir(file)),
		name:   strings.TrimSuffix(filepath.Base(file), ".yaml"),
		user:   "oidc:alice",
	}
	f.want, _, _ = strings.Cut(f.name, "-")
	if !slices.Contains([]string{"pass", "warn", "fail"}, f.want) {
		return f, fmt.Errorf("the name begins with neither pass, warn nor fail")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(string(b)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "#+")
		if !ok {
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "user":
			f.user = value
		case "groups":
			f.groups = strings.Fields(value)
		case "subresource":
			f.subresource = value
		case "also":
			f.also = strings.Fields(value)
		case "since":
			f.since = value
		default:
			return f, fmt.Errorf("unknown directive %q", key)
		}
	}
	docs, err := documents(b)
	if err != nil {
		return f, err
	}
	switch len(docs) {
	case 1:
		f.object = docs[0]
	case 2:
		f.before, f.object = docs[0], docs[1]
	default:
		return f, fmt.Errorf("%d documents, want one or two", len(docs))
	}
	return f, nil
}

func documents(b []byte) ([]*unstructured.Unstructured, error) {
	var docs []*unstructured.Unstructured
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		o := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &o.Object); err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			docs = append(docs, o)
		}
	}
}

// answer is what the API server says to one request.
type answer struct {
	code     int
	message  string
	object   *unstructured.Unstructured
	warnings []string
}

var policyName = regexp.MustCompile(`ValidatingAdmissionPolicy '(k8ssec-[a-z.0-9-]+)'`)

// refusedBy is the policy that refused the request, or empty.
func (a answer) refusedBy() string {
	if m := policyName.FindStringSubmatch(a.message); a.code >= 400 && m != nil {
		return m[1]
	}
	return ""
}

// warnedBy are the policies that warned about it, sorted.
func (a answer) warnedBy() []string {
	var names []string
	for _, w := range a.warnings {
		if m := policyName.FindStringSubmatch(w); m != nil {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// send makes a request with a body as it is on the wire.
func send(ctx context.Context, config *rest.Config, method, path string, query url.Values, body any) (answer, error) {
	c := rest.CopyConfig(config)
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return answer{}, err
	}
	var payload []byte
	if body != nil {
		if payload, err = json.Marshal(body); err != nil {
			return answer{}, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Host, "/")+path+"?"+query.Encode(), bytes.NewReader(payload))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	return read(resp)
}

// resources finds the resource of a kind.
type resources struct {
	mu    sync.Mutex
	cache map[schema.GroupVersion]map[string]resource
	admin *rest.Config
}

type resource struct {
	name       string
	namespaced bool
}

func (r *resources) find(ctx context.Context, gvk schema.GroupVersionKind) (resource, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gv := gvk.GroupVersion()
	if r.cache == nil {
		r.cache = map[schema.GroupVersion]map[string]resource{}
	}
	if r.cache[gv] == nil {
		a, err := send(ctx, r.admin, "GET", "/"+root(gv), nil, nil)
		if err != nil {
			return resource{}, err
		}
		kinds := map[string]resource{}
		list, _, _ := unstructured.NestedSlice(a.object.Object, "resources")
		for _, item := range list {
			m := item.(map[string]any)
			if name := m["name"].(string); !strings.Contains(name, "/") {
				kinds[m["kind"].(string)] = resource{name, m["namespaced"].(bool)}
			}
		}
		r.cache[gv] = kinds
	}
	found, ok := r.cache[gv][gvk.Kind]
	if !ok {
		return resource{}, fmt.Errorf("the API server has no %s", gvk)
	}
	return found, nil
}

func root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.String()
}

// path is the URL path of the object's collection, or of the object where named.
func (r *resources) path(ctx context.Context, o *unstructured.Unstructured, named bool) (string, error) {
	gvk := o.GroupVersionKind()
	if gvk.Kind == "TokenRequest" {
		return "/api/v1/namespaces/" + o.GetNamespace() + "/serviceaccounts/" + o.GetName() + "/token", nil
	}
	res, err := r.find(ctx, gvk)
	if err != nil {
		return "", err
	}
	p := "/" + root(gvk.GroupVersion())
	if res.namespaced {
		p += "/namespaces/" + o.GetNamespace()
	}
	p += "/" + res.name
	if named {
		p += "/" + o.GetName()
	}
	return p, nil
}

// request makes the fixture's request. Nothing is stored.
func (f fixture) request(ctx context.Context, r *resources, as *rest.Config) (answer, error) {
	query := url.Values{"dryRun": {"All"}, "fieldValidation": {"Strict"}}
	switch f.subresource {
	case "attach", "exec", "portforward":
		p, err := r.path(ctx, f.object, true)
		if err != nil {
			return answer{}, err
		}
		return send(ctx, as, "POST", p+"/"+f.subresource, url.Values{"command": {"id"}, "stdout": {"true"}}, nil)
	}
	if f.before == nil {
		p, err := r.path(ctx, f.object, false)
		if err != nil {
			return answer{}, err
		}
		return send(ctx, as, "POST", p, query, f.object)
	}
	p, err := r.path(ctx, f.before, true)
	if err != nil {
		return answer{}, err
	}
	live, err := send(ctx, r.admin, "GET", p, nil, nil)
	if err != nil {
		return answer{}, err
	}
	if live.code != http.StatusOK {
		return answer{}, fmt.Errorf("GET %s: %s", p, live.message)
	}
	o := live.object
	overlay(o.Object, f.object.Object)
	if f.subresource != "" {
		p += "/" + f.subresource
	}
	return send(ctx, as, "PUT", p, query, o)
}

// overlay writes the fields of an update over the object as it is stored, one level below spec and
// metadata, so that what the API server filled in stays.
func overlay(live, update map[string]any) {
	for key, value := range update {
		inner, isMap := value.(map[string]any)
		old, wasMap := live[key].(map[string]any)
		if isMap && wasMap && (key == "spec" || key == "metadata") {
			for k, v := range inner {
				old[k] = v
			}
			continue
		}
		live[key] = value
	}
	if live["kind"] == "Namespace" {
		meta := live["metadata"].(map[string]any)
		labels, _ := meta["labels"].(map[string]any)
		labels["kubernetes.io/metadata.name"] = meta["name"]
	}
}
