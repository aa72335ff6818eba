// Package kind runs real kind clusters from emitted repositories, for tests that ask a whole cluster
// whether a control holds: nodes with kubelets, a CNI that enforces policies, Flux that applies the
// repository.
//
// Where no image registry can be reached, everything that runs is built from Go modules and Debian
// packages (see images.go and node.go): the node image, the control plane, Cilium and Flux. What is
// built is kept in the cache of package components, under names that change with whatever decides the
// bytes. Nothing that runs here sends a packet outside of the machine.
package kind
