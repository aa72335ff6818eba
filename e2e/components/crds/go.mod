// Wrapper module: pins the modules whose custom resource definitions the tests apply. Nothing of
// them is built, so what they require is not listed.
module github.com/k8ssec/k8ssec/e2e/components/crds

go 1.26.0

require (
	github.com/cilium/cilium v1.20.2
	github.com/fluxcd/kustomize-controller v1.9.5
	github.com/fluxcd/source-controller v1.9.5
)
