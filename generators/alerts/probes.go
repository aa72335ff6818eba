package alerts

import (
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes hold the rules and receivers in the cluster to what is emitted: an alert that somebody took
// out or weakened says nothing of itself.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	if p.Alerts.Install == posture.InstallOff {
		return nil
	}
	rules := prometheusRules(p)
	probes := []generators.Probe{inPlace("alerts-rules-allow", "the rules that Prometheus evaluates, as emitted", rules.Path, rules.Objects, "alerts-1", "enc-5", "nsa-L5")}
	if monitors := podMonitors(p); len(monitors) > 0 {
		probes = append(probes, inPlace("alerts-monitors-allow", "what Prometheus scrapes for the rules, as emitted", "manifests/alerts/monitors.yaml", monitors, "alerts-1"))
	}
	if len(p.Alerts.Receivers) > 0 {
		probes = append(probes, inPlace("alerts-receivers-allow", "the routes to those who are told, as emitted", "manifests/alerts/alertmanager.yaml", []generators.Object{alertmanagerConfig(p)}, "alerts-2"))
	}
	if files, err := auditRules(p); err == nil && p.OwnLoki() {
		for _, f := range files {
			probes = append(probes, inPlace("alerts-audit-rules-allow", "the rules that Loki evaluates on the audit log, as emitted", f.Path, f.Objects, "alerts-1", "nsa-L5"))
		}
	}
	return probes
}

func inPlace(id, title, path string, objects []generators.Object, controls ...string) generators.Probe {
	values := make([]any, 0, len(objects))
	for _, o := range objects {
		values = append(values, o.Value)
	}
	return generators.Probe{
		ID: id, Domain: domain, Kind: generators.Allow, Title: title, Controls: controls, Artifacts: []string{path},
		Why: "What is missing or changed here raises no alert, and nothing else would tell.", Check: generators.InPlace{Objects: values},
	}
}
