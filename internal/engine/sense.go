package engine

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// judgement holds a posture against what no schema of single fields can say: that names refer to
// something, that parts fit each other, that what is asked for can work. The schema and the
// controls hold already when it runs.
type judgement struct {
	tree    *tree
	posture *posture.Posture
	now     time.Time
	place   func(*diag.Diagnostic, []string, *node)
	found   diag.List
}

// report adds an error about the value at path.
func (j *judgement) report(path []string, message, rule, fix string) {
	j.add(diag.Error, path, message, rule, fix)
}

func (j *judgement) warn(path []string, message, rule, fix string) {
	j.add(diag.Warning, path, message, rule, fix)
}

func (j *judgement) add(severity diag.Severity, path []string, message, rule, fix string) {
	value := j.tree.root.at(path...)
	d := diag.Diagnostic{
		Severity: severity, Field: pathText(path),
		Message: pathText(path) + " " + message, Rule: rule, Fix: fix,
	}
	if value != nil {
		d.Value = value.text()
	}
	j.place(&d, path, value)
	j.found = append(j.found, d)
}

func (j *judgement) all() {
	j.cluster()
	j.identity()
	j.network()
	j.workloads()
	j.secrets()
	j.runtime()
	j.encryption()
	j.images()
	j.apiserver()
	j.logging()
	j.alerts()
	j.resources()
	j.incident()
	j.upgrades()
	j.backup()
	if _, ok := j.posture.Namespaces[j.posture.GitOps.Namespace]; !ok {
		usual := map[string]string{"flux": "flux-system", "argocd": "argocd"}[j.posture.GitOps.Engine]
		j.report([]string{"gitops", "namespace"}, fmt.Sprintf("is %q, which the posture does not have", j.posture.GitOps.Namespace),
			"the controllers need a namespace with its policies, or they lose their way to the repository", "namespace: "+quote(usual))
	}
	for _, name := range j.posture.NamespaceNames() {
		j.namespace(name, j.posture.Namespaces[name])
	}
}

func (j *judgement) cluster() {
	c := j.posture.Cluster
	var ranges []netip.Prefix
	var paths [][]string
	for _, list := range []struct {
		name  string
		cidrs []string
	}{{"podCIDRs", c.PodCIDRs}, {"serviceCIDRs", c.ServiceCIDRs}, {"nodeCIDRs", c.NodeCIDRs}} {
		families := map[bool]bool{}
		for i, cidr := range list.cidrs {
			path := []string{"cluster", list.name, itoa(i)}
			prefix, ok := j.cidr(path, cidr)
			if !ok {
				continue
			}
			for k, other := range ranges {
				if prefix.Overlaps(other) {
					j.report(path, fmt.Sprintf("overlaps with %s (%s)", pathText(paths[k]), other),
						"pods, services and nodes each have address ranges of their own", last(path[:2])+`: ["10.96.0.0/16"]`)
				}
			}
			ranges, paths = append(ranges, prefix), append(paths, path)
			if list.name != "nodeCIDRs" && families[prefix.Addr().Is4()] {
				j.report(path, "is a second range of the same address family",
					"two ranges mean dual stack: one of IPv4, one of IPv6", list.name+`: ["10.244.0.0/16", "fd00:10:244::/56"]`)
			}
			families[prefix.Addr().Is4()] = true
		}
	}
	if len(c.PodCIDRs) != len(c.ServiceCIDRs) {
		j.report([]string{"cluster", "serviceCIDRs"}, fmt.Sprintf("has %d ranges, podCIDRs has %d", len(c.ServiceCIDRs), len(c.PodCIDRs)),
			"in dual stack both pods and services have two ranges", `serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"]`)
	}
}

// cidr parses an address range and refuses host bits, which Kubernetes 1.36 refuses as well.
func (j *judgement) cidr(path []string, cidr string) (netip.Prefix, bool) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		j.report(path, "is "+quote(cidr)+", which is not an address range", "an address range has a prefix length", quote("10.0.0.0/8"))
		return prefix, false
	}
	if prefix.Masked() != prefix {
		j.report(path, "is "+quote(cidr)+", which has host bits set",
			"an address range begins at its first address; Kubernetes 1.36 refuses others", quote(prefix.Masked().String()))
		return prefix, false
	}
	return prefix, true
}

func (j *judgement) identity() {
	oidc := j.posture.Identity.OIDC
	if oidc == nil {
		return
	}
	path := []string{"identity", "oidc"}
	issuer := "https://kubernetes.default.svc." + j.posture.Cluster.DNSDomain
	if oidc.IssuerURL == issuer {
		j.report(append(path, "issuerURL"), "is the cluster's own issuer of service account tokens",
			"people come from an issuer of their own; the API server refuses to start with its own here", `issuerURL: "https://login.company.org/realms/staff"`)
	}
	j.duplicates(append(path, "audiences"), oidc.Audiences)
	j.certificates(append(path, "certificateAuthority"), oidc.CertificateAuthority)
	if oidc.UsernameClaim == "email" {
		if oidc.RequiredClaims["email_verified"] == "" {
			j.warn(append(path, "usernameClaim"), "is email: the emitted rule accepts verified addresses only",
				"an address that nobody verified can be anyone's", `usernameClaim: "sub"`)
		}
	}
}

func (j *judgement) duplicates(path []string, list []string) {
	for i, item := range list {
		if slices.Contains(list[:i], item) {
			j.report(append(path, itoa(i)), "is "+quote(item)+", which stands in the list twice", "each entry once", "remove one of them")
		}
	}
}

// certificates holds a bundle of PEM certificates to be readable and, at the injected time, valid.
func (j *judgement) certificates(path []string, bundle string) {
	rest := []byte(bundle)
	for len(rest) > 0 {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			if strings.TrimSpace(string(rest)) != "" {
				j.report(path, "holds something that is not a PEM certificate", "one or more certificates in PEM", "-----BEGIN CERTIFICATE----- ...")
			}
			return
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		switch {
		case block.Type != "CERTIFICATE" || err != nil:
			j.report(path, "holds a PEM block that is not a certificate", "one or more certificates in PEM; never a key", "-----BEGIN CERTIFICATE----- ...")
			return
		case j.now.After(certificate.NotAfter):
			j.report(path, "holds a certificate that expired on "+certificate.NotAfter.UTC().Format(time.DateOnly),
				"a CA must be valid, else nobody can log in", "put the current CA certificate here")
			return
		}
	}
}

func (j *judgement) network() {
	n := j.posture.Network
	for i, cidr := range n.MetadataCIDRs {
		j.cidr([]string{"network", "metadataCIDRs", itoa(i)}, cidr)
	}
	if n.BlockMetadata && len(n.MetadataCIDRs) == 0 {
		j.report([]string{"network", "metadataCIDRs"}, "is empty although blockMetadata is true",
			"what is to be blocked must be named", `metadataCIDRs: ["169.254.169.254/32"]`)
	}
	if len(n.DNSPods) == 0 {
		j.report([]string{"network", "dnsPods"}, "is empty", "the labels of the cluster's DNS pods, else no pod could resolve a name", `dnsPods: "k8s-app": "kube-dns"`)
	}
	for _, ref := range []struct{ field, name string }{{"dnsNamespace", n.DNSNamespace}, {"monitoringNamespace", n.MonitoringNamespace}} {
		if ref.name != "" {
			j.namespaceRef([]string{"network", ref.field}, ref.name)
		}
	}
	if n.Encryption != "off" && j.posture.Cluster.CNI != "cilium" && !(n.Encryption == "wireguard" && j.posture.Cluster.CNI == "calico") {
		j.report([]string{"network", "encryption"}, fmt.Sprintf("is %q, which the CNI %q does not do", n.Encryption, j.posture.Cluster.CNI),
			"encryption between nodes is the CNI's: Cilium has wireguard and ipsec, Calico has wireguard", `encryption: "off"`)
	}
	for name, list := range map[string][]string{"apiFrom": n.Firewall.APIFrom, "sshFrom": n.Firewall.SSHFrom, "nodePortsFrom": n.Firewall.NodePortsFrom} {
		for i, cidr := range list {
			j.cidr([]string{"network", "firewall", name, itoa(i)}, cidr)
		}
	}
}

// namespaceRef holds a name to be a namespace of the posture.
func (j *judgement) namespaceRef(path []string, name string) {
	if _, ok := j.posture.Namespaces[name]; ok {
		return
	}
	fix := fmt.Sprintf("add it: namespaces: %q: {owner: \"...\"}", name)
	message := fmt.Sprintf("names the namespace %q, which the posture does not have", name)
	if near := nearest(name, j.posture.NamespaceNames()); near != "" {
		message += "; did you mean " + quote(near) + "?"
		fix = last(path) + ": " + quote(near)
	}
	j.report(path, message, "a namespace that is referred to is one of the posture's", fix)
}

func (j *judgement) workloads() {
	known := map[string]bool{}
	var names []string
	for name, n := range j.tree.root.at("workloads", "policies").object {
		if shipped(n.child("enabled")) || !userOnly(n) {
			known[name] = true
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Sorted(maps.Keys(j.posture.Workloads.Policies)) {
		if known[name] {
			continue
		}
		fix := "known policies: " + strings.Join(names, ", ")
		message := "is not a policy of k8ssec"
		if near := nearest(name, names); near != "" {
			message += "; did you mean " + quote(near) + "?"
			fix = near + ": { ... }"
		}
		j.report([]string{"workloads", "policies", name}, message, "a policy that is switched exists", fix)
	}
}

// shipped says that a value comes from a layer of ours.
func shipped(n *node) bool { return n != nil && n.layer != nil && !n.layer.user && n.layer.name != "" }

// userOnly says that every value below n was written by the user or filled in for what they wrote.
func userOnly(n *node) bool {
	if n.layer != nil && n.layer.user {
		return true
	}
	return false
}

func (j *judgement) secrets() {
	s := j.posture.Secrets
	if s.Provider != "vault" && s.Vault != nil {
		j.report([]string{"secrets", "vault"}, fmt.Sprintf("is set, but secrets.provider is %q", s.Provider),
			"one store serves the cluster", `provider: "vault"`)
	}
	if s.Provider != "aws" && s.AWS != nil {
		j.report([]string{"secrets", "aws"}, fmt.Sprintf("is set, but secrets.provider is %q", s.Provider),
			"one store serves the cluster", `provider: "aws"`)
	}
	if s.AWS != nil && s.AWS.Identity == "irsa" && s.AWS.OIDCProvider == "" {
		j.report([]string{"secrets", "aws", "identity"}, `is "irsa", and oidcProvider is missing`,
			"the trust policy of each role names the cluster's issuer", `oidcProvider: "oidc.eks.eu-central-1.amazonaws.com/id/ABC"`)
	}
	if namespace, _, _ := strings.Cut(s.Account, "/"); s.Install == posture.InstallInstall && namespace != "external-secrets" {
		j.report([]string{"secrets", "account"}, "is not in the namespace external-secrets, into which it is installed",
			"another account is that of an External Secrets which runs already", `install: "existing"`)
	}
	if s.Vault != nil {
		j.certificates([]string{"secrets", "vault", "caBundle"}, s.Vault.CABundle)
		j.positive([]string{"secrets", "vault", "tokenTTL"}, s.Vault.TokenTTL)
	}
	j.positive([]string{"secrets", "refresh"}, s.Refresh)
}

func (j *judgement) positive(path []string, duration string) {
	if d, err := time.ParseDuration(duration); err != nil || d <= 0 {
		j.report(path, "is "+quote(duration)+", which is not a positive duration", "a duration above zero", last(path)+`: "1h"`)
	}
}

func (j *judgement) encryption() {
	e := j.posture.Encryption
	if e.Provider == "kms" && e.KMS == nil {
		j.report([]string{"encryption", "provider"}, `is "kms", and encryption.kms is missing`,
			"the plug-in must be named with its socket", `kms: {name: "kms-1", endpoint: "unix:///var/run/kms/socket.sock"}`)
	}
	if e.Provider != "kms" && e.KMS != nil {
		j.report([]string{"encryption", "kms"}, fmt.Sprintf("is set, but encryption.provider is %q", e.Provider),
			"one provider writes", `provider: "kms"`)
	}
	if e.KMS != nil {
		j.positive([]string{"encryption", "kms", "timeout"}, e.KMS.Timeout)
	}
	j.duplicates([]string{"encryption", "resources"}, e.Resources)
	covered := slices.ContainsFunc(e.Resources, func(r string) bool { return r == "secrets" || r == "*.*" || r == "*." })
	if !covered {
		j.report([]string{"encryption", "resources"}, "does not cover secrets", "secrets are what encryption at rest is for", `resources: ["secrets", "configmaps"]`)
	}
	if slices.Contains(e.Resources, "*.*") && len(e.Resources) > 1 {
		j.report([]string{"encryption", "resources"}, "has *.* beside other entries", "*.* covers everything; the API server refuses overlaps", `resources: ["*.*"]`)
	}
	for i, name := range e.Resources {
		at := []string{"encryption", "resources", itoa(i)}
		single, group, _ := strings.Cut(name, ".")
		if group == "extensions" || group == "events.k8s.io" {
			j.report(at, "is in the group "+group+", whose objects are stored under another", "the API server refuses the groups extensions and events.k8s.io here", `"events"`)
		}
		if single != "*" && slices.Contains(e.Resources, "*."+group) {
			j.report(at, fmt.Sprintf("is %s beside *.%s, which covers it", name, group), "the API server refuses overlapping entries", "remove one of them")
		}
	}
	insecure := map[string]bool{}
	known := map[string]bool{}
	for _, s := range tls.InsecureCipherSuites() {
		insecure[s.Name] = true
	}
	for _, s := range tls.CipherSuites() {
		known[s.Name] = !slices.Contains(s.SupportedVersions, tls.VersionTLS13) || len(s.SupportedVersions) > 1
	}
	for i, suite := range e.CipherSuites {
		path := []string{"encryption", "cipherSuites", itoa(i)}
		usable, exists := known[suite]
		switch {
		case insecure[suite]:
			j.report(path, "is "+suite+", which Go counts as insecure", "cipher suites with forward secrecy and authenticated encryption", `"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`)
		case !exists:
			j.report(path, "is "+suite+", which Go does not know", "a cipher suite by its Go name; a component with an unknown one does not start", `"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`)
		case !usable:
			j.report(path, "is "+suite+", a suite of TLS 1.3", "the suites of TLS 1.3 cannot be chosen; list those of TLS 1.2", `"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`)
		}
	}
	j.duplicates([]string{"encryption", "cipherSuites"}, e.CipherSuites)
	if e.MutualTLS == "cilium" && j.posture.Cluster.CNI != "cilium" {
		j.report([]string{"encryption", "mutualTLS"}, fmt.Sprintf("is \"cilium\", but the CNI is %q", j.posture.Cluster.CNI),
			"Cilium's mutual authentication needs Cilium", `mutualTLS: "off"`)
	}
}

func (j *judgement) images() {
	i := j.posture.Images
	j.duplicates([]string{"images", "registries"}, i.Registries)
	for _, name := range slices.Sorted(maps.Keys(i.Signers)) {
		s := i.Signers[name]
		path := []string{"images", "signers", name}
		keyless := s.Issuer != "" || s.Subject != ""
		switch {
		case s.Key != "" && keyless:
			j.report(path, "has both a key and a keyless identity", "a signer is known by a key, or by issuer and subject", "remove key, or issuer and subject")
		case s.Key == "" && (s.Issuer == "" || s.Subject == ""):
			j.report(path, "has neither a key nor a whole keyless identity", "a signer is known by a key, or by issuer and subject",
				`{issuer: "https://token.actions.githubusercontent.com", subject: "https://github.com/acme/app/.github/workflows/release.yaml@refs/heads/main"}`)
		case keyless && s.Tlog == "ignored":
			j.report(append(path, "tlog"), `is "ignored" for a keyless signer`, "a keyless signature is worth nothing without the transparency log: its certificate lives minutes", `tlog: "required"`)
		}
	}
	j.signed()
}

func (j *judgement) runtime() {
	r := j.posture.Runtime
	if r.SecurityProfiles == posture.InstallInstall && j.posture.Encryption.CertManager == posture.InstallOff {
		j.report([]string{"runtime", "securityProfiles"}, `is "install", and encryption.certManager is "off"`,
			"the Security Profiles Operator gets the certificate of its webhook from cert-manager, and does not start without", `encryption: certManager: "existing"`)
	}
	if r.Sandbox == nil {
		return
	}
	j.duplicates([]string{"runtime", "sandbox", "namespaces"}, r.Sandbox.Namespaces)
	for i, name := range r.Sandbox.Namespaces {
		at := []string{"runtime", "sandbox", "namespaces", itoa(i)}
		j.namespaceRef(at, name)
		if n, ok := j.posture.Namespaces[name]; ok && n.Kind != "tenant" {
			j.report(at, "is "+quote(name)+", which is of kind "+n.Kind, "a sandbox has no way to the node, which the system and add-ons need", "leave it out")
		}
	}
}

// signed warns about registries that tenants may use and whose images no signer covers: they would all
// be refused.
func (j *judgement) signed() {
	i := j.posture.Images
	if i.Verify == "off" || len(i.Signers) == 0 {
		return
	}
	for k, registry := range i.Registries {
		covered := false
		for _, s := range i.Signers {
			covered = covered || slices.ContainsFunc(s.Images, func(glob string) bool {
				fixed, _, _ := strings.Cut(glob, "*")
				return strings.HasPrefix(registry+"/", fixed) || strings.HasPrefix(fixed, registry+"/")
			})
		}
		if !covered {
			j.report([]string{"images", "registries", itoa(k)}, "is a registry whose images no signer covers",
				"images are verified, so none of that registry would ever run", `signers: third-party: {images: ["`+registry+`/*"], key: "-----BEGIN PUBLIC KEY-----..."}`)
		}
	}
}

func (j *judgement) apiserver() {
	a := j.posture.APIServer
	for _, need := range []string{"/livez", "/readyz"} {
		if !slices.Contains(a.AnonymousPaths, need) {
			j.report([]string{"apiserver", "anonymousPaths"}, "does not have "+need,
				"the kubelet asks "+need+" without credentials; without it the API server is restarted for ever", `anonymousPaths: ["/healthz", "/livez", "/readyz"]`)
		}
	}
	j.duplicates([]string{"apiserver", "anonymousPaths"}, a.AnonymousPaths)
	j.duplicates([]string{"apiserver", "admissionPlugins"}, a.AdmissionPlugins)
	j.positive([]string{"apiserver", "requestTimeout"}, a.RequestTimeout)
	if d, err := time.ParseDuration(a.ServiceAccountMaxToken); err != nil || d < time.Hour {
		j.report([]string{"apiserver", "serviceAccountMaxToken"}, "is "+quote(a.ServiceAccountMaxToken)+", less than an hour",
			"the API server refuses less than an hour", `serviceAccountMaxToken: "24h"`)
	}
	if a.KubeletCertificateAuthority && !j.posture.Kubelet.ServerTLSBootstrap {
		j.report([]string{"apiserver", "kubeletCertificateAuthority"}, "is true, and kubelet.serverTLSBootstrap is false",
			"the API server can verify only kubelets whose certificates the cluster signed; else logs and exec fail", "kubelet: serverTLSBootstrap: true")
	}
	for i, name := range a.ExemptNamespaces {
		j.namespaceRef([]string{"apiserver", "exemptNamespaces", itoa(i)}, name)
		if n, ok := j.posture.Namespaces[name]; ok && n.Kind == "tenant" {
			j.report([]string{"apiserver", "exemptNamespaces", itoa(i)}, "is a tenant's namespace",
				"only system and add-on namespaces can be exempt from Pod Security", "remove it; set namespaces."+name+".podSecurity with a waiver instead")
		}
	}
}

// sharedDirectories are used by more than the audit log.
var sharedDirectories = []string{"/", "/tmp", "/var", "/var/lib", "/var/log", "/var/log/containers", "/var/log/pods", "/var/tmp", "/var/run", "/run"}

func (j *judgement) logging() {
	a := j.posture.Logging.Audit
	if strings.HasPrefix(a.Path, "/etc/") || strings.HasPrefix(a.Path, "/var/lib/etcd/") {
		j.report([]string{"logging", "audit", "path"}, "is "+quote(a.Path)+", beside configuration or etcd's data",
			"a log that fills its disk must not stop the control plane", `path: "/var/log/kubernetes/audit/audit.log"`)
	}
	if slices.Contains(sharedDirectories, path.Dir(a.Path)) {
		j.report([]string{"logging", "audit", "path"}, "is "+quote(a.Path)+", in a directory that others use",
			"the audit log has a directory of its own: only root may enter it", `path: "/var/log/kubernetes/audit/audit.log"`)
	}
	if a.Webhook != nil {
		j.certificates([]string{"logging", "audit", "webhook", "certificateAuthority"}, a.Webhook.CertificateAuthority)
	}
	j.sink()
}

// sink holds where the logs go to be a place that the shipper can write to.
func (j *judgement) sink() {
	sink := j.posture.Logging.Sink
	if sink == nil {
		return
	}
	path := []string{"logging", "sink"}
	if j.posture.Logging.Shipper == "off" {
		j.report(path, `is set, but logging.shipper is "off"`, "something must ship the logs to the sink", `shipper: "vector"`)
	}
	if sink.Kind != "s3" {
		if sink.Region != "" {
			j.report(append(path, "region"), "is set, but the sink is of kind "+quote(sink.Kind), "only a bucket has a region", "remove it")
		}
		return
	}
	if u, err := url.Parse(sink.URL); err != nil || strings.Trim(u.Path, "/") == "" {
		j.report(append(path, "url"), "is "+quote(sink.URL)+", which names no bucket", "for s3 the path of the URL is the bucket", `url: "https://s3.eu-central-1.amazonaws.com/prod-logs"`)
	}
	if sink.Region == "" {
		j.report(path, "has no region", "requests to a bucket are signed for its region", `region: "eu-central-1"`)
	}
}

func (j *judgement) alerts() {
	a := j.posture.Alerts
	if m := j.posture.Network.MonitoringNamespace; a.Install == posture.InstallInstall && m != posture.MonitoringNamespace {
		fix := `network: monitoringNamespace: "monitoring"`
		if m == "" {
			j.report([]string{"alerts", "install"}, `is "install", but network.monitoringNamespace is not set`, "Prometheus can scrape nothing until the namespaces open their metrics to it", fix)
		} else {
			j.report([]string{"network", "monitoringNamespace"}, fmt.Sprintf(`is %q, but alerts.install puts Prometheus into "monitoring"`, m), "metrics are opened to one namespace, the one that Prometheus runs in", `monitoringNamespace: "monitoring"`)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Receivers)) {
		r := a.Receivers[name]
		path := []string{"alerts", "receivers", name}
		switch {
		case r.Kind == "email" && (r.To == "" || r.From == "" || r.Smarthost == ""):
			j.report(path, "is of kind email and lacks to, from or smarthost", "mail has a recipient, a sender and a server",
				`{kind: "email", secretRef: "alerts/password", to: "oncall@company.org", from: "alerts@company.org", smarthost: "smtp.company.org:587"}`)
		case r.Kind == "slack" && r.To == "":
			j.report(path, "is of kind slack and names no channel", "a message goes to a channel", `to: "#alerts"`)
		case r.Kind != "email" && (r.From != "" || r.Smarthost != ""):
			j.report(path, "is of kind "+r.Kind+" and has a sender or a mail server", "only email has them", "remove from and smarthost")
		}
	}
	if len(a.Receivers) > 0 && a.Routes["critical"] == "" {
		j.report([]string{"alerts", "receivers"}, "are there, but alerts.routes names none for critical", "critical alerts, and all that have no route of their own, must reach somebody",
			"routes: critical: "+quote(slices.Sorted(maps.Keys(a.Receivers))[0]))
	}
	if len(a.Receivers) > 0 && a.Install == posture.InstallOff {
		j.report([]string{"alerts", "receivers"}, `are there, but alerts.install is "off"`, "without Prometheus and Alertmanager nobody is told anything", `install: "install"`)
	}
	for _, severity := range slices.Sorted(maps.Keys(a.Routes)) {
		if _, ok := a.Receivers[a.Routes[severity]]; ok {
			continue
		}
		names := slices.Sorted(maps.Keys(a.Receivers))
		fix := fmt.Sprintf("add it: receivers: %q: {kind: \"slack\", secretRef: \"alerts/url\"}", a.Routes[severity])
		if near := nearest(a.Routes[severity], names); near != "" {
			fix = severity + ": " + quote(near)
		}
		j.report([]string{"alerts", "routes", severity}, fmt.Sprintf("names the receiver %q, which does not exist", a.Routes[severity]),
			"an alert that nobody receives is none", fix)
	}
}

func (j *judgement) resources() {
	r := j.posture.Resources
	global := ""
	for _, name := range slices.Sorted(maps.Keys(r.PriorityClasses)) {
		path := []string{"resources", "priorityClasses", name}
		if strings.HasPrefix(name, "system-") {
			j.report(path, "begins with system-", "that prefix is reserved; the API server refuses it", "platform-critical: { ... }")
		}
		if r.PriorityClasses[name].GlobalDefault {
			if global != "" {
				j.report(append(path, "globalDefault"), "is true, as it is for "+global, "one class at most is the default", "globalDefault: false")
			}
			global = name
		}
	}
	f := r.Fairness
	if f.HandSize > f.Queues {
		j.report([]string{"resources", "fairness", "handSize"}, fmt.Sprintf("is %d, more than the %d queues", f.HandSize, f.Queues),
			"a hand is dealt from the queues", "handSize: 6")
	} else if float64(f.HandSize)*math.Log2(float64(f.Queues)) > 60 {
		j.report([]string{"resources", "fairness", "handSize"}, fmt.Sprintf("is %d with %d queues, more than shuffle sharding can deal", f.HandSize, f.Queues),
			"handSize times log2(queues) is at most 60; the API server refuses more", "handSize: 6")
	}
}

func (j *judgement) incident() {
	i := j.posture.Incident
	for _, name := range slices.Sorted(maps.Keys(j.posture.Contacts)) {
		if c := j.posture.Contacts[name]; c.Email == "" && c.Phone == "" {
			j.report([]string{"contacts", name}, "has neither an e-mail address nor a telephone number",
				"a contact that nobody can reach is none", `phone: "+49 30 1234567"`)
		}
	}
	slowest := time.Duration(0)
	for _, name := range slices.Sorted(maps.Keys(i.Severities)) {
		j.positive([]string{"incident", "severities", name}, i.Severities[name])
		if d, err := time.ParseDuration(i.Severities[name]); err == nil {
			slowest = max(slowest, d)
		}
	}
	if critical, ok := i.Severities["critical"]; !ok {
		j.report([]string{"incident", "severities"}, "does not have critical", "the runbooks begin with it", `severities: critical: "15m"`)
	} else if d, err := time.ParseDuration(critical); err == nil && d > 0 && d == slowest && len(i.Severities) > 1 {
		j.report([]string{"incident", "severities", "critical"}, "is "+quote(critical)+", and no other severity is slower",
			"what is critical is answered first", `critical: "15m"`)
	}
	for _, name := range slices.Sorted(maps.Keys(i.Notify)) {
		j.positive([]string{"incident", "notify", name, "within"}, i.Notify[name].Within)
	}
}

func (j *judgement) upgrades() {
	u := j.posture.Upgrades
	j.duplicates([]string{"upgrades", "window", "days"}, u.Window.Days)
	if u.NodePatching != "off" && j.posture.Cluster.Platform == "kind" {
		j.report([]string{"upgrades", "nodePatching"}, fmt.Sprintf("is %q, but the platform is kind", u.NodePatching),
			"nodes of kind are containers: a new image replaces them", `nodePatching: "off"`)
	}
	if u.NodePatching == "system-upgrade-controller" && u.Install != posture.InstallExisting {
		j.report([]string{"upgrades", "install"}, fmt.Sprintf("is %q for the system upgrade controller", u.Install),
			"it has no chart that could be pinned: install it from its release, and say that it is there", `install: "existing"`)
	}
	if u.Round != "" && u.NodePatching != "system-upgrade-controller" {
		j.report([]string{"upgrades", "round"}, fmt.Sprintf("is set, but upgrades.nodePatching is %q", u.NodePatching),
			"only the system upgrade controller works in rounds", `nodePatching: "system-upgrade-controller"`)
	}
	if u.DependencyBot == "dependabot" && j.posture.GitOps.URL != "" && !strings.Contains(j.posture.GitOps.URL, "github") {
		j.report([]string{"upgrades", "dependencyBot"}, fmt.Sprintf("is \"dependabot\", but gitops.url is %q", j.posture.GitOps.URL),
			"Dependabot runs on GitHub only", `dependencyBot: "renovate"`)
	}
}

func (j *judgement) backup() {
	b := j.posture.Backup
	if b.ImmutableDays > b.RetentionDays {
		j.report([]string{"backup", "immutableDays"}, fmt.Sprintf("is %d, longer than the retention of %d days", b.ImmutableDays, b.RetentionDays),
			"a backup that is deleted must not still be locked", fmt.Sprintf("immutableDays: %d", b.RetentionDays))
	}
	if gap, err := longestGap(b.Schedule); err != nil {
		j.report([]string{"backup", "schedule"}, "is "+quote(b.Schedule)+", which never comes: "+err.Error(), "a cron line that comes at least once a year", `schedule: "17 2 * * *"`)
	} else if gap > time.Duration(b.RPOHours)*time.Hour {
		j.report([]string{"backup", "schedule"}, fmt.Sprintf("is %q, up to %s apart, and backup.rpoHours is %d", b.Schedule, gapText(gap), b.RPOHours),
			"backups are taken at least as often as work may be lost", `schedule: "17 2 * * *"`)
	}
	if s := b.EtcdSnapshots; s.Enabled && s.EveryHours > b.RPOHours {
		j.report([]string{"backup", "etcdSnapshots", "everyHours"}, fmt.Sprintf("is %d, and backup.rpoHours is %d", s.EveryHours, b.RPOHours),
			"snapshots are taken at least as often as work may be lost", fmt.Sprintf("everyHours: %d", min(b.RPOHours, 6)))
	}
	if s := b.EtcdSnapshots; s.CopyTo != "" && len(s.Recipients) == 0 {
		j.report([]string{"backup", "etcdSnapshots", "copyTo"}, "is set, and recipients is empty",
			"a snapshot that leaves its node is encrypted: it is the whole cluster", `recipients: ["age1..."]`)
	}
	j.duplicates([]string{"backup", "etcdSnapshots", "recipients"}, b.EtcdSnapshots.Recipients)
	if slices.Contains(sharedDirectories, b.EtcdSnapshots.Directory) || strings.HasPrefix(b.EtcdSnapshots.Directory+"/", "/var/lib/etcd/") || strings.HasPrefix(b.EtcdSnapshots.Directory+"/", "/etc/kubernetes/") {
		j.report([]string{"backup", "etcdSnapshots", "directory"}, "is "+quote(b.EtcdSnapshots.Directory)+", which others use",
			"snapshots have a directory of their own, not inside of etcd's", `directory: "/var/backups/etcd"`)
	}
	if t := b.RestoreTest; t != nil {
		at := []string{"backup", "restoreTest", "namespace"}
		ns, ok := j.posture.Namespaces[t.Namespace]
		switch {
		case !ok:
			j.namespaceRef(at, t.Namespace)
		case !ns.Backup:
			j.report(at, "is "+quote(t.Namespace)+", which is not backed up", "only a backup can be restored", "namespaces: "+quote(t.Namespace)+": backup: true")
		}
		if b.Location == nil || b.Install == posture.InstallOff {
			j.report([]string{"backup", "restoreTest"}, "is set, and there are no backups to restore", "backups need a location and Velero",
				`backup: {install: "install", location: {bucket: "prod-backups", region: "eu-central-1"}}`)
		}
		if _, err := longestGap(t.Schedule); err != nil {
			j.report([]string{"backup", "restoreTest", "schedule"}, "is "+quote(t.Schedule)+", which never comes: "+err.Error(), "a cron line that comes at least once a year", `schedule: "41 4 * * 0"`)
		}
	}
	if l := b.Location; l != nil && b.Install == posture.InstallOff {
		j.report([]string{"backup", "location"}, `is set, but backup.install is "off"`, "something must write the backups", `install: "install"`)
	}
	if l := b.Location; l != nil && l.Endpoint == "" && l.KMSKeyID != "" && !strings.HasPrefix(l.KMSKeyID, "arn:") {
		j.report([]string{"backup", "location", "kmsKeyID"}, "is "+quote(l.KMSKeyID)+", which is not an ARN",
			"the rights of Velero name the key by its ARN, and an alias can be made to mean another key", `kmsKeyID: "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"`)
	}
	if l := b.Location; l != nil && l.Endpoint == "" && strings.Contains(l.Bucket, ".") {
		j.report([]string{"backup", "location", "bucket"}, "is "+quote(l.Bucket)+", which has a dot", "the certificate of S3 does not cover names with dots", quote(strings.ReplaceAll(l.Bucket, ".", "-")))
	}
	if l := b.Location; l != nil && l.CredentialSecret != "" && l.RoleARN != "" {
		j.report([]string{"backup", "location", "credentialSecret"}, "is set beside roleARN",
			"Velero reaches the bucket by workload identity or by a key, not both", "remove credentialSecret")
	}
}

// reservedLabels are prefixes of labels that the posture sets itself.
var reservedLabels = []string{"pod-security.kubernetes.io/", "k8ssec.dev/", "app.kubernetes.io/managed-by", "kubernetes.io/"}

func (j *judgement) namespace(name string, n posture.Namespace) {
	at := func(path ...string) []string { return append([]string{"namespaces", name}, path...) }
	shipped := j.tree.shipped[name]
	if shipped == nil && n.Kind == "system" {
		j.report(at("kind"), `is "system"`, "system namespaces are those of Kubernetes itself; another would escape the profile by its name", `kind: "addon"`)
	}
	if shipped != nil && n.Kind != shipped.child("kind").str() {
		j.report(at("kind"), fmt.Sprintf("is %q", n.Kind), fmt.Sprintf("%s is a %s namespace", name, shipped.child("kind").str()), "remove kind")
	}
	if name == "kustomization" {
		j.report(at(), "has the name of a file that kustomize reads", "each namespace has a file of its name, and kustomization.yaml is taken", "rename it")
	}
	if shipped == nil && strings.HasPrefix(name, "kube-") {
		j.report(at(), "begins with kube-", "that prefix is reserved for Kubernetes", "rename it")
	}
	if shipped != nil && weaker(n.PodSecurity.Enforce, posture.PodSecurityLevel(shipped.at("podSecurity", "enforce").str())) {
		j.report(at("podSecurity", "enforce"), fmt.Sprintf("is %q, weaker than what %s needs", n.PodSecurity.Enforce, name),
			"an add-on has the level that it really needs, and no weaker one", fmt.Sprintf("enforce: %q", shipped.at("podSecurity", "enforce").str()))
	}
	if n.Kind != "tenant" && n.PodSecurity.Enforce != posture.Restricted && n.Why == "" {
		j.report(at("why"), "is missing", "a level below restricted is explained", `why: "its agent reads /proc of the host"`)
	}
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		for _, prefix := range reservedLabels {
			if strings.HasPrefix(key, prefix) {
				j.report(at("labels", key), "is a label that k8ssec sets", "these labels decide which policies hold", "use podSecurity, owner or dataClass instead")
				break
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(n.Quota)) {
		if !quotaResource(key) {
			j.report(at("quota", key), "is not a resource that a quota can bound", "requests.cpu, limits.memory, pods, count/jobs.batch, ...", `"requests.cpu": "4"`)
		}
	}
	j.limits(n.Limits, at)
	for _, direction := range []struct {
		name  string
		flows map[string]posture.Flow
	}{{"ingress", n.Ingress}, {"egress", n.Egress}} {
		for _, flow := range slices.Sorted(maps.Keys(direction.flows)) {
			j.flow(at(direction.name, flow), direction.name, direction.flows[flow])
		}
	}
	for i, account := range n.CI {
		namespace, _, _ := strings.Cut(account, "/")
		if _, ok := j.posture.Namespaces[namespace]; !ok {
			j.namespaceRef(at("ci", itoa(i)), namespace)
		}
	}
	if len(n.Secrets) > 0 && j.posture.Secrets.Provider == "" {
		j.report(at("secrets"), "is set, but secrets.provider is undecided", "the store must be named first", `secrets: provider: "vault"`)
	}
}

func weaker(a, b posture.PodSecurityLevel) bool {
	order := []posture.PodSecurityLevel{posture.Privileged, posture.Baseline, posture.Restricted}
	return slices.Index(order, a) < slices.Index(order, b)
}

func (j *judgement) limits(l posture.Limits, at func(...string) []string) {
	for _, pair := range []struct {
		low, high         string
		lowName, highName string
	}{
		{l.DefaultRequestCPU, l.DefaultCPU, "defaultRequestCPU", "defaultCPU"},
		{l.DefaultRequestMemory, l.DefaultMemory, "defaultRequestMemory", "defaultMemory"},
		{l.DefaultCPU, l.MaxCPU, "defaultCPU", "maxCPU"},
		{l.DefaultMemory, l.MaxMemory, "defaultMemory", "maxMemory"},
		{l.DefaultRequestEphemeral, l.DefaultEphemeral, "defaultRequestEphemeral", "defaultEphemeral"},
		{l.DefaultEphemeral, l.MaxEphemeral, "defaultEphemeral", "maxEphemeral"},
	} {
		low, errLow := resource.ParseQuantity(pair.low)
		high, errHigh := resource.ParseQuantity(pair.high)
		if errLow == nil && errHigh == nil && low.Cmp(high) > 0 {
			j.report(at("limits", pair.lowName), fmt.Sprintf("is %s, above %s %s", pair.low, pair.highName, pair.high),
				"a default is not above its limit; the API server refuses the LimitRange", pair.lowName+": "+quote(pair.high))
		}
	}
}

// quotaResource says whether ResourceQuota knows the name (k8s.io/kubernetes pkg/apis/core/helper
// standardQuotaResources, plus the count/ and storage class forms).
func quotaResource(name string) bool {
	switch name {
	case "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
		"limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "services", "replicationcontrollers", "resourcequotas",
		"secrets", "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers":
		return true
	}
	return strings.HasPrefix(name, "count/") || strings.HasPrefix(name, "requests.hugepages-") || strings.HasPrefix(name, "limits.hugepages-") ||
		strings.HasPrefix(name, "hugepages-") ||
		strings.Contains(name, ".storageclass.storage.k8s.io/") || (strings.HasPrefix(name, "requests.") && strings.Contains(name, "/"))
}

func (j *judgement) flow(path []string, direction string, f posture.Flow) {
	for i, peer := range f.Peers {
		at := append(slices.Clone(path), "peers", itoa(i))
		kinds := 0
		for _, set := range []bool{peer.Namespace != "", peer.CIDR != "", peer.FQDN != "", peer.Entity != ""} {
			if set {
				kinds++
			}
		}
		if kinds != 1 {
			j.report(at, "has "+map[bool]string{true: "no kind of peer", false: "more than one kind of peer"}[kinds == 0],
				"each peer is one of namespace, cidr, fqdn, entity", `{namespace: "team-b"}`)
			continue
		}
		if len(peer.Pods) > 0 && peer.Namespace == "" {
			j.report(append(at, "pods"), "selects pods of no namespace", "pods belong to a namespace peer", `{namespace: "team-b", pods: app: "api"}`)
		}
		if peer.Namespace != "" {
			j.namespaceRef(append(at, "namespace"), peer.Namespace)
		}
		if len(peer.Except) > 0 && peer.CIDR == "" {
			j.report(append(at, "except"), "stands without cidr", "except cuts ranges out of cidr", `{cidr: "10.0.0.0/8", except: ["10.1.0.0/16"]}`)
		}
		if peer.CIDR != "" {
			outer, ok := j.cidr(append(at, "cidr"), peer.CIDR)
			if j.posture.Network.BlockMetadata && ok {
				for _, metadata := range j.posture.Network.MetadataCIDRs {
					if blocked, err := netip.ParsePrefix(metadata); err == nil && blocked.Overlaps(outer) && blocked.Bits() <= outer.Bits() {
						j.report(append(at, "cidr"), fmt.Sprintf("is %s, which is the cloud's metadata service (%s)", peer.CIDR, metadata),
							"network.blockMetadata closes it: it hands out the node's own credentials", "give the workload an identity of its own, and remove the flow")
					}
				}
			}
			for k, except := range peer.Except {
				inner, okInner := j.cidr(append(at, "except", itoa(k)), except)
				if ok && okInner && (!outer.Overlaps(inner) || inner.Bits() <= outer.Bits()) {
					j.report(append(at, "except", itoa(k)), fmt.Sprintf("is %s, which does not lie inside %s", except, peer.CIDR),
						"an exception lies strictly inside its range; the API server refuses others", "remove it")
				}
			}
		}
		if peer.FQDN != "" && j.posture.Cluster.CNI != "cilium" {
			j.report(append(at, "fqdn"), fmt.Sprintf("is set, but the CNI is %q", j.posture.Cluster.CNI),
				"policies by DNS name need Cilium; NetworkPolicy knows addresses only", `{cidr: "203.0.113.0/24"}`)
		}
		if peer.FQDN != "" && direction == "ingress" {
			j.report(append(at, "fqdn"), "stands in an ingress flow", "who comes in is known by address, not by name", `{cidr: "203.0.113.0/24"}`)
		}
		if peer.Entity == "apiserver" && direction == "ingress" {
			j.report(append(at, "entity"), `is "apiserver" in an ingress flow`, "calls from the API server to webhooks are declared as webhooks", "webhooks: [9443]")
		}
	}
	for i, p := range f.Ports {
		if p.End != 0 && p.End < p.Port {
			j.report(append(slices.Clone(path), "ports", itoa(i), "end"), fmt.Sprintf("is %d, below port %d", p.End, p.Port), "a range ends at or after its beginning", fmt.Sprintf("end: %d", p.Port))
		}
	}
}
