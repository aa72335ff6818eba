package admission_test

import (
	"testing"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// start runs the control plane of a cluster file. Nothing has been applied to it.
func start(t *testing.T, clusterFile string) *controlplane.ControlPlane {
	t.Helper()
	return controlplane.Start(t, controlplane.Generate(t, clusterFile))
}

// startServer runs its API server alone: the older minors are built without more.
func startServer(t *testing.T, clusterFile string) *controlplane.ControlPlane {
	t.Helper()
	return controlplane.StartServer(t, controlplane.Generate(t, clusterFile))
}
