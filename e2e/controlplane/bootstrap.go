package controlplane

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

var getOptions = metav1.GetOptions{}

// install does what docs/control-plane.md tells a person to do before `kubeadm init`.
func (n *Node) install(t testing.TB, repository string) {
	t.Helper()
	n.script(t, filepath.Join(repository, "bootstrap/node/k8ssec-node.sh"), "--install", "control-plane")
}

// beforeKubelet runs the node script as the kubelet's unit does before each start of the kubelet,
// once kubeadm has written the static pods. It makes the encryption key and closes what kubeadm
// wrote too open; afterwards its own check must find nothing.
func (n *Node) beforeKubelet(t testing.TB) {
	t.Helper()
	installed := filepath.Join(n.Root, "usr/local/sbin/k8ssec-node.sh")
	n.script(t, installed)
	n.script(t, installed, "--check")
}

// script runs the node script with the scratch folder as the root of the node.
func (n *Node) script(t testing.TB, path string, args ...string) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{path}, args...)...)
	cmd.Env = append(os.Environ(), "K8SSEC_ROOT="+n.Root)
	run(t, cmd)
}

// createAdminBinding binds the group of admin.conf to cluster-admin.
func createAdminBinding(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kubeadm:cluster-admins"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "kubeadm:cluster-admins"}},
	}, metav1.CreateOptions{})
	return err
}
