package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// journal is what a run is about to do, written before it begins.
type journal struct {
	Steps []step `json:"steps"`
	// Dirs are the directories that do not exist yet, parents first.
	Dirs []string `json:"dirs,omitempty"`
}

// step is one file. Its new bytes wait in new/N, its old ones in old/N.
type step struct {
	Path string `json:"path"`
	Old  string `json:"old,omitempty"` // digest; empty where there was no file
	New  string `json:"new,omitempty"` // digest; empty where the file goes away
}

const journalName = "journal.json"

func newFile(dir string, i int) string { return dir + "/new/" + strconv.Itoa(i) }
func oldFile(dir string, i int) string { return dir + "/old/" + strconv.Itoa(i) }

// Apply makes the plan true. It needs Acquire. It either writes all of the plan or, with an error,
// nothing; only where the error is an ErrInterrupted as well is the rest left to the next run. A
// plan with refused items gives a *RefusedError.
func (r *Repo) Apply(p *Plan) error {
	if r.lock == nil {
		return errors.New("apply without acquire")
	}
	if refused := p.Refused(); len(refused) > 0 {
		return &RefusedError{Items: refused}
	}
	if p.Empty() {
		return nil
	}
	if err := r.interrupted(); err != nil {
		return err
	}
	var items []Item
	for _, item := range p.Items {
		if item.Op.Writes() {
			items = append(items, item)
		}
	}
	items = append(items, p.internal...)
	j := journal{Steps: make([]step, len(items))}
	for i, item := range items {
		j.Steps[i] = step{Path: item.Path, Old: item.tree.sha}
		if item.Op != Delete {
			j.Steps[i].New = digest(item.Data)
		}
	}
	var err error
	if j.Dirs, err = r.missingDirs(items); err != nil {
		return err
	}
	if err := r.stage(items, &j); err != nil {
		_ = r.disk.RemoveAll(stagingPath) // else the next run does it
		r.leaveNoState(&j)
		return err
	}
	r.created = nil // from here on there is something in them
	return r.finish(&j, false)
}

// missingDirs lists the directories that the plan needs and that are not there.
func (r *Repo) missingDirs(items []Item) ([]string, error) {
	seen := map[string]bool{}
	var missing []string
	for _, item := range items {
		if item.Op == Delete {
			continue
		}
		for _, dir := range parents(item.Path) {
			if seen[dir] {
				continue
			}
			seen[dir] = true
			info, err := r.disk.Lstat(dir)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				missing = append(missing, dir)
			case err != nil:
				return nil, r.fail(dir, err)
			case !info.IsDir():
				return nil, r.notDirectory(dir, info)
			}
		}
	}
	return missing, nil
}

// stage prepares everything, and makes it the decided state with its last step.
func (r *Repo) stage(items []Item, j *journal) error {
	if slices.Contains(j.Dirs, stateDir) {
		if err := r.disk.Mkdir(stateDir); err != nil {
			return r.fail(stateDir, err)
		}
	}
	for _, dir := range []string{stagingPath, commitPath} {
		if err := r.discard(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{stagingPath, stagingPath + "/new", stagingPath + "/old"} {
		if err := r.disk.Mkdir(dir); err != nil {
			return r.fail(dir, err)
		}
	}
	flush := len(items) <= flushEach
	err := parallel(len(items), func(i int) error { return r.stageItem(&items[i], i, flush) })
	if err != nil {
		return err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	name := stagingPath + "/" + journalName
	if err := r.disk.Write(name, text, 0o644, flush); err != nil {
		return r.fail(name, err)
	}
	if !flush {
		if err := r.disk.FlushAll(); err != nil {
			return r.fail("", err)
		}
	}
	for _, dir := range []string{stagingPath + "/new", stagingPath + "/old", stagingPath} {
		if err := r.disk.FlushDir(dir); err != nil {
			return r.fail(dir, err)
		}
	}
	for i := range items {
		if err := r.unmoved(&items[i]); err != nil {
			return err
		}
	}
	if err := r.disk.Rename(stagingPath, commitPath); err != nil {
		return r.fail(stagingPath, err)
	}
	return nil
}

// stageItem writes the new bytes and keeps the old ones.
func (r *Repo) stageItem(item *Item, i int, flush bool) error {
	perm := fs.FileMode(0o644)
	if item.tree.exists {
		perm = item.tree.info.Mode().Perm()
		to := oldFile(stagingPath, i)
		if err := r.disk.Link(item.Path, to); err != nil {
			// Some file systems have no hard links, and Linux forbids them to files of others.
			data, err := r.disk.ReadFile(item.Path)
			if err != nil {
				return r.fail(item.Path, err)
			}
			if err := r.disk.Write(to, data, perm, flush); err != nil {
				return r.fail(to, err)
			}
		}
	}
	if item.Op == Delete {
		return nil
	}
	if item.Executable {
		perm |= 0o111
	} else {
		perm &^= 0o111
	}
	to := newFile(stagingPath, i)
	if err := r.disk.Write(to, item.Data, perm, flush); err != nil {
		return r.fail(to, err)
	}
	return nil
}

// unmoved gives an error if the file is not what the plan saw.
func (r *Repo) unmoved(item *Item) error {
	info, err := r.disk.Lstat(item.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !item.tree.exists:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return r.fail(item.Path, err)
	case err == nil && item.tree.exists && os.SameFile(info, item.tree.info) &&
		info.Size() == item.tree.info.Size() && info.ModTime().Equal(item.tree.info.ModTime()) &&
		info.Mode() == item.tree.info.Mode():
		return nil
	}
	return &PathError{Kind: ErrChanged, Path: r.show(item.Path), Fix: "Nothing was written; run again."}
}

// finish carries out a decided state. If that fails, it takes it back.
func (r *Repo) finish(j *journal, recovering bool) error {
	err := r.forward(j, recovering)
	if err == nil {
		return nil
	}
	backErr := r.disk.Rename(commitPath, backPath)
	if backErr == nil {
		backErr = r.back(j)
	}
	if backErr != nil {
		return errors.Join(err, &PathError{
			Kind: ErrInterrupted, Path: r.show(stateDir), Err: backErr,
			Fix: "Some files may be old and some new; run k8ssec generate again to make them one.",
		})
	}
	return err
}

// forward puts everything in its place. While recovering, it looks at each file first: what the
// user has changed since is passed over.
func (r *Repo) forward(j *journal, recovering bool) error {
	if err := r.disk.FlushDir(stateDir); err != nil {
		return r.fail(stateDir, err)
	}
	for _, dir := range j.Dirs {
		if err := r.disk.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return r.fail(dir, err)
		}
	}
	touched := map[string]bool{}
	for _, dir := range j.Dirs {
		touched[path.Dir(dir)] = true
	}
	for i, s := range j.Steps {
		if recovering {
			ok, err := r.undecided(i, s)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
		}
		if s.New == "" {
			if err := r.disk.Remove(s.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return r.fail(s.Path, err)
			}
		} else if err := r.disk.Rename(newFile(commitPath, i), s.Path); err != nil {
			return r.fail(s.Path, err)
		}
		touched[path.Dir(s.Path)] = true
	}
	for _, s := range j.Steps {
		if s.New == "" {
			for _, dir := range slices.Backward(parents(s.Path)) {
				if r.disk.Remove(dir) != nil {
					break // not empty, or gone
				}
				delete(touched, dir)
			}
		}
	}
	for dir := range touched {
		if err := r.disk.FlushDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r.fail(dir, err)
		}
	}
	return r.done(commitPath)
}

// undecided reports whether a step of an earlier run is still to be done.
func (r *Repo) undecided(i int, s step) (bool, error) {
	if s.New != "" {
		if _, err := r.disk.Lstat(newFile(commitPath, i)); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
	}
	now, err := r.current(s.Path)
	return now == s.Old || now == s.New, err
}

// current is the digest of a file, empty where there is none, and "-" where there is something else.
func (r *Repo) current(name string) (string, error) {
	info, err := r.disk.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "", nil
	case err != nil:
		return "", r.fail(name, err)
	case !info.Mode().IsRegular():
		return "-", nil
	}
	data, err := r.disk.ReadFile(name)
	if err != nil {
		return "", r.fail(name, err)
	}
	return digest(data), nil
}

// back puts the old files back into their places. It can be repeated.
func (r *Repo) back(j *journal) error {
	touched := map[string]bool{}
	for i, s := range slices.Backward(j.Steps) {
		now, err := r.current(s.Path)
		if err != nil {
			return err
		}
		if now != s.Old && now != s.New {
			continue // the user's, by now
		}
		switch {
		case s.Old == "" && now != "":
			if err := r.disk.Remove(s.Path); err != nil {
				return r.fail(s.Path, err)
			}
		case s.Old != "":
			if _, err := r.disk.Lstat(oldFile(backPath, i)); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			for _, dir := range parents(s.Path) {
				if err := r.disk.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
					return r.fail(dir, err)
				}
			}
			// Where both are the same file still, this does nothing, as POSIX has it.
			if err := r.disk.Rename(oldFile(backPath, i), s.Path); err != nil {
				return r.fail(s.Path, err)
			}
		default:
			continue
		}
		touched[path.Dir(s.Path)] = true
	}
	for _, dir := range slices.Backward(j.Dirs) {
		if dir != stateDir && r.disk.Remove(dir) == nil {
			delete(touched, dir)
			touched[path.Dir(dir)] = true
		}
	}
	for dir := range touched {
		if err := r.disk.FlushDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r.fail(dir, err)
		}
	}
	if err := r.done(backPath); err != nil {
		return err
	}
	r.leaveNoState(j)
	return nil
}

// leaveNoState removes the state directory if the run that failed had made it.
func (r *Repo) leaveNoState(j *journal) {
	if slices.Contains(j.Dirs, stateDir) {
		_ = r.disk.Remove(stateDir) // fails, as it should, if something is in it
	}
}

// done ends a journal. Without it the directory means nothing any more, so that what cannot be
// removed of it now can be removed by the next run.
func (r *Repo) done(dir string) error {
	name := dir + "/" + journalName
	if err := r.disk.Remove(name); err != nil {
		return r.fail(name, err)
	}
	_ = r.disk.RemoveAll(dir)
	return nil
}

// recover brings the repository to one state: what an earlier run decided, or what was before it.
func (r *Repo) recover() error {
	info, err := r.disk.Lstat(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return r.fail(stateDir, err)
	}
	if !info.IsDir() {
		return r.notDirectory(stateDir, info)
	}
	if err := r.discard(stagingPath); err != nil {
		return err
	}
	if j, err := r.journal(backPath); err != nil {
		return err
	} else if j != nil {
		if err := r.back(j); err != nil {
			return err
		}
	}
	if err := r.discard(backPath); err != nil {
		return err
	}
	if j, err := r.journal(commitPath); err != nil {
		return err
	} else if j != nil {
		whole, err := r.whole(j)
		if err != nil {
			return err
		}
		if !whole {
			if err := r.disk.Rename(commitPath, backPath); err != nil {
				return r.fail(commitPath, err)
			}
			return r.back(j)
		}
		return r.finish(j, true)
	}
	return r.discard(commitPath)
}

// discard removes a directory of an earlier run, if it is there.
func (r *Repo) discard(dir string) error {
	if _, err := r.disk.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := r.disk.RemoveAll(dir); err != nil {
		return r.fail(dir, err)
	}
	return nil
}

// journal reads the journal of an earlier run; nil if there is none.
func (r *Repo) journal(dir string) (*journal, error) {
	name := dir + "/" + journalName
	info, err := r.disk.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, r.fail(name, err)
	}
	damaged := func(err error) error {
		return &PathError{
			Kind: ErrDamaged, Path: r.show(name), Err: err,
			Fix: "Remove " + r.show(dir) + ", look at git status, and run again.",
		}
	}
	if !info.Mode().IsRegular() || info.Size() > maxLockSize {
		return nil, damaged(errors.New("it is no journal"))
	}
	data, err := r.disk.ReadFile(name)
	if err != nil {
		return nil, r.fail(name, err)
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, damaged(err)
	}
	for _, s := range j.Steps {
		if !ours(s.Path) || UserOwned(s.Path) && s.Old != "" {
			return nil, damaged(fmt.Errorf("%q is no path of ours", s.Path))
		}
	}
	for _, dir := range j.Dirs {
		if dir != stateDir && !ours(dir) {
			return nil, damaged(fmt.Errorf("%q is no path of ours", dir))
		}
	}
	return &j, nil
}

// ours reports whether a run may write to a path.
func ours(name string) bool {
	if checkPath(name) == nil {
		return true
	}
	inside, ok := strings.CutPrefix(name, stateDir+"/")
	return ok && fs.ValidPath(inside)
}

// whole reports whether every new file that still waits is what the journal says. It is not where
// the power failed on a system that cannot flush.
func (r *Repo) whole(j *journal) (bool, error) {
	for i, s := range j.Steps {
		if s.New == "" {
			continue
		}
		now, err := r.current(newFile(commitPath, i))
		if err != nil {
			return false, err
		}
		if now != "" && now != s.New {
			return false, nil
		}
	}
	return true, nil
}
