package logging

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes hold the shipper and its store in the cluster to what is emitted. What the audit log records
// is probed by the apiserver domain, which has the flags.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	if !p.ShipsLogs() {
		return nil
	}
	files, err := shipping(p)
	if err != nil {
		return nil // Generate says so
	}
	probes := make([]generators.Probe, 0, len(files))
	for _, f := range files {
		name := strings.TrimSuffix(f.Path[strings.LastIndex(f.Path, "/")+1:], ".yaml")
		controls := []string{"log-4", "nsa-L2"}
		if name == "certificates" {
			controls = []string{"log-5"}
		}
		values := make([]any, 0, len(f.Objects))
		for _, o := range f.Objects {
			values = append(values, o.Value)
		}
		probes = append(probes, generators.Probe{
			ID: "logging-" + name + "-allow", Domain: domain, Kind: generators.Allow, Title: "the objects of " + name + ", as emitted",
			Why: "Without them records stay on the node where they were written, or do not stay at all.", Controls: controls, Artifacts: []string{f.Path},
			Check: generators.InPlace{Objects: values},
		})
	}
	return probes
}
