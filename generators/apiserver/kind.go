package apiserver

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	kindv1alpha4 "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// kindConfig is bootstrap/kind-config.yaml. kind makes its own kubeadm configuration and merges the
// patches of this file into it (RFC 7386: a list replaces the list).
func kindConfig(p *posture.Posture) (generators.Artifact, error) {
	c := &kindv1alpha4.Cluster{
		TypeMeta: kindv1alpha4.TypeMeta{APIVersion: "kind.x-k8s.io/v1alpha4", Kind: "Cluster"},
		Name:     p.Cluster.Name,
		Networking: kindv1alpha4.Networking{
			IPFamily:      ipFamily(p),
			PodSubnet:     strings.Join(p.Cluster.PodCIDRs, ","),
			ServiceSubnet: strings.Join(p.Cluster.ServiceCIDRs, ","),
			// kind's own CNI enforces NetworkPolicy, so it does for "other".
			DisableDefaultCNI: p.Cluster.CNI != "other",
			KubeProxyMode:     kindv1alpha4.ProxyMode(p.Kubelet.ProxyMode),
		},
		Nodes: []kindv1alpha4.Node{
			{Role: kindv1alpha4.ControlPlaneRole, ExtraMounts: controlPlaneMounts(p)},
			{Role: kindv1alpha4.WorkerRole, ExtraMounts: nodeMounts()},
		},
	}
	var claims []generators.Claim
	patch := func(kind string, fields any, of []generators.Claim) error {
		text, err := kubeadmPatch(kind, fields)
		if err != nil {
			return err
		}
		field := fmt.Sprintf("kubeadmConfigPatches[%d]", len(c.KubeadmConfigPatches))
		c.KubeadmConfigPatches = append(c.KubeadmConfigPatches, text)
		for _, claim := range of {
			claims = append(claims, generators.Claim{
				Control: claim.Control, Field: field,
				Note: strings.TrimSpace(claim.Field + ": " + claim.Note),
			})
		}
		return nil
	}
	kubelet, err := kubeletConfig(p)
	if err != nil {
		return generators.Artifact{}, err
	}
	delete(kubelet, "apiVersion")
	delete(kubelet, "kind")
	err = patch("ClusterConfiguration", kindCluster(p), clusterClaims(p))
	if err == nil {
		err = patch("KubeletConfiguration", kubelet, kubeletClaims(p))
	}
	if err == nil && p.Kubelet.ProxyMode != "none" {
		var kubeProxy map[string]any
		if kubeProxy, err = kubeProxyConfig(p); err == nil {
			for _, own := range []string{"apiVersion", "kind", "mode"} {
				delete(kubeProxy, own)
			}
			err = patch("KubeProxyConfiguration", kubeProxy, proxyClaims(p))
		}
	}
	if err == nil && p.APIServer.EtcdUser {
		for _, kind := range []string{"InitConfiguration", "JoinConfiguration"} {
			if err == nil {
				err = patch(kind, map[string]any{"patches": patchesOf(p)}, nil)
			}
		}
	}
	if err != nil {
		return generators.Artifact{}, err
	}
	claims = append(claims, generators.Claim{Control: "cis-4.2.7", Field: "nodes", Note: "kind gives each node the name of its host."})
	return generators.Artifact{
		Path: "bootstrap/kind-config.yaml",
		Kind: generators.ControlPlane,
		Comment: "Run in the directory of this repository, because the mounts below are relative to it:\n" +
			"kind create cluster --config bootstrap/kind-config.yaml\n" +
			kindImage(p),
		Objects: []generators.Object{{
			Value: c,
			Why: "The nodes see bootstrap/control-plane at " + generators.NodeDir + " and the node script beside the kubelet's unit, read-only. " +
				"The script makes the encryption key inside the node before the API server starts, so the key is never on this machine's disk.\n" +
				"The patches name no apiVersion on purpose: kind skips a patch for another version silently, and a cluster without its hardening would come up.",
			Claims: claims,
		}},
	}, nil
}

func kindImage(p *posture.Posture) string {
	if p.Cluster.Kubernetes == "1.37" {
		return "kind v0.33 runs Kubernetes 1.37 by default; for another patch release add --image."
	}
	return fmt.Sprintf("Add --image with a node image of Kubernetes %s: kind v0.33 runs 1.37 by default, and the settings below are those of %s.",
		p.Cluster.Kubernetes, p.Cluster.Kubernetes)
}

func ipFamily(p *posture.Posture) kindv1alpha4.ClusterIPFamily {
	switch {
	case len(p.Cluster.PodCIDRs) > 1:
		return kindv1alpha4.DualStackFamily
	case ipv6(p.Cluster.PodCIDRs[0]):
		return kindv1alpha4.IPv6Family
	}
	return kindv1alpha4.IPv4Family
}

func ipv6(cidr string) bool { return strings.Contains(cidr, ":") }

// kindCluster is the patch of ClusterConfiguration. Up to 1.35 kind v0.33 writes kubeadm v1beta3,
// where extraArgs is a map and merges with kind's own; from 1.36 on it writes v1beta4, where it is a
// list and replaces kind's, so the one argument that kind needs is repeated.
func kindCluster(p *posture.Posture) *clusterConfiguration {
	c := clusterSettings(p)
	if p.Cluster.DNSDomain != "cluster.local" {
		c.Networking = &networking{DNSDomain: p.Cluster.DNSDomain}
	}
	if len(p.APIServer.CertSANs) > 0 {
		// kind reaches the API server through these two, and the list replaces its own.
		c.APIServer.CertSANs = append([]string{"localhost", "127.0.0.1"}, p.APIServer.CertSANs...)
	}
	if p.Cluster.Minor() >= 36 {
		c.CertificateValidityPeriod = certificateValidity(p)
		manager := append(controllerManagerArguments(p), arg{"enable-hostpath-provisioner", "true"})
		c.ControllerManager.ExtraArgs = manager.sorted()
		return c
	}
	for _, args := range []*any{&c.APIServer.ExtraArgs, &c.ControllerManager.ExtraArgs, &c.Scheduler.ExtraArgs, &c.Etcd.Local.ExtraArgs} {
		if list, ok := (*args).(arguments); ok {
			*args = list.byName()
		}
	}
	return c
}

// byName is the form of v1beta3.
func (a arguments) byName() map[string]string {
	return maps.Collect(func(yield func(string, string) bool) {
		for _, one := range a {
			if !yield(one.Name, one.Value) {
				return
			}
		}
	})
}

// kubeadmPatch is one merge patch, with the kind that kind matches by on top.
func kubeadmPatch(kind string, fields any) (string, error) {
	body, err := yaml.Marshal(fields)
	if err != nil {
		return "", fmt.Errorf("patch of %s: %w", kind, err)
	}
	return "kind: " + kind + "\n" + string(body), nil
}

// nodeMounts bring the node script and the kubelet's drop-in to each node.
func nodeMounts() []kindv1alpha4.Mount {
	return []kindv1alpha4.Mount{
		{HostPath: "./bootstrap/node/k8ssec-node.sh", ContainerPath: generators.NodeScript, Readonly: true},
		{HostPath: "./bootstrap/node/20-k8ssec.conf", ContainerPath: kubeletDropIn, Readonly: true},
	}
}

func controlPlaneMounts(p *posture.Posture) []kindv1alpha4.Mount {
	mounts := []kindv1alpha4.Mount{{HostPath: "./bootstrap/control-plane", ContainerPath: generators.NodeDir, Readonly: true}}
	if p.Encryption.Provider == "secretbox" {
		mounts = append(mounts, kindv1alpha4.Mount{HostPath: "./bootstrap/node/k8ssec-rotate-key.sh", ContainerPath: generators.NodeRotateScript, Readonly: true})
	}
	if p.Kubelet.ServerTLSBootstrap {
		mounts = append(mounts, kindv1alpha4.Mount{HostPath: "./bootstrap/node/k8ssec-approve-kubelet-csrs.sh", ContainerPath: generators.NodeApproveScript, Readonly: true})
	}
	return slices.Concat(mounts, nodeMounts())
}
