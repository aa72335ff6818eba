package apiserver

import (
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// kubeletConfig is the KubeletConfiguration of every node. kubeadm takes it on init, keeps it in
// kube-system/kubelet-config and fills in what is left out.
func kubeletConfig(p *posture.Posture) (map[string]any, error) {
	k := p.Kubelet
	c := &kubeletv1beta1.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: kubeletv1beta1.SchemeGroupVersion.String(), Kind: "KubeletConfiguration"},
		Authentication: kubeletv1beta1.KubeletAuthentication{
			Anonymous: kubeletv1beta1.KubeletAnonymousAuthentication{Enabled: new(false)},
			Webhook:   kubeletv1beta1.KubeletWebhookAuthentication{Enabled: new(true)},
			X509:      kubeletv1beta1.KubeletX509Authentication{ClientCAFile: "/etc/kubernetes/pki/ca.crt"},
		},
		Authorization:          kubeletv1beta1.KubeletAuthorization{Mode: kubeletv1beta1.KubeletAuthorizationModeWebhook},
		RotateCertificates:     true,
		ServerTLSBootstrap:     k.ServerTLSBootstrap,
		TLSMinVersion:          p.Encryption.TLSMinVersion,
		TLSCipherSuites:        p.Encryption.CipherSuites,
		MakeIPTablesUtilChains: new(true),
		EventRecordQPS:         new(int32(k.EventRecordQPS)),
		PodPidsLimit:           new(int64(k.PodPidsLimit)),
		SeccompDefault:         new(p.Runtime.SeccompDefault),
		FailCgroupV1:           new(k.FailCgroupV1),
		ContainerLogMaxSize:    k.ContainerLogMaxSize,
		ContainerLogMaxFiles:   new(int32(k.ContainerLogMaxFiles)),
		// Exec, attach, port-forward and container logs hang on enableDebuggingHandlers, which stays
		// as it is. These three serve profiles, flags and the log files of the node.
		EnableProfilingHandler:  new(k.DebuggingHandlers),
		EnableDebugFlagsHandler: new(k.DebuggingHandlers),
		EnableSystemLogHandler:  new(k.DebuggingHandlers),
		ProtectKernelDefaults:   k.ProtectKernelDefaults,
	}
	// On 1.34 its feature gate is off, and a kubelet that finds the field set does not start
	// (pkg/kubelet/apis/config/validation).
	if p.Cluster.Minor() >= 35 {
		c.ImagePullCredentialsVerificationPolicy = kubeletv1beta1.ImagePullCredentialsVerificationPolicy(k.ImagePullCredentials)
	}
	m, err := sparse(c, &kubeletv1beta1.KubeletConfiguration{})
	if err != nil {
		return nil, fmt.Errorf("KubeletConfiguration: %w", err)
	}
	// Both are what the kubelet does by itself. They are written out for the auditor who reads the
	// file; the type would leave zero out.
	m["readOnlyPort"] = int64(0)
	if !k.ServerTLSBootstrap {
		m["serverTLSBootstrap"] = false
	}
	return m, nil
}

// kubeProxyConfig is the KubeProxyConfiguration of every node.
func kubeProxyConfig(p *posture.Posture) (map[string]any, error) {
	c := &kubeproxyv1alpha1.KubeProxyConfiguration{
		TypeMeta:           metav1.TypeMeta{APIVersion: kubeproxyv1alpha1.SchemeGroupVersion.String(), Kind: "KubeProxyConfiguration"},
		MetricsBindAddress: metricsAddress(p),
		Mode:               kubeproxyv1alpha1.ProxyMode(p.Kubelet.ProxyMode),
	}
	// The gate exists from 1.36 on; a kube-proxy that does not know a gate does not start.
	if p.Cluster.Minor() >= 36 && hasPlugin(p, "DenyServiceExternalIPs") {
		c.FeatureGates = map[string]bool{"AllowServiceExternalIPs": false}
	}
	m, err := sparse(c, &kubeproxyv1alpha1.KubeProxyConfiguration{})
	if err != nil {
		return nil, fmt.Errorf("KubeProxyConfiguration: %w", err)
	}
	return m, nil
}

// metricsAddress is kube-proxy's metrics port on the loopback of the cluster's first address family.
func metricsAddress(p *posture.Posture) string {
	if ipv6(p.Cluster.PodCIDRs[0]) {
		return "[::1]:10249"
	}
	return "127.0.0.1:10249"
}

// sparse returns what a configuration says beyond the zero value of its type. Component
// configuration types write each zero duration and empty string out, which a person cannot read and
// which, in a merge patch of kind, would overwrite kind's own values.
func sparse(config, zero runtime.Object) (map[string]any, error) {
	full, err := runtime.DefaultUnstructuredConverter.ToUnstructured(config)
	if err != nil {
		return nil, err
	}
	empty, err := runtime.DefaultUnstructuredConverter.ToUnstructured(zero)
	if err != nil {
		return nil, err
	}
	removeEqual(full, empty)
	return full, nil
}

// removeEqual removes from m each field that is the same in zero, and each object that is empty then.
func removeEqual(m, zero map[string]any) {
	for key, value := range m {
		other, ok := zero[key]
		inner, isMap := value.(map[string]any)
		if !isMap {
			if ok && reflect.DeepEqual(value, other) {
				delete(m, key)
			}
			continue
		}
		otherMap, _ := other.(map[string]any)
		removeEqual(inner, otherMap)
		if len(inner) == 0 {
			delete(m, key)
		}
	}
}
