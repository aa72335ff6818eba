package controlplane

import (
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
	args = append(args, "--config", filepath.Join(c.Root, "kubeadm.yaml"), "--kubeconfig", c.Kubeconfig())
	run(t, exec.Command(filepath.Join(c.kubernetes, "kubeadm"), args...))
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *ControlPlane) Kubeconfig() string {
	return filepath.Join(c.Root, "etc/kubernetes/admin.conf")
}

// Kubectl runs the real kubectl as the administrator and returns what it printed.
func (c *ControlPlane) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, exec.Command(filepath.Join(c.tools, "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig()}, args...)...))
}

// Tools is the folder that holds kubectl.
func (c *ControlPlane) Tools() string { return c.tools }

// Etcd is the folder of etcd's own tools.
func (c *ControlPlane) Etcd() string { return c.etcd }
