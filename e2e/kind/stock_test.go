package kind_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/k8ssec/k8ssec/e2e/kind"
)

// stockConfig is a kind cluster as people start one, from the same node image. The machine may have
// nothing but cgroup v1.
const stockConfig = `apiVersion: kind.x-k8s.io/v1alpha4
kind: Cluster
nodes: [{role: control-plane}, {role: worker}]
networking: {disableDefaultCNI: true, podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  failCgroupV1: false
`

// TestStock runs the same probes on a cluster that nobody hardened. Each must show that the hardening is
// absent: one that passes here as well proves nothing, unless it says why.
func TestStock(t *testing.T) {
	repository := initRepository(t, "hardened")
	metadata(t)
	c := stock(t, "stock", kind.CiliumCNI)
	bare(t, c)
	r := probe(t, c, repository, "--active")
	save(t, "stock.json", r)
	var failing int
	for _, p := range r.Probes {
		switch {
		case p.Result != "passed":
			failing++
		case p.Plain == "":
			t.Errorf("%s passes on a stock cluster: it proves nothing\n  expected %s\n  observed %s", p.ID, p.Expected, p.Observed)
		}
	}
	if failing < 50 {
		t.Errorf("%d probes fail on a stock cluster, want 50 at least", failing)
	}
	fmt.Fprintf(os.Stderr, "%d of %d probes show that the stock cluster is not hardened\n", failing, len(r.Probes))
}

// TestNotEnforced runs the probes of the network where policies are accepted and ignored. None may say
// that a connection is denied.
func TestNotEnforced(t *testing.T) {
	repository := initRepository(t, "hardened")
	c := stock(t, "plain", kind.PlainCNI)
	bare(t, c)
	if _, err := c.Kubectl(t.Context(), "apply", "-f", filepath.Join(repository, "manifests/network/team-a.yaml")); err != nil {
		t.Fatal(err)
	}
	var seen int
	for _, p := range probe(t, c, repository, "--active", "--domain", "network").Probes {
		if p.Kind != "deny" {
			continue
		}
		if p.Result == "not-enforced" {
			seen++
		}
		if p.Result == "passed" && p.Plain == "" {
			t.Errorf("%s passes where no policy is enforced: %s", p.ID, p.Observed)
		}
	}
	if seen == 0 {
		t.Error("no probe says that policies are not enforced")
	}
}

func stock(t *testing.T, name string, cni kind.CNI) *kind.Cluster {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "kind.yaml")
	if err := os.WriteFile(config, []byte(stockConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	return create(t, kind.Options{Name: name, Dir: dir, Config: config, CNI: cni})
}

// bare makes the tenant's namespace, and nothing in it: without a namespace everything would fail.
func bare(t *testing.T, c *kind.Cluster) {
	t.Helper()
	if _, err := c.Kubectl(t.Context(), "create", "namespace", "team-a"); err != nil {
		t.Fatal(err)
	}
}
