package benchmark

import (
	"testing"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators/generatortest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, New()) }

// TestExceptions holds that only active waivers of the whole cluster reach kube-bench, in the
// benchmark's order.
func TestExceptions(t *testing.T) {
	p := &posture.Posture{
		Cluster: posture.Cluster{Kubernetes: "1.37"}, APIServer: posture.APIServer{EtcdUser: true},
		Waivers: map[string]posture.Waiver{
			"a": {Control: "cis-1.2.15", Also: []string{"nsa-A1", "cis-1.2.3"}, Scope: posture.WaiverScope{Cluster: true}, Active: true, Expires: "2027-01-01", Owner: "o", Reason: "r"},
			"b": {Control: "cis-5.2.6", Scope: posture.WaiverScope{Namespace: "shop"}, Active: true},
			"c": {Control: "cis-1.3.1", Scope: posture.WaiverScope{Cluster: true}},
		},
	}
	var got string
	for _, e := range exceptions(p) {
		got += e.ID + " "
	}
	if want := "1.2.1 1.2.3 1.2.11 1.2.15 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
