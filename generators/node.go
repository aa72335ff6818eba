package generators

// Where files of the repository live on a node. bootstrap/control-plane is copied (kubeadm) or
// mounted (kind) to NodeDir on each control plane node.
const (
	// NodeDir holds what the control plane reads and what may be seen in the repository.
	NodeDir = "/etc/kubernetes/k8ssec"
	// NodeKeyDir holds the key that encrypts secrets at rest. It is made on the node and never in
	// the repository, and it is a directory of its own because NodeDir is read-only on kind.
	NodeKeyDir = "/etc/kubernetes/k8ssec-keys"
	// NodeScript keeps the files of a node as they must be; the kubelet's unit runs it.
	NodeScript = "/usr/local/sbin/k8ssec-node.sh"
	// NodeRotateScript replaces the key in NodeKeyDir, step by step.
	NodeRotateScript = "/usr/local/sbin/k8ssec-rotate-key.sh"
	// NodeEtcdSnapshotScript takes a snapshot of etcd.
	NodeEtcdSnapshotScript = "/usr/local/sbin/k8ssec-etcd-snapshot.sh"
	// NodeApproveScript approves the serving certificates of kubelets.
	NodeApproveScript = "/usr/local/sbin/k8ssec-approve-kubelet-csrs.sh"
)
