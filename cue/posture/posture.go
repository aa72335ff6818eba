// Package posture holds the complete, evaluated description of how secure one cluster must be.
//
// The Go types here and the CUE schema beside them (*.cue) describe the same tree; the drift test
// in this package holds them together. A Posture that reaches a generator has every default filled
// in, has passed the schema and every control that no active waiver lifts, and may be read without
// further checks. Generators must not change it: they run in parallel on the same value.
package posture

// Posture is the whole tree. Optional parts are pointers; nil means "undecided" or "off", as the
// field's comment says.
type Posture struct {
	// Profiles are the names (or ./directories) that the cluster file picked, as written there.
	Profiles   []string             `json:"profiles"`
	Cluster    Cluster              `json:"cluster"`
	Contacts   map[string]Contact   `json:"contacts,omitempty"`
	Identity   Identity             `json:"identity"`
	Access     Access               `json:"access"`
	Namespaces map[string]Namespace `json:"namespaces,omitempty"`
	Network    Network              `json:"network"`
	Workloads  Workloads            `json:"workloads"`
	Secrets    Secrets              `json:"secrets"`
	Encryption Encryption           `json:"encryption"`
	Images     Images               `json:"images"`
	Runtime    Runtime              `json:"runtime"`
	APIServer  APIServer            `json:"apiserver"`
	Kubelet    Kubelet              `json:"kubelet"`
	Logging    Logging              `json:"logging"`
	Alerts     Alerts               `json:"alerts"`
	Resources  Resources            `json:"resources"`
	Upgrades   Upgrades             `json:"upgrades"`
	Benchmark  Benchmark            `json:"benchmark"`
	Incident   Incident             `json:"incident"`
	Backup     Backup               `json:"backup"`
	GitOps     GitOps               `json:"gitops"`
	// Waivers holds every waiver of the cluster file. The engine marks those that are active; only
	// an active one lifts anything.
	Waivers map[string]Waiver `json:"waivers,omitempty"`
}

// Enforcement says what happens to a request or pod that breaks a rule.
type Enforcement string

// The three steps of adopting a rule, from harmless to blocking.
const (
	Audit   Enforcement = "audit"   // recorded in the audit log only
	Warn    Enforcement = "warn"    // recorded, and the caller sees a warning
	Enforce Enforcement = "enforce" // refused
)

// Install says who runs an add-on.
type Install string

// The ways an add-on can be there.
const (
	InstallOff      Install = "off"      // not used; nothing is emitted
	InstallExisting Install = "existing" // runs already; only its configuration is emitted
	InstallInstall  Install = "install"  // installed by GitOps, pinned
)

// Cluster names the cluster and the ground it stands on.
type Cluster struct {
	// Name is a DNS label; it is also the default repository directory.
	Name string `json:"name"`
	// Platform is "kubeadm" or "kind".
	Platform string `json:"platform"`
	// Kubernetes is the minor version, "1.34" to "1.37".
	Kubernetes string `json:"kubernetes"`
	// CNI is "cilium", "calico" or "other" (any plug-in that enforces NetworkPolicy).
	CNI string `json:"cni"`
	// PodCIDRs and ServiceCIDRs have one entry, or two for dual stack.
	PodCIDRs     []string `json:"podCIDRs"`
	ServiceCIDRs []string `json:"serviceCIDRs"`
	// NodeCIDRs are the networks of the nodes, where known: calls from the API server to webhooks
	// and from a kubelet to its pods come from there.
	NodeCIDRs []string `json:"nodeCIDRs,omitempty"`
	// DNSDomain is the cluster's DNS suffix.
	DNSDomain string `json:"dnsDomain"`
	// APIEndpoints are the addresses at which the API servers listen, where known. Without them a
	// policy for a CNI other than Cilium can limit the way to the API by port only.
	APIEndpoints []APIEndpoint `json:"apiEndpoints,omitempty"`
	// APIPort is the port on which each API server listens.
	APIPort int `json:"apiPort"`
	// ControlPlaneEndpoint is host:port of the load balancer of an HA control plane, or empty.
	ControlPlaneEndpoint string `json:"controlPlaneEndpoint,omitempty"`
	// Production clusters refuse drills and active probes unless they are named explicitly.
	Production bool `json:"production"`
}

// APIEndpoint is one address of an API server.
type APIEndpoint struct {
	Address string `json:"address"` // IP address
	Port    int    `json:"port"`
}

// Contact is a person or team who answers for something.
type Contact struct {
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
	Phone string `json:"phone,omitempty"`
	// Role is what the contact does in an incident, for instance "incident commander".
	Role string `json:"role,omitempty"`
}

// Identity is the identity provider for people. OIDC is nil until the user names an issuer.
type Identity struct {
	OIDC *OIDC `json:"oidc,omitempty"`
	// GroupsPrefix is put before every group of the provider, so that no token can claim a
	// system: group. Role bindings use the same prefix.
	GroupsPrefix string `json:"groupsPrefix"`
	// UsernamePrefix is put before every user name of the provider.
	UsernamePrefix string `json:"usernamePrefix"`
}

// OIDC is an OpenID Connect issuer that the API server trusts.
type OIDC struct {
	IssuerURL string   `json:"issuerURL"` // https, no trailing query
	Audiences []string `json:"audiences"`
	// UsernameClaim and GroupsClaim are claim names of the provider's ID token.
	UsernameClaim string `json:"usernameClaim"`
	GroupsClaim   string `json:"groupsClaim"`
	// CertificateAuthority is the PEM of the issuer's CA; empty means the system's roots.
	CertificateAuthority string `json:"certificateAuthority,omitempty"`
	// MaxTokenHours is the longest lifetime of an accepted ID token.
	MaxTokenHours int `json:"maxTokenHours"`
	// RequiredClaims must be in each token with these exact values.
	RequiredClaims map[string]string `json:"requiredClaims,omitempty"`
}

// Access is who may do what. Groups are names at the identity provider, without the prefix.
type Access struct {
	// PlatformAdmins run the cluster. They may not read secrets of tenants.
	PlatformAdmins []string `json:"platformAdmins"`
	// Viewers may see workloads, nodes and configuration cluster-wide: no secrets, no RBAC.
	Viewers []string `json:"viewers,omitempty"`
	// Auditors may read RBAC, policies, events and audit-related objects, cluster-wide.
	Auditors []string `json:"auditors,omitempty"`
	// BreakGlass is the group that is bound to cluster-admin only during an emergency.
	BreakGlass BreakGlass `json:"breakGlass"`
	// AutomountDefault says whether the default service accounts mount a token. Hardened: false.
	AutomountDefault bool `json:"automountDefault"`
	// HumansCreateTokens says whether a human role may create service account tokens.
	HumansCreateTokens bool `json:"humansCreateTokens"`
	// DeveloperExec says whether the developer role may exec into pods and forward ports.
	DeveloperExec bool `json:"developerExec"`
	// DeveloperSecrets says whether the developer role may read and write secrets of its namespace.
	DeveloperSecrets bool `json:"developerSecrets"`
}

// BreakGlass is emergency access, kept out of what GitOps applies.
type BreakGlass struct {
	Group string `json:"group"`
	// MaxHours bounds one use; the procedure removes the binding afterwards.
	MaxHours int `json:"maxHours"`
}

// PodSecurityLevel is a level of the Pod Security Standards.
type PodSecurityLevel string

// The three levels.
const (
	Privileged PodSecurityLevel = "privileged"
	Baseline   PodSecurityLevel = "baseline"
	Restricted PodSecurityLevel = "restricted"
)

// PodSecurity is one namespace's Pod Security levels. The version is always pinned to the
// cluster's minor.
type PodSecurity struct {
	Enforce PodSecurityLevel `json:"enforce"`
	Audit   PodSecurityLevel `json:"audit"`
	Warn    PodSecurityLevel `json:"warn"`
}

// Namespace is one namespace of the posture: a tenant's, an add-on's or the system's.
type Namespace struct {
	// Kind is "tenant" (default), "system" (kube-system and the like) or "addon".
	Kind string `json:"kind"`
	// Owner is the team that answers for the namespace.
	Owner string `json:"owner"`
	// Purpose is one line for people.
	Purpose string `json:"purpose,omitempty"`
	// DataClass is "public", "internal", "confidential" or "secret".
	DataClass   string      `json:"dataClass"`
	PodSecurity PodSecurity `json:"podSecurity"`
	// Why explains a Pod Security level below restricted.
	Why string `json:"why,omitempty"`
	// Groups of the identity provider, without the prefix.
	Groups NamespaceGroups `json:"groups"`
	// CI are service accounts that deploy into the namespace, as "namespace/name".
	CI []string `json:"ci,omitempty"`
	// Quota bounds the namespace as a whole; keys are ResourceQuota resource names.
	Quota map[string]string `json:"quota"`
	// Limits bound each container and volume claim.
	Limits Limits `json:"limits"`
	// Ingress and Egress are the declared flows by name; all else is denied.
	Ingress map[string]Flow `json:"ingress,omitempty"`
	Egress  map[string]Flow `json:"egress,omitempty"`
	// SameNamespace opens traffic between the pods of the namespace.
	SameNamespace bool `json:"sameNamespace"`
	// APIAccess opens the way from the pods to the API server.
	APIAccess bool `json:"apiAccess"`
	// Webhooks are the ports on which pods of the namespace serve admission or conversion
	// webhooks, or aggregated APIs, to the API server.
	Webhooks []int `json:"webhooks,omitempty"`
	// Metrics are the ports that the monitoring namespace may scrape.
	Metrics []int `json:"metrics,omitempty"`
	// Labels and Annotations are added to the namespace object.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Secrets are the paths of the secret store that this namespace reads, by secret name.
	Secrets map[string]SecretRef `json:"secrets,omitempty"`
	// Backup says whether the namespace is in the backup schedule.
	Backup bool `json:"backup"`
	// GitSource makes the GitOps controller deploy the tenant from its own repository.
	GitSource *GitSource `json:"gitSource,omitempty"`
}

// NamespaceGroups are the groups bound to the tenant roles of one namespace.
type NamespaceGroups struct {
	Owners     []string `json:"owners,omitempty"`
	Developers []string `json:"developers,omitempty"`
	Viewers    []string `json:"viewers,omitempty"`
}

// Limits are the values of a LimitRange.
type Limits struct {
	DefaultCPU           string `json:"defaultCPU"`
	DefaultMemory        string `json:"defaultMemory"`
	DefaultRequestCPU    string `json:"defaultRequestCPU"`
	DefaultRequestMemory string `json:"defaultRequestMemory"`
	MaxCPU               string `json:"maxCPU"`
	MaxMemory            string `json:"maxMemory"`
	MaxVolume            string `json:"maxVolume"`
	// MaxEphemeral bounds a container's ephemeral storage. Without a default request of its own the
	// API server would take DefaultEphemeral as the request, and the quota would be full at once.
	DefaultEphemeral        string `json:"defaultEphemeral"`
	DefaultRequestEphemeral string `json:"defaultRequestEphemeral"`
	MaxEphemeral            string `json:"maxEphemeral"`
}

// Flow is one declared direction of traffic.
type Flow struct {
	// Why is a line for the person who reviews the flow.
	Why string `json:"why,omitempty"`
	// Pods selects pods of the declaring namespace by label; empty means all of them.
	Pods map[string]string `json:"pods,omitempty"`
	// Peers are the other side; each entry has exactly one kind of peer.
	Peers []Peer `json:"peers"`
	// Ports are open; empty means every port.
	Ports []Port `json:"ports,omitempty"`
}

// Peer is the other side of a flow: a namespace (with pods), an address range, a DNS name
// (Cilium only) or an entity.
type Peer struct {
	Namespace string            `json:"namespace,omitempty"`
	Pods      map[string]string `json:"pods,omitempty"`
	CIDR      string            `json:"cidr,omitempty"`
	Except    []string          `json:"except,omitempty"`
	// FQDN is a DNS name, which may begin with "*.": needs cni "cilium".
	FQDN string `json:"fqdn,omitempty"`
	// Entity is "apiserver", "nodes", "cluster" or "world".
	Entity string `json:"entity,omitempty"`
}

// Port is a port with its protocol, or a range when End is set.
type Port struct {
	Port     int    `json:"port"`
	End      int    `json:"end,omitempty"`
	Protocol string `json:"protocol"` // TCP, UDP or SCTP
}

// SecretRef names one entry in the secret store.
type SecretRef struct {
	// Path is below the namespace's own prefix in the store.
	Path string `json:"path"`
	// Keys are the properties to take; empty means all.
	Keys []string `json:"keys,omitempty"`
	// Purpose separates the readers inside one namespace; each purpose has its own role.
	Purpose string `json:"purpose"`
}

// GitSource is a tenant's own repository.
type GitSource struct {
	URL    string `json:"url"` // https or ssh
	Branch string `json:"branch"`
	Path   string `json:"path"`
	// SecretRef names the secret with the credentials in the tenant's namespace.
	SecretRef string `json:"secretRef,omitempty"`
}

// Network is the cluster-wide part of the network domain.
type Network struct {
	// DefaultDeny denies what no flow declares, both ways, in each namespace.
	DefaultDeny bool `json:"defaultDeny"`
	// BlockMetadata denies the cloud metadata addresses even where a flow opens the world.
	BlockMetadata bool `json:"blockMetadata"`
	// MetadataCIDRs are those addresses.
	MetadataCIDRs []string `json:"metadataCIDRs"`
	// DNSNamespace and DNSPods name the cluster DNS servers.
	DNSNamespace string            `json:"dnsNamespace"`
	DNSPods      map[string]string `json:"dnsPods"`
	// UpstreamDNS are the resolvers that cluster DNS asks; empty means any address on port 53.
	UpstreamDNS []string `json:"upstreamDNS,omitempty"`
	// MonitoringNamespace may scrape the declared metrics ports; empty means none.
	MonitoringNamespace string `json:"monitoringNamespace,omitempty"`
	// Firewall is the node firewall: which networks reach the API, the kubelets and etcd.
	Firewall Firewall `json:"firewall"`
	// Encryption in transit between nodes by the CNI: "off", "wireguard" or "ipsec".
	Encryption string `json:"encryption"`
}

// Firewall bounds who reaches a node's own ports. Enabled writes an nftables profile.
type Firewall struct {
	Enabled bool `json:"enabled"`
	// APIFrom are networks that may reach the API port; empty means any.
	APIFrom []string `json:"apiFrom,omitempty"`
	// SSHFrom are networks that may reach port 22; empty means the port is left as it is.
	SSHFrom []string `json:"sshFrom,omitempty"`
	// NodePortsFrom are networks that may reach NodePort services; empty means none but the nodes.
	NodePortsFrom []string `json:"nodePortsFrom,omitempty"`
}

// Workloads is the admission rules for pods, in CEL.
type Workloads struct {
	// Enforcement is the default for each policy below.
	Enforcement Enforcement `json:"enforcement"`
	// Policies switches single policies, by name; see generators/workloads.
	Policies map[string]Policy `json:"policies"`
	// Static emits the manifest-based form for the control plane's own backstop (1.37).
	Static bool `json:"static"`
}

// Policy is the switch of one admission policy.
type Policy struct {
	Enabled bool `json:"enabled"`
	// Enforcement overrides the domain's; empty means the domain's.
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// Secrets is the external secret store. Provider "" means undecided.
type Secrets struct {
	Provider string  `json:"provider"` // "", "vault" or "aws"
	Install  Install `json:"install"`  // External Secrets
	Refresh  string  `json:"refresh"`  // Go duration
	// Account is the service account of the External Secrets controller, as "namespace/name".
	Account string `json:"account"`
	// Deletion says what becomes of a secret whose entry left the store: "retain" or "delete".
	Deletion string `json:"deletion"`
	// ClusterStores lets a ClusterSecretStore serve several namespaces. Hardened: false.
	ClusterStores bool        `json:"clusterStores"`
	Vault         *Vault      `json:"vault,omitempty"`
	AWS           *AWSSecrets `json:"aws,omitempty"`
	// ForbidEnv refuses secrets as environment variables (CIS 5.4.1).
	ForbidEnv bool `json:"forbidEnv"`
	// MaxAgeDays is the rotation age of an entry.
	MaxAgeDays int `json:"maxAgeDays"`
}

// Vault is a HashiCorp Vault.
type Vault struct {
	Address  string `json:"address"` // https://host:port
	CABundle string `json:"caBundle,omitempty"`
	Mount    string `json:"mount"`    // KV v2 mount
	AuthPath string `json:"authPath"` // kubernetes auth mount
	Audience string `json:"audience"`
	TokenTTL string `json:"tokenTTL"` // Go duration
	// TokenReviewer is who asks the API server whether a reader's token is good: "client" (the reader's
	// own token, for a Vault outside of the cluster) or "vault" (Vault's own service account, for one
	// that runs in this cluster).
	TokenReviewer string `json:"tokenReviewer"`
	// Namespace is a Vault Enterprise namespace.
	Namespace string `json:"namespace,omitempty"`
}

// AWSSecrets is AWS Secrets Manager.
type AWSSecrets struct {
	Region    string `json:"region"`
	AccountID string `json:"accountID"`
	// Identity is "irsa" or "pod-identity".
	Identity string `json:"identity"`
	// OIDCProvider is the cluster's issuer without https://, for irsa.
	OIDCProvider string `json:"oidcProvider,omitempty"`
	KMSKeyARN    string `json:"kmsKeyARN,omitempty"`
	Prefix       string `json:"prefix"`
}

// Encryption is encryption at rest, and the TLS floors of all Kubernetes components.
type Encryption struct {
	// Provider is "secretbox" (a key made on the node) or "kms".
	Provider string `json:"provider"`
	KMS      *KMS   `json:"kms,omitempty"`
	// Resources are what is encrypted, as in EncryptionConfiguration.
	Resources []string `json:"resources"`
	// KeyRotationDays is the age at which a local key is replaced.
	KeyRotationDays int `json:"keyRotationDays"`
	// TLSMinVersion is "VersionTLS12" or "VersionTLS13".
	TLSMinVersion string `json:"tlsMinVersion"`
	// CipherSuites are Go names of TLS 1.2 suites.
	CipherSuites []string `json:"cipherSuites"`
	// CertManager runs cert-manager for certificates inside the cluster.
	CertManager Install `json:"certManager"`
	// MutualTLS between workloads: "off", "cilium" or "mesh".
	MutualTLS string `json:"mutualTLS"`
}

// KMS is a KMS v2 plug-in, reached over a socket on the control plane node.
type KMS struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"` // unix:///absolute/path
	Timeout  string `json:"timeout"`  // Go duration
}

// Images is where images may come from and how they are proven.
type Images struct {
	// Registries is the allow-list of "host/path" prefixes. Empty means undecided.
	Registries []string `json:"registries,omitempty"`
	// RequireDigest refuses images that are named by tag only.
	RequireDigest bool `json:"requireDigest"`
	// ForbidLatest refuses the tag latest and images without tag and digest.
	ForbidLatest bool `json:"forbidLatest"`
	// Verify is who checks signatures: "off", "kyverno" or "policy-controller".
	Verify string `json:"verify"`
	// Signers are the accepted signatures, by name.
	Signers map[string]Signer `json:"signers,omitempty"`
	// Scanner is the in-cluster vulnerability scanner.
	Scanner Install `json:"scanner"`
	// FailOn is the lowest severity that fails a CI scan: "CRITICAL", "HIGH", "MEDIUM".
	FailOn string `json:"failOn"`
	// AlwaysPull sets the AlwaysPullImages admission plug-in.
	AlwaysPull bool `json:"alwaysPull"`
}

// Signer is one accepted signature, keyed or keyless.
type Signer struct {
	Images []string `json:"images"` // globs
	Key    string   `json:"key,omitempty"`
	// Issuer and Subject name a keyless identity.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	// Tlog is "required" or "ignored" (air gap).
	Tlog string `json:"tlog"`
}

// Runtime is what watches and confines running containers.
type Runtime struct {
	// SeccompDefault makes RuntimeDefault the default of every pod.
	SeccompDefault bool `json:"seccompDefault"`
	// UserNamespaces asks tenants' pods for hostUsers: false.
	UserNamespaces bool `json:"userNamespaces"`
	// Detector is "off", "falco" or "tetragon".
	Detector string  `json:"detector"`
	Install  Install `json:"install"`
	// SecurityProfiles is the Security Profiles Operator.
	SecurityProfiles Install `json:"securityProfiles"`
	// Sandbox is a kernel of its own for code that nobody trusts; nil means that there is none.
	Sandbox *Sandbox `json:"sandbox,omitempty"`
}

// Sandbox says which pods run with which handler of the container runtime.
type Sandbox struct {
	// Handler is the name that the container runtime of the nodes knows, for instance "runsc" or "kata".
	Handler string `json:"handler"`
	// Namespaces are those whose pods must run in it.
	Namespaces []string `json:"namespaces"`
}

// APIServer is the control plane's own configuration.
type APIServer struct {
	// AnonymousPaths are the only paths that answer without credentials.
	AnonymousPaths []string `json:"anonymousPaths"`
	// TokenJoin keeps token-based kubeadm join working, by opening the cluster-info path.
	TokenJoin bool `json:"tokenJoin"`
	Profiling bool `json:"profiling"`
	// RequestTimeout is a Go duration.
	RequestTimeout string `json:"requestTimeout"`
	// ServiceAccountExtendToken keeps year-long injected tokens. Hardened: false.
	ServiceAccountExtendToken bool `json:"serviceAccountExtendToken"`
	// ServiceAccountMaxToken is a Go duration.
	ServiceAccountMaxToken string `json:"serviceAccountMaxToken"`
	// AdmissionPlugins are enabled besides the defaults; NodeRestriction is always among them.
	AdmissionPlugins []string `json:"admissionPlugins"`
	// EventRateLimit bounds events a second.
	EventRateLimit EventRateLimit `json:"eventRateLimit"`
	// PodSecurityDefaults hold for namespaces without labels of their own.
	PodSecurityDefaults PodSecurity `json:"podSecurityDefaults"`
	// ExemptNamespaces are exempt from Pod Security.
	ExemptNamespaces []string `json:"exemptNamespaces,omitempty"`
	// KubeletCertificateAuthority makes the API server verify kubelets, which needs an approver
	// for their serving certificates.
	KubeletCertificateAuthority bool `json:"kubeletCertificateAuthority"`
	// TerminatedPodGC is the controller manager's threshold of finished pods.
	TerminatedPodGC int `json:"terminatedPodGC"`
	// EtcdUser runs etcd and owns its data as a user of its own (CIS 1.1.12).
	EtcdUser bool `json:"etcdUser"`
	// CertificateValidityDays of the control plane's certificates.
	CertificateValidityDays int `json:"certificateValidityDays"`
	// CertSANs are further names of the API server.
	CertSANs []string `json:"certSANs,omitempty"`
	// FileModes writes the script that keeps the nodes' files at the benchmark's modes.
	FileModes bool `json:"fileModes"`
}

// EventRateLimit is the configuration of the admission plug-in of that name.
type EventRateLimit struct {
	Enabled        bool `json:"enabled"`
	NamespaceQPS   int  `json:"namespaceQPS"`
	NamespaceBurst int  `json:"namespaceBurst"`
	UserQPS        int  `json:"userQPS"`
	UserBurst      int  `json:"userBurst"`
}

// Kubelet is the KubeletConfiguration and the node's part.
type Kubelet struct {
	// PodPidsLimit bounds the processes of one pod.
	PodPidsLimit int `json:"podPidsLimit"`
	// ServerTLSBootstrap gives kubelets certificates signed by the cluster's CA.
	ServerTLSBootstrap bool `json:"serverTLSBootstrap"`
	// EventRecordQPS bounds events a second; 0 would mean unlimited.
	EventRecordQPS int `json:"eventRecordQPS"`
	// ImagePullCredentials is the imagePullCredentialsVerificationPolicy (1.35 and newer).
	ImagePullCredentials string `json:"imagePullCredentials"`
	// ProtectKernelDefaults refuses to start on other kernel settings.
	ProtectKernelDefaults bool `json:"protectKernelDefaults"`
	// FailCgroupV1 refuses nodes with cgroup v1.
	FailCgroupV1 bool `json:"failCgroupV1"`
	// ContainerLogMaxSize and ContainerLogMaxFiles bound a container's logs on the node.
	ContainerLogMaxSize  string `json:"containerLogMaxSize"`
	ContainerLogMaxFiles int    `json:"containerLogMaxFiles"`
	// DebuggingHandlers serves profiling, flags and system logs. Hardened: false. Exec and
	// container logs are not affected.
	DebuggingHandlers bool `json:"debuggingHandlers"`
	// ProxyMode is kube-proxy's: "iptables", "nftables", or "none" where the CNI replaces it.
	ProxyMode string `json:"proxyMode"`
}

// Logging is the audit log and the shipping of all logs.
type Logging struct {
	Audit AuditLog `json:"audit"`
	// Shipper is "off", "vector" or "fluent-bit".
	Shipper string  `json:"shipper"`
	Install Install `json:"install"`
	// Sink is where logs go; nil means to a Loki in the cluster.
	Sink *LogSink `json:"sink,omitempty"`
	// Store is that Loki.
	Store LogStore `json:"store"`
}

// LogStore is the Loki in the cluster that takes the logs where no sink is named.
type LogStore struct {
	// Storage is the size of its volume, StorageClass the volume's class; empty means the cluster's
	// default.
	Storage       string `json:"storage"`
	StorageClass  string `json:"storageClass,omitempty"`
	RetentionDays int    `json:"retentionDays"`
}

// AuditLog is the API server's audit log.
type AuditLog struct {
	// Policy is "standard" (writes and what an investigation needs) or "full" (reads too).
	Policy     string `json:"policy"`
	MaxAgeDays int    `json:"maxAgeDays"`
	MaxBackups int    `json:"maxBackups"`
	MaxSizeMB  int    `json:"maxSizeMB"`
	Path       string `json:"path"`
	// Webhook sends the records to a collector as well; nil means no.
	Webhook *AuditWebhook `json:"webhook,omitempty"`
}

// AuditWebhook is an HTTPS collector of audit records.
type AuditWebhook struct {
	URL string `json:"url"` // https
	// CertificateAuthority is the PEM of the collector's CA.
	CertificateAuthority string `json:"certificateAuthority,omitempty"`
	// Mode is "batch" or "blocking".
	Mode string `json:"mode"`
}

// LogSink is a log store.
type LogSink struct {
	Kind string `json:"kind"` // loki, elasticsearch, s3, http
	// URL is https://host:port with the path that the store wants; for s3 the path is the bucket, with
	// an optional prefix.
	URL string `json:"url"`
	// Region of an s3 sink.
	Region string `json:"region,omitempty"`
	// CASecret and ClientSecret name secrets in the logging namespace: ca.crt, and tls.crt with tls.key
	// for mTLS. For s3 the client secret holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
	CASecret     string `json:"caSecret,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"`
	// RetentionDays the sink must keep.
	RetentionDays int `json:"retentionDays"`
}

// Alerts is who is told, and how.
type Alerts struct {
	Install Install `json:"install"` // Prometheus stack
	// Receivers by name; none means undecided.
	Receivers map[string]Receiver `json:"receivers,omitempty"`
	// Routes maps severity (critical, warning, info) to a receiver.
	Routes map[string]string `json:"routes,omitempty"`
}

// Receiver is one way to reach people. Credentials are named, never written.
type Receiver struct {
	Kind string `json:"kind"` // slack, pagerduty, email, webhook
	// SecretRef names the secret (name/key) with the credential or URL.
	SecretRef string `json:"secretRef"`
	// To is the channel or address.
	To string `json:"to,omitempty"`
	// From and Smarthost (host:port) are the sender, who is also the user, and the mail server of an
	// email receiver.
	From      string `json:"from,omitempty"`
	Smarthost string `json:"smarthost,omitempty"`
}

// Resources is quotas and fairness beyond the single namespace.
type Resources struct {
	// PriorityClasses by name, besides the system's.
	PriorityClasses map[string]PriorityClass `json:"priorityClasses,omitempty"`
	// Fairness gives tenants their own share of the API server.
	Fairness Fairness `json:"fairness"`
	// RequireDisruptionBudget warns about workloads with replicas and no PodDisruptionBudget.
	RequireDisruptionBudget bool `json:"requireDisruptionBudget"`
}

// PriorityClass is one scheduling priority for tenants or the platform.
type PriorityClass struct {
	Value      int    `json:"value"`
	Preemption string `json:"preemption"` // PreemptLowerPriority or Never
	// GlobalDefault marks the class of pods that name none.
	GlobalDefault bool   `json:"globalDefault"`
	Description   string `json:"description"`
	// Quota is the number of pods a tenant namespace may run in this class; 0 means none.
	TenantPods int `json:"tenantPods"`
}

// Fairness is API priority and fairness for tenants.
type Fairness struct {
	Enabled bool `json:"enabled"`
	// TenantShares is the nominalConcurrencyShares of the tenants' level.
	TenantShares int `json:"tenantShares"`
	// Queues, QueueLength and HandSize are the level's queuing parameters.
	Queues      int `json:"queues"`
	QueueLength int `json:"queueLength"`
	HandSize    int `json:"handSize"`
}

// Upgrades is how the cluster is kept current.
type Upgrades struct {
	// Window is the maintenance window.
	Window Window `json:"window"`
	// MaxPatchAgeDays is the age at which a newer patch release must have been taken.
	MaxPatchAgeDays int `json:"maxPatchAgeDays"`
	// NodePatching is "off", "unattended-upgrades" or "system-upgrade-controller".
	NodePatching string  `json:"nodePatching"`
	Install      Install `json:"install"`
	// Round names what the system upgrade controller does once on each node; a new name is a new round.
	Round string `json:"round,omitempty"`
	// DependencyBot is "off", "renovate" or "dependabot".
	DependencyBot string `json:"dependencyBot"`
}

// Window is a weekly span in UTC.
type Window struct {
	Days  []string `json:"days"`  // Mon..Sun
	Start string   `json:"start"` // HH:MM
	Hours int      `json:"hours"`
}

// Benchmark is the scanners that watch the posture from inside the cluster.
type Benchmark struct {
	KubeBench Install `json:"kubeBench"`
	// Schedule is a cron line in UTC.
	Schedule string `json:"schedule"`
}

// Incident is the plan for the bad day.
type Incident struct {
	// Severities map a name to the time to respond, as a Go duration.
	Severities map[string]string `json:"severities"`
	// EvidenceRetentionDays is how long collected evidence is kept.
	EvidenceRetentionDays int `json:"evidenceRetentionDays"`
	// DrillsPerYear is how often each runbook is exercised.
	DrillsPerYear int `json:"drillsPerYear"`
	// EvidenceStore is where collected evidence is put, as a URL without credentials: a place that
	// nobody who took the cluster can reach. Empty means undecided.
	EvidenceStore string `json:"evidenceStore,omitempty"`
	// Notify are the deadlines for telling somebody, by name; none means undecided.
	Notify map[string]Notification `json:"notify,omitempty"`
}

// Notification is somebody who must be told about an incident, by law or by contract.
type Notification struct {
	// Whom is the authority, customer or insurer.
	Whom string `json:"whom"`
	// Within is the time from when the incident is known, as a Go duration.
	Within string `json:"within"`
	// When says which incidents; empty means each.
	When string `json:"when,omitempty"`
}

// Backup is Velero and etcd. Location is nil until the user names a bucket.
type Backup struct {
	Install  Install         `json:"install"`
	Location *BackupLocation `json:"location,omitempty"`
	// Schedule is a cron line in UTC; RetentionDays is how long backups live.
	Schedule      string `json:"schedule"`
	RetentionDays int    `json:"retentionDays"`
	// ImmutableDays is the object lock; it must not exceed the retention.
	ImmutableDays int `json:"immutableDays"`
	// RPOHours and RTOHours are what a drill is measured against.
	RPOHours int `json:"rpoHours"`
	RTOHours int `json:"rtoHours"`
	// EtcdSnapshots are taken on the control plane nodes.
	EtcdSnapshots EtcdSnapshots `json:"etcdSnapshots"`
	// VolumeMode is "snapshot" or "file-system".
	VolumeMode string `json:"volumeMode"`
	// RestoreTest restores a namespace by itself, now and then; nil means undecided.
	RestoreTest *RestoreTest `json:"restoreTest,omitempty"`
}

// RestoreTest is the restore that is tried by itself.
type RestoreTest struct {
	// Namespace is one that is backed up.
	Namespace string `json:"namespace"`
	// Schedule is a cron line in UTC.
	Schedule string `json:"schedule"`
}

// BackupLocation is an S3 bucket.
type BackupLocation struct {
	Bucket   string `json:"bucket"`
	Region   string `json:"region"`
	Prefix   string `json:"prefix,omitempty"`
	KMSKeyID string `json:"kmsKeyID,omitempty"`
	// Endpoint is an S3 endpoint other than AWS.
	Endpoint string `json:"endpoint,omitempty"`
	// CredentialSecret names the secret in the velero namespace; empty means workload identity.
	CredentialSecret string `json:"credentialSecret,omitempty"`
	RoleARN          string `json:"roleARN,omitempty"`
}

// EtcdSnapshots is the timer on the control plane nodes.
type EtcdSnapshots struct {
	Enabled    bool   `json:"enabled"`
	EveryHours int    `json:"everyHours"`
	Keep       int    `json:"keep"`
	Directory  string `json:"directory"`
	// Recipients are the age keys (age1...) to which snapshots are encrypted; none means that they are
	// kept as etcd wrote them, on their node alone.
	Recipients []string `json:"recipients,omitempty"`
	// CopyTo is where each snapshot is copied: s3://bucket/prefix or ssh://[user@]host/directory.
	CopyTo string `json:"copyTo,omitempty"`
}

// GitOps is who applies the repository.
type GitOps struct {
	// Engine is "flux" or "argocd".
	Engine string `json:"engine"`
	// Namespace is where the controllers run.
	Namespace string `json:"namespace"`
	// URL, Branch and Path say where this repository is; URL empty means undecided, and the
	// GitRepository (or the Application's source) is then named only.
	URL    string `json:"url,omitempty"`
	Branch string `json:"branch"`
	Path   string `json:"path"`
	// SourceName is the name of the GitRepository that flux bootstrap made.
	SourceName string `json:"sourceName"`
	// Interval is how often the cluster is brought back to the repository.
	Interval string `json:"interval"`
	// Prune deletes objects that left the repository.
	Prune bool `json:"prune"`
	// SecretRef names the secret with the credentials for URL, in Namespace. Empty means SourceName
	// where the URL is ssh://, and none where it is https://.
	SecretRef string `json:"secretRef,omitempty"`
	// VerifyKeys names the secret with the public keys that commits must be signed by.
	VerifyKeys string `json:"verifyKeys,omitempty"`
}

// Waiver is the only way to be weaker than a profile.
type Waiver struct {
	// Control is the id of the control, for instance "cis-5.2.6".
	Control string `json:"control"`
	// Also are further controls that the same weakness breaks.
	Also []string `json:"also,omitempty"`
	// Scope is the narrowest part of the cluster that needs it.
	Scope  WaiverScope `json:"scope"`
	Reason string      `json:"reason"`
	Owner  string      `json:"owner"`
	Ticket string      `json:"ticket,omitempty"`
	// Expires is the last day on which it holds, YYYY-MM-DD in UTC.
	Expires string `json:"expires"`
	// Active is set by the engine against its clock; the cluster file cannot set it.
	Active bool `json:"-"`
}

// WaiverScope is one namespace, or the whole cluster.
type WaiverScope struct {
	// Namespace is a namespace of the posture; Cluster must be true where it is empty.
	Namespace string `json:"namespace,omitempty"`
	Cluster   bool   `json:"cluster,omitempty"`
}
