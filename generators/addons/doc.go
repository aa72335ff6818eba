// Package addons installs the components that are not part of Kubernetes: pinned charts with the
// values that a domain's generator gives, applied by GitOps.
//
// pins.json is the one place with versions and digests. update (go run ./generators/addons/update)
// reads the digests from the registries; a digest that is not known is empty, and the version tag
// alone is used then. Never write a digest by hand.
//
// With Flux an add-on is a source and a HelmRelease in manifests/addon-<name>, which the gitops
// domain applies after the fences and before what is configured for it. With Argo CD it is an
// Application in gitops/addon-<name>.yaml.
//
// A new add-on is an entry of pins.json, a line in the table of this package, and a call of Release
// in the generator of its domain. The table says in which posture it is installed; Release must be
// called in exactly these.
package addons
