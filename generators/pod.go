package generators

import (
	"crypto/sha256"
	"encoding/hex"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConfigChecksum is an annotation of a pod template that changes with a configuration that its pods
// read when they start, so that they are restarted.
func ConfigChecksum(config string) map[string]string {
	sum := sha256.Sum256([]byte(config))
	return map[string]string{"k8ssec.dev/config": hex.EncodeToString(sum[:8])}
}

const certManagerAPI = "cert-manager.io/v1"

// Custom is an object of an API without light Go types.
func Custom(apiVersion, kind string, meta metav1.ObjectMeta, spec map[string]any) map[string]any {
	labels := make(map[string]any, len(meta.Labels))
	for k, v := range meta.Labels {
		labels[k] = v
	}
	metadata := map[string]any{"name": meta.Name, "labels": labels}
	if meta.Namespace != "" {
		metadata["namespace"] = meta.Namespace
	}
	return map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata, "spec": spec}
}

// ClusterIssuer is cert-manager's signer for all namespaces.
func ClusterIssuer(domain, name string, spec map[string]any) map[string]any {
	return Custom(certManagerAPI, "ClusterIssuer", Meta(domain, "", name), spec)
}

// Certificate is a certificate that cert-manager keeps in a secret. Its key is an EC key of its own
// for each renewal.
func Certificate(domain, namespace, name string, spec map[string]any) map[string]any {
	spec["privateKey"] = map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Always"}
	return Custom(certManagerAPI, "Certificate", Meta(domain, namespace, name), spec)
}
