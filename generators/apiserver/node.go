package apiserver

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// kubeletDropIn is the part of the kubelet's systemd unit that runs the node script.
const kubeletDropIn = "/etc/systemd/system/kubelet.service.d/20-k8ssec.conf"

// nodeData fills the templates of bootstrap/node. Paths have no leading slash: the scripts work
// below a root that tests set.
type nodeData struct {
	Platform         string
	FileModes        bool
	LocalKey         bool
	EncryptionFile   string
	EncryptionDir    string
	Resources        []string
	AuditDir         string
	DataDir          string
	EtcdUser         bool
	EtcdUID          int
	EtcdCertsDir     string
	ServingCerts     bool
	EtcdSnapshots    bool
	SnapshotScript   string
	AutoPatch        bool
	NodeDir          string
	Script           string
	RotateScript     string
	ApproveScript    string
	DropIn           string
	RotationDays     int
	StorageMigration bool
	// Reserved are names and addresses that no kubelet's certificate may have.
	Reserved []string
}

func newNodeData(p *posture.Posture) nodeData {
	relative := func(path string) string { return strings.TrimPrefix(path, "/") }
	return nodeData{
		Platform:         p.Cluster.Platform,
		FileModes:        p.APIServer.FileModes,
		LocalKey:         p.Encryption.Provider == "secretbox",
		EncryptionFile:   relative(encryptionFile(p)),
		EncryptionDir:    relative(path.Dir(encryptionFile(p))),
		Resources:        p.Encryption.Resources,
		AuditDir:         relative(path.Dir(p.Logging.Audit.Path)),
		DataDir:          relative(etcdDataDir),
		EtcdUser:         p.APIServer.EtcdUser,
		EtcdUID:          etcdUID,
		EtcdCertsDir:     relative(etcdCertsDir),
		ServingCerts:     p.Kubelet.ServerTLSBootstrap,
		EtcdSnapshots:    p.Backup.EtcdSnapshots.Enabled,
		SnapshotScript:   relative(generators.NodeEtcdSnapshotScript),
		AutoPatch:        p.Upgrades.NodePatching == "unattended-upgrades" && p.Cluster.Platform != "kind",
		NodeDir:          relative(generators.NodeDir),
		Script:           relative(generators.NodeScript),
		RotateScript:     relative(generators.NodeRotateScript),
		ApproveScript:    relative(generators.NodeApproveScript),
		DropIn:           relative(kubeletDropIn),
		RotationDays:     p.Encryption.KeyRotationDays,
		StorageMigration: p.Cluster.Minor() >= 37,
		Reserved:         reservedNames(p),
	}
}

// reservedNames are the names and addresses of the API server: with one of them in its certificate a
// node could pose as the API server, because clients trust the same CA. They are written as openssl
// prints them.
func reservedNames(p *posture.Posture) []string {
	hosts := append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + p.Cluster.DNSDomain,
		"localhost", "127.0.0.1", "::1",
	}, p.APIServer.CertSANs...)
	if host, _, err := net.SplitHostPort(p.Cluster.ControlPlaneEndpoint); err == nil {
		hosts = append(hosts, host)
	}
	for _, cidr := range p.Cluster.ServiceCIDRs {
		// The first address of the range is the service kubernetes.
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			hosts = append(hosts, prefix.Masked().Addr().Next().String())
		}
	}
	for i, host := range hosts {
		hosts[i] = "DNS:" + host
		if address, err := netip.ParseAddr(host); err == nil {
			hosts[i] = "IP:" + opensslAddress(address)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// opensslAddress is how openssl prints an address: eight groups of IPv6, without "::".
func opensslAddress(address netip.Addr) string {
	if address.Unmap().Is4() {
		return address.Unmap().String()
	}
	bytes := address.As16()
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = fmt.Sprintf("%X", uint16(bytes[2*i])<<8|uint16(bytes[2*i+1]))
	}
	return strings.Join(groups, ":")
}

// nodeFiles are the scripts and units of bootstrap/node. The script for the key's rotation is the
// encryption domain's.
func nodeFiles(p *posture.Posture) ([]generators.Artifact, error) {
	data := newNodeData(p)
	var artifacts []generators.Artifact
	add := func(name, template string, executable bool, claims []generators.Claim) error {
		text, err := generators.Text(template, data)
		if err != nil {
			return err
		}
		artifacts = append(artifacts, generators.Artifact{
			Path: "bootstrap/node/" + name, Text: text, Executable: executable, Kind: generators.Node, Claims: claims,
		})
		return nil
	}
	if err := add("k8ssec-node.sh", "node/k8ssec-node.sh.tmpl", true, scriptClaims(p)); err != nil {
		return nil, err
	}
	if err := add("20-k8ssec.conf", "node/20-k8ssec.conf.tmpl", false, nil); err != nil {
		return nil, err
	}
	if !p.Kubelet.ServerTLSBootstrap {
		return artifacts, nil
	}
	for _, file := range []struct {
		name       string
		executable bool
		claims     []generators.Claim
	}{
		{"k8ssec-approve-kubelet-csrs.sh", true, generators.Claims("", "cis-4.2.9")},
		{"k8ssec-approve-kubelet-csrs.service", false, nil},
		{"k8ssec-approve-kubelet-csrs.timer", false, nil},
	} {
		if err := add(file.name, "node/"+file.name+".tmpl", file.executable, file.claims); err != nil {
			return nil, err
		}
	}
	return artifacts, nil
}

// scriptClaims are the controls of sections 1.1 and 4.1: each names the line of the script that
// holds it.
func scriptClaims(p *posture.Posture) []generators.Claim {
	var claims []generators.Claim
	add := func(line string, controls ...string) {
		claims = append(claims, generators.Claims(line, controls...)...)
	}
	add("mode 700 root:root "+strings.TrimPrefix(path.Dir(p.Logging.Audit.Path), "/"), "log-3")
	if p.Encryption.Provider == "secretbox" {
		add("secretbox:", "cis-1.2.28", "enc-1", "nsa-N4")
		add("head -c 32 /dev/urandom", "enc-3")
	}
	if !p.APIServer.FileModes {
		return claims
	}
	for i, component := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"} {
		add("mode 600 root:root etc/kubernetes/manifests/"+component+".yaml", cis("1.1", 2*i+1), cis("1.1", 2*i+2))
	}
	add("mode 600 root:root etc/cni/net.d", "cis-1.1.9", "cis-1.1.10")
	if p.APIServer.EtcdUser {
		add("mode 700 etcd:etcd "+strings.TrimPrefix(etcdDataDir, "/"), "cis-1.1.11", "cis-1.1.12")
	} else {
		line := "mode 700 root:root " + strings.TrimPrefix(etcdDataDir, "/")
		add(line, "cis-1.1.11")
		claims = append(claims, generators.Claim{Control: "cis-1.1.12", Field: line, Note: "kubeadm runs etcd as root, so root owns its data. A scanner wants the user etcd: apiserver.etcdUser runs it as one."})
	}
	add("mode 600 root:root etc/kubernetes/admin.conf", "cis-1.1.13", "cis-1.1.14")
	add("mode 600 root:root etc/kubernetes/scheduler.conf", "cis-1.1.15", "cis-1.1.16")
	add("mode 600 root:root etc/kubernetes/controller-manager.conf", "cis-1.1.17", "cis-1.1.18")
	add("mode 7777 root:root etc/kubernetes/pki", "cis-1.1.19", "cis-4.1.8")
	add("mode 644 root:root etc/kubernetes/pki", "cis-1.1.20", "cis-4.1.7")
	add("mode 600 root:root etc/kubernetes/pki", "cis-1.1.21")
	add("kubelet.service.d/*.conf", "cis-4.1.1", "cis-4.1.2")
	for _, control := range []string{"cis-4.1.3", "cis-4.1.4"} {
		claims = append(claims, generators.Claim{Control: control, Field: "var/lib/kube-proxy/kubeconfig.conf", Note: "kubeadm keeps kube-proxy's kubeconfig in the cluster, not in a file of the node; a file at the usual places is tightened."})
	}
	add("mode 600 root:root etc/kubernetes/kubelet.conf", "cis-4.1.5", "cis-4.1.6")
	add("mode 600 root:root var/lib/kubelet/config.yaml", "cis-4.1.9", "cis-4.1.10")
	return claims
}
