package controlplane_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// repository is one way to begin, with what it promises beyond what all of them do.
type repository struct {
	name string
	// args are those of `k8ssec init`; where there are none, cluster is the cluster file.
	args    []string
	cluster string
	// eventRateLimit is the admission plug-in.
	eventRateLimit bool
}

var repositories = []repository{
	{name: "baseline", args: []string{"--profile", "baseline"}},
	{name: "restricted", args: []string{"--profile", "restricted"}},
	{name: "cis", args: []string{"--profile", "cis"}, eventRateLimit: true},
	{name: "cis-l2", args: []string{"--profile", "cis-l2"}, eventRateLimit: true},
	{name: "nsa", args: []string{"--profile", "nsa"}},
	{name: "all switches", cluster: allSwitches, eventRateLimit: true},
	{name: "kind", args: []string{"--profile", "cis", "--platform", "kind"}, eventRateLimit: true},
}

// allSwitches turns on what no profile does by itself: etcd as a user of its own, kubelets that the
// API server verifies, an identity provider, a second audit trail, everything encrypted.
const allSwitches = `package cluster

profiles: ["cis-l2", "nsa"]
cluster: {name: "prod", nodeCIDRs: ["10.0.0.0/24"], controlPlaneEndpoint: "api.internal:6443"}
identity: oidc: {
	issuerURL: "https://issuer.internal"
	audiences: ["kubernetes"]
	usernameClaim: "sub"
	groupsClaim:   "groups"
	maxTokenHours: 12
	requiredClaims: hd: "internal"
}
apiserver: {etcdUser: true, kubeletCertificateAuthority: true, certSANs: ["api.internal"]}
kubelet: serverTLSBootstrap: true
logging: audit: {policy: "full", webhook: {url: "https://collector.internal/audit", mode: "batch"}}
network: firewall: {enabled: true, apiFrom: ["10.0.0.0/16"]}
images: {registries: ["registry.example.com"], requireDigest: true}
namespaces: "team-a": {owner: "team-a", groups: developers: ["a-devs"]}
`

// tenant is the example tenant of every new repository.
const tenant = "team-a"

// TestEmitted starts a control plane from each repository, applies everything that is in it, and asks
// the API server.
func TestEmitted(t *testing.T) {
	t.Parallel()
	for _, r := range repositories {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			check(t, r)
		})
	}
}

func check(t *testing.T, r repository) {
	t.Helper()
	var c *controlplane.ControlPlane
	if r.args == nil {
		c = controlplane.Start(t, controlplane.Generate(t, r.cluster))
	} else {
		c = controlplane.Start(t, controlplane.Init(t, r.args...))
	}
	c.ApplyCRDs(t)
	// What kubeadm applies once the API server answers, as on a new cluster.
	c.KubeadmPhase(t, "upload-config all")
	c.KubeadmPhase(t, "bootstrap-token")
	c.KubeadmPhase(t, "addon all")

	for _, err := range c.Apply(t) {
		t.Error(err)
	}
	if t.Failed() {
		t.Fatal("not everything was accepted; nothing below would mean anything")
	}
	settle(t, c)

	t.Run("applies again under its own policies", func(t *testing.T) {
		for _, err := range c.Apply(t) {
			t.Error(err)
		}
	})
	t.Run("leaves kubeadm its work", func(t *testing.T) {
		c.KubeadmPhase(t, "upload-config all")
		c.KubeadmPhase(t, "addon all")
	})
	t.Run("anonymous", func(t *testing.T) { anonymous(t, c) })
	t.Run("encryption", func(t *testing.T) { encryption(t, c) })
	t.Run("audit", func(t *testing.T) { audit(t, c) })
	t.Run("pod security", func(t *testing.T) { podSecurity(t, c) })
	t.Run("tokens", func(t *testing.T) { tokens(t, c) })
	t.Run("profiling", func(t *testing.T) { profiling(t, c) })
	t.Run("tls", func(t *testing.T) { transport(t, c) })
	t.Run("quota", func(t *testing.T) { quota(t, c) })
	t.Run("limits", func(t *testing.T) { limits(t, c) })
	t.Run("node", func(t *testing.T) { nodeRestriction(t, c) })
	t.Run("external IPs", func(t *testing.T) { externalIPs(t, c) })
	t.Run("event rate", func(t *testing.T) { eventRate(t, c, r.eventRateLimit) })
	t.Run("image pull", func(t *testing.T) { imagePull(t, c) })
}

// settle waits until the controller manager has taken up the quotas, and makes the service account
// that the test's pods run as.
func settle(t *testing.T, c *controlplane.ControlPlane) {
	t.Helper()
	eventually(t, "the quota of the tenant has a status", func(ctx context.Context) (bool, string) {
		list, err := c.Client(t).CoreV1().ResourceQuotas(tenant).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, q := range list.Items {
			if len(q.Status.Hard) == 0 {
				return false, q.Name + " has none"
			}
		}
		return len(list.Items) > 0, "no quota"
	})
	account(t, c, tenant)
}

// account makes the service account that the test's pods run as.
func account(t *testing.T, c *controlplane.ControlPlane, namespace string) {
	t.Helper()
	app := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "app"}, AutomountServiceAccountToken: ptr.To(false)}
	if _, err := c.Client(t).CoreV1().ServiceAccounts(namespace).Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// mustRefuse wants a request refused, and by whom it should be.
func mustRefuse(t *testing.T, what string, err error, by string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s was accepted", what)
	} else if !strings.Contains(err.Error(), by) {
		t.Errorf("%s was refused, but not by %q: %v", what, by, err)
	}
}

func mustAccept(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s was refused: %v", what, err)
	}
}

func eventually(t *testing.T, what string, check func(context.Context) (bool, string)) {
	t.Helper()
	var last string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		ok, observed := check(t.Context())
		if ok {
			return
		}
		last = observed
	}
	t.Fatalf("not within 30 s: %s: %s", what, last)
}

// Only what kubeadm's probes and joining nodes need answers without credentials (CIS 1.2.1).
func anonymous(t *testing.T, c *controlplane.ControlPlane) {
	for _, path := range []string{
		"/livez", "/readyz", "/healthz", "/api/v1/namespaces/kube-public/configmaps/cluster-info",
	} {
		if got := c.Status(t, path); got != http.StatusOK {
			t.Errorf("GET %s = %d, want 200", path, got)
		}
	}
	for _, path := range []string{
		"/api", "/apis", "/version", "/metrics", "/openapi/v2", "/livez/ping", "/api/v1/namespaces/default/secrets",
		"/api/v1/namespaces/kube-public/configmaps", "/.well-known/openid-configuration",
	} {
		if got := c.Status(t, path); got != http.StatusUnauthorized {
			t.Errorf("GET %s = %d, want 401", path, got)
		}
	}
}

// What etcd holds is not what the API server was given (CIS 1.2.27, 1.2.28).
func encryption(t *testing.T, c *controlplane.ControlPlane) {
	ctx, client := t.Context(), c.Client(t)
	const marker = "plain-as-the-nose-on-your-face"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "sealed"}, StringData: map[string]string{"k": marker}}
	if _, err := client.CoreV1().Secrets(tenant).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "sealed"}, Data: map[string]string{"k": marker}}
	if _, err := client.CoreV1().ConfigMaps(tenant).Create(ctx, config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"secrets", "configmaps"} {
		stored := c.Stored(t, "/registry/"+kind+"/"+tenant+"/sealed")
		if !bytes.HasPrefix(stored, []byte("k8s:enc:secretbox:v1:")) {
			t.Errorf("%s begin with %q in etcd", kind, stored[:min(len(stored), 30)])
		}
		if bytes.Contains(stored, []byte(marker)) {
			t.Errorf("%s are readable in etcd", kind)
		}
	}
	// The same way of looking does see what is stored as it is.
	if stored := c.Stored(t, "/registry/namespaces/"+tenant); !bytes.Contains(stored, []byte(tenant)) {
		t.Errorf("a namespace, which is not encrypted, is not readable either: %q", stored)
	}
	got, err := client.CoreV1().Secrets(tenant).Get(ctx, "sealed", metav1.GetOptions{})
	if err != nil || string(got.Data["k"]) != marker {
		t.Errorf("the API returns %q, %v", got.Data["k"], err)
	}
}

// event is the part of an audit record that the test looks at.
type event struct {
	Level          string                                                  `json:"level"`
	Verb           string                                                  `json:"verb"`
	User           struct{ Username string }                               `json:"user"`
	ObjectRef      struct{ Resource, Namespace, Name, Subresource string } `json:"objectRef"`
	RequestObject  json.RawMessage                                         `json:"requestObject"`
	ResponseObject json.RawMessage                                         `json:"responseObject"`
}

// The audit log knows who did it and does not leak what they wrote (CIS 3.2.1, 3.2.2).
func audit(t *testing.T, c *controlplane.ControlPlane) {
	ctx, client := t.Context(), c.Client(t)
	const marker = "never-in-the-audit-log"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "audited"}, StringData: map[string]string{"k": marker}}
	if _, err := client.CoreV1().Secrets(tenant).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets(tenant).Get(ctx, "audited", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts(tenant).CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"create secrets/audited": false, "get secrets/audited": false, "create serviceaccounts/default/token": false}
	eventually(t, "the audit log has the requests", func(context.Context) (bool, string) {
		for _, e := range auditLog(t, c) {
			key := strings.TrimSuffix(e.Verb+" "+e.ObjectRef.Resource+"/"+e.ObjectRef.Name+"/"+e.ObjectRef.Subresource, "/")
			if e.ObjectRef.Namespace != tenant {
				continue
			}
			if _, ok := want[key]; ok {
				want[key] = true
			}
		}
		for key, seen := range want {
			if !seen {
				return false, "missing: " + key
			}
		}
		return true, ""
	})
	for _, e := range auditLog(t, c) {
		if r := e.ObjectRef.Resource; (r == "secrets" || r == "configmaps" || r == "tokenreviews" || e.ObjectRef.Subresource == "token") &&
			(len(e.RequestObject) > 0 || len(e.ResponseObject) > 0) {
			t.Errorf("the record of %s %s/%s holds a body", e.Verb, r, e.ObjectRef.Name)
		}
	}
	raw := readAudit(t, c)
	for what, value := range map[string]string{
		"the secret": marker, "the secret in base64": base64.StdEncoding.EncodeToString([]byte(marker)), "the token": token.Status.Token,
	} {
		if bytes.Contains(raw, []byte(value)) {
			t.Errorf("the audit log contains %s", what)
		}
	}
}

func auditLog(t *testing.T, c *controlplane.ControlPlane) []event {
	t.Helper()
	var events []event
	for line := range bytes.Lines(readAudit(t, c)) {
		var e event
		if json.Unmarshal(line, &e) == nil { // the last line may be half written
			events = append(events, e)
		}
	}
	return events
}

func readAudit(t *testing.T, c *controlplane.ControlPlane) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Root, "var/log/kubernetes/audit/audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Pod Security holds where a label asks for it and where nobody labelled anything (CIS 5.2).
func podSecurity(t *testing.T, c *controlplane.ControlPlane) {
	ctx, client := t.Context(), c.Client(t)
	// As an administrator can, but GitOps would not: a namespace without any label.
	bare := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, bare, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account(t, c, "bare")
	for _, ns := range []string{tenant, "bare"} {
		_, err := createPod(ctx, client, ns, privileged("privileged"))
		mustRefuse(t, "a privileged pod in "+ns, err, "violates PodSecurity")
		_, err = createPod(ctx, client, ns, restrictedPod("allowed"))
		mustAccept(t, "a restricted pod in "+ns, err)
	}
}

// A token lives as long as was asked for and at most a day (CIS 1.2.30).
func tokens(t *testing.T, c *controlplane.ControlPlane) {
	for _, tt := range []struct{ ask, want int64 }{
		// With the extension on, the API server turns exactly this number into a year.
		{ask: 3607, want: 3607},
		{ask: 7 * 24 * 3600, want: 24 * 3600},
	} {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(tt.ask)}}
		got, err := c.Client(t).CoreV1().ServiceAccounts(tenant).CreateToken(t.Context(), "default", request, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var claims struct{ Exp, Iat int64 }
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(got.Status.Token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if life := claims.Exp - claims.Iat; life != tt.want {
			t.Errorf("a token of %d s lives %d s, want %d", tt.ask, life, tt.want)
		}
		if _, err := clientFor(t, c, got.Status.Token).Discovery().ServerVersion(); err != nil {
			t.Errorf("the token does not work: %v", err)
		}
	}
}

func clientFor(t *testing.T, c *controlplane.ControlPlane, token string) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.WithToken(token))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Even an administrator finds no profiler (CIS 1.2.15).
func profiling(t *testing.T, c *controlplane.ControlPlane) {
	client := c.Client(t).Discovery().RESTClient()
	if err := client.Get().AbsPath("/debug/pprof/").Do(t.Context()).Error(); !apierrors.IsNotFound(err) {
		t.Errorf("GET /debug/pprof/: %v, want 404", err)
	}
	if err := client.Get().AbsPath("/metrics").Do(t.Context()).Error(); err != nil {
		t.Errorf("GET /metrics: %v, want 200", err)
	}
}

// The API server speaks TLS 1.2 and 1.3, and in 1.2 only the listed suites (CIS 1.2.29).
func transport(t *testing.T, c *controlplane.ControlPlane) {
	tests := []struct {
		name     string
		min, max uint16
		suites   []uint16
		ok       bool
	}{
		{name: "TLS 1.1", min: tls.VersionTLS10, max: tls.VersionTLS11},
		{name: "TLS 1.2 with CBC", max: tls.VersionTLS12, suites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}},
		{name: "TLS 1.2 with an AEAD", max: tls.VersionTLS12, suites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, ok: true},
		{name: "TLS 1.3", min: tls.VersionTLS13, ok: true},
	}
	for _, tt := range tests {
		config := c.TLS()
		config.MinVersion, config.MaxVersion, config.CipherSuites = tt.min, tt.max, tt.suites
		conn, err := tls.Dial("tcp", c.Address, config)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A namespace cannot have more than its quota (NSA N8).
func quota(t *testing.T, c *controlplane.ControlPlane) {
	ctx, client := t.Context(), c.Client(t)
	quotas, err := client.CoreV1().ResourceQuotas(tenant).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := client.CoreV1().LimitRanges(tenant).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hard, most := resource.Quantity{}, resource.Quantity{}
	for _, q := range quotas.Items {
		if cpu, ok := q.Spec.Hard[corev1.ResourceLimitsCPU]; ok {
			hard = cpu
		}
	}
	for _, r := range ranges.Items {
		for _, l := range r.Spec.Limits {
			if l.Type == corev1.LimitTypeContainer {
				most = l.Max[corev1.ResourceCPU]
			}
		}
	}
	if hard.IsZero() || most.IsZero() {
		t.Fatalf("the tenant has no quota (%s) or no limits (%s) of CPU", &hard, &most)
	}
	pod := restrictedPod("many")
	pod.Spec.Containers[0].Resources.Limits[corev1.ResourceCPU] = most
	one := pod.Spec.Containers[0]
	for total := most.DeepCopy(); total.Cmp(hard) <= 0; total.Add(most) {
		next := *one.DeepCopy()
		next.Name = fmt.Sprintf("app-%d", len(pod.Spec.Containers))
		pod.Spec.Containers = append(pod.Spec.Containers, next)
	}
	_, err = createPod(ctx, client, tenant, pod)
	mustRefuse(t, "a pod beyond the quota", err, "exceeded quota")
	_, err = createPod(ctx, client, tenant, restrictedPod("few"))
	mustAccept(t, "a pod within the quota", err)
}

// A container gets limits, and no more than the namespace allows.
func limits(t *testing.T, c *controlplane.ControlPlane) {
	ctx, client := t.Context(), c.Client(t)
	huge := restrictedPod("huge")
	huge.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory] = resource.MustParse("10Ti")
	_, err := createPod(ctx, client, tenant, huge)
	mustRefuse(t, "a container beyond the limits", err, "maximum memory usage per Container")

	plain := restrictedPod("plain")
	plain.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	made, err := createPod(ctx, client, tenant, plain)
	mustAccept(t, "a pod without limits of its own", err)
	if err == nil && made.Spec.Containers[0].Resources.Limits.Memory().IsZero() {
		t.Error("a pod without limits of its own got none")
	}
}

// A kubelet changes its own node and no other (CIS 1.2.14).
func nodeRestriction(t *testing.T, c *controlplane.ControlPlane) {
	ctx := t.Context()
	kubelet := c.As(t, "system:node:worker-1", "system:nodes")
	node := func(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	if _, err := kubelet.CoreV1().Nodes().Create(ctx, node("worker-1"), metav1.CreateOptions{}); err != nil {
		t.Errorf("a kubelet registers its own node: %v", err)
	}
	if _, err := kubelet.CoreV1().Nodes().Create(ctx, node("worker-2"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a kubelet registers another node: %v, want it forbidden", err)
	}
}

// Nobody captures the traffic of an address by naming it (CIS 1.2.3).
func externalIPs(t *testing.T, c *controlplane.ControlPlane) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "captor"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: []string{"203.0.113.7"}},
	}
	_, err := c.Client(t).CoreV1().Services(tenant).Create(t.Context(), service, metav1.CreateOptions{})
	mustRefuse(t, "a service with external IPs", err, "external")
	service.Spec.ExternalIPs = nil
	_, err = c.Client(t).CoreV1().Services(tenant).Create(t.Context(), service, metav1.CreateOptions{})
	mustAccept(t, "a service without them", err)
}

// One namespace cannot drown the API server in events (CIS 1.2.9).
func eventRate(t *testing.T, c *controlplane.ControlPlane, limited bool) {
	ctx, client := t.Context(), c.Client(t)
	var refused, accepted int
	for i := range 400 {
		_, err := client.CoreV1().Events(tenant).Create(ctx, &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("flood-%d", i)},
			InvolvedObject: corev1.ObjectReference{Namespace: tenant, Kind: "Pod", Name: "flood"},
			Reason:         "Flood", Message: "one of many", Type: corev1.EventTypeNormal,
		}, metav1.CreateOptions{})
		switch {
		case err == nil:
			accepted++
		case apierrors.IsTooManyRequests(err):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if accepted == 0 {
		t.Error("not one event was accepted")
	}
	if limited != (refused > 0) {
		t.Errorf("%d of 400 events were refused; limited is %v", refused, limited)
	}
}

// Nobody runs an image from a node's cache that they could not pull (CIS 1.2.11). From 1.35 on the
// kubelet sees to that, and the plug-in, which pulls at each start, is not needed.
func imagePull(t *testing.T, c *controlplane.ControlPlane) {
	plugins := ""
	for _, a := range c.Arguments["kube-apiserver"] {
		plugins += strings.TrimPrefix(a, "--enable-admission-plugins=")
	}
	always := strings.Contains(plugins, "AlwaysPullImages")
	pod := restrictedPod("cached")
	pod.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
	made, err := createPod(t.Context(), c.Client(t), tenant, pod)
	mustAccept(t, "a pod with a pull policy", err)
	if err == nil && always != (made.Spec.Containers[0].ImagePullPolicy == corev1.PullAlways) {
		t.Errorf("the pull policy became %s; always is %v", made.Spec.Containers[0].ImagePullPolicy, always)
	}
}

// createPod asks for a pod and has it thrown away once it has passed admission.
func createPod(ctx context.Context, client *kubernetes.Clientset, namespace string, pod *corev1.Pod) (*corev1.Pod, error) {
	return client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// restrictedPod passes the strictest profile.
func restrictedPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			ServiceAccountName:           "app",
			AutomountServiceAccountToken: ptr.To(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   ptr.To(true),
				RunAsUser:      ptr.To[int64](10001),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name:  "app",
				Image: "registry.example.com/app@sha256:" + strings.Repeat("0", 64),
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{
						corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
						corev1.ResourceEphemeralStorage: resource.MustParse("100Mi"),
					},
					Limits: corev1.ResourceList{
						corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
						corev1.ResourceEphemeralStorage: resource.MustParse("100Mi"),
					},
				},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false),
					ReadOnlyRootFilesystem:   ptr.To(true),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// privileged is the same pod, with all that a container can take.
func privileged(name string) *corev1.Pod {
	pod := restrictedPod(name)
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	return pod
}
