package upgrades

import (
	"fmt"
	"path"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const domain = "upgrades"

// New returns the generator of the domain upgrades.
func New() generators.Generator { return generator{} }

type generator struct{}

func (generator) Domain() string { return domain }

// Generate emits the policy, a plan for each minor step from the cluster's own on, what patches the
// nodes, and the bot's configuration.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{Undecided: undecided(p)}
	for _, part := range []func(*posture.Posture) ([]generators.Artifact, error){nodes, plan, bot, pages} {
		artifacts, err := part(p)
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, artifacts...)
	}
	return out, nil
}

func undecided(p *posture.Posture) []generators.Decision {
	var d []generators.Decision
	u := &p.Upgrades
	if u.DependencyBot == "off" {
		d = append(d, generators.Decision{
			Controls: []string{"upgrade-4"},
			Line:     `upgrades: dependencyBot: "renovate"`,
			Enables:  "a bot proposes new versions of charts, images and actions, in the maintenance window; security fixes at once",
		})
	}
	if u.NodePatching == "off" && p.Cluster.Platform != "kind" {
		d = append(d, generators.Decision{
			Line:    `upgrades: nodePatching: "unattended-upgrades"`,
			Enables: "the nodes (Debian, Ubuntu) take security patches of their system by themselves, in the window; reboots stay with upgrades/patch-nodes.sh",
		})
	}
	if u.NodePatching == "system-upgrade-controller" && u.Round == "" {
		d = append(d, generators.Decision{
			Line:    `upgrades: round: "2026-12"`,
			Enables: "the controller patches each node once for each new round, one after the other, in the window",
		})
	}
	return d
}

// bot is the configuration of the dependency bot, at the place where it looks for it.
func bot(p *posture.Posture) ([]generators.Artifact, error) {
	name := map[string]string{"renovate": "renovate.json", "dependabot": ".github/dependabot.yml"}[p.Upgrades.DependencyBot]
	if name == "" {
		return nil, nil
	}
	d := newData(p)
	text, err := generators.Text("upgrades/"+path.Base(name)+".tmpl", d)
	if err != nil {
		return nil, err
	}
	claim := "minimumReleaseAge"
	if p.Upgrades.DependencyBot == "dependabot" {
		claim = "package-ecosystem"
	}
	return []generators.Artifact{{
		Path: name, Text: text, Kind: generators.Procedure, Claims: generators.Claims(claim, "upgrade-4"),
	}}, nil
}

// data fills the templates of the domain.
type data struct {
	*posture.Posture
	Window, DaysPattern        string
	Days                       string // Tue,Wed,Thu
	Start                      string
	Spread                     int // minutes
	Kind, Debian, Controller   bool
	Flux, AtRoot               bool
	Minor, Newest              int
	Steps                      []step
	Snapshots                  bool
	Velero                     bool
	Quarantine                 string
	Dir, PauseGit              string
	Schedule                   []string
	StartMinutes, WindowLength int
}

func newData(p *posture.Posture) data {
	w := p.Upgrades.Window
	d := data{
		Posture: p, Days: strings.Join(w.Days, ","), DaysPattern: strings.Join(w.Days, " | "), Start: w.Start, Spread: w.Hours * 60 / 2,
		Window: fmt.Sprintf("%s from %s UTC for %d hours", strings.Join(w.Days, ", "), w.Start, w.Hours),
		Kind:   p.Cluster.Platform == "kind", Debian: p.Upgrades.NodePatching == "unattended-upgrades",
		Controller: p.Upgrades.NodePatching == "system-upgrade-controller", Flux: p.GitOps.Engine == "flux",
		AtRoot: path.Clean(p.GitOps.Path) == ".", Minor: p.Cluster.Minor(), Newest: newest, Steps: stepsFrom(p.Cluster.Minor()),
		Snapshots: p.Backup.EtcdSnapshots.Enabled, Velero: p.Backup.Install != posture.InstallOff && p.Backup.Location != nil,
		Quarantine: generators.LabelQuarantine, Dir: path.Clean(p.GitOps.Path), WindowLength: w.Hours,
	}
	var hour, minute int
	if _, err := fmt.Sscanf(w.Start, "%d:%d", &hour, &minute); err == nil {
		d.StartMinutes = hour*60 + minute
	}
	for _, day := range w.Days {
		number := map[string]int{"Sun": 0, "Mon": 1, "Tue": 2, "Wed": 3, "Thu": 4, "Fri": 5, "Sat": 6}[day]
		d.Schedule = append(d.Schedule, fmt.Sprintf("* %d-%d * * %d", hour, min(hour+w.Hours-1, 23), number))
	}
	controller := "deployment/kustomize-controller"
	if !d.Flux {
		controller = "statefulset/argocd-application-controller"
	}
	d.PauseGit = "kubectl -n " + p.GitOps.Namespace + " scale " + controller + " --replicas="
	return d
}
