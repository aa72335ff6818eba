// Command bench runs k8ssec and helm as whole processes on the same objects and prints what each
// cost: user and system CPU time and peak memory, the median of several runs. It judges nothing.
//
// The system time of a first render is that of writing its files, so it depends on the disk and on
// what else the machine does; TMPDIR names another place for them.
package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/k8ssec/k8ssec/e2e/components"
)

func main() {
	if err := run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sizes are the numbers of namespaces, with the runs of which the median is taken.
var sizes = []struct{ namespaces, runs int }{{100, 5}, {1000, 3}, {10000, 1}}

func run(out, progress io.Writer) error {
	b := &bench{progress: progress}
	var err error
	if b.k8ssec, err = components.K8ssec(); err != nil {
		return err
	}
	helm, err := components.Ensure(progress, components.Helm)
	if err != nil {
		return err
	}
	b.helm = filepath.Join(helm, "helm")
	if b.dir, err = os.MkdirTemp("", "k8ssec-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)

	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "what\tobjects\tCPU ms\tuser\tsystem\tpeak MB\tCPU to helm's\tfiles written\t")
	row := func(what string, objects int, c cost, helm *cost, written string) {
		ratio := ""
		if helm != nil {
			ratio = fmt.Sprintf("%.2f", float64(c.cpu())/float64(helm.cpu()))
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t\n", what, objects,
			c.cpu().Milliseconds(), c.user.Milliseconds(), c.system.Milliseconds(), c.rss>>20, ratio, written)
	}

	initial, objects, err := b.init()
	if err != nil {
		return err
	}
	row("init --profile cis", objects, initial, nil, "")
	for _, s := range sizes {
		if err := b.size(s.namespaces, s.runs, row); err != nil {
			return err
		}
	}
	return table.Flush()
}

type bench struct {
	k8ssec, helm string
	// dir has a folder for each run. Nothing in it is removed before the end: ext4 passes over inodes
	// that were deleted a moment ago, one by one, so a run after a removal would pay for the removal.
	dir      string
	progress io.Writer
}

// cost is what one process took.
type cost struct {
	user, system time.Duration
	rss          int64
}

func (c cost) cpu() time.Duration { return c.user + c.system }

// measure runs a command with its output thrown away.
func measure(name string, args ...string) (cost, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	c := cost{user: cmd.ProcessState.UserTime(), system: cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.rss = usage.Maxrss
		if runtime.GOOS == "linux" { // there in kilobytes, in bytes elsewhere
			c.rss <<= 10
		}
	}
	return c, nil
}

// median runs something several times and returns the run with the median CPU time.
func median(runs int, once func(i int) (cost, error)) (cost, error) {
	var costs []cost
	for i := range runs {
		c, err := once(i)
		if err != nil {
			return cost{}, err
		}
		costs = append(costs, c)
	}
	slices.SortFunc(costs, func(a, b cost) int { return cmp.Compare(a.cpu(), b.cpu()) })
	return costs[runs/2], nil
}

func (b *bench) init() (cost, int, error) {
	fmt.Fprintln(b.progress, "init --profile cis")
	dir := func(i int) string { return filepath.Join(b.dir, fmt.Sprintf("init-%d", i)) }
	c, err := median(5, func(i int) (cost, error) { return measure(b.k8ssec, "init", dir(i), "--profile", "cis") })
	if err != nil {
		return c, 0, err
	}
	n, err := countObjects(filepath.Join(dir(0), "manifests"))
	return c, n, err
}

// size measures one number of namespaces: the first render, the same again, and helm.
func (b *bench) size(namespaces, runs int, row func(string, int, cost, *cost, string)) error {
	fmt.Fprintln(b.progress, namespaces, "namespaces")
	repo := func(i int) string { return filepath.Join(b.dir, fmt.Sprintf("k8ssec-%d-%d", namespaces, i)) }
	first, err := median(runs, func(i int) (cost, error) {
		if err := writeCluster(repo(i), namespaces, "bench"); err != nil {
			return cost{}, err
		}
		return measure(b.k8ssec, "generate", repo(i))
	})
	if err != nil {
		return err
	}
	chart := filepath.Join(b.dir, fmt.Sprintf("chart-%d", namespaces))
	objects, err := writeChart(chart, repo(0), namespaces)
	if err != nil {
		return err
	}
	helm, err := median(runs, func(int) (cost, error) { return measure(b.helm, "template", "bench", chart) })
	if err != nil {
		return err
	}
	before, err := times(repo(0))
	if err != nil {
		return err
	}
	again, err := median(runs, func(int) (cost, error) { return measure(b.k8ssec, "generate", repo(0)) })
	if err != nil {
		return err
	}
	after, err := times(repo(0))
	if err != nil {
		return err
	}
	written := 0
	for path, at := range after {
		if !before[path].Equal(at) {
			written++
		}
	}
	row(fmt.Sprintf("generate, %d namespaces", namespaces), objects, first, &helm, fmt.Sprint(len(after)))
	row("  the same again", objects, again, &helm, fmt.Sprint(written))
	row("  helm template", objects, helm, &helm, "")
	if err := b.changed(repo(0), namespaces, objects, &helm, row); err != nil {
		return err
	}
	files, err := median(runs, func(i int) (cost, error) {
		output := filepath.Join(b.dir, fmt.Sprintf("helm-%d-%d", namespaces, i))
		return measure(b.helm, "template", "bench", chart, "--output-dir", output)
	})
	if err != nil {
		return err
	}
	row("  helm template into files", objects, files, &helm, "")
	return nil
}

// changed measures what follows a change of one value in each namespace: what it means, and the merge
// with an edit by hand in every tenth of them.
func (b *bench) changed(repo string, namespaces, objects int, helm *cost, row func(string, int, cost, *cost, string)) error {
	for i := 0; i < namespaces; i += 10 {
		name := filepath.Join(repo, "manifests", "namespaces", tenant(i)+".yaml")
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, append(text, "# Edited by hand.\n"...), 0o644); err != nil {
			return err
		}
	}
	edited, err := measure(b.k8ssec, "generate", repo)
	if err != nil {
		return err
	}
	row("  with edits in a tenth", objects, edited, helm, "")
	if err := writeCluster(repo, namespaces, "billing"); err != nil {
		return err
	}
	diff, err := measure(b.k8ssec, "diff", repo, "--fail-on", "weaker")
	if err != nil {
		return err
	}
	row("  diff, one value in each", objects, diff, helm, "")
	merged, err := measure(b.k8ssec, "generate", repo)
	if err != nil {
		return err
	}
	row("  generate, one value in each", objects, merged, helm, "")
	return nil
}

// writeCluster writes a cluster file with that many tenants, each for a purpose, and nothing else.
func writeCluster(dir string, namespaces int, purpose string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("profiles: [\"cis\"]\ncluster: name: \"bench\"\nnamespaces: {\n")
	for i := range namespaces {
		fmt.Fprintf(&b, "\t%q: {owner: %q, purpose: %q, groups: {owners: [%[2]q], developers: [%[4]q]}}\n",
			tenant(i), tenant(i)+"-owners", purpose, tenant(i)+"-developers")
	}
	b.WriteString("}\n")
	return os.WriteFile(filepath.Join(dir, "cluster.cue"), []byte(b.String()), 0o644)
}

func tenant(i int) string { return fmt.Sprintf("team-%05d", i) }

// writeChart makes a chart of what k8ssec emitted for one tenant: the same text with the tenant's
// name as a value, in a loop over all tenants. It returns the number of objects.
func writeChart(chart, repo string, namespaces int) (int, error) {
	templates := filepath.Join(chart, "templates")
	if err := os.MkdirAll(templates, 0o755); err != nil {
		return 0, err
	}
	files, err := filepath.Glob(filepath.Join(repo, "manifests", "*", tenant(0)+".yaml"))
	if err != nil {
		return 0, err
	}
	if len(files) == 0 {
		return 0, fmt.Errorf("%s has no manifests of %s", repo, tenant(0))
	}
	objects := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return 0, err
		}
		if bytes.Contains(text, []byte("{{")) {
			return 0, fmt.Errorf("%s has braces that helm would read", f)
		}
		objects += count(text)
		template := "{{- range $name := .Values.namespaces }}\n---\n" +
			strings.ReplaceAll(string(text), tenant(0), "{{ $name }}") + "{{- end }}\n"
		name := filepath.Base(filepath.Dir(f)) + ".yaml"
		if err := os.WriteFile(filepath.Join(templates, name), []byte(template), 0o644); err != nil {
			return 0, err
		}
	}
	var values strings.Builder
	values.WriteString("namespaces:\n")
	for i := range namespaces {
		values.WriteString("- " + tenant(i) + "\n")
	}
	if err := os.WriteFile(filepath.Join(chart, "values.yaml"), []byte(values.String()), 0o644); err != nil {
		return 0, err
	}
	about := "apiVersion: v2\nname: bench\nversion: 0.1.0\n"
	return objects * namespaces, os.WriteFile(filepath.Join(chart, "Chart.yaml"), []byte(about), 0o644)
}

// countObjects counts the Kubernetes objects below a folder.
func countObjects(dir string) (int, error) {
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Base(path) == "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		n += count(text)
		return err
	})
	return n, err
}

func count(text []byte) int {
	return bytes.Count(append([]byte("\n"), text...), []byte("\napiVersion: "))
}

// times returns when each file of a repository was last written.
func times(dir string) (map[string]time.Time, error) {
	at := map[string]time.Time{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		at[path] = info.ModTime()
		return nil
	})
	return at, err
}
