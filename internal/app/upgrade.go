package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/impact"
	"github.com/k8ssec/k8ssec/internal/repo"
	"github.com/k8ssec/k8ssec/internal/upgrade"
)

// UpgradeOptions name an upgrade.
type UpgradeOptions struct {
	Dir string
	// To is the version: "1.37".
	To string
	// Kubeconfig and Context name the cluster to look at; Live says that there is one.
	Live                bool
	Kubeconfig, Context string
	// Apply changes cluster.cue and writes the new posture.
	Apply bool
	// DryRun does not even write the plan.
	DryRun bool
}

// Upgraded is the plan of an upgrade.
type Upgraded struct {
	From     string            `json:"from"`
	To       string            `json:"to"`
	Cluster  string            `json:"cluster,omitempty"`
	Findings []upgrade.Finding `json:"findings"`
	// Posture is what the new minor changes in the repository.
	Posture struct {
		Weaker  int             `json:"weaker"`
		Tighter int             `json:"tighter"`
		Neutral int             `json:"neutral"`
		Changes []impact.Change `json:"changes"`
	} `json:"posture"`
	// Plan is the file that holds the plan.
	Plan    string         `json:"plan,omitempty"`
	Applied bool           `json:"applied"`
	Summary map[string]int `json:"summary"`

	step upgrade.Step
	dir  string
}

// Blocked reports whether something stands in the way.
func (u *Upgraded) Blocked() bool { return u.Summary[string(upgrade.Blocking)] > 0 }

// Upgrade plans the way to the next minor version of Kubernetes: what it removes and what of that the
// repository and the cluster use, what it changes, and what the posture becomes. It writes the plan into
// docs/, and the new posture only when asked and when nothing blocks.
func (a *App) Upgrade(ctx context.Context, o UpgradeOptions) (_ *Upgraded, err error) {
	options, err := a.clusterOptions(o.Dir)
	if err != nil {
		return nil, err
	}
	result, err := engine.Evaluate(ctx, options)
	if err != nil {
		return nil, err
	}
	from := result.Posture.Cluster.Minor()
	to, err := upgrade.ParseMinor(o.To)
	if err != nil {
		return nil, err
	}
	if err := upgrade.Check(from, to); err != nil {
		return nil, diag.List{{
			Severity: diag.Error, File: options.Name, Field: "cluster.kubernetes", Message: err.Error(),
			Rule: "an upgrade goes one minor version at a time", Fix: fmt.Sprintf("k8ssec upgrade %s --to 1.%d", o.Dir, min(from+1, upgrade.Last)),
		}}
	}
	step, err := upgrade.StepTo(to)
	if err != nil {
		return nil, err
	}
	u := &Upgraded{From: fmt.Sprintf("1.%d", from), To: fmt.Sprintf("1.%d", to), step: step, dir: o.Dir}
	files, err := a.written(o.Dir)
	if err != nil {
		return nil, err
	}
	u.Findings = upgrade.Scan(files, from, to)
	for i, f := range u.Findings {
		u.Findings[i].Where = filepath.Join(o.Dir, filepath.FromSlash(f.Where))
	}
	if o.Live {
		cluster, err := upgrade.Connect(o.Kubeconfig, o.Context)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(a.Stderr, "looking at context %s, %s\n", cluster.Context, cluster.Server)
		live, err := cluster.Scan(ctx, from, to)
		if err != nil {
			return nil, err
		}
		u.Cluster = cluster.Server
		u.Findings = append(u.Findings, live...)
	}
	if u.Findings == nil {
		u.Findings = []upgrade.Finding{}
	}
	upgrade.Sort(u.Findings)
	u.Summary = map[string]int{string(upgrade.Blocking): 0, string(upgrade.Risky): 0, string(upgrade.Information): 0}
	for _, f := range u.Findings {
		u.Summary[string(f.Level)]++
	}
	next := options
	if next.Source, err = engine.SetScalar(options, []string{"cluster", "kubernetes"}, u.To); err != nil {
		return nil, err
	}
	d, err := a.diff(ctx, DiffOptions{Dir: o.Dir}, next, a.Version)
	if err != nil {
		return nil, err
	}
	u.Posture.Weaker, u.Posture.Tighter, u.Posture.Neutral = d.Count(impact.Weaker), d.Count(impact.Tighter), d.Count(impact.Neutral)
	u.Posture.Changes = []impact.Change{}
	for _, c := range d.Changes {
		c.File = d.show(c.File)
		u.Posture.Changes = append(u.Posture.Changes, c)
	}
	if o.DryRun {
		return u, nil
	}
	u.Plan = filepath.Join(o.Dir, "docs", "upgrade-to-"+u.To+".md")
	if err := writeWhole(u.Plan, []byte(u.markdown())); err != nil {
		return nil, err
	}
	if !o.Apply {
		return u, nil
	}
	if u.Blocked() {
		fmt.Fprintf(a.Stderr, "not applied: %d findings are blocking\n", u.Summary[string(upgrade.Blocking)])
		return u, nil
	}
	if len(d.Conflicts) > 0 {
		return u, a.refuse(&Written{Dir: o.Dir, Conflicts: d.Conflicts})
	}
	return u, a.applyUpgrade(ctx, u, options, next)
}

// applyUpgrade writes the new cluster file, and what follows from it; where that fails, the old one is
// put back.
func (a *App) applyUpgrade(ctx context.Context, u *Upgraded, old, next engine.Options) error {
	if err := writeClusterFile(next); err != nil {
		return err
	}
	w, err := a.Generate(ctx, GenerateOptions{Dir: next.Dir})
	if err != nil {
		return errors.Join(err, writeClusterFile(old))
	}
	u.Applied = true
	fmt.Fprintf(a.Stderr, "cluster.kubernetes is %s now; %d files changed\n", u.To, len(w.Changes))
	return nil
}

// written are the files of a repository that a person or k8ssec wrote for the cluster. The render of
// the minor that runs is replaced by the next anyway: of it only what was edited counts.
func (a *App) written(dir string) (files map[string][]byte, err error) {
	r, err := repo.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	files, err = readTree(r)
	if err != nil {
		return nil, err
	}
	status, err := r.Status()
	if errors.Is(err, os.ErrNotExist) {
		return files, nil
	}
	if err != nil {
		return nil, err
	}
	for name := range status.Lock.Files {
		if !slices.Contains(status.Edited, name) && !slices.Contains(status.Kept, name) {
			delete(files, name)
		}
	}
	return files, nil
}

// writeWhole writes a file as a whole, or not at all.
func writeWhole(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(name), ".upgrade-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone where the renaming worked
	_, err = temporary.Write(data)
	if err := errors.Join(err, temporary.Chmod(0o644), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), name)
}

// WriteJSON writes the plan for scripts.
func (u *Upgraded) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(u)
}

// WriteMarkdown writes the plan.
func (u *Upgraded) WriteMarkdown(w io.Writer) error {
	_, err := io.WriteString(w, u.markdown())
	return err
}

// WriteText writes the plan for people, in short.
func (u *Upgraded) WriteText(w io.Writer, s diag.Style) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.Bold(fmt.Sprintf("%s: 1.%d → %s: %d blocking, %d risky, %d to know", u.dir, u.step.Minor-1, u.To,
		u.Summary["blocking"], u.Summary["risky"], u.Summary["information"])))
	for _, f := range u.Findings {
		style := s.Dim
		switch f.Level {
		case upgrade.Blocking:
			style = s.Bad
		case upgrade.Risky:
			style = s.Odd
		}
		fmt.Fprintf(&b, "  %s %s\n", style(string(f.Level)), f.Message)
		place := f.Where
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.Where, f.Line)
		}
		fmt.Fprintf(&b, "      %s\n", s.Dim(place))
		if f.Fix != "" {
			fmt.Fprintf(&b, "      %s\n", f.Fix)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", s.Bold(fmt.Sprintf("what %s changes by itself", u.To)))
	for _, c := range u.step.Changes {
		fmt.Fprintf(&b, "  %s: %s\n      %s\n", c.Level, c.Text, s.Dim(c.Fix))
	}
	fmt.Fprintf(&b, "\n%s\n", s.Bold(fmt.Sprintf("the posture at %s: %d weaker, %d tighter, %d neutral", u.To, u.Posture.Weaker, u.Posture.Tighter, u.Posture.Neutral)))
	for _, c := range u.Posture.Changes {
		if c.Direction != impact.Neutral {
			fmt.Fprintf(&b, "  %s: %s\n", c.Direction, c.Meaning)
		}
	}
	if u.Plan != "" {
		fmt.Fprintf(&b, "\nthe plan, step by step: %s\n", u.Plan)
	}
	if !u.Applied {
		fmt.Fprintf(&b, "when it is done, and nothing blocks: k8ssec upgrade %s --to %s --apply\n", u.dir, u.To)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markdown is the plan that a team follows.
func (u *Upgraded) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Upgrade from %s to %s\n\nWritten by `k8ssec upgrade --to %s`; yours from then on. Run it again, with `--kubeconfig`, on the day itself.\n", u.From, u.To, u.To)
	b.WriteString("\n## What stands in the way\n\n")
	if len(u.Findings) == 0 {
		b.WriteString("Nothing was found.\n")
	} else {
		b.WriteString("| | what | where | what to do |\n| --- | --- | --- | --- |\n")
	}
	for _, f := range u.Findings {
		place := f.Where
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.Where, f.Line)
		}
		fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", f.Level, cell(f.Message), place, cell(f.Fix))
	}
	if u.Cluster == "" {
		b.WriteString("\nThe cluster itself was not looked at: `k8ssec upgrade ... --kubeconfig FILE` does.\n")
	}
	fmt.Fprintf(&b, "\n## What %s changes by itself\n\n| | what | what to do |\n| --- | --- | --- |\n", u.To)
	for _, c := range u.step.Changes {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.Level, cell(c.Text), cell(c.Fix))
	}
	fmt.Fprintf(&b, "\nSource: %s.\n", u.step.Source)
	b.WriteString("\n## What is gone\n\n")
	for _, api := range u.step.APIs {
		kinds := strings.Join(api.Kinds, ", ")
		if kinds == "" {
			kinds = "everything"
		}
		fmt.Fprintf(&b, "- `%s`: %s. Instead: %s\n", api.GroupVersion, kinds, api.Instead)
	}
	for _, f := range u.step.Flags {
		fmt.Fprintf(&b, "- flag of %s: `--%s`\n", f.Component, f.Name)
	}
	if len(u.step.Gates) > 0 {
		fmt.Fprintf(&b, "- feature gates (a component that is given one does not start): `%s`\n", strings.Join(u.step.Gates, "`, `"))
	}
	fmt.Fprintf(&b, "\n## What the posture becomes\n\n%d weaker, %d tighter, %d neutral.\n\n", u.Posture.Weaker, u.Posture.Tighter, u.Posture.Neutral)
	for _, c := range u.Posture.Changes {
		fmt.Fprintf(&b, "- %s: %s (`%s`)\n", c.Direction, cell(c.Meaning), c.File)
	}
	fmt.Fprintf(&b, `
## The steps

1. Nothing above is blocking any more; all nodes are ready. Stop GitOps from applying (suspend it).
2. Take a snapshot of etcd and check it, copy /etc/kubernetes, start a backup of the workloads and restore one of them elsewhere.
3. First control plane node: install kubeadm %[1]s, then `+"`kubeadm upgrade plan`, `kubeadm upgrade diff`, `kubeadm upgrade apply`"+`. Drain it, install kubelet and kubectl, restart the kubelet, uncordon.
4. Run the emitted node script again on that node: kubeadm writes /var/lib/kubelet/config.yaml with mode 0644.
5. Each other control plane node: `+"`kubeadm upgrade node`"+`, drain, kubelet, uncordon, node script.
6. The network plug-in, storage drivers and add-ons, by their own compatibility lists.
7. Workers in small batches: `+"`kubeadm upgrade node`"+`, drain (disruption budgets hold it up), kubelet, uncordon; wait, look at the alerts, go on.
8. Commit the posture of %[1]s: `+"`k8ssec upgrade %[2]s --to %[1]s --apply`"+`, read `+"`k8ssec diff --from`"+` in the pull request, merge, resume GitOps.
9. `+"`k8ssec verify`, `k8ssec probe`"+`: what held before holds after.

There is no way back to %[3]s but the snapshot of step 2.
`, u.To, u.dir, u.From)
	return b.String()
}
