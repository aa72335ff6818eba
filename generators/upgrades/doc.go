// Package upgrades emits how the cluster is kept current: the policy for patches and its windows, the
// plan for each minor step ahead, what patches the nodes, and the configuration of a bot that proposes
// new versions of what the repository pins.
//
// A plan for a step says what this cluster runs into: what is the same for every cluster is short, and
// what the posture decides is spelled out. The facts of each step are data (steps.go); the emitted
// configuration itself never has a flag, a gate or an API that its Kubernetes minor does not have, so
// that setting cluster.kubernetes and running generate is one of the steps.
//
// Flux's image automation is not emitted: it commits to Git without a review, and to a repository that
// is made from cluster.cue.
package upgrades
