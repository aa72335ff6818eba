//go:build tools

// Package kubernetes pins the Kubernetes 1.34 binaries that check the files emitted for that minor.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubeadm"
)
