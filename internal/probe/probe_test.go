package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/diag"
)

const (
	byPolicy = "ValidatingAdmissionPolicy 'k8ssec-host-path' with binding 'k8ssec-host-path'"
	refusal  = `deployments.apps "x" is forbidden: ` + byPolicy + ` denied request: volume node`
	rbac     = `pods is forbidden: User "oidc:x" cannot create resource "pods" in API group "" in the namespace "team-a"`
)

// TestJudge holds that a denial counts only where the rule in question is named.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind generators.ProbeKind
		c    generators.Admission
		a    answer
		want State
	}{
		{"refused by the rule", generators.Deny, generators.Admission{By: byPolicy}, answer{code: 422, message: refusal}, Passed},
		{"refused by another rule", generators.Deny, generators.Admission{By: byPolicy}, answer{code: 403, message: "violates PodSecurity"}, Failed},
		{"refused by RBAC", generators.Deny, generators.Admission{By: byPolicy}, answer{code: 403, message: rbac}, Skipped},
		{"accepted", generators.Deny, generators.Admission{By: byPolicy}, answer{code: 201}, Failed},
		{"the target is not there", generators.Deny, generators.Admission{By: byPolicy, Verb: "patch"}, answer{code: 404, message: "not found"}, Failed},
		{"a pod that does not exist was looked for", generators.Deny, generators.Admission{By: byPolicy, Verb: "connect"}, answer{code: 404, message: "not found"}, Failed},
		{"warned", generators.Deny, generators.Admission{By: byPolicy, Warns: true}, answer{code: 201, warnings: []string{"Validation failed for " + byPolicy + ": x"}}, Passed},
		{"warned by another rule", generators.Deny, generators.Admission{By: byPolicy, Warns: true}, answer{code: 201, warnings: []string{"would violate PodSecurity"}}, Failed},
		{"refused instead of warned", generators.Deny, generators.Admission{By: byPolicy, Warns: true}, answer{code: 403, message: "quota"}, Failed},
		{"the twin passes", generators.Allow, generators.Admission{By: byPolicy}, answer{code: 201}, Passed},
		{"the twin is refused", generators.Allow, generators.Admission{By: byPolicy}, answer{code: 422, message: refusal}, Failed},
		{"the twin may not", generators.Allow, generators.Admission{By: byPolicy}, answer{code: 403, message: rbac}, Skipped},
		{"the twin is warned about", generators.Allow, generators.Admission{By: byPolicy, Warns: true}, answer{code: 201, warnings: []string{byPolicy}}, Failed},
		{"the twin of a shell", generators.Allow, generators.Admission{Verb: "connect"}, answer{code: 404, message: "not found"}, Passed},
		{
			"a default is filled in", generators.Allow, generators.Admission{Returns: []generators.FieldValue{{Field: "spec.priority", Value: "1000"}, {Field: "spec.volumes[0].name"}}},
			answer{code: 201, body: []byte(`{"spec":{"priority":1000}}`)}, Passed,
		},
		{
			"another default is filled in", generators.Allow, generators.Admission{Returns: []generators.FieldValue{{Field: "spec.priority", Value: "1000"}}},
			answer{code: 201, body: []byte(`{"spec":{"priority":0}}`)}, Failed,
		},
		{
			"what must be absent is there", generators.Allow, generators.Admission{Returns: []generators.FieldValue{{Field: "spec.volumes[0].name"}}},
			answer{code: 201, body: []byte(`{"spec":{"volumes":[{"name":"kube-api-access-x"}]}}`)}, Failed,
		},
	} {
		if got := judge(tt.kind, tt.c, &tt.a); got.state != tt.want {
			t.Errorf("%s: %s (%s), want %s", tt.name, got.state, got.observed, tt.want)
		}
	}
}

// TestMissing holds that each emitted field must be there, and that a list is compared as a whole.
func TestMissing(t *testing.T) {
	for _, tt := range []struct{ want, got, diff string }{
		{`{"a":1}`, `{"a":1,"b":2}`, ""},
		{`{"a":{"b":null},"c":{}}`, `{}`, ""},
		{`{"a":{"b":"x"}}`, `{"a":{"b":"y"}}`, `a.b is "y", emitted "x"`},
		{`{"a":{"b":"x"}}`, `{}`, `a.b is not set, emitted "x"`},
		{`{"a":[1,2]}`, `{"a":[1]}`, `a is [1], emitted [1,2]`},
		{`{"a":[{"b":1}]}`, `{"a":[{"b":2}]}`, `a[0].b is 2, emitted 1`},
		{`{"m":{"k8ssec.dev/kind":"tenant"}}`, `{"m":{}}`, `m[k8ssec.dev/kind] is not set, emitted "tenant"`},
	} {
		var want, got any
		if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(tt.got), &got); err != nil {
			t.Fatal(err)
		}
		if d := missing(want, got, ""); d != tt.diff {
			t.Errorf("%s in %s: %q, want %q", tt.want, tt.got, d, tt.diff)
		}
	}
}

func TestCounters(t *testing.T) {
	text := []byte(`# TYPE apiserver_audit_level_total counter
apiserver_audit_level_total{level="Metadata"} 12
apiserver_audit_level_total{level="Request"} 3
apiserver_storage_transformation_operations_total{resource="secrets",status="OK",transformation_type="from_storage",transformer_prefix="k8s:enc:secretbox:v1:"} 4
apiserver_storage_transformation_operations_total{resource="secrets",status="OK",transformation_type="to_storage",transformer_prefix="k8s:enc:secretbox:v1:"} 1.5e+01
apiserver_storage_transformation_operations_total{resource="configmaps",status="OK",transformation_type="to_storage",transformer_prefix="identity"} 9
`)
	levels := counters(text, "apiserver_audit_level_total", "level", nil)
	if levels["Metadata"] != 12 || levels["Request"] != 3 || len(levels) != 2 {
		t.Errorf("levels are %v", levels)
	}
	prefixes := counters(text, "apiserver_storage_transformation_operations_total", "transformer_prefix", map[string]string{"resource": "secrets"})
	if prefixes["k8s:enc:secretbox:v1:"] != 19 || len(prefixes) != 1 {
		t.Errorf("prefixes are %v", prefixes)
	}
}

func TestFlags(t *testing.T) {
	pod := object{"spec": map[string]any{"containers": []any{map[string]any{
		"command": []any{"kube-apiserver", "--request-timeout=60s", "--authorization-mode=RBAC,Node", "--profiling=false"},
	}}}}
	for _, tt := range []struct {
		name, value string
		want        State
	}{
		{"request-timeout", "1m0s", Passed}, {"request-timeout", "5m0s", Failed}, {"authorization-mode", "Node,RBAC", Passed},
		{"profiling", "true", Failed}, {"token-auth-file", "", Passed}, {"profiling", "", Failed}, {"audit-log-maxage", "30", Failed},
	} {
		got := compareFlag(generators.Flag{Name: tt.name, Value: tt.value}, arguments(pod))
		if got.state != tt.want {
			t.Errorf("--%s %q: %s (%s), want %s", tt.name, tt.value, got.state, got.observed, tt.want)
		}
	}
}

// server is an API server that answers by path, and remembers what it was asked.
type server struct {
	mu       sync.Mutex
	answers  map[string]string // by method and path; a number before the body is the status
	requests []string
	headers  []http.Header
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Method + " " + r.URL.Path
	s.requests, s.headers = append(s.requests, key+"?"+r.URL.RawQuery), append(s.headers, r.Header.Clone())
	text, ok := s.answers[key]
	w.Header().Set("Content-Type", "application/json")
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case strings.HasPrefix(text, "403 "):
		w.WriteHeader(http.StatusForbidden)
		text = text[4:]
	}
	_, _ = w.Write([]byte(text))
}

func start(t *testing.T, answers map[string]string) (*server, *Client) {
	t.Helper()
	s := &server{answers: answers}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c, err := newClient(&rest.Config{Host: h.URL, BearerToken: "secret"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

const coreAPI = `{"kind":"APIResourceList","groupVersion":"v1","resources":[
  {"name":"pods","kind":"Pod","namespaced":true},{"name":"pods/exec","kind":"PodExecOptions","namespaced":true},
  {"name":"namespaces","kind":"Namespace","namespaced":false}]}`

// TestReadOnly holds that without --active every request that writes is a dry run, a review or one to
// a pod that does not exist, and that somebody else is impersonated with the group of everybody.
func TestReadOnly(t *testing.T) {
	s, c := start(t, map[string]string{
		"GET /api/v1":                                             coreAPI,
		"POST /api/v1/namespaces/team-a/pods":                     `403 {"kind":"Status","message":"refused by x"}`,
		"PATCH /api/v1/namespaces/team-a":                         `{"kind":"Namespace"}`,
		"POST /apis/authorization.k8s.io/v1/subjectaccessreviews": `{"status":{"allowed":false}}`,
	})
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "x", "namespace": "team-a"}}
	namespace := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "team-a"}}
	who := generators.Identity{User: "oidc:x", Groups: []string{"oidc:g"}}
	probes := []generators.Probe{
		{ID: "create", Kind: generators.Deny, Check: generators.Admission{As: who, Verb: "create", Object: pod, By: "refused by x"}},
		{ID: "patch", Kind: generators.Allow, Check: generators.Admission{Verb: "patch", Object: namespace}},
		{ID: "connect", Kind: generators.Allow, Check: generators.Admission{Verb: "connect", Object: pod, Subresource: "exec"}},
		{ID: "delete", Kind: generators.Deny, Check: generators.Admission{Verb: "delete", Object: pod, By: "y"}},
		{ID: "access", Kind: generators.Deny, Check: generators.Access{As: who, Verb: "get", Resource: "secrets"}},
		{ID: "burst", Kind: generators.Deny, Check: generators.Burst{Events: 10}},
		{ID: "traffic", Kind: generators.Deny, Check: generators.Traffic{Port: 80}},
		{ID: "sandbox", Kind: generators.Deny, Check: generators.Admission{Verb: "create", Object: pod, Sandbox: generators.Open}},
	}
	r, err := Run(t.Context(), "prod", probes, Options{Client: c})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]State{
		"create": Passed, "patch": Passed, "connect": Passed, "delete": Failed, "access": Passed,
		"burst": Skipped, "traffic": Skipped, "sandbox": Skipped,
	}
	for _, p := range r.Probes {
		if p.State != want[p.ID] {
			t.Errorf("%s: %s (%s), want %s", p.ID, p.State, p.Observed, want[p.ID])
		}
	}
	for i, request := range s.requests {
		harmless := strings.HasPrefix(request, "GET ") || strings.Contains(request, "dryRun=All") ||
			strings.Contains(request, "/subjectaccessreviews?") || strings.Contains(request, "/pods/x/exec?")
		if !harmless {
			t.Errorf("%s changes something", request)
		}
		if strings.Contains(request, "team-a/pods?") {
			if h := s.headers[i]; h.Get("Impersonate-User") != "oidc:x" || strings.Join(h["Impersonate-Group"], " ") != "oidc:g system:authenticated" {
				t.Errorf("%s is sent as %v", request, h)
			}
		}
	}
}

// TestAlwaysRemoves holds that an active run removes its namespaces, also where it is interrupted
// before it begins to probe.
func TestAlwaysRemoves(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, c := start(t, map[string]string{
		"GET /api/v1/namespaces": `{"items":[]}`, "GET /api/v1/pods": `{"items":[]}`, "POST /api/v1/namespaces": `{}`,
	})
	cancelled := &Client{Context: c.Context, Server: c.Server, config: c.config, own: c.own, anonymous: c.anonymous, base: c.base, kinds: c.kinds}
	// The service account never comes, so the run waits until it is interrupted.
	go func() {
		for {
			s.mu.Lock()
			n := len(s.requests)
			s.mu.Unlock()
			if n > 4 {
				cancel()
				return
			}
		}
	}()
	if _, err := Run(ctx, "prod", []generators.Probe{{ID: "burst", Check: generators.Burst{}}}, Options{Client: cancelled, Active: true}); err == nil {
		t.Error("no error")
	}
	removed := 0
	for _, request := range s.requests {
		if strings.HasPrefix(request, "DELETE /api/v1/namespaces/k8ssec-probe-") {
			removed++
		}
	}
	if removed != 2 {
		t.Errorf("%d namespaces are removed, want 2: %v", removed, s.requests)
	}
}

// TestWriters holds the forms of a report.
func TestWriters(t *testing.T) {
	r := List("prod", []generators.Probe{
		{ID: "a-x-deny", Domain: "a", Kind: generators.Deny, Title: "x | y", Controls: []string{"cis-1"}, Artifacts: []string{"f"}, Check: generators.Access{}},
		{ID: "b-x-allow", Domain: "b", Kind: generators.Allow, Title: "z", Check: generators.InPlace{Objects: []any{1}}},
		{ID: "b-y-allow", Domain: "b", Kind: generators.Allow, Title: "z", Check: generators.AtRest{}},
	})
	r.Server = "https://host"
	r.Probes[0].State, r.Probes[0].Observed = Failed, "allowed"
	r.Probes[1].State = Passed
	r.Probes[2].State, r.Probes[2].Observed = Skipped, "no <way>"
	r.count()
	if !r.HasFindings() || r.Summary != (Summary{Total: 3, Passed: 1, Failed: 1, Skipped: 1}) {
		t.Errorf("%+v", r.Summary)
	}
	if r.Probes[1].Check != "in-place" || r.Probes[2].Check != "at-rest" {
		t.Errorf("checks are called %s and %s", r.Probes[1].Check, r.Probes[2].Check)
	}
	var text, markdown, junit bytes.Buffer
	if err := r.WriteText(&text, diag.Style{}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"failed: a-x-deny  x | y\n", "  expected not allowed by the authorizer\n", "  observed allowed\n", "  proves   cis-1\n",
		"b-y-allow: no <way>\n", "3 probes of prod against https://host: 1 passed, 1 failed, 1 skipped\n",
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("the text lacks %q:\n%s", line, text.String())
		}
	}
	if err := r.WriteMarkdown(&markdown); err != nil || !strings.Contains(markdown.String(), `| failed | a-x-deny | x \| y |`) {
		t.Errorf("%v\n%s", err, markdown.String())
	}
	if err := r.WriteJUnit(&junit); err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(junit.Bytes(), &suites); err != nil {
		t.Fatal(err)
	}
	if len(suites.Suites) != 2 || suites.Suites[0].Failures != 1 || suites.Suites[1].Skipped != 1 {
		t.Errorf("%+v", suites)
	}
}
