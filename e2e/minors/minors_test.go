// Package minors holds the emitted files against the real kubeadm and kube-apiserver of every
// supported Kubernetes minor. Building those takes minutes for each minor, once.
package minors

import (
	"testing"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// The newest minor runs in e2e/controlplane, with all profiles.
var minors = []string{"1.34", "1.35", "1.36"}

// TestMinors starts each minor's control plane from its own repository, for the weakest profile
// and for the two that say most, and applies everything: a flag or field that the minor does not
// know keeps a component from starting, and an object that it does not know is refused.
func TestMinors(t *testing.T) {
	for _, minor := range minors {
		for _, profile := range []string{"baseline", "cis-l2", "nsa"} {
			t.Run(minor+" "+profile, func(t *testing.T) {
				t.Parallel()
				c := controlplane.StartServer(t, controlplane.Init(t, "--profile", profile, "--kubernetes", minor))
				version, err := c.Client(t).Discovery().ServerVersion()
				if err != nil {
					t.Fatal(err)
				}
				if got := version.Major + "." + version.Minor; got != minor {
					t.Fatalf("Kubernetes %s runs, want %s", got, minor)
				}
				c.ApplyCRDs(t)
				c.KubeadmPhase(t, "upload-config all")
				c.KubeadmPhase(t, "bootstrap-token")
				c.KubeadmPhase(t, "addon all")
				for range 2 {
					for _, err := range c.Apply(t) {
						t.Error(err)
					}
				}
			})
		}
	}
}
