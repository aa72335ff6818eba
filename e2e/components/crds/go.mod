// Wrapper module: pins modules of which the tests use what they ship besides Go. Nothing of
// them is built, so what they require is not listed.
module github.com/k8ssec/k8ssec/e2e/components/crds

go 1.26.0

require (
	github.com/cilium/cilium v1.20.2
	github.com/cilium/tetragon v1.7.0
	github.com/external-secrets/external-secrets v1.3.2
	github.com/fluxcd/flux2/v2 v2.9.5
	github.com/fluxcd/kustomize-controller v1.9.5
	github.com/fluxcd/source-controller v1.9.6
	k8s.io/kubernetes v1.37.2
	sigs.k8s.io/kind v0.33.0
	github.com/vmware-tanzu/velero v1.18.3
	sigs.k8s.io/security-profiles-operator v1.0.0
)
