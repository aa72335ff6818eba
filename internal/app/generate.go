package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/lockout"
	"github.com/k8ssec/k8ssec/internal/render"
	"github.com/k8ssec/k8ssec/internal/repo"
)

// InitOptions describe a new repository.
type InitOptions struct {
	Dir    string
	Values Values
	// DryRun writes nothing.
	DryRun bool
}

// GenerateOptions name a repository.
type GenerateOptions struct {
	Dir    string
	DryRun bool
	// OnConflict says what becomes of a field that both sides changed; empty refuses.
	OnConflict OnConflict
}

// Written is what a run wrote, or would write.
type Written struct {
	Dir string `json:"dir"`
	// DryRun says that nothing was written.
	DryRun bool `json:"dryRun"`
	// Changes are the files by what happened to them.
	Changes []Change `json:"changes"`
	// Unchanged is the number of files that are as they were.
	Unchanged int `json:"unchanged"`
	// Controls counts the answers by catalogue and state.
	Controls map[string]map[string]int `json:"controls,omitempty"`
	// Undecided are the lines that would switch more on.
	Undecided []string `json:"undecided,omitempty"`
	// Conflicts stand in the way: nothing was written.
	Conflicts []Conflict `json:"conflicts,omitempty"`
	Warnings  diag.List  `json:"warnings,omitempty"`

	name string
	// gitPath is where the directory is inside of its Git repository, where gitops.path says
	// something else.
	gitPath string
	// kept counts the unchanged files that hold edits.
	kept    int
	tree    *render.Tree
	elapsed time.Duration
}

// Change is one file of a run.
type Change struct {
	Path string `json:"path"`
	Op   string `json:"op"`
	op   repo.Op
}

// Init writes a new repository. It refuses a directory that has a cluster file.
func (a *App) Init(ctx context.Context, o InitOptions) (*Written, error) {
	name := filepath.Join(o.Dir, ClusterFile)
	if _, err := os.Lstat(name); err == nil {
		return nil, diag.List{{
			Severity: diag.Error, File: name, Message: "there is a cluster file already",
			Rule: "init makes new repositories; it never touches one that exists",
			Fix:  fmt.Sprintf("edit %s and run: k8ssec generate %s", name, o.Dir),
		}}
	}
	source, err := clusterFile(o.Values)
	if err != nil {
		return nil, err
	}
	w, err := a.write(ctx, o.Dir, name, source, true, o.DryRun, "")
	if err == nil && o.Values.GitPath == "" {
		w.gitPath = gitPath(o.Dir)
	}
	return w, err
}

// gitPath is the path of dir inside the Git work tree that it lies in; empty at its root and
// outside of any.
func gitPath(dir string) string {
	full, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for root := filepath.Dir(full); ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, ".git")); err == nil {
			rel, err := filepath.Rel(root, full)
			if err != nil {
				return ""
			}
			return filepath.ToSlash(rel)
		}
		if root == filepath.Dir(root) {
			return ""
		}
	}
}

// Generate writes what the posture of an existing repository says, merged with the edits that were
// made since. Where both changed one field it returns what stands in the way and ErrConflict, and where
// an edit weakens a control the findings; both times it writes nothing.
func (a *App) Generate(ctx context.Context, o GenerateOptions) (*Written, error) {
	name := filepath.Join(o.Dir, ClusterFile)
	source, err := engine.ReadClusterFile(name)
	if err != nil {
		return nil, err
	}
	return a.write(ctx, o.Dir, name, source, false, o.DryRun, o.OnConflict)
}

func (a *App) write(ctx context.Context, dir, name string, source []byte, first, dryRun bool, on OnConflict) (_ *Written, err error) {
	start := time.Now()
	if a.Tune != nil {
		a.Tune(len(source))
	}
	options := engine.Options{Name: name, Source: source, Dir: dir, Now: a.Now()}
	inputs, err := engine.Inputs(options, a.Version)
	if err != nil {
		return nil, err
	}
	w := &Written{Dir: dir, DryRun: dryRun, Changes: []Change{}}
	r, err := repo.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if !first {
		if same, err := a.unchanged(r, inputs); err != nil || same != nil {
			if same != nil {
				w.Unchanged, w.elapsed = len(same.Files), time.Since(start)
				for _, f := range same.Files {
					if f.Edited != "" {
						w.kept++
					}
				}
			}
			return w, err
		}
	}
	result, err := engine.Evaluate(ctx, options)
	if err != nil {
		return nil, err
	}
	t, err := render.Render(ctx, result, a.Generators)
	if err != nil {
		return nil, err
	}
	ways := openWays(dir, lockout.Check(result.Posture, t.Artifacts()))
	if ways.HasErrors() {
		return nil, ways
	}
	w.Warnings = slices.Concat(ways, result.Warnings)
	w.tree, w.name = t, result.Posture.Cluster.Name
	files := repoFiles(t, source)
	if !dryRun {
		if err := r.Acquire(ctx); err != nil {
			return nil, err
		}
	}
	m := a.merging(ctx, dir, t, on)
	plan, err := r.Plan(files, meta(result, inputs, a.Version), m.resolve)
	if err != nil {
		return nil, err
	}
	if m.broken.HasErrors() {
		return nil, m.broken.Sort()
	}
	if len(m.conflicts) > 0 {
		w.Conflicts = m.conflicts
		return w, a.refuse(w)
	}
	if found := m.check(result); found.HasErrors() {
		return nil, found
	}
	w.summarize(plan)
	if !dryRun && !plan.Empty() {
		if err := r.Apply(plan); err != nil {
			return nil, err
		}
	}
	w.elapsed = time.Since(start)
	return w, nil
}

// repoFiles are what a run puts into the repository.
func repoFiles(t *render.Tree, source []byte) []repo.File {
	files := make([]repo.File, 0, len(t.Files)+1)
	for _, f := range t.Files {
		files = append(files, repo.File{Path: f.Path, Data: f.Data, Executable: f.Executable, Own: f.Own})
	}
	return append(files, repo.File{Path: ClusterFile, Data: source, Own: true, Keep: true})
}

// unchanged returns the lock where a run would change nothing: the inputs are those of the last
// run, no waiver changed its state since, and every file is as it was written.
func (a *App) unchanged(r *repo.Repo, inputs string) (*repo.Lock, error) {
	lock, err := r.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if lock.Inputs != inputs {
		return nil, nil
	}
	if lock.NextDeadline != "" {
		if deadline, err := time.Parse(time.RFC3339, lock.NextDeadline); err != nil || !a.Now().Before(deadline) {
			return nil, nil //nolint:nilerr // a deadline that cannot be read only means a full run
		}
	}
	same, err := r.Unchanged(inputs)
	if err != nil || !same {
		return nil, err
	}
	return lock, nil
}

// meta is what the lock records of a run.
func meta(result *engine.Result, inputs, version string) repo.Meta {
	m := repo.Meta{Tool: version, Kubernetes: result.Posture.Cluster.Kubernetes, Inputs: inputs}
	for _, p := range result.Profiles {
		m.Profiles = append(m.Profiles, repo.LockedProfile{Name: p.Source, Version: version, Digest: p.Digest})
	}
	if !result.Deadline.IsZero() {
		m.NextDeadline = result.Deadline.UTC().Format(time.RFC3339)
	}
	return m
}

// openWays turns the findings of the lock-out check into diagnostics.
func openWays(dir string, findings []lockout.Finding) diag.List {
	var found diag.List
	for _, f := range findings {
		d := diag.Diagnostic{Severity: f.Severity, Message: f.Message, Rule: f.Rule, Why: f.Why, Fix: f.Fix}
		if f.File != "" {
			d.File = filepath.Join(dir, filepath.FromSlash(f.File))
		}
		found = append(found, d)
	}
	return found
}

func (w *Written) summarize(plan *repo.Plan) {
	for _, item := range plan.Items {
		switch item.Op {
		case repo.Unchanged, repo.Yours, repo.Adopt:
			w.Unchanged++
		default:
			w.Changes = append(w.Changes, Change{Path: item.Path, Op: item.Op.String(), op: item.Op})
		}
	}
	w.Controls = map[string]map[string]int{}
	for _, s := range w.tree.Summaries() {
		w.Controls[s.Catalogue] = map[string]int{}
		for state, n := range s.Count {
			w.Controls[s.Catalogue][string(state)] = n
		}
	}
	for _, d := range w.tree.Undecided {
		w.Undecided = append(w.Undecided, strings.TrimSpace(d.Line))
	}
}
