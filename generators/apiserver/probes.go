package apiserver

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const domain = "apiserver"

// The files that the probes of this domain are about.
const (
	authenticationFile = "bootstrap/control-plane/authentication.yaml"
	admissionFile      = "bootstrap/control-plane/admission.yaml"
)

func bootstrapPath(p *posture.Posture) string {
	if p.Cluster.Platform == "kind" {
		return "bootstrap/kind-config.yaml"
	}
	return "bootstrap/kubeadm.yaml"
}

// Probes ask the API server as nobody, over old TLS and for what it should not serve, and look at how
// each component of the control plane and each kubelet really runs.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	return slices.Concat(anonymousProbes(p), transportProbes(p), pluginProbes(p), flagProbes(p), kubeletProbes(p), portProbes(p))
}

// anonymousProbes send requests without credentials.
func anonymousProbes(p *posture.Posture) []generators.Probe {
	probe := func(kind generators.ProbeKind, slug, title, why string, c generators.Request, controls ...string) generators.Probe {
		return generators.Probe{
			ID: "apiserver-" + slug + "-" + string(kind), Domain: domain, Kind: kind, Title: title, Why: why,
			Controls: controls, Artifacts: []string{authenticationFile}, Check: c,
		}
	}
	open := anonymousPaths(p)
	var probes []generators.Probe
	for _, path := range []string{"/api", "/apis", "/version", "/metrics", "/openapi/v2", "/livez/ping", "/.well-known/openid-configuration", "/api/v1/namespaces/kube-system/secrets"} {
		if slices.Contains(open, path) {
			continue
		}
		probes = append(probes, probe(generators.Deny, "anonymous-"+slug(path), "GET "+path+" without credentials",
			"What answers strangers tells them what to attack.",
			generators.Request{Anonymous: true, Path: path, Status: []int{401}}, "cis-1.2.1", "nsa-A1", "api-1"))
	}
	for _, path := range open {
		status := []int{200, 500} // a server that is not healthy at the moment answers too
		if path == clusterInfoPath {
			status = []int{200, 404} // there is none once no token may join
		}
		probes = append(probes, probe(generators.Allow, "anonymous-"+slug(path), "GET "+path+" without credentials",
			"The kubelet's probes, or nodes that join, are refused.",
			generators.Request{Anonymous: true, Path: path, Status: status}, "api-1"))
		probes[len(probes)-1].Plain = generators.PlainTwin
	}
	if len(probes) > 1 {
		last := len(probes) - 1
		probes[0].Pair, probes[last].Pair = probes[last].ID, probes[0].ID
	}
	forged := probe(generators.Deny, "forged-token", "GET /api with a token that nobody issued", "The API server believes any token.",
		generators.Request{Token: "k8ssec-probe-is-not-a-token", Path: "/api", Status: []int{401}}, "cis-1.2.2")
	forged.Plain = "Kubernetes refuses unknown tokens by itself; the probe turns red where a proxy in front of it does not."
	return append(probes, forged)
}

// slug is a path as a part of an ID.
func slug(path string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, path), "-")
}

// transportProbes offer the API server old versions of TLS, weak suites, and what it should take.
func transportProbes(p *posture.Posture) []generators.Probe {
	controls := []string{"cis-1.2.29", "enc-2", "nsa-N3"}
	probe := func(kind generators.ProbeKind, slug, title, plain string, c generators.Handshake) generators.Probe {
		return generators.Probe{
			ID: "apiserver-tls-" + slug + "-" + string(kind), Domain: domain, Kind: kind, Title: title,
			Why: "What is recorded today can be read later.", Controls: controls, Artifacts: []string{bootstrapPath(p)}, Plain: plain, Check: c,
		}
	}
	probes := []generators.Probe{
		probe(generators.Deny, "1-1", "a TLS 1.1 connection", "Go's own default refuses it too; a flag could bring it back.",
			generators.Handshake{MaxVersion: tls.VersionTLS11}),
	}
	if p.Encryption.TLSMinVersion == "VersionTLS13" {
		probes = append(probes, probe(generators.Deny, "1-2", "a TLS 1.2 connection", "", generators.Handshake{MaxVersion: tls.VersionTLS12}))
	} else {
		if !slices.Contains(p.Encryption.CipherSuites, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA") {
			probes = append(probes, probe(generators.Deny, "1-2-cbc", "a TLS 1.2 connection with a CBC suite", "",
				generators.Handshake{MaxVersion: tls.VersionTLS12, Suites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}}))
		}
		if slices.Contains(p.Encryption.CipherSuites, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256") {
			probes = append(probes, probe(generators.Allow, "1-2", "a TLS 1.2 connection with a suite of the posture", generators.PlainTwin,
				generators.Handshake{MaxVersion: tls.VersionTLS12, Suites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}))
			last := len(probes) - 1
			probes[last].Pair, probes[last-1].Pair = probes[last-1].ID, probes[last].ID
		}
	}
	return append(probes, probe(generators.Allow, "1-3", "a TLS 1.3 connection", generators.PlainTwin, generators.Handshake{MaxVersion: tls.VersionTLS13}))
}

// pluginProbes ask for what admission plug-ins of the posture refuse or change.
func pluginProbes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	add := func(kind generators.ProbeKind, slug, title, why, plain string, c generators.Check, artifact string, controls ...string) {
		probes = append(probes, generators.Probe{
			ID: "apiserver-" + slug + "-" + string(kind), Domain: domain, Kind: kind, Title: title, Why: why, Plain: plain,
			Controls: controls, Artifacts: []string{artifact}, Check: c,
		})
	}
	if !p.APIServer.Profiling {
		add(generators.Deny, "profiling", "an administrator asks the API server for a profile", "A profile shows what is in memory, and making one takes the server's time.", "",
			generators.Request{Path: "/debug/pprof/", Status: []int{404}}, bootstrapPath(p), "cis-1.2.15")
		add(generators.Allow, "metrics", "an administrator asks the API server for its metrics", "Monitoring sees nothing.", generators.PlainTwin,
			generators.Request{Path: "/metrics", Status: []int{200}}, bootstrapPath(p), "cis-1.2.15")
		last := len(probes) - 1
		probes[last].Pair, probes[last-1].Pair = probes[last-1].ID, probes[last].ID
	}
	if hasPlugin(p, "DenyServiceExternalIPs") {
		service := func(ips ...string) generators.Admission {
			return generators.Admission{Verb: "create", By: "Use of external IPs is denied by admission control", Object: &corev1.Service{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
				ObjectMeta: metav1.ObjectMeta{Name: generators.ProbeName, Namespace: metav1.NamespaceSystem},
				Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: ips},
			}}
		}
		add(generators.Deny, "external-ips", "a service that claims an external address", "It takes over traffic to that address (CVE-2020-8554).", "",
			service("203.0.113.7"), bootstrapPath(p), "cis-1.2.3")
		add(generators.Allow, "external-ips", "a service without an external address", "No service can be made.", generators.PlainTwin,
			service(), bootstrapPath(p), "cis-1.2.3")
		last := len(probes) - 1
		probes[last].Pair, probes[last-1].Pair = probes[last-1].ID, probes[last].ID
	}
	kubelet := func(name string) generators.Admission {
		return generators.Admission{
			As: generators.Identity{User: "system:node:" + generators.ProbeName, Groups: []string{"system:nodes"}}, Verb: "create",
			By: "is not allowed to modify node",
			Object: &corev1.Node{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name},
			},
		}
	}
	add(generators.Deny, "node-restriction", "a kubelet registers another node", "Whoever takes one node takes all of them.",
		"kubeadm switches NodeRestriction on; the emitted list of plug-ins keeps it.", kubelet(generators.ProbeName+"-other"), bootstrapPath(p), "cis-1.2.14", "nsa-N10")
	add(generators.Allow, "node-restriction", "a kubelet registers its own node", "No node can join.", generators.PlainTwin,
		kubelet(generators.ProbeName), bootstrapPath(p), "cis-1.2.14")
	last := len(probes) - 1
	probes[last].Pair, probes[last-1].Pair = probes[last-1].ID, probes[last].ID
	if hasPlugin(p, "AlwaysPullImages") {
		add(generators.Allow, "always-pull", "each pod pulls its image, and so shows that it may", "A pod uses an image that another one was allowed to pull.", "",
			generators.Admission{Verb: "create", Object: generators.ProbePod(p, metav1.NamespaceSystem), Returns: []generators.FieldValue{
				{Field: "spec.containers[0].imagePullPolicy", Value: "Always"},
			}}, bootstrapPath(p), "cis-1.2.11")
	}
	if d := p.APIServer.PodSecurityDefaults; d.Enforce != posture.Privileged {
		pod := generators.ProbePod(p, "")
		pod.Spec.HostPID = true
		add(generators.Deny, "bare-namespace", "a pod among the processes of its node, in a namespace that somebody made by hand",
			"A namespace without labels is an open door.", "",
			generators.Admission{
				Verb: "create", Sandbox: generators.Bare, Object: pod, By: `violates PodSecurity "` + string(d.Enforce) + ":v" + p.Cluster.Kubernetes + `"`,
			}, admissionFile, "cis-5.2.1", "api-3")
		add(generators.Allow, "bare-namespace", "a pod that keeps every rule, in a namespace that somebody made by hand",
			"A new namespace is of no use.", generators.PlainTwin,
			generators.Admission{Verb: "create", Sandbox: generators.Bare, Object: generators.ProbePod(p, "")}, admissionFile, "cis-5.2.1", "api-3")
		last := len(probes) - 1
		probes[last].Pair, probes[last-1].Pair = probes[last-1].ID, probes[last].ID
	}
	if limit := p.APIServer.EventRateLimit; hasPlugin(p, "EventRateLimit") {
		const beyond = 40
		add(generators.Deny, "event-rate", "one account sends many events at once", "A program that runs wild fills etcd.", "",
			generators.Burst{Events: min(limit.UserBurst, limit.NamespaceBurst) + beyond}, admissionFile, "cis-1.2.9")
	}
	return probes
}

// flagProbes look at the arguments that no request shows. Those that are paths are left out: what
// they name shows by its effect.
func flagProbes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	add := func(component, name, value, title, plain string, controls ...string) {
		short := strings.TrimPrefix(component, "kube-")
		probes = append(probes, generators.Probe{
			ID: "apiserver-flag-" + short + "-" + name + "-allow", Domain: domain, Kind: generators.Allow, Title: title, Plain: plain,
			Why:      "The component does not run with the arguments that the repository has: kubeadm was not run with them, or somebody changed its manifest.",
			Controls: controls, Artifacts: []string{bootstrapPath(p)}, Check: generators.Flag{Component: component, Name: name, Value: value},
		})
	}
	audit := p.Logging.Audit
	const api, manager, scheduler = "kube-apiserver", "kube-controller-manager", "kube-scheduler"
	add(api, "audit-log-maxage", strconv.Itoa(audit.MaxAgeDays), fmt.Sprintf("the API server keeps its audit log for %d days", audit.MaxAgeDays), "", "cis-1.2.17")
	add(api, "audit-log-maxbackup", strconv.Itoa(audit.MaxBackups), fmt.Sprintf("the API server keeps %d old files of its audit log", audit.MaxBackups), "", "cis-1.2.18")
	add(api, "audit-log-maxsize", strconv.Itoa(audit.MaxSizeMB), fmt.Sprintf("a file of the audit log ends at %d MB", audit.MaxSizeMB),
		"It is Kubernetes' default where the posture has the same.", "cis-1.2.19")
	add(api, "service-account-extend-token-expiration", strconv.FormatBool(p.APIServer.ServiceAccountExtendToken), "tokens live as long as was asked for", "", "cis-1.2.30")
	if longest, err := time.ParseDuration(p.APIServer.ServiceAccountMaxToken); err == nil {
		add(api, "service-account-max-token-expiration", longest.String(), "no token of a service account lives longer than "+p.APIServer.ServiceAccountMaxToken, "", "nsa-P8")
	}
	if timeout, err := time.ParseDuration(p.APIServer.RequestTimeout); err == nil {
		add(api, "request-timeout", timeout.String(), "a request ends after "+p.APIServer.RequestTimeout, "It is Kubernetes' default where the posture has the same.", "cis-1.2.20")
	}
	add(api, "authorization-mode", "Node,RBAC", "the API server asks the node authorizer and RBAC", "kubeadm sets it by itself; the emitted argument keeps it.", "cis-1.2.6", "cis-1.2.7", "cis-1.2.8")
	add(api, "tls-min-version", p.Encryption.TLSMinVersion, "the API server's TLS floor", "", "nsa-N3", "enc-2")
	for _, c := range []struct{ component, profiling, bind string }{{manager, "cis-1.3.2", "cis-1.3.7"}, {scheduler, "cis-1.4.1", "cis-1.4.2"}} {
		add(c.component, "profiling", strconv.FormatBool(p.APIServer.Profiling), "profiles of "+c.component, "", c.profiling)
		add(c.component, "bind-address", "127.0.0.1", c.component+" listens on the node's loopback only", "kubeadm sets it by itself; the emitted argument keeps it.", c.bind)
		add(c.component, "tls-min-version", p.Encryption.TLSMinVersion, "the TLS floor of "+c.component, "", "enc-2")
	}
	add(manager, "terminated-pod-gc-threshold", strconv.Itoa(p.APIServer.TerminatedPodGC), "the controller manager removes finished pods", "", "cis-1.3.1")
	add("etcd", "client-cert-auth", "true", "etcd asks its clients for certificates", "kubeadm sets it by itself; the probe turns red when somebody changes it.", "cis-2.2", "nsa-N2")
	add("etcd", "peer-client-cert-auth", "true", "etcd asks its peers for certificates", "kubeadm sets it by itself; the probe turns red when somebody changes it.", "cis-2.5")
	for _, a := range etcdArguments(p) {
		if a.Name == "tls-min-version" {
			add("etcd", a.Name, a.Value, "etcd's TLS floor", "", "enc-2")
		}
	}
	return probes
}

// kubeletProbes look at the configuration with which each kubelet says that it runs.
func kubeletProbes(p *posture.Posture) []generators.Probe {
	k := p.Kubelet
	const kubeadm = "kubeadm sets it by itself; the probe turns red when somebody changes it."
	suites, err := json.Marshal(p.Encryption.CipherSuites)
	if err != nil {
		suites = nil
	}
	var probes []generators.Probe
	for _, s := range []struct {
		field, value, title, plain string
		controls                   []string
	}{
		{"authentication.anonymous.enabled", "false", "kubelets answer nobody without credentials", kubeadm, []string{"cis-4.2.1"}},
		{"authorization.mode", `"Webhook"`, "kubelets ask the API server who may do what", kubeadm, []string{"cis-4.2.2"}},
		{"rotateCertificates", "true", "kubelets renew their certificates", kubeadm, []string{"cis-4.2.10"}},
		{"tlsMinVersion", strconv.Quote(p.Encryption.TLSMinVersion), "the TLS floor of kubelets", "", []string{"cis-4.2.12", "enc-2"}},
		{"tlsCipherSuites", string(suites), "the cipher suites of kubelets", "", []string{"cis-4.2.12"}},
		{"podPidsLimit", strconv.Itoa(k.PodPidsLimit), fmt.Sprintf("a pod has at most %d processes", k.PodPidsLimit), "", []string{"cis-4.2.13"}},
		{"seccompDefault", strconv.FormatBool(p.Runtime.SeccompDefault), "pods without a seccomp profile get the runtime's", "", []string{"cis-4.2.14"}},
		{"enableProfilingHandler", strconv.FormatBool(k.DebuggingHandlers), "profiles of kubelets", "", []string{"api-4"}},
		{"enableSystemLogHandler", strconv.FormatBool(k.DebuggingHandlers), "kubelets serve the log files of their node", "", []string{"api-4"}},
		{"failCgroupV1", strconv.FormatBool(k.FailCgroupV1), "kubelets refuse nodes with the first version of cgroups", "It is the default of newer kubelets.", []string{"api-4"}},
	} {
		if s.value == "null" || s.value == `""` {
			continue
		}
		probes = append(probes, generators.Probe{
			ID: "apiserver-kubelet-" + slug(strings.ToLower(kebab(s.field))) + "-allow", Domain: domain, Kind: generators.Allow,
			Title: s.title + ": " + s.value, Why: "A kubelet runs with another configuration than the repository has: it joined without it, or somebody changed its file.",
			Controls: s.controls, Artifacts: []string{bootstrapPath(p)}, Plain: s.plain, Check: generators.KubeletSetting{Field: s.field, Value: s.value},
		})
	}
	return append(probes, generators.Probe{
		ID: "apiserver-kubelet-anonymous-deny", Domain: domain, Kind: generators.Deny, Title: "a request for its pods to each kubelet, without credentials",
		Why: "Whoever reaches a node can start a shell in its pods.", Controls: []string{"cis-4.2.1", "cis-4.2.2"}, Artifacts: []string{bootstrapPath(p)},
		Plain: kubeadm, Check: generators.NodeRequest{Port: 10250, Path: "/pods", Status: 401},
	})
}

// kebab writes camelCase with hyphens.
func kebab(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// portProbes try the ports of a control plane node from a pod that no policy hinders: what listens
// there must not be reachable at all.
func portProbes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	for _, port := range []struct {
		number   int
		what     string
		controls []string
	}{
		{10255, "the kubelet's port without credentials", []string{"cis-4.2.4"}},
		{10257, "the controller manager", []string{"cis-1.3.7"}},
		{10259, "the scheduler", []string{"cis-1.4.2"}},
		{10249, "kube-proxy's metrics", []string{"cis-4.3.1"}},
	} {
		if port.number == 10249 && p.Kubelet.ProxyMode == "none" {
			continue
		}
		probes = append(probes, generators.Probe{
			ID: fmt.Sprintf("apiserver-port-%d-deny", port.number), Domain: domain, Kind: generators.Deny,
			Title: fmt.Sprintf("a pod connects to %s (port %d) on a control plane node", port.what, port.number),
			Why:   "What listens there talks to anybody in the cluster.", Controls: port.controls, Artifacts: []string{bootstrapPath(p)},
			Plain: "kubeadm's own settings close it too; the probe turns red when somebody opens it.",
			Check: generators.Traffic{To: generators.Endpoint{Entity: "node"}, Port: port.number, Protocol: "TCP"},
		})
	}
	return probes
}
