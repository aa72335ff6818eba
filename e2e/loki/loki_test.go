// Package loki runs the emitted rules about the audit log through Loki's own query engine, over records
// in the form of the API server's audit log. A module of its own, because Loki brings a whole server's
// dependencies with it.
package loki

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/grafana/dskit/user"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/logql"
	"github.com/prometheus/prometheus/promql"
	"gopkg.in/yaml.v3"
)

const cluster = `
profiles: ["cis"]
cluster: nodeCIDRs: ["10.0.0.0/24"]
network: monitoringNamespace: "monitoring"
logging: shipper: "vector"
backup: {install: "install", location: {bucket: "prod-backups", region: "eu-central-1", roleARN: "arn:aws:iam::123456789012:role/velero"}}
alerts: {install: "install", receivers: oncall: {kind: "webhook", secretRef: "alerts/url"}, routes: critical: "oncall"}
namespaces: "team-a": owner: "team-a"
`

const (
	person  = "oidc:eve"
	kubelet = "system:node:worker-1"
	flux    = "system:serviceaccount:flux-system:kustomize-controller"
)

// request is an audit record in short.
type request struct {
	user, verb, group, resource, sub, namespace, name, uri, source, as string
	groups                                                             []string
	code                                                               int32
	times                                                              int
}

// record is the audit record of the request, as the API server writes it to its file.
func (r request) record(t *testing.T) string {
	t.Helper()
	source, code := r.source, r.code
	if source == "" {
		source = "10.244.1.7"
	}
	if code == 0 {
		code = 200
	}
	uri := r.uri
	if uri == "" {
		uri = "/apis/" + r.group + "/" + r.resource + "/" + r.name
	}
	e := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "4f2b", "stage": "ResponseComplete", "requestURI": uri, "verb": r.verb,
		"user":      map[string]any{"username": r.user, "groups": append(slices.Clone(r.groups), "system:authenticated")},
		"sourceIPs": []string{source}, "userAgent": "kubectl/v1.37.2", "responseStatus": map[string]any{"metadata": map[string]any{}, "code": code},
		"annotations": map[string]string{"authorization.k8s.io/decision": "allow"},
	}
	if r.as != "" {
		e["impersonatedUser"] = map[string]any{"username": r.as, "groups": []string{"system:authenticated"}}
	}
	if r.resource != "" {
		object := map[string]string{"resource": r.resource, "apiVersion": "v1"}
		for key, value := range map[string]string{"apiGroup": r.group, "subresource": r.sub, "namespace": r.namespace, "name": r.name} {
			if value != "" {
				object[key] = value
			}
		}
		e["objectRef"] = object
	}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const (
	rbac      = "rbac.authorization.k8s.io"
	admission = "admissionregistration.k8s.io"
)

// attacks are requests that must raise the alert of that name.
var attacks = map[string]request{
	"ExecIntoPlatform": {user: person, verb: "get", resource: "pods", sub: "exec", namespace: "kube-system", name: "etcd-0", code: 101},
	"ExecIntoTenant":   {user: person, verb: "create", resource: "pods", sub: "attach", namespace: "team-a", name: "web-0", code: 101},
	"AnonymousAccess":  {user: "system:anonymous", verb: "list", resource: "pods", uri: "/api/v1/pods"},
	"RightsGiven":      {user: person, verb: "create", group: rbac, resource: "clusterrolebindings", name: "mine", code: 201},
	"AdmissionChanged": {user: person, verb: "delete", group: admission, resource: "validatingadmissionpolicies", name: "host-path"},
	"SecretsListed":    {user: person, verb: "list", resource: "secrets", namespace: "team-a"},
	"TokenMade":        {user: person, verb: "create", resource: "serviceaccounts", sub: "token", namespace: "team-a", name: "default", code: 201},
	"TokenUsedOutside": {user: "system:serviceaccount:team-a:web", verb: "get", resource: "pods", namespace: "team-a", source: "203.0.113.9"},
	"BreakGlassUsed":   {user: person, groups: []string{"oidc:break-glass"}, verb: "patch", resource: "pods", namespace: "team-a", name: "web-0"},
	"SystemMasters":    {user: "kubernetes-super-admin", groups: []string{"system:masters"}, verb: "get", resource: "nodes", source: "10.0.0.4"},
	"Impersonation":    {user: person, as: "system:admin", verb: "get", resource: "pods"},
	"NamespaceDeleted": {user: person, verb: "delete", resource: "namespaces", name: "team-a"},
	"BackupDeleted":    {user: person, verb: "delete", group: "velero.io", resource: "backups", namespace: "velero", name: "daily-1"},
	"EventsDeleted":    {user: person, verb: "deletecollection", resource: "events", namespace: "team-a"},
	"CertificateIssued": {
		user: person, verb: "update", group: "certificates.k8s.io", resource: "certificatesigningrequests", sub: "approval", name: "mine",
	},
	"RightsAsked":  {user: person, verb: "create", group: "authorization.k8s.io", resource: "selfsubjectaccessreviews", code: 201, times: 60},
	"RefusedOften": {user: person, verb: "get", resource: "pods", code: 403, times: 120},
}

// everyday are requests that look alike and must raise nothing.
var everyday = []request{
	{user: person, verb: "get", resource: "pods", sub: "exec", namespace: "kube-system", name: "etcd-0", code: 403},
	{user: "system:anonymous", verb: "get", uri: "/livez"},
	{user: "system:anonymous", verb: "get", resource: "configmaps", namespace: "kube-public", name: "cluster-info", uri: "/api/v1/namespaces/kube-public/configmaps/cluster-info?timeout=10s"},
	{user: "system:anonymous", verb: "list", resource: "pods", uri: "/api/v1/pods", code: 401},
	{user: flux, verb: "patch", group: rbac, resource: "clusterroles", name: "k8ssec-viewer"},
	{user: flux, verb: "patch", group: admission, resource: "validatingadmissionpolicies", name: "host-path"},
	{user: person, verb: "create", group: rbac, resource: "rolebindings", namespace: "team-a", name: "x", code: 403},
	{user: "system:kube-controller-manager", verb: "list", resource: "secrets"},
	{user: "system:serviceaccount:velero:velero", verb: "list", resource: "secrets"},
	{user: person, verb: "get", resource: "secrets", namespace: "team-a", name: "database"},
	{user: kubelet, verb: "create", resource: "serviceaccounts", sub: "token", namespace: "team-a", name: "web", code: 201},
	{user: "system:serviceaccount:team-a:web", verb: "get", resource: "pods", namespace: "team-a", source: "10.244.3.3"},
	{user: "system:serviceaccount:kube-system:node-agent", verb: "get", resource: "pods", source: "10.0.0.9"},
	{user: "system:apiserver", groups: []string{"system:masters"}, verb: "get", resource: "services"},
	{user: flux, as: "system:serviceaccount:team-a:gitops-deployer", verb: "patch", group: "apps", resource: "deployments", namespace: "team-a"},
	{user: "system:serviceaccount:kube-system:namespace-controller", verb: "deletecollection", resource: "events", namespace: "old"},
	{user: "system:serviceaccount:velero:velero", verb: "delete", group: "velero.io", resource: "backups", namespace: "velero", name: "daily-0"},
	{user: "system:serviceaccount:kube-system:certificate-controller", verb: "update", group: "certificates.k8s.io", resource: "certificatesigningrequests", sub: "approval", name: "node-csr-x"},
	{user: person, verb: "create", group: "authorization.k8s.io", resource: "selfsubjectaccessreviews", code: 201, times: 5},
	{user: person, verb: "get", resource: "pods", code: 403, times: 5},
	{user: person, verb: "delete", resource: "pods", namespace: "team-a", name: "web-0"},
}

// alert is one rule as it was emitted.
type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

// TestRules makes each rule fire on the requests of an attack, and only the rules that are meant.
func TestRules(t *testing.T) {
	rules := emitted(t)
	for _, rule := range rules {
		if rule.Alert == "AuditLogNotShipped" {
			continue
		}
		t.Run(rule.Alert, func(t *testing.T) {
			attack, ok := attacks[rule.Alert]
			if !ok {
				t.Fatal("no attack raises it")
			}
			got := evaluate(t, rule, attack)
			if len(got) == 0 {
				t.Fatalf("it is silent on %s", attack.record(t))
			}
			for _, name := range labelsOf(rule) {
				if !got[0].Metric.Has(name) {
					t.Errorf("its text names the label %s; there are %s", name, got[0].Metric)
				}
			}
			if rule.Labels["severity"] == "" || !strings.HasPrefix(rule.Annotations["runbook"], "docs/runbooks/") {
				t.Errorf("it lacks a severity or a runbook: %v %v", rule.Labels, rule.Annotations)
			}
			for _, r := range everyday {
				if got := evaluate(t, rule, r); len(got) > 0 {
					t.Errorf("it fires on %s", r.record(t))
				}
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		if !slices.ContainsFunc(rules, func(r alert) bool { return r.Alert == name }) {
			t.Errorf("%s is not emitted", name)
		}
	}
}

// TestSilence holds that missing records are an alert, and records are none.
func TestSilence(t *testing.T) {
	i := slices.IndexFunc(emitted(t), func(r alert) bool { return r.Alert == "AuditLogNotShipped" })
	if i < 0 {
		t.Fatal("AuditLogNotShipped is not emitted")
	}
	rule := emitted(t)[i]
	if len(evaluate(t, rule)) == 0 {
		t.Error("it is silent without records")
	}
	if got := evaluate(t, rule, everyday[0]); len(got) > 0 {
		t.Errorf("it fires on %v", got)
	}
}

var label = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// labelsOf are the labels that the texts of an alert name.
func labelsOf(rule alert) []string {
	var names []string
	for _, text := range rule.Annotations {
		for _, m := range label.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// evaluate runs one rule's expression a moment after the requests.
func evaluate(t *testing.T, rule alert, requests ...request) promql.Vector {
	t.Helper()
	now := time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)
	stream := logproto.Stream{Labels: `{job="kube-audit", node="control-plane-1"}`}
	at := now.Add(-time.Minute)
	for _, r := range requests {
		for range max(1, r.times) {
			at = at.Add(time.Microsecond)
			stream.Entries = append(stream.Entries, logproto.Entry{Timestamp: at, Line: r.record(t)})
		}
	}
	params, err := logql.NewLiteralParams(rule.Expr, now, now, 0, 0, logproto.FORWARD, 1000, nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", rule.Alert, err)
	}
	engine := logql.NewEngine(logql.EngineOpts{}, logql.NewMockQuerier(0, []logproto.Stream{stream}), logql.NoLimits, log.NewNopLogger())
	result, err := engine.Query(params).Exec(user.InjectOrgID(context.Background(), "k8ssec"))
	if err != nil {
		t.Fatalf("%s: %v", rule.Alert, err)
	}
	vector, ok := result.Data.(promql.Vector)
	if !ok {
		t.Fatalf("%s gives a %T", rule.Alert, result.Data)
	}
	return vector
}

// emitted are the rules of the cluster.
func emitted(t *testing.T) []alert {
	t.Helper()
	work := t.TempDir()
	tool, dir := filepath.Join(work, "k8ssec"), filepath.Join(work, "prod")
	build := exec.Command("go", "build", "-o", tool, "./cmd/k8ssec")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.cue"), []byte(cluster), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "generate", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "manifests", "alerts", "audit-rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var object struct{ Data map[string]string }
	if err := yaml.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal([]byte(object.Data["rules.yaml"]), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 {
		t.Fatalf("%d groups", len(file.Groups))
	}
	return file.Groups[0].Rules
}
