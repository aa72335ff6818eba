package kind_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/k8ssec/k8ssec/e2e/components"
	"github.com/k8ssec/k8ssec/e2e/kind"
)

// TestHardened makes a cluster from the repository that k8ssec writes, lets Flux apply the rest, and asks
// the cluster whether what was claimed holds. Its parts run in order, on one cluster.
func TestHardened(t *testing.T) {
	ctx := t.Context()
	repository := initRepository(t, "hardened", "--git-url", gitURL)
	// The Git server has a certificate of its own.
	edit(t, repository, `gitops: secretRef: "`+kind.GitSecret+`"`)
	metadata(t)
	git, err := kind.ServeGit(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { git.Close() })
	c := create(t, kind.FromRepository("hardened", repository))
	h := &hardened{cluster: c, git: git, repository: repository}

	h.ground(t)
	run(t, "flux", h.flux)
	run(t, "healthy", h.healthy)
	run(t, "probes", h.probes)
	run(t, "mutation", h.mutation)
	run(t, "restored", h.restored)
	run(t, "lockouts", h.lockouts)
}

// gitURL is where the throw-away Git server is. The emitted policies must let Flux reach it.
const gitURL = "https://" + kind.HostAddress + "/prod.git"

// run runs one part; what follows makes no sense where it failed.
func run(t *testing.T, name string, part func(*testing.T)) {
	t.Helper()
	begin := time.Now()
	if !t.Run(name, part) {
		t.FailNow()
	}
	fmt.Fprintf(os.Stderr, "%s/%s: %.1f s\n", t.Name(), name, time.Since(begin).Seconds())
}

type hardened struct {
	cluster    *kind.Cluster
	git        *kind.GitServer
	repository string
}

// ground records when and on what the tests ran.
func (h *hardened) ground(t *testing.T) {
	t.Helper()
	out, err := h.cluster.Kubectl(t.Context(), "get", "nodes", "-o",
		"jsonpath={.items[0].status.nodeInfo.kubeletVersion}|{.items[0].status.nodeInfo.osImage}|"+
			"{.items[0].status.nodeInfo.kernelVersion}|{.items[0].status.nodeInfo.containerRuntimeVersion}")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Split(out, "|")
	if len(f) != 4 {
		t.Fatalf("node: %q", out)
	}
	flux, err := components.ModuleVersion("github.com/fluxcd/flux2/v2")
	if err != nil {
		t.Fatal(err)
	}
	save(t, "ground.json", map[string]string{
		"When": time.Now().UTC().Format("2006-01-02 15:04 UTC"), "Kubernetes": f[0], "Node": f[1], "Kernel": f[2],
		"Containerd": strings.TrimPrefix(f[3], "containerd://"), "CNI": "Cilium " + kind.CiliumImage[strings.LastIndex(kind.CiliumImage, ":")+1:],
		"Flux": "Flux " + flux,
	})
}

// flux bootstraps Flux and waits until everything is applied, each Kustomization after those that it
// depends on.
func (h *hardened) flux(t *testing.T) {
	ctx := t.Context()
	if err := h.cluster.BootstrapFlux(ctx, h.git, h.repository); err != nil {
		t.Fatal(err)
	}
	all := h.synced(t)
	since := map[string]time.Time{}
	for _, k := range all {
		since[k.Name] = k.ReadySince
	}
	for _, k := range all {
		for _, d := range k.DependsOn {
			if since[d].IsZero() || k.ReadySince.Before(since[d]) {
				t.Errorf("%s became ready at %s, before %s at %s", k.Name, k.ReadySince, d, since[d])
			}
		}
		t.Logf("%s: ready, %s", k.Name, k.Revision)
	}
}

// synced waits until Flux has applied what is committed.
func (h *hardened) synced(t *testing.T) []kind.Kustomization {
	t.Helper()
	head, err := exec.Command("git", "-C", h.repository, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	all, err := h.cluster.Synced(t.Context(), strings.TrimSpace(string(head)), 5*time.Minute)
	if err != nil {
		h.explain(t)
		t.Fatal(err)
	}
	return all
}

// healthy asks for the system's pods and Flux itself, under the policies that are now in force.
func (h *hardened) healthy(t *testing.T) {
	if err := h.cluster.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"source-controller", "kustomize-controller"} {
		if err := kind.Eventually(t.Context(), 3*time.Minute, func() error {
			_, err := h.cluster.Kubectl(t.Context(), "-n", "flux-system", "rollout", "status", "deployment/"+name, "--timeout=20s")
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// explain logs what a person would look at first.
func (h *hardened) explain(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"-n", "flux-system", "get", "gitrepositories,kustomizations"},
		{"-n", "flux-system", "logs", "deployment/source-controller", "--tail=20"},
		{"-n", "flux-system", "logs", "deployment/kustomize-controller", "--tail=20"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
	} {
		out, err := h.cluster.Kubectl(t.Context(), args...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// engine is started once, and stopped by TestMain.
var engine = sync.OnceValues(func() (*kind.Engine, error) { return kind.StartEngine(context.Background(), os.Stderr) })

func TestMain(m *testing.M) {
	begin := time.Now()
	code := m.Run()
	if e, err := engine(); err == nil && !keep {
		e.Stop()
	}
	fmt.Fprintf(os.Stderr, "all clusters: %.0f s\n", time.Since(begin).Seconds())
	os.Exit(code)
}

// keep leaves the clusters and the engine running, for a look by hand.
var keep = os.Getenv("E2E_KEEP") != ""

// create makes a cluster that is removed at the end, unless it is kept.
func create(t *testing.T, o kind.Options) *kind.Cluster {
	t.Helper()
	e, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Create(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if keep {
			fmt.Fprintf(os.Stderr, "kept: export KUBECONFIG=%s\n", c.Kubeconfig)
			return
		}
		if err := c.Delete(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// initRepository runs `k8ssec init --profile cis --platform kind`.
func initRepository(t *testing.T, name string, args ...string) string {
	t.Helper()
	bin, err := components.K8ssec()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(tempDir(t), name)
	args = append([]string{"init", dir, "--profile", "cis", "--platform", "kind", "--cni", "cilium", "--name", name}, args...)
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		t.Fatalf("k8ssec %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return dir
}

// metadata answers at the address of a cloud's metadata service, as long as the test runs.
func metadata(t *testing.T) {
	t.Helper()
	if _, err := engine(); err != nil { // which makes the network
		t.Fatal(err)
	}
	stop, err := kind.ServeMetadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

// edit adds a line to the cluster file, as a person does, and generates.
func edit(t *testing.T, repository, line string) {
	t.Helper()
	file := filepath.Join(repository, "cluster.cue")
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(string(source)+"\n"+line+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bin, err := components.K8ssec()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "generate", repository).CombinedOutput(); err != nil {
		t.Fatalf("k8ssec generate: %v\n%s", err, out)
	}
}

// tempDir is a folder that lives as long as the cluster whose nodes mount it.
func tempDir(t *testing.T) string {
	t.Helper()
	if !keep {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "k8ssec-kept-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
