// Package apiserver emits how the control plane and the nodes are set up: the configuration of
// kubeadm or kind, the files that the API server reads, and the script that keeps the nodes' files
// at the benchmark's modes and makes the local key.
//
// Every flag here is read by a component of Kubernetes 1.34 to 1.37, and none stops one from
// starting. Three traps decide the shape of the files:
//
//   - kubeadm's extraArgs replace the default argument of the same name, so enable-admission-plugins
//     repeats NodeRestriction.
//   - The probes of kubeadm's static pod call /livez and /readyz without credentials, so
//     --anonymous-auth=false restarts the API server for ever. AuthenticationConfiguration limits
//     anonymous requests to exact paths instead, and excludes that flag.
//   - A file that is mounted by itself keeps its inode when it is replaced, so whole directories are
//     mounted and the API server sees a changed configuration.
package apiserver
