// Package workloads emits the admission policies of a cluster: what a pod, a workload's template, a
// service, a secret, a role or a namespace label must look like, in CEL that the API server itself
// evaluates (ValidatingAdmissionPolicy, admissionregistration.k8s.io/v1, GA since Kubernetes 1.30).
//
// No webhook is involved: the expressions run inside the API server, so failurePolicy Fail cannot
// lock a cluster whose add-ons are down. The only errors left are an expression that does not fit
// the object and an exhausted cost budget, and both must refuse.
//
// From Kubernetes 1.37 on, the rules that everything else rests on are also written as static files
// for the control plane nodes (KEP-5793). They are in force before etcd is read and no API request
// can remove them.
//
// # What is validated
//
// Pods are what counts: each pod is checked when it is created, when its containers change, and when
// an ephemeral container is added. The templates of Deployments, StatefulSets, DaemonSets, Jobs,
// CronJobs, bare ReplicaSets and ReplicationControllers are checked by the same expressions with the
// same action. A refused template is the kind outcome: a StatefulSet or DaemonSet whose template is
// admitted and whose pods are not has lost its old pods before anybody notices. Objects that a
// Deployment or CronJob made are left to the check of their pods, and an update that leaves the pod
// spec as it is always passes: scaling, labels, finalizers and a pause work on workloads older than
// the policy.
//
// Two policies look at what admission itself fills in (the defaults of a LimitRange, the token of a
// service account). A template does not show that yet, so on templates these two only warn.
//
// # Where
//
// The bindings select namespaces whose k8ssec.dev/kind is neither system nor addon, which covers a
// namespace without labels too. kube-system is left out by name as well: whoever removes its label
// must not stop the control plane. The namespace-labels policy protects the labels.
//
// # Waivers
//
// An active waiver of a policy's own control (wl-1 and so on), or of a benchmark's control where the
// policy checks nothing else, takes the namespace out of the binding; a second binding keeps
// recording there what the policy would refuse, so that a waiver nobody needs any more can be seen
// in the audit log. Where a policy serves several controls, a waiver of one of them lifts that
// validation alone. For the whole cluster a waiver allows another setting of the policy in the
// posture; without one the policy only records.
package workloads
