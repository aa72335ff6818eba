package benchmark

import (
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// Probes hold the jobs in the cluster to what is emitted: one that is suspended or leaves out more
// finds nothing.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	pin, err := addons.Lookup("kube-bench")
	if err != nil || p.Benchmark.KubeBench != posture.InstallInstall {
		return nil
	}
	var values []any
	for _, o := range jobs(p, pin.Images["kube-bench"].Ref(), exceptions(p)) {
		values = append(values, o.Value)
	}
	return []generators.Probe{{
		ID: "benchmark-jobs-allow", Domain: domain, Kind: generators.Allow, Title: "the benchmark jobs, as emitted",
		Why: "A job that is suspended or leaves out more finds nothing.", Controls: []string{"bench-1", "nsa-U2"},
		Artifacts: []string{"manifests/benchmark/kube-bench.yaml"}, Check: generators.InPlace{Objects: values},
	}}
}
