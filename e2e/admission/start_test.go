package admission_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// repository is what k8ssec emits for a cluster file.
func repository(t *testing.T, clusterFile string) string {
	t.Helper()
	dir := controlplane.Init(t, "--profile", "restricted")
	if err := os.WriteFile(filepath.Join(dir, "cluster.cue"), []byte(clusterFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(controlplane.K8ssec(t), "generate", dir).CombinedOutput(); err != nil {
		t.Fatalf("k8ssec generate: %v\n%s", err, out)
	}
	return dir
}

// start runs the control plane of a cluster file. Nothing has been applied to it.
func start(t *testing.T, clusterFile string) *controlplane.ControlPlane {
	t.Helper()
	return controlplane.Start(t, repository(t, clusterFile))
}

// startServer runs its API server alone: the older minors are built without more.
func startServer(t *testing.T, clusterFile string) *controlplane.ControlPlane {
	t.Helper()
	return controlplane.StartServer(t, repository(t, clusterFile))
}
