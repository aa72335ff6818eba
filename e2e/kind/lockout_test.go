package kind_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/k8ssec/k8ssec/e2e/kind"
)

// lockouts lets happen what happens to every cluster, while everything is denied that no flow declares.
// After each event the system is healthy, and names and the API are still reached.
func (h *hardened) lockouts(t *testing.T) {
	for _, event := range []struct {
		name   string
		happen func(t *testing.T)
	}{
		{"a node is added", h.addNode},
		{"a node reboots", h.rebootNode},
		{"the API server restarts", h.restartAPIServer},
		{"cluster DNS is rescheduled", h.rescheduleDNS},
		{"Flux pulls a commit", h.pullCommit},
	} {
		run(t, event.name, func(t *testing.T) {
			event.happen(t)
			h.healthy(t)
			h.open(t)
		})
	}
}

// addNode joins a node by token, as `kubeadm join` does on a real cluster.
func (h *hardened) addNode(t *testing.T) {
	name, err := h.cluster.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s joined", name)
}

func (h *hardened) rebootNode(t *testing.T) {
	worker := h.cluster.Nodes[len(h.cluster.Nodes)-1]
	before := h.bootID(t, worker)
	if _, err := kind.Docker(t.Context(), "restart", worker); err != nil {
		t.Fatal(err)
	}
	if err := kind.Eventually(t.Context(), 2*time.Minute, func() error {
		if _, err := h.cluster.Kubectl(t.Context(), "wait", "--for=condition=Ready", "node/"+worker, "--timeout=5s"); err != nil {
			return err
		}
		if h.bootID(t, worker) == before {
			return fmt.Errorf("the kubelet of %s has not started anew", worker)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// bootID changes with each start of a node's kubelet.
func (h *hardened) bootID(t *testing.T, node string) string {
	t.Helper()
	out, err := h.cluster.Node(t.Context(), node, "systemctl", "show", "kubelet", "--property=ExecMainStartTimestampMonotonic,MainPID")
	if err != nil {
		return ""
	}
	return out
}

func (h *hardened) restartAPIServer(t *testing.T) {
	pod := "kube-apiserver-" + h.cluster.Nodes[0]
	restarts := func() (string, error) {
		return h.cluster.Kubectl(t.Context(), "-n", "kube-system", "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}{.status.containerStatuses[0].ready}")
	}
	before, err := restarts()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.cluster.Node(t.Context(), h.cluster.Nodes[0], "pkill", "-x", "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	if err := kind.Eventually(t.Context(), 2*time.Minute, func() error {
		now, err := restarts()
		if err == nil && (now == before || !strings.HasSuffix(now, "true")) {
			err = fmt.Errorf("%s: %s, before %s", pod, now, before)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func (h *hardened) rescheduleDNS(t *testing.T) {
	if _, err := h.cluster.Kubectl(t.Context(), "-n", "kube-system", "delete", "pod", "--selector=k8s-app=kube-dns"); err != nil {
		t.Fatal(err)
	}
}

// pullCommit changes the posture, as a person does, and waits until the cluster has it.
func (h *hardened) pullCommit(t *testing.T) {
	edit(t, h.repository, `namespaces: "team-a": quota: pods: "23"`)
	if err := h.git.Push(t.Context(), h.repository, "Fewer pods for team-a"); err != nil {
		t.Fatal(err)
	}
	if err := h.cluster.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.synced(t)
	got, err := h.cluster.Kubectl(t.Context(), "-n", "team-a", "get", "resourcequota", "-o", "jsonpath={.items[*].spec.hard.pods}")
	if err != nil || !strings.Contains(got, "23") {
		t.Errorf("quota of team-a: %q, %v", got, err)
	}
}

// open shows that what must stay open is open: the probes that expect a connection or an answer.
func (h *hardened) open(t *testing.T) {
	t.Helper()
	for _, p := range h.probe(t, "--domain", "network", "--active").Probes {
		if p.Result != "passed" {
			t.Errorf("%s: %s: %s", p.ID, p.Result, p.Observed)
		}
	}
}
