// Package probe runs the built command's probes against real control planes: one that has the
// repository and one that has not, and, for each emitted object, one where just that is gone.
package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// report is the contract of `k8ssec probe -o json`.
type report struct {
	Probes []struct {
		ID, Domain, Kind, Check, Plain, Expected, Observed string
		Active                                             bool
		Result                                             string
		Controls, Artifacts                                []string
	}
	Summary struct{ Total, Passed, Failed, NotEnforced, Skipped int }
}

// probes runs the command and returns its report. The control plane has no kubelet, so what needs a
// running pod is skipped, here and nowhere else.
func probes(t *testing.T, c *controlplane.ControlPlane, repository string, args ...string) *report {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), controlplane.K8ssec(t),
		append([]string{"probe", repository, "--kubeconfig", c.Kubeconfig(), "-o", "json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 2) {
		t.Fatalf("k8ssec probe: %v\n%s", err, stderr.String())
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s", err, stdout.String())
	}
	if (r.Summary.Failed+r.Summary.NotEnforced > 0) != (exit != nil) {
		t.Errorf("the exit code is %v with %+v", err, r.Summary)
	}
	return &r
}

// cluster is what is probed: two tenants, of which one has flows and people.
const cluster = `package cluster

profiles: ["cis"]
cluster: {name: "prod", kubernetes: "1.37", cni: "cilium"}
access: {
	platformAdmins: ["platform-admins"]
	viewers: ["platform-viewers"]
	auditors: ["security-auditors"]
}
namespaces: {
	"team-a": {
		owner: "team-a"
		groups: {owners: ["a-owners"], developers: ["a-devs"], viewers: ["a-viewers"]}
	}
	"team-b": {owner: "team-b", groups: owners: ["b-owners"]}
}
`

// hardened starts a control plane from the repository and applies it, as GitOps does.
func hardened(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	c := controlplane.Start(t, controlplane.Generate(t, cluster))
	c.ApplyCRDs(t)
	for _, phase := range []string{"upload-config all", "bootstrap-token", "addon all"} {
		c.KubeadmPhase(t, phase)
	}
	for _, err := range c.Apply(t) {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	settle(t, c)
	return c
}

// settle waits until the controllers have taken up what was applied.
func settle(t *testing.T, c *controlplane.ControlPlane) {
	t.Helper()
	eventually(t, "roles are aggregated and quotas counted", func(ctx context.Context) error {
		roles, err := c.Client(t).RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{LabelSelector: "k8ssec.dev/domain=access"})
		if err != nil {
			return err
		}
		for _, r := range roles.Items {
			if len(r.Rules) == 0 {
				return fmt.Errorf("%s has no rules", r.Name)
			}
		}
		quotas, err := c.Client(t).CoreV1().ResourceQuotas("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, q := range quotas.Items {
			if len(q.Status.Hard) == 0 {
				return fmt.Errorf("the quota %s/%s has no status", q.Namespace, q.Name)
			}
		}
		pods, err := c.Client(t).CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
		if err == nil && len(pods.Items) == 0 {
			err = errors.New("cluster DNS has no pod")
		}
		return err
	})
}

func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = check(t.Context()); err == nil {
			return
		}
	}
	t.Fatalf("not within 30 s: %s: %v", what, err)
}

// stock starts a control plane as kubeadm makes one by itself, with the people and namespaces of
// nobody.
func stock(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"bootstrap/kubeadm.yaml":        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.37.2\n",
		"bootstrap/node/k8ssec-node.sh": "#!/bin/sh\nmkdir -p \"$K8SSEC_ROOT/usr/local/sbin\" \"$K8SSEC_ROOT/etc/kubernetes/k8ssec\"\ncp \"$0\" \"$K8SSEC_ROOT/usr/local/sbin/k8ssec-node.sh\" 2>/dev/null || true\n",
		"manifests/nothing/README.md":   "",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := controlplane.Start(t, dir)
	c.ApplyCRDs(t)
	for _, phase := range []string{"upload-config all", "bootstrap-token", "addon all"} {
		c.KubeadmPhase(t, phase)
	}
	return c
}

// TestHardened holds that everything that the repository promises is so.
func TestHardened(t *testing.T) {
	t.Parallel()
	c := hardened(t)
	r := probes(t, c, c.Repository, "--active", "--yes-on", "kubernetes-admin@prod")
	t.Logf("hardened: %+v", r.Summary)
	for _, p := range r.Probes {
		if p.Result == "failed" || p.Result == "not-enforced" {
			t.Errorf("%s %s: expected %s, observed %s", p.Result, p.ID, p.Expected, p.Observed)
		}
		if p.Result == "skipped" {
			t.Logf("skipped %s: %s", p.ID, p.Observed)
		}
	}
	if os.Getenv("PROBE_HOLD") != "" {
		fmt.Println("KUBECONFIG", c.Kubeconfig(), c.Repository)
		for {
			if _, err := os.Stat("/tmp/probe-release"); err == nil {
				break
			}
			time.Sleep(time.Second)
		}
	}
	_ = strings.ToLower
}
