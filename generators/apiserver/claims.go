package apiserver

import (
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// A claim on an argument that kubeadm sets by itself names the place where an override would stand:
// nothing is there, and verify sees when something comes.
const (
	byDefault = "kubeadm sets it; an argument here would replace it."
	notSet    = "Neither kubeadm nor this file sets it."
)

func initClaims() []generators.Claim {
	return []generators.Claim{
		{Control: "cis-4.2.7", Field: "nodeRegistration.name", Note: "kubeadm sets --hostname-override only where a node name other than the host's is asked for."},
		{Control: "cis-4.2.7", Field: "nodeRegistration.kubeletExtraArgs[hostname-override]", Note: notSet},
	}
}

// clusterClaims are the controls of ClusterConfiguration: sections 1.2 to 1.4 and 2 of the benchmark.
func clusterClaims(p *posture.Posture) []generators.Claim {
	var claims []generators.Claim
	add := func(control, field, note string) {
		claims = append(claims, generators.Claim{Control: control, Field: field, Note: note})
	}
	api := func(control, argument, note string) { add(control, "apiServer.extraArgs["+argument+"]", note) }
	manager := func(control, argument, note string) {
		add(control, "controllerManager.extraArgs["+argument+"]", note)
	}
	scheduler := func(control, argument, note string) { add(control, "scheduler.extraArgs["+argument+"]", note) }
	store := func(control, argument, note string) { add(control, "etcd.local.extraArgs["+argument+"]", note) }

	api("cis-1.2.2", "token-auth-file", notSet)
	if hasPlugin(p, "DenyServiceExternalIPs") {
		api("cis-1.2.3", "enable-admission-plugins", "")
	}
	api("cis-1.2.4", "kubelet-client-certificate", byDefault)
	api("cis-1.2.4", "kubelet-client-key", byDefault)
	if p.APIServer.KubeletCertificateAuthority {
		api("cis-1.2.5", "kubelet-certificate-authority", "Kubelets get certificates of the cluster's CA through kubelet.serverTLSBootstrap and the approve script.")
	}
	for _, control := range []string{"cis-1.2.6", "cis-1.2.7", "cis-1.2.8"} {
		api(control, "authorization-mode", "")
	}
	if hasPlugin(p, "EventRateLimit") {
		api("cis-1.2.9", "enable-admission-plugins", "The limits are in control-plane/admission.yaml.")
	}
	api("cis-1.2.10", "enable-admission-plugins", "AlwaysAdmit is not among them.")
	if hasPlugin(p, "AlwaysPullImages") {
		api("cis-1.2.11", "enable-admission-plugins", "")
	}
	const on = "On by default; only disable-admission-plugins could switch it off, and it is not set."
	api("cis-1.2.12", "disable-admission-plugins", on)
	api("cis-1.2.13", "disable-admission-plugins", on)
	api("cis-1.2.14", "enable-admission-plugins", "kubeadm's default, repeated because this argument replaces it.")
	api("nsa-S2", "enable-admission-plugins", "")
	api("nsa-N10", "enable-admission-plugins", "NodeRestriction refuses a kubelet that changes labels of node-restriction.kubernetes.io: set nodes apart by those.")
	if !p.APIServer.Profiling {
		api("cis-1.2.15", "profiling", "")
		manager("cis-1.3.2", "profiling", "")
		scheduler("cis-1.4.1", "profiling", "")
	}
	claims = append(claims, auditClaims(p)...)
	if d, err := time.ParseDuration(p.APIServer.RequestTimeout); err == nil && d <= 5*time.Minute {
		api("cis-1.2.20", "request-timeout", "")
	}
	api("cis-1.2.21", "service-account-lookup", "On by default; nothing sets it to false.")
	api("cis-1.2.22", "service-account-key-file", byDefault)
	for _, argument := range []string{"etcd-certfile", "etcd-keyfile"} {
		api("cis-1.2.23", argument, byDefault)
	}
	for _, argument := range []string{"tls-cert-file", "tls-private-key-file"} {
		api("cis-1.2.24", argument, byDefault)
	}
	api("cis-1.2.25", "client-ca-file", byDefault)
	api("cis-1.2.26", "etcd-cafile", byDefault)
	for _, control := range []string{"cis-1.2.27", "nsa-N4"} {
		api(control, "encryption-provider-config", "")
	}
	if strongSuites(p) {
		api("cis-1.2.29", "tls-cipher-suites", "")
		api("enc-2", "tls-cipher-suites", "")
	}
	for _, control := range []string{"nsa-N3", "enc-2"} {
		api(control, "tls-min-version", "")
	}
	if !p.APIServer.ServiceAccountExtendToken {
		api("cis-1.2.30", "service-account-extend-token-expiration", "")
	}
	api("nsa-P8", "service-account-max-token-expiration", "")

	manager("cis-1.3.1", "terminated-pod-gc-threshold", "")
	manager("cis-1.3.3", "use-service-account-credentials", byDefault)
	manager("cis-1.3.4", "service-account-private-key-file", byDefault)
	manager("cis-1.3.5", "root-ca-file", byDefault)
	manager("cis-1.3.6", "feature-gates", "RotateKubeletServerCertificate is on by default; nothing switches it off.")
	manager("cis-1.3.7", "bind-address", "")
	scheduler("cis-1.4.2", "bind-address", "")

	for _, argument := range []string{"cert-file", "key-file"} {
		store("cis-2.1", argument, byDefault)
	}
	store("cis-2.2", "client-cert-auth", byDefault)
	store("nsa-N2", "client-cert-auth", byDefault)
	store("cis-2.3", "auto-tls", notSet)
	for _, argument := range []string{"peer-cert-file", "peer-key-file"} {
		store("cis-2.4", argument, byDefault)
	}
	store("cis-2.5", "peer-client-cert-auth", byDefault)
	store("cis-2.6", "peer-auto-tls", notSet)
	store("cis-2.7", "trusted-ca-file", "kubeadm makes a CA for etcd alone, pki/etcd/ca.crt.")
	store("enc-2", "tls-min-version", "")
	add("api-5", "certificateValidityPeriod", "Renewed by each kubeadm upgrade; a CA lives ten years.")
	if p.Kubelet.ProxyMode == "none" {
		add("cis-4.3.1", "proxy.disabled", "No kube-proxy runs: the CNI does its work.")
	}
	return claims
}

// auditClaims are those of the audit log's arguments. A value below the benchmark's is not claimed.
func auditClaims(p *posture.Posture) []generators.Claim {
	audit := p.Logging.Audit
	argument := func(name string, controls ...string) []generators.Claim {
		return generators.Claims("apiServer.extraArgs["+name+"]", controls...)
	}
	claims := argument("audit-policy-file", "cis-3.2.1", "nsa-L1")
	claims = append(claims, argument("audit-log-path", "cis-1.2.16", "nsa-L1", "nsa-L2")...)
	if audit.MaxAgeDays >= 30 {
		claims = append(claims, argument("audit-log-maxage", "cis-1.2.17")...)
	}
	if audit.MaxAgeDays >= 7 {
		claims = append(claims, argument("audit-log-maxage", "log-2")...)
	}
	if audit.MaxBackups >= 10 {
		claims = append(claims, argument("audit-log-maxbackup", "cis-1.2.18")...)
	}
	if audit.MaxSizeMB >= 100 {
		claims = append(claims, argument("audit-log-maxsize", "cis-1.2.19")...)
	}
	if audit.Webhook != nil {
		claims = append(claims, argument("audit-webhook-config-file", "nsa-L4")...)
	}
	return claims
}

// strongSuites says whether each cipher suite is authenticated and keeps old traffic secret when a
// key is lost, as CIS 1.2.29 asks: ECDHE with GCM or ChaCha20, or one of TLS 1.3.
func strongSuites(p *posture.Posture) bool {
	return !slices.ContainsFunc(p.Encryption.CipherSuites, func(suite string) bool {
		forward := strings.HasPrefix(suite, "TLS_ECDHE_") || !strings.Contains(suite, "_WITH_")
		return !forward || strings.Contains(suite, "_CBC_") || strings.Contains(suite, "_RC4_") || strings.Contains(suite, "_3DES_")
	})
}

// kubeletClaims are the controls of KubeletConfiguration: section 4.2 of the benchmark.
func kubeletClaims(p *posture.Posture) []generators.Claim {
	claims := []generators.Claim{
		{Control: "cis-4.2.1", Field: "authentication.anonymous.enabled"},
		{Control: "nsa-A1", Field: "authentication.anonymous.enabled"},
		{Control: "cis-4.2.2", Field: "authorization.mode"},
		{Control: "cis-4.2.3", Field: "authentication.x509.clientCAFile"},
		{Control: "cis-4.2.4", Field: "readOnlyPort"},
		{Control: "cis-4.2.5", Field: "streamingConnectionIdleTimeout", Note: "The default is not 0, and since 1.34 the kubelet reads the field no more: the container runtime ends idle streams."},
		{Control: "cis-4.2.6", Field: "makeIPTablesUtilChains"},
		{Control: "cis-4.2.10", Field: "rotateCertificates"},
		{Control: "cis-4.2.11", Field: "featureGates[RotateKubeletServerCertificate]", Note: "On by default; nothing switches it off."},
		{Control: "nsa-N3", Field: "tlsMinVersion"},
		{Control: "enc-2", Field: "tlsMinVersion"},
	}
	add := func(when bool, field string, controls ...string) {
		if when {
			claims = append(claims, generators.Claims(field, controls...)...)
		}
	}
	add(p.Kubelet.EventRecordQPS > 0, "eventRecordQPS", "cis-4.2.8")
	if p.Cluster.Minor() >= 35 && p.Kubelet.ImagePullCredentials != "NeverVerify" {
		claims = append(claims, generators.Claim{
			Control: "cis-1.2.11", Field: "imagePullCredentialsVerificationPolicy",
			Note: "The kubelet lets a pod use a cached private image only with credentials that could pull it, so no pod has to wait for the registry.",
		})
	}
	add(p.Kubelet.ServerTLSBootstrap, "serverTLSBootstrap", "cis-4.2.9")
	add(strongSuites(p), "tlsCipherSuites", "cis-4.2.12", "enc-2")
	add(p.Kubelet.PodPidsLimit > 0, "podPidsLimit", "cis-4.2.13")
	add(p.Runtime.SeccompDefault, "seccompDefault", "cis-4.2.14", "nsa-P7")
	add(!p.Kubelet.DebuggingHandlers, "enableProfilingHandler", "api-4")
	add(!p.Kubelet.DebuggingHandlers, "enableDebugFlagsHandler", "api-4")
	add(!p.Kubelet.DebuggingHandlers, "enableSystemLogHandler", "api-4")
	return claims
}

func proxyClaims(p *posture.Posture) []generators.Claim {
	claims := generators.Claims("metricsBindAddress", "cis-4.3.1")
	if p.Cluster.Minor() >= 36 && hasPlugin(p, "DenyServiceExternalIPs") {
		claims = append(claims, generators.Claim{Control: "cis-1.2.3", Field: "featureGates[AllowServiceExternalIPs]", Note: "Services that are older than the admission plug-in get no externalIPs either."})
	}
	return claims
}
