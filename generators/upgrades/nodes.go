package upgrades

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// nodes is what patches the system of the nodes. kind's nodes are containers: a new image replaces them.
func nodes(p *posture.Posture) ([]generators.Artifact, error) {
	if p.Cluster.Platform == "kind" {
		return nil, nil
	}
	d := newData(p)
	files := []struct {
		path, template string
		executable     bool
		kind           generators.Kind
		claims         []generators.Claim
	}{
		{"upgrades/patch-nodes.sh", "patch-nodes.sh", true, generators.Procedure, generators.Claims("kubectl drain", "upgrade-3", "nsa-U1")},
	}
	if d.Debian {
		files = append(files, []struct {
			path, template string
			executable     bool
			kind           generators.Kind
			claims         []generators.Claim
		}{
			{"bootstrap/node/52k8ssec-unattended-upgrades", "52k8ssec-unattended-upgrades", false, generators.Node, generators.Claims("Origins-Pattern", "nsa-U1", "upgrade-1")},
			{"bootstrap/node/k8ssec-patch-window.conf", "k8ssec-patch-window.conf", false, generators.Node, generators.Claims("OnCalendar=", "upgrade-1")},
		}...)
	}
	var artifacts []generators.Artifact
	for _, f := range files {
		text, err := generators.Text("upgrades/"+f.template+".tmpl", d)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, generators.Artifact{
			Path: f.path, Text: text, Executable: f.executable, Kind: f.kind, Claims: f.claims,
		})
	}
	return artifacts, nil
}

// The parts of upgrade.cattle.io/v1 that are emitted; the published schema holds them.
type (
	upgradePlan struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              planSpec `json:"spec"`
	}
	planSpec struct {
		Concurrency        int                   `json:"concurrency"`
		Exclusive          bool                  `json:"exclusive"`
		Version            string                `json:"version"`
		NodeSelector       *metav1.LabelSelector `json:"nodeSelector"`
		Tolerations        []map[string]string   `json:"tolerations,omitempty"`
		ServiceAccountName string                `json:"serviceAccountName"`
		Window             planWindow            `json:"window"`
		JobDeadline        int                   `json:"jobActiveDeadlineSecs"`
		Cordon             bool                  `json:"cordon"`
		Drain              planDrain             `json:"drain"`
		Upgrade            planContainer         `json:"upgrade"`
	}
	planWindow struct {
		Days      []string `json:"days"`
		StartTime string   `json:"startTime"`
		EndTime   string   `json:"endTime"`
		TimeZone  string   `json:"timeZone"`
	}
	planDrain struct {
		IgnoreDaemonSets   bool   `json:"ignoreDaemonSets"`
		DeleteEmptydirData bool   `json:"deleteEmptydirData"`
		Force              bool   `json:"force"`
		Timeout            string `json:"timeout"`
	}
	planContainer struct {
		Image   string   `json:"image"`
		Command []string `json:"command"`
		Args    []string `json:"args"`
	}
)

// planImage only has to bring chroot.
const planImage = "docker.io/library/busybox:1.37.0"

// plan is manifests/upgrades/nodes.yaml, for the system upgrade controller.
func plan(p *posture.Posture) ([]generators.Artifact, error) {
	u := &p.Upgrades
	if u.NodePatching != "system-upgrade-controller" || u.Round == "" {
		return nil, nil
	}
	d := newData(p)
	end := (d.StartMinutes + d.WindowLength*60) % (24 * 60)
	nodes := func(name, operator string, tolerations []map[string]string, why string) generators.Object {
		return generators.Object{
			Value: &upgradePlan{
				TypeMeta:   metav1.TypeMeta{APIVersion: "upgrade.cattle.io/v1", Kind: "Plan"},
				ObjectMeta: generators.Meta(domain, "system-upgrade", name),
				Spec: planSpec{
					Concurrency: 1, Exclusive: true, Version: u.Round, ServiceAccountName: "system-upgrade",
					NodeSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
						{Key: "node-role.kubernetes.io/control-plane", Operator: metav1.LabelSelectorOperator(operator)},
					}},
					Tolerations: tolerations,
					Window:      planWindow{Days: lower(u.Window.Days), StartTime: u.Window.Start, EndTime: clock(end), TimeZone: "UTC"},
					JobDeadline: 3600, Cordon: true,
					// Without force a pod that nobody would start again stops the drain, and the node stays
					// as it is. Disruption budgets hold.
					Drain: planDrain{IgnoreDaemonSets: true, DeleteEmptydirData: true, Timeout: "15m0s"},
					Upgrade: planContainer{
						Image: planImage, Command: []string{"chroot", "/host"},
						Args: []string{"sh", "-ec", "export DEBIAN_FRONTEND=noninteractive; apt-get -q update; unattended-upgrade; if [ -e /run/reboot-required ]; then systemctl --no-block reboot; fi"},
					},
				},
			},
			Why:    why,
			Claims: generators.Claims("spec.drain", "upgrade-3", "nsa-U1"),
		}
	}
	return []generators.Artifact{{
		Path:    "manifests/upgrades/nodes.yaml",
		Comment: "Patches the system of each node once for round " + u.Round + " (upgrades.round in cluster.cue). Read by the system upgrade controller.",
		Objects: []generators.Object{
			nodes("patch-control-plane", "Exists", []map[string]string{{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}},
				"The control plane nodes, one after the other: cordoned, drained, patched, and rebooted where a patch asks for it."),
			nodes("patch-workers", "DoesNotExist", nil, "All other nodes, in the same way. Exclusive plans never run on two nodes at once."),
		},
	}}, nil
}

func lower(days []string) []string {
	names := map[string]string{"Mon": "mon", "Tue": "tue", "Wed": "wed", "Thu": "thu", "Fri": "fri", "Sat": "sat", "Sun": "sun"}
	out := make([]string, len(days))
	for i, d := range days {
		out[i] = names[d]
	}
	return out
}
