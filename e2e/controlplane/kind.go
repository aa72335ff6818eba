package controlplane

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// kindBase is what kind itself gives to kubeadm for the documents that are patched, from its
// template for kubeadm v1beta4 (pkg/cluster/internal/kubeadm/config.go of kind v0.33).
const kindBase = `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  certSANs: [localhost, 127.0.0.1]
  extraArgs:
  - {name: runtime-config, value: ""}
controllerManager:
  extraArgs:
  - {name: enable-hostpath-provisioner, value: "true"}
networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupRoot: /kubelet
failSwapOn: false
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
`

// kindDocuments are the kubeadm documents that kind would make of bootstrap/kind-config.yaml.
func kindDocuments(repository string) ([]map[string]any, error) {
	b, err := os.ReadFile(filepath.Join(repository, "bootstrap/kind-config.yaml"))
	if err != nil {
		return nil, err
	}
	var config struct {
		KubeadmConfigPatches []string `json:"kubeadmConfigPatches"`
	}
	if err := yaml.Unmarshal(b, &config); err != nil {
		return nil, fmt.Errorf("kind-config.yaml: %w", err)
	}
	docs, err := documents([]byte(kindBase))
	if err != nil {
		return nil, err
	}
	version, err := components.Version(components.Kubernetes)
	if err != nil {
		return nil, err
	}
	docs[0]["kubernetesVersion"] = "v" + version
	for _, text := range config.KubeadmConfigPatches {
		var patch map[string]any
		if err := yaml.UnmarshalStrict([]byte(text), &patch); err != nil {
			return nil, fmt.Errorf("a patch of kind-config.yaml: %w", err)
		}
		for i, d := range docs {
			version, named := patch["apiVersion"]
			if d["kind"] == patch["kind"] && (!named || version == d["apiVersion"]) {
				docs[i], _ = merge(d, patch).(map[string]any)
			}
		}
	}
	return docs, nil
}

// merge applies a JSON merge patch (RFC 7386), as kind does: objects merge, all else is replaced.
func merge(value, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	v, ok := value.(map[string]any)
	if !ok {
		v = map[string]any{}
	}
	for key, change := range p {
		if change == nil {
			delete(v, key)
		} else {
			v[key] = merge(v[key], change)
		}
	}
	return v
}
