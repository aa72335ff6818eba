package apiserver

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// kubeadm's configuration types are part of k8s.io/kubernetes, which is no library. These are the
// fields that are written here, as kubeadm.k8s.io/v1beta4 has them: the version that kubeadm reads
// from 1.34 to 1.37. A test gives the result to kubeadm itself.
const kubeadmAPI = "kubeadm.k8s.io/v1beta4"

type initConfiguration struct {
	metav1.TypeMeta  `json:",inline"`
	LocalAPIEndpoint localAPIEndpoint `json:"localAPIEndpoint"`
	Patches          *patches         `json:"patches,omitempty"`
}

type localAPIEndpoint struct {
	BindPort int `json:"bindPort"`
}

type patches struct {
	Directory string `json:"directory"`
}

type clusterConfiguration struct {
	metav1.TypeMeta           `json:",inline"`
	ClusterName               string           `json:"clusterName,omitempty"`
	KubernetesVersion         string           `json:"kubernetesVersion,omitempty"`
	ControlPlaneEndpoint      string           `json:"controlPlaneEndpoint,omitempty"`
	Networking                *networking      `json:"networking,omitempty"`
	CertificateValidityPeriod *metav1.Duration `json:"certificateValidityPeriod,omitempty"`
	APIServer                 component        `json:"apiServer"`
	ControllerManager         component        `json:"controllerManager"`
	Scheduler                 component        `json:"scheduler"`
	Etcd                      etcd             `json:"etcd"`
	Proxy                     *proxy           `json:"proxy,omitempty"`
}

type networking struct {
	PodSubnet     string `json:"podSubnet,omitempty"`
	ServiceSubnet string `json:"serviceSubnet,omitempty"`
	DNSDomain     string `json:"dnsDomain,omitempty"`
}

type component struct {
	// ExtraArgs is an arguments, or a map in kind's v1beta3.
	ExtraArgs    any             `json:"extraArgs,omitempty"`
	ExtraVolumes []hostPathMount `json:"extraVolumes,omitempty"`
	CertSANs     []string        `json:"certSANs,omitempty"`
}

type arg struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type arguments []arg

type hostPathMount struct {
	Name      string `json:"name"`
	HostPath  string `json:"hostPath"`
	MountPath string `json:"mountPath"`
	ReadOnly  bool   `json:"readOnly"`
	PathType  string `json:"pathType"`
}

type etcd struct {
	Local localEtcd `json:"local"`
}

type localEtcd struct {
	DataDir   string `json:"dataDir"`
	ExtraArgs any    `json:"extraArgs,omitempty"`
}

type proxy struct {
	Disabled bool `json:"disabled"`
}

// etcdDataDir is kubeadm's default, written out because the node script keeps its mode.
const etcdDataDir = "/var/lib/etcd"

// versions are the patch releases that a new cluster begins with: the ones that the project's tests
// run. kubeadm would ask the internet otherwise.
var versions = map[string]string{
	"1.34": "v1.34.4",
	"1.35": "v1.35.4",
	"1.36": "v1.36.3",
	"1.37": "v1.37.2",
}

// kubeadmConfig is bootstrap/kubeadm.yaml.
func kubeadmConfig(p *posture.Posture) (generators.Artifact, error) {
	version, ok := versions[p.Cluster.Kubernetes]
	if !ok {
		return generators.Artifact{}, fmt.Errorf("no patch release is known of Kubernetes %s", p.Cluster.Kubernetes)
	}
	initial := &initConfiguration{
		TypeMeta:         metav1.TypeMeta{APIVersion: kubeadmAPI, Kind: "InitConfiguration"},
		LocalAPIEndpoint: localAPIEndpoint{BindPort: p.Cluster.APIPort},
		Patches:          patchesOf(p),
	}
	cluster := clusterSettings(p)
	cluster.TypeMeta = metav1.TypeMeta{APIVersion: kubeadmAPI, Kind: "ClusterConfiguration"}
	cluster.ClusterName = p.Cluster.Name
	cluster.KubernetesVersion = version
	cluster.ControlPlaneEndpoint = p.Cluster.ControlPlaneEndpoint
	cluster.Networking = &networking{
		PodSubnet:     strings.Join(p.Cluster.PodCIDRs, ","),
		ServiceSubnet: strings.Join(p.Cluster.ServiceCIDRs, ","),
		DNSDomain:     p.Cluster.DNSDomain,
	}
	cluster.APIServer.CertSANs = p.APIServer.CertSANs
	cluster.Proxy = proxyAddon(p)
	cluster.CertificateValidityPeriod = certificateValidity(p)

	kubelet, err := kubeletConfig(p)
	if err != nil {
		return generators.Artifact{}, err
	}
	a := generators.Artifact{
		Path: "bootstrap/kubeadm.yaml",
		Kind: generators.ControlPlane,
		Comment: "What `kubeadm init --config` reads on the first control plane node; docs/control-plane.md has the steps around it.\n" +
			"kubeadm keeps it in the cluster, so nodes that join later, and upgrades, get the same settings.",
		Objects: []generators.Object{
			{Value: initial, Why: "This node only. nodeRegistration.name is left out: kubeadm would turn it into --hostname-override.", Claims: initClaims()},
			{Value: cluster, Why: "The control plane. An argument here replaces kubeadm's default of the same name, so enable-admission-plugins repeats NodeRestriction.\n" +
				"kubernetesVersion is where the cluster begins; take a newer patch release of the same minor where there is one.", Claims: clusterClaims(p)},
			{Value: kubelet, Why: "Every node. kubeadm keeps it in the cluster; the node script tightens the file that kubeadm writes from it.", Claims: kubeletClaims(p)},
		},
	}
	if p.Kubelet.ProxyMode == "none" {
		return a, nil
	}
	kubeProxy, err := kubeProxyConfig(p)
	if err != nil {
		return generators.Artifact{}, err
	}
	a.Objects = append(a.Objects, generators.Object{
		Value: kubeProxy, Why: "kube-proxy. Its metrics show every service and need no credentials, so they stay on the node.", Claims: proxyClaims(p),
	})
	return a, nil
}

// clusterSettings are the parts of ClusterConfiguration that hold on each platform.
func clusterSettings(p *posture.Posture) *clusterConfiguration {
	return &clusterConfiguration{
		APIServer:         component{ExtraArgs: apiServerArguments(p), ExtraVolumes: apiServerVolumes(p)},
		ControllerManager: component{ExtraArgs: controllerManagerArguments(p)},
		Scheduler:         component{ExtraArgs: schedulerArguments(p)},
		Etcd:              etcd{Local: localEtcd{DataDir: etcdDataDir, ExtraArgs: etcdArguments(p)}},
	}
}

func patchesOf(p *posture.Posture) *patches {
	if !p.APIServer.EtcdUser {
		return nil
	}
	return &patches{Directory: generators.NodeDir + "/patches"}
}

func proxyAddon(p *posture.Posture) *proxy {
	if p.Kubelet.ProxyMode != "none" {
		return nil
	}
	return &proxy{Disabled: true}
}

func certificateValidity(p *posture.Posture) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(p.APIServer.CertificateValidityDays) * 24 * time.Hour}
}

// sorted orders arguments by name, so that a person finds them and a diff stays small.
func (a arguments) sorted() arguments {
	slices.SortFunc(a, func(x, y arg) int { return strings.Compare(x.Name, y.Name) })
	return a
}

func apiServerArguments(p *posture.Posture) arguments {
	audit := p.Logging.Audit
	args := arguments{
		{"admission-control-config-file", generators.NodeDir + "/admission.yaml"},
		{"audit-log-maxage", strconv.Itoa(audit.MaxAgeDays)},
		{"audit-log-maxbackup", strconv.Itoa(audit.MaxBackups)},
		{"audit-log-maxsize", strconv.Itoa(audit.MaxSizeMB)},
		{"audit-log-path", audit.Path},
		{"audit-policy-file", generators.NodeDir + "/audit-policy.yaml"},
		{"authentication-config", generators.NodeDir + "/authentication.yaml"},
		// As a flag, not as a file: scanners read the flag, and only a webhook would need the file.
		{"authorization-mode", "Node,RBAC"},
		{"enable-admission-plugins", strings.Join(admissionPlugins(p), ",")},
		{"encryption-provider-config", encryptionFile(p)},
		{"encryption-provider-config-automatic-reload", "true"},
		{"profiling", strconv.FormatBool(p.APIServer.Profiling)},
		{"request-timeout", p.APIServer.RequestTimeout},
		{"service-account-extend-token-expiration", strconv.FormatBool(p.APIServer.ServiceAccountExtendToken)},
		{"service-account-max-token-expiration", p.APIServer.ServiceAccountMaxToken},
	}
	if p.APIServer.KubeletCertificateAuthority {
		args = append(args, arg{"kubelet-certificate-authority", "/etc/kubernetes/pki/ca.crt"})
	}
	if w := audit.Webhook; w != nil {
		args = append(args,
			arg{"audit-webhook-config-file", generators.NodeDir + "/audit-webhook.yaml"},
			arg{"audit-webhook-mode", w.Mode},
		)
	}
	return append(args, tlsArguments(p)...).sorted()
}

func controllerManagerArguments(p *posture.Posture) arguments {
	args := arguments{
		{"bind-address", "127.0.0.1"},
		{"profiling", strconv.FormatBool(p.APIServer.Profiling)},
		{"terminated-pod-gc-threshold", strconv.Itoa(p.APIServer.TerminatedPodGC)},
	}
	return append(args, tlsArguments(p)...).sorted()
}

func schedulerArguments(p *posture.Posture) arguments {
	args := arguments{
		{"bind-address", "127.0.0.1"},
		{"profiling", strconv.FormatBool(p.APIServer.Profiling)},
	}
	return append(args, tlsArguments(p)...).sorted()
}

// tlsArguments are the TLS floor of a Kubernetes component. The suites are those of TLS 1.2: those
// of 1.3 cannot be chosen.
func tlsArguments(p *posture.Posture) arguments {
	return arguments{
		{"tls-cipher-suites", strings.Join(p.Encryption.CipherSuites, ",")},
		{"tls-min-version", p.Encryption.TLSMinVersion},
	}
}

// etcdArguments are the TLS floor of etcd, which refuses to start with suites where only TLS 1.3 is
// left (embed/config.go).
func etcdArguments(p *posture.Posture) arguments {
	if p.Encryption.TLSMinVersion == "VersionTLS13" {
		return arguments{{"tls-min-version", "TLS1.3"}}
	}
	return arguments{
		{"cipher-suites", strings.Join(p.Encryption.CipherSuites, ",")},
		{"tls-min-version", "TLS1.2"},
	}
}

// apiServerVolumes mounts directories, not files: a file that is replaced under a mount of its own
// stays the old one inside the container, and nothing would be reloaded.
func apiServerVolumes(p *posture.Posture) []hostPathMount {
	mount := func(name, dir, pathType string, readOnly bool) hostPathMount {
		return hostPathMount{Name: name, HostPath: dir, MountPath: dir, ReadOnly: readOnly, PathType: pathType}
	}
	volumes := []hostPathMount{mount("k8ssec", generators.NodeDir, "Directory", true)}
	if p.Encryption.Provider == "kms" {
		volumes = append(volumes, mount("k8ssec-kms", kmsDir(p), "DirectoryOrCreate", true))
	} else {
		volumes = append(volumes, mount("k8ssec-keys", generators.NodeKeyDir, "Directory", true))
	}
	return append(volumes, mount("k8ssec-audit", path.Dir(p.Logging.Audit.Path), "DirectoryOrCreate", false))
}
