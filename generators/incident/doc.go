// Package incident emits what people need on the bad day: the response plan, a runbook for each
// scenario, the objects and scripts that contain an intruder, the scripts that collect evidence, and
// the schedule of the drills that show that all of it works.
//
// Nothing here is applied by GitOps. The containment objects lie in incident/, which no Kustomization
// and no Application reads; a person applies them under the break-glass procedure and deletes them
// again. They work from the moment they are applied: nothing in them waits for a value.
//
// # Quarantine
//
// A pod is isolated by one label (generators.LabelQuarantine). How that works depends on the CNI:
//
//   - Cilium knows denies that stand above each allow. One clusterwide policy denies everything but the
//     pod's own node, whose probes keep the pod, and so the evidence, alive. Cilium judges each packet, so
//     open connections end too.
//   - NetworkPolicy knows allows only, and they add up: a quarantine policy can take nothing away. So the
//     policies of the domain network leave pods with the label out of everything they open, and what
//     remains for such a pod is a policy that opens nothing. A policy that somebody else wrote can
//     still select the pod; contain.sh looks for those and names them. Connections that are open
//     already pass by most such plug-ins' policies (conntrack); contain-node.sh ends them on the node.
//
// # Freeze
//
// Admission can refuse writes and nothing else: no policy can stop a read, and a certificate cannot be
// revoked. The runbooks say what takes care of those.
package incident
