package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/manifest"
	"github.com/k8ssec/k8ssec/internal/probe"
)

// ProbeOptions name a repository, which of its probes are meant, and the cluster.
type ProbeOptions struct {
	Dir string
	// Domains, Controls and IDs choose probes; without them all are meant.
	Domains, Controls, IDs []string
	// Kubeconfig is a file, empty for where kubectl looks; Context is one of its contexts, empty for
	// the current one.
	Kubeconfig, Context string
	// Active runs the probes that create something, with pods of Image. On a production cluster it
	// takes YesOn, the name of the context, as well.
	Active bool
	Image  string
	YesOn  string
}

// ProbeImage is the default image of active probes: the one with which Kubernetes tests network
// policies itself. Any image with the same program, /agnhost, will do.
const ProbeImage = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"

// ListProbes describes the probes of a repository. It needs no cluster.
func (a *App) ListProbes(ctx context.Context, o ProbeOptions) (*probe.Report, error) {
	p, probes, err := a.probes(ctx, o)
	if err != nil {
		return nil, err
	}
	return probe.List(p.Cluster.Name, probes), nil
}

// Probe runs the probes of a repository against a cluster.
func (a *App) Probe(ctx context.Context, o ProbeOptions) (*probe.Report, error) {
	p, probes, err := a.probes(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := o.mayBeActive(p); err != nil {
		return nil, err
	}
	client, err := probe.Connect(o.Kubeconfig, o.Context)
	if err != nil {
		return nil, diag.List{{
			Severity: diag.Error, Message: "no cluster to probe: " + err.Error(),
			Rule: "probe reads a kubeconfig where kubectl does: --kubeconfig, $KUBECONFIG, ~/.kube/config",
			Fix:  "k8ssec probe " + o.Dir + " --kubeconfig FILE [--context NAME]; --list needs no cluster",
		}}
	}
	if p.Cluster.Production && o.Active && o.YesOn != client.Context {
		return nil, diag.List{{
			Severity: diag.Error, Field: "cluster.production", Message: fmt.Sprintf("context %q is a production cluster, and active probes create pods in its namespaces", client.Context),
			Rule: "on a production cluster active probes run only where the context is named",
			Fix:  fmt.Sprintf("k8ssec probe %s --active --yes-on %s", o.Dir, client.Context),
		}}
	}
	version, err := client.Version(ctx)
	if err != nil {
		return nil, diag.List{{
			Severity: diag.Error, Message: fmt.Sprintf("the cluster of context %q does not answer at %s: %v", client.Context, client.Server, err),
			Rule: "probe speaks to the API server", Fix: "kubectl --context " + client.Context + " version",
		}}
	}
	if minor := minorOf(version); minor != p.Cluster.Kubernetes {
		return nil, diag.List{{
			Severity: diag.Error, Field: "cluster.kubernetes", Value: p.Cluster.Kubernetes,
			Message: fmt.Sprintf("context %q runs Kubernetes %s, the repository is for %s", client.Context, version, p.Cluster.Kubernetes),
			Rule:    "what is probed is what was emitted, for one minor",
			Fix:     "name another context with --context, or follow docs/upgrades.md of the repository",
		}}
	}
	fmt.Fprintf(a.Stderr, "probing context %s at %s, Kubernetes %s, %s\n", client.Context, client.Server, version,
		choice(o.Active, "with short-lived pods", "changing nothing"))
	if !client.Applied(ctx) {
		fmt.Fprintln(a.Stderr, "warning: nothing of the repository is in that cluster yet, or it is another cluster")
	}
	progress := &progress{w: a.Stderr, now: a.Now, begin: a.Now(), live: a.ErrColour}
	report, err := probe.Run(ctx, p.Cluster.Name, probes, probe.Options{
		Client: client, Active: o.Active, Image: o.Image, Progress: progress.show,
		Note: func(format string, args ...any) { fmt.Fprintf(a.Stderr, format+"\n", args...) },
	})
	progress.end()
	if err != nil {
		return nil, err
	}
	report.Version = version
	return report, nil
}

func choice(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

// minorOf is "1.37" of "v1.37.2".
func minorOf(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return version
	}
	return parts[0] + "." + strings.TrimRight(parts[1], "+")
}

// mayBeActive refuses what the posture's own rules would refuse later, pod by pod.
func (o ProbeOptions) mayBeActive(p *posture.Posture) error {
	if !o.Active {
		return nil
	}
	if o.Image == "" {
		return diag.Errorf("--image needs the name of an image with the program /agnhost")
	}
	refused := func(field, rule, fix string) error {
		return diag.List{{
			Severity: diag.Error, Field: field, Value: o.Image, Message: "the cluster's own rules refuse the pods of the probes: image " + o.Image,
			Rule: rule, Fix: fix,
		}}
	}
	if len(p.Images.Registries) > 0 && !slices.ContainsFunc(p.Images.Registries, func(r string) bool {
		return strings.HasPrefix(o.Image, strings.TrimSuffix(r, "/")+"/")
	}) {
		return refused("images.registries", "images come from "+strings.Join(p.Images.Registries, ", "),
			"copy "+ProbeImage+" there, and name it with --image")
	}
	if p.Images.RequireDigest && !strings.Contains(o.Image, "@sha256:") {
		return refused("images.requireDigest", "images are named by digest", "--image "+o.Image+"@sha256:... with the digest that your registry shows")
	}
	return nil
}

// probes evaluates a repository and returns those of its probes that are meant.
func (a *App) probes(ctx context.Context, o ProbeOptions) (*posture.Posture, []generators.Probe, error) {
	result, t, err := a.tree(ctx, o.Dir)
	if err != nil {
		return nil, nil, err
	}
	probes, err := t.Probes(result.Posture, a.Generators)
	if err != nil {
		return nil, nil, err
	}
	if probes, err = o.choose(probes); err != nil {
		return nil, nil, err
	}
	return result.Posture, probes, asInTree(o.Dir, probes)
}

// asInTree makes the probes of objects look for those of the tree, where a person may have edited
// them, instead of those of the render; and only for their presence where a person patches them.
func asInTree(dir string, probes []generators.Probe) error {
	for i := range probes {
		c, ok := probes[i].Check.(generators.InPlace)
		if !ok || len(probes[i].Artifacts) != 1 {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(probes[i].Artifacts[0])))
		if errors.Is(err, os.ErrNotExist) {
			continue // not generated yet, or removed, which verify tells
		}
		if err != nil {
			return err
		}
		docs, err := manifest.Decode(data)
		if err != nil {
			return fmt.Errorf("%s: %w", probes[i].Artifacts[0], err)
		}
		c.Objects = nil
		for _, d := range docs {
			value, err := manifest.Value(d.Node)
			if err != nil {
				return fmt.Errorf("%s: %w", probes[i].Artifacts[0], err)
			}
			c.Objects = append(c.Objects, value)
		}
		if c.Patched, err = patched(dir, probes[i].Domain); err != nil {
			return err
		}
		probes[i].Check = c
	}
	return nil
}

// patched says whether the user's own patches change what is emitted for a domain.
func patched(dir, domain string) (bool, error) {
	name := filepath.Join(dir, "patches", domain, "kustomization.yaml")
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	docs, err := manifest.Decode(data)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	for _, d := range docs {
		value, err := manifest.Value(d.Node)
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		// Whatever else it says than which objects to add changes those that are there.
		fields, _ := value.(map[string]any)
		for key, v := range fields {
			list, _ := v.([]any)
			if key != "apiVersion" && key != "kind" && key != "resources" && len(list) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// choose keeps the probes that were asked for.
func (o ProbeOptions) choose(probes []generators.Probe) ([]generators.Probe, error) {
	domains, controls, ids := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range probes {
		domains[p.Domain], ids[p.ID] = true, true
		for _, c := range p.Controls {
			controls[c] = true
		}
	}
	for _, d := range o.Domains {
		if !domains[d] {
			return nil, unknownChoice("domain", d, domains)
		}
	}
	for _, c := range o.Controls {
		if !controls[c] {
			return nil, unknownChoice("control", c, controls)
		}
	}
	for _, id := range o.IDs {
		if !ids[id] {
			return nil, unknownChoice("probe", id, ids)
		}
	}
	return slices.DeleteFunc(probes, func(p generators.Probe) bool {
		if len(o.IDs) > 0 && !slices.Contains(o.IDs, p.ID) {
			return true
		}
		wanted := len(o.Domains) == 0 || slices.Contains(o.Domains, p.Domain)
		if wanted && len(o.Controls) > 0 {
			wanted = slices.ContainsFunc(p.Controls, func(c string) bool { return slices.Contains(o.Controls, c) })
		}
		return !wanted
	}), nil
}

func unknownChoice(what, value string, known map[string]bool) error {
	names := slices.Sorted(maps.Keys(known))
	d := diag.Diagnostic{
		Severity: diag.Error, Value: value, Message: fmt.Sprintf("no probe is about the %s %q", what, value),
		Rule: fmt.Sprintf("--%s chooses among the probes of this repository", what), Fix: "k8ssec probe DIR --list",
	}
	if what == "probe" {
		d.Message, d.Rule = fmt.Sprintf("there is no probe %q", value), "a probe is named by its ID"
	}
	if near := engine.Nearest(value, names); near != "" {
		d.Message += fmt.Sprintf("; did you mean %q?", near)
	}
	if what == "domain" {
		d.Fix = "one of " + strings.Join(names, ", ")
	}
	return diag.List{d}
}

// progress tells a person how far a run is, once it takes longer than a second.
type progress struct {
	w           io.Writer
	now         func() time.Time
	begin, last time.Time
	live, shown bool
}

func (p *progress) show(done, total int) {
	now := p.now()
	if !p.live || now.Sub(p.begin) < time.Second || now.Sub(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	fmt.Fprintf(p.w, "\r\x1b[K%d of %d probes", done, total)
}

func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
