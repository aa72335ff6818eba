package kind_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8ssec/k8ssec/e2e/components"
	"github.com/k8ssec/k8ssec/e2e/kind"
)

// results is what `k8ssec probe -o json` prints.
type results struct {
	Probes []result
}

type result struct {
	ID, Domain, Kind, Check, Title, Result, Expected, Observed string
	Active                                                     bool
	Controls, Artifacts                                        []string
	// Plain says why the probe passes without the repository too.
	Plain string
}

// probe runs the command under test against a cluster, with a posture's repository.
func probe(t *testing.T, c *kind.Cluster, repository string, args ...string) results {
	t.Helper()
	bin, err := components.K8ssec()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(bin, append([]string{"probe", repository, "--kubeconfig", c.Kubeconfig, "-o", "json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 2) {
		t.Fatalf("k8ssec %s: %v\n%s", strings.Join(cmd.Args[1:], " "), err, stderr.String())
	}
	var r results
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s", err, stdout.String())
	}
	return r
}

func (h *hardened) probe(t *testing.T, args ...string) results {
	t.Helper()
	return probe(t, h.cluster, h.repository, args...)
}

// probes runs every probe, active ones too: none may fail, and none may be left out.
func (h *hardened) probes(t *testing.T) {
	r := h.probe(t, "--active")
	save(t, "hardened.json", r)
	for _, p := range r.Probes {
		if p.Result != "passed" {
			t.Errorf("%s: %s\n  expected %s\n  observed %s", p.ID, p.Result, p.Expected, p.Observed)
		}
	}
	if len(r.Probes) < 80 {
		t.Errorf("%d probes, want 80 at least", len(r.Probes))
	}
	fmt.Fprintf(os.Stderr, "%d probes on the hardened cluster\n", len(r.Probes))
}

// report is the folder of the reports, which are not committed.
func report(t *testing.T) string {
	t.Helper()
	root, err := components.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "e2e", "report")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func save(t *testing.T, name string, value any) {
	t.Helper()
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(report(t), name), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
