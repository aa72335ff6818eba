package controlplane

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// KubeadmPhase runs a phase of `kubeadm init` against the running control plane, with the emitted
// configuration: "bootstrap-token", "addon all", "upload-config all".
func (c *ControlPlane) KubeadmPhase(t testing.TB, phase string) {
	t.Helper()
	args := append([]string{"init", "phase"}, strings.Fields(phase)...)
	args = append(args, "--config", filepath.Join(c.Root, "kubeadm.yaml"), "--kubeconfig", c.Kubeconfig(t))
	run(t, exec.Command(filepath.Join(c.kubernetes, "kubeadm"), args...))
}

// Kubeconfig writes the administrator's kubeconfig for commands and returns its path.
func (c *ControlPlane) Kubeconfig(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Root, "etc/kubernetes/admin.conf"))
	if err != nil {
		t.Fatal(err)
	}
	server := "    server: https://"
	lines := strings.Split(string(b), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, server) {
			lines[i] = server + c.Address + "\n    tls-server-name: kubernetes"
		}
	}
	path := filepath.Join(t.TempDir(), "admin.kubeconfig")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Kubectl runs the real kubectl as the administrator and returns what it printed.
func (c *ControlPlane) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, exec.Command(filepath.Join(c.tools, "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig(t)}, args...)...))
}
