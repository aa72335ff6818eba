package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/impact"
	"github.com/k8ssec/k8ssec/internal/manifest"
	"github.com/k8ssec/k8ssec/internal/merge"
	"github.com/k8ssec/k8ssec/internal/render"
	"github.com/k8ssec/k8ssec/internal/repo"
)

// DiffOptions name what to compare.
type DiffOptions struct {
	Dir string
	// From is a Git revision to compare with; empty compares with the files as they are.
	From string
	// Text adds the difference of the texts.
	Text bool
	// FailOnWeaker makes only what is weaker a finding.
	FailOnWeaker bool
}

// Differences is what the next generate would change.
type Differences struct {
	*impact.Report
	Conflicts []Conflict
	dir, from string
	texts     []string
	options   DiffOptions
}

// Err is ErrConflict, ErrFindings or nil: what the command exits by.
func (d *Differences) Err() error {
	switch {
	case len(d.Conflicts) > 0:
		return ErrConflict
	case d.options.FailOnWeaker && d.Count(impact.Weaker) > 0, !d.options.FailOnWeaker && !d.Empty():
		return ErrFindings
	}
	return nil
}

// Diff compares what generate would write with what stands in the repository, or stood there at a Git
// revision: first what it means for security, then object by object. It writes nothing.
func (a *App) Diff(ctx context.Context, o DiffOptions) (*Differences, error) {
	name := filepath.Join(o.Dir, ClusterFile)
	source, err := engine.ReadClusterFile(name)
	if err != nil {
		return nil, err
	}
	options := engine.Options{Name: name, Source: source, Dir: o.Dir, Now: a.Now()}
	return a.diff(ctx, o, options, a.Version)
}

// diff is Diff for a cluster file that may differ from the one on disk.
func (a *App) diff(ctx context.Context, o DiffOptions, options engine.Options, version string) (_ *Differences, err error) {
	r, err := repo.Open(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	inputs, err := engine.Inputs(options, version)
	if err != nil {
		return nil, err
	}
	result, err := engine.Evaluate(ctx, options)
	if err != nil {
		return nil, err
	}
	t, err := render.Render(ctx, result, a.Generators)
	if err != nil {
		return nil, err
	}
	m := a.merging(ctx, o.Dir, t, "")
	plan, err := r.Plan(repoFiles(t, options.Source), meta(result, inputs, version), m.resolve)
	if err != nil {
		return nil, err
	}
	if m.broken.HasErrors() {
		return nil, m.broken.Sort()
	}
	disk, err := readTree(r)
	if err != nil {
		return nil, err
	}
	after := make(map[string][]byte, len(disk))
	for name, data := range disk {
		after[name] = data
	}
	for _, item := range plan.Items {
		switch {
		case item.Op == repo.Delete:
			delete(after, item.Path)
		case item.Op.Writes():
			after[item.Path] = item.Data
		}
	}
	after[ClusterFile] = options.Source
	before := disk
	var oldSource []byte
	var known bool
	if o.From != "" {
		if before, err = gitTree(ctx, o.Dir, o.From); err != nil {
			return nil, err
		}
		oldSource, known = before[ClusterFile]
	} else if oldSource, known, err = r.Kept(ClusterFile); err != nil {
		return nil, err
	}
	serves := &servedBy{tree: t, files: map[string]map[string][]string{}}
	next := &impact.Tree{Posture: result.Posture, Files: after, Controls: controlStates(t), Waivers: waiverWords(result.Posture), Serves: serves.controls, Domain: serves.domain}
	old := &impact.Tree{Posture: result.Posture, Files: before}
	if known {
		old.Controls, old.Waivers = a.oldAnswers(ctx, options, oldSource, next)
	}
	d := &Differences{Conflicts: m.conflicts, dir: o.Dir, from: o.From, options: o}
	delete(before, ClusterFile)
	delete(after, ClusterFile)
	d.Report = impact.Compare(old, next)
	d.refused(m.check(result), o.Dir)
	if o.Text {
		d.unified(before, after)
	}
	return d, nil
}

// controlStates are the answers of a render by control.
func controlStates(t *render.Tree) map[string]impact.Control {
	out := make(map[string]impact.Control, len(t.Controls))
	for _, c := range t.Controls {
		out[c.Control.ID] = impact.Control{State: string(c.State), Title: c.Control.Title, Domain: c.Control.Domain}
	}
	return out
}

// waiverWords says what each waiver in force lifts.
func waiverWords(p *posture.Posture) map[string]string {
	out := map[string]string{}
	for name, w := range p.Waivers {
		if !w.Active {
			continue
		}
		where := "in the whole cluster"
		if w.Scope.Namespace != "" {
			where = "in namespace " + w.Scope.Namespace
		}
		what := w.Control
		if n := len(w.Also); n > 0 {
			what += fmt.Sprintf(" and %d more", n)
		}
		out[name] = fmt.Sprintf("%s %s until %s (owner %s: %s)", what, where, w.Expires, w.Owner, w.Reason)
	}
	return out
}

// oldAnswers are the answers and waivers under the cluster file of before; nil where it is not valid
// any more.
func (a *App) oldAnswers(ctx context.Context, o engine.Options, source []byte, next *impact.Tree) (map[string]impact.Control, map[string]string) {
	if bytes.Equal(source, o.Source) {
		return next.Controls, next.Waivers
	}
	o.Source = source
	result, err := engine.Evaluate(ctx, o)
	if err != nil {
		return nil, nil
	}
	t, err := render.Render(ctx, result, a.Generators)
	if err != nil {
		return nil, nil
	}
	return controlStates(t), waiverWords(result.Posture)
}

// refused adds the edits that generate refuses.
func (d *Differences) refused(found diag.List, dir string) {
	var changes []impact.Change
	for _, f := range found {
		if f.Severity != diag.Error {
			continue
		}
		file, err := filepath.Rel(dir, f.File)
		if err != nil {
			file = f.File
		}
		controls := f.Controls
		if f.Control != "" {
			controls = append([]string{f.Control}, controls...)
		}
		if controls == nil {
			controls = []string{}
		}
		changes = append(changes, impact.Change{
			File: filepath.ToSlash(file), Direction: impact.Weaker, Meaning: "generate refuses an edit: " + f.Message, Controls: controls,
		})
	}
	d.Changes = append(changes, d.Changes...)
}

func (d *Differences) unified(before, after map[string][]byte) {
	names := map[string]bool{}
	for name := range before {
		names[name] = true
	}
	for name := range after {
		names[name] = true
	}
	var list []string
	for name := range names {
		if string(before[name]) != string(after[name]) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	for _, name := range list {
		d.texts = append(d.texts, merge.Unified(name, before[name], after[name]))
	}
}

// readTree reads every file of a repository but what belongs to k8ssec and Git.
func readTree(r *repo.Repo) (map[string][]byte, error) {
	entries, err := r.Walk()
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if e.Symlink {
			continue
		}
		data, err := r.ReadFile(e.Path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[e.Path] = data
	}
	return files, nil
}

// gitTree reads the files below a directory as they were at a revision.
func gitTree(ctx context.Context, dir, revision string) (map[string][]byte, error) {
	if strings.HasPrefix(revision, "-") {
		return nil, fmt.Errorf("--from %q is no Git revision", revision)
	}
	git := func(input []byte, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		cmd.Stdin = bytes.NewReader(input)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("--from needs git, which is not installed")
		}
		if err != nil {
			return nil, fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(stderr.String()))
		}
		return out, nil
	}
	if _, err := git(nil, "rev-parse", "--verify", "--quiet", revision+"^{commit}"); err != nil {
		return nil, diag.List{{
			Severity: diag.Error, Message: fmt.Sprintf("%s is no revision of the Git repository that %s is in", revision, dir),
			Rule: "--from names a commit, branch or tag", Fix: "in CI, fetch it first: git fetch origin main, then --from origin/main",
		}}
	}
	list, err := git(nil, "ls-tree", "-r", "-z", revision, "--", ".")
	if err != nil {
		return nil, err
	}
	var names []string
	var ids bytes.Buffer
	for line := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		head, name, ok := strings.Cut(line, "\t")
		fields := strings.Fields(head)
		if !ok || len(fields) < 3 || fields[1] != "blob" || fields[0] == "120000" || strings.HasPrefix(name, ".k8ssec/") {
			continue
		}
		names = append(names, name)
		ids.WriteString(fields[2] + "\n")
	}
	data, err := git(ids.Bytes(), "cat-file", "--batch")
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(names))
	for _, name := range names {
		head, rest, ok := bytes.Cut(data, []byte("\n"))
		fields := strings.Fields(string(head))
		if !ok || len(fields) != 3 {
			return nil, fmt.Errorf("git cat-file answers %q", head)
		}
		size, err := strconv.Atoi(fields[2])
		if err != nil || size >= len(rest) {
			return nil, fmt.Errorf("git cat-file answers %q", head)
		}
		files[name], data = rest[:size:size], rest[size+1:]
	}
	return files, nil
}

// servedBy finds the controls that objects of a render serve.
type servedBy struct {
	tree  *render.Tree
	paths map[string]*render.File
	files map[string]map[string][]string
}

func (s *servedBy) file(name string) *render.File {
	if s.paths == nil {
		s.paths = make(map[string]*render.File, len(s.tree.Files))
		for i := range s.tree.Files {
			s.paths[s.tree.Files[i].Path] = &s.tree.Files[i]
		}
	}
	return s.paths[name]
}

func (s *servedBy) domain(name string) string {
	if f := s.file(name); f != nil {
		return f.Domain
	}
	return ""
}

func (s *servedBy) controls(name, object string) []string {
	f := s.file(name)
	if f == nil || f.Artifact == nil {
		return nil
	}
	if object == "" {
		return controlsOf(*f)
	}
	if s.files[name] == nil {
		s.files[name] = objectControls(f)
	}
	return s.files[name][object]
}

func objectControls(f *render.File) map[string][]string {
	out := map[string][]string{}
	docs, err := manifest.Decode(f.Data)
	if err != nil || path.Ext(f.Path) == "" {
		return out
	}
	for i, o := range f.Artifact.Objects {
		if i < len(docs) {
			out[objectName(docs[i])] = controlsOf(render.File{Artifact: &generators.Artifact{Claims: o.Claims}})
		}
	}
	return out
}
