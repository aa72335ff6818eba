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
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// report is the contract of `k8ssec probe -o json`.
type report struct {
	Probes  []result
	Summary struct{ Total, Passed, Failed, NotEnforced, Skipped int }
}

type result struct {
	ID, Domain, Kind, Check, Plain, Expected, Observed, Result string
	Active                                                     bool
	Controls, Artifacts                                        []string
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
		ci: ["team-b/runner"]
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
		"manifests/README.md":           "",
		"bootstrap/kubeadm.yaml":        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.37.2\nclusterName: prod\n",
		"bootstrap/node/k8ssec-node.sh": "#!/bin/sh\nmkdir -p \"$K8SSEC_ROOT/usr/local/sbin\" \"$K8SSEC_ROOT/etc/kubernetes/k8ssec\"\ncp \"$0\" \"$K8SSEC_ROOT/usr/local/sbin/k8ssec-node.sh\" 2>/dev/null || true\n",
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
	r := probes(t, c, c.Repository, active...)
	t.Logf("with the repository: %+v", r.Summary)
	if r.Summary.Passed < 200 {
		t.Errorf("only %d probes passed", r.Summary.Passed)
	}
	for _, p := range r.Probes {
		if p.Result == "failed" || p.Result == "not-enforced" {
			t.Errorf("%s %s: expected %s, observed %s", p.Result, p.ID, p.Expected, p.Observed)
		}
		if p.Result == "skipped" && !needsNode(p) {
			t.Errorf("skipped %s: %s", p.ID, p.Observed)
		}
	}
	nothingLeft(t, c)
}

// active are the arguments with which probes may create something.
var active = []string{"--active", "--yes-on", "kubernetes-admin@prod"}

// needsNode says whether a probe needs a running pod or a kubelet.
func needsNode(p result) bool {
	switch p.Check {
	case "traffic", "kubelet-setting", "node-request", "stored":
		return true
	case "flag": // only the API server tells its own
		return !strings.HasPrefix(p.ID, "apiserver-flag-apiserver-")
	}
	return false
}

// nothingLeft holds that an active run removes what it made.
func nothingLeft(t *testing.T, c *controlplane.ControlPlane) {
	t.Helper()
	eventually(t, "everything of the probes is gone", func(ctx context.Context) error {
		options := metav1.ListOptions{LabelSelector: "k8ssec.dev/probe"}
		namespaces, err := c.Client(t).CoreV1().Namespaces().List(ctx, options)
		if err != nil {
			return err
		}
		pods, err := c.Client(t).CoreV1().Pods("").List(ctx, options)
		if err != nil {
			return err
		}
		if n := len(namespaces.Items) + len(pods.Items); n > 0 {
			return fmt.Errorf("%d namespaces and %d pods", len(namespaces.Items), len(pods.Items))
		}
		return nil
	})
}

// TestStock holds that the probes can fail: on a cluster without the repository each of them does,
// but for those that say why not.
func TestStock(t *testing.T) {
	t.Parallel()
	repository := controlplane.Generate(t, cluster)
	c := stock(t)
	r := probes(t, c, repository, active...)
	t.Logf("without the repository: %+v", r.Summary)
	for _, p := range r.Probes {
		if p.Result == "passed" && p.Plain == "" {
			t.Errorf("%s passes without the repository as well, and does not say why: observed %s", p.ID, p.Observed)
		}
	}
	if r.Summary.Failed < 100 {
		t.Errorf("only %d probes fail", r.Summary.Failed)
	}
	nothingLeft(t, c)
}

// TestInterrupted holds that a run that is stopped removes what it made, and that one that is killed
// is cleaned up by the next.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	c := hardened(t)
	begin := func() *exec.Cmd {
		cmd := exec.Command(controlplane.K8ssec(t),
			append([]string{"probe", c.Repository, "--kubeconfig", c.Kubeconfig(), "--domain", "network"}, active...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the run has made a pod", func(ctx context.Context) error {
			pods, err := c.Client(t).CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: "k8ssec.dev/probe"})
			if err == nil && len(pods.Items) == 0 {
				err = errors.New("none")
			}
			return err
		})
		return cmd
	}
	cmd := begin()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("an interrupted run ends with %v", err)
	}
	nothingLeft(t, c)

	cmd = begin()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// As if the time of that run were over.
	patch := []byte(`{"metadata":{"labels":{"k8ssec.dev/probe":"1"}}}`)
	options := metav1.ListOptions{LabelSelector: "k8ssec.dev/probe"}
	pods, err := c.Client(t).CoreV1().Pods("").List(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if _, err := c.Client(t).CoreV1().Pods(p.Namespace).Patch(t.Context(), p.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	namespaces, err := c.Client(t).CoreV1().Namespaces().List(t.Context(), options)
	if err != nil || len(namespaces.Items) == 0 {
		t.Fatalf("a killed run left %d namespaces: %v", len(namespaces.Items), err)
	}
	for _, n := range namespaces.Items {
		if _, err := c.Client(t).CoreV1().Namespaces().Patch(t.Context(), n.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	probes(t, c, c.Repository, append([]string{"--domain", "encryption"}, active...)...)
	nothingLeft(t, c)
}
