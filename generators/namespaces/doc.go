// Package namespaces emits the Namespace objects: who owns each, what data it holds, and the Pod
// Security level that the API server enforces in it, pinned to the cluster's minor version.
//
// A namespace is what every other domain hangs on: the labels written here decide which admission
// policies, quotas and flows hold. And deleting one deletes everything inside of it, so no
// controller may: each carries the annotation that keeps it out of pruning.
package namespaces
