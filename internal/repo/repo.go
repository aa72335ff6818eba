package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Repo is an emitted repository, or the place where one will be.
type Repo struct {
	dir     string
	root    *os.Root // nil while the directory does not exist
	disk    disk     // nil with root
	wrap    func(disk) disk
	lock    *os.File // the directory, while this run has it for itself
	created []string // directories that Acquire made, the outermost first
}

// Open opens the repository at dir. The directory need not exist; nothing is created or changed.
func Open(dir string) (*Repo, error) {
	return open(dir, func(d disk) disk { return d })
}

func open(dir string, wrap func(disk) disk) (*Repo, error) {
	r := &Repo{dir: filepath.Clean(dir), wrap: wrap}
	info, err := os.Stat(r.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(r.dir); err == nil {
			return nil, &PathError{Kind: ErrSymlink, Path: r.dir, Fix: "It points to nothing: remove it, or name another directory."}
		}
		return r, nil
	case err != nil:
		return nil, r.fail("", err)
	case !info.IsDir():
		return nil, &PathError{Kind: ErrNotDirectory, Path: r.dir, Fix: "Name another directory, or move the file away."}
	}
	return r, r.openRoot()
}

func (r *Repo) openRoot() error {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return r.fail("", err)
	}
	r.root, r.disk = root, r.wrap(rootDisk{root})
	return nil
}

// Close lets go of the repository, and of the lock if this run holds it.
func (r *Repo) Close() error {
	r.release()
	if r.root == nil {
		return nil
	}
	err := r.root.Close()
	r.root, r.disk = nil, nil
	return err
}

// Dir is the directory as it was given to Open.
func (r *Repo) Dir() string { return r.dir }

// Exists reports whether the directory exists.
func (r *Repo) Exists() bool { return r.disk != nil }

// patience is how long Acquire waits for another run: longer than a run of a thousand namespaces.
const patience = 3 * time.Second

// Acquire takes the repository for this run alone, until Close, and creates its directory if it has
// to. If another run holds it, Acquire waits a moment and then gives an ErrBusy. It finishes, or
// takes back, what an earlier run left halfway.
func (r *Repo) Acquire(ctx context.Context) error {
	return r.acquire(ctx, patience)
}

func (r *Repo) acquire(ctx context.Context, wait time.Duration) error {
	if r.disk == nil {
		if err := r.create(); err != nil {
			return err
		}
	}
	f, err := r.root.Open(".")
	if err != nil {
		return r.fail("", err)
	}
	for deadline := time.Now().Add(wait); ; {
		ok, err := tryLock(f)
		if err != nil {
			_ = f.Close()
			return r.fail("", err)
		}
		if ok {
			break
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			_ = f.Close()
			return &PathError{Kind: ErrBusy, Path: r.dir, Err: ctx.Err(), Fix: "Wait until the other k8ssec is done and run again."}
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.lock = f
	return r.recover()
}

// create makes the directory and those above it.
func (r *Repo) create() error {
	var missing []string
	for dir := r.dir; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		missing = append(missing, dir)
	}
	slices.Reverse(missing)
	for _, dir := range missing {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			r.uncreate()
			return r.failAt(dir, err)
		}
		r.created = append(r.created, dir)
	}
	if err := r.openRoot(); err != nil {
		r.uncreate()
		return err
	}
	return nil
}

// failAt is fail for a path outside of the repository.
func (r *Repo) failAt(name string, err error) error {
	at := &Repo{dir: name}
	return at.fail("", err)
}

// uncreate removes the directories that create made, if they are still empty.
func (r *Repo) uncreate() {
	for _, dir := range slices.Backward(r.created) {
		if os.Remove(dir) != nil {
			break
		}
	}
	r.created = nil
}

// release gives the lock back and removes directories that nothing was written to.
func (r *Repo) release() {
	r.uncreate()
	if r.lock != nil {
		_ = r.lock.Close() // the lock goes with it
		r.lock = nil
	}
}

// interrupted gives an ErrInterrupted where an earlier run stopped halfway.
func (r *Repo) interrupted() error {
	if r.disk == nil {
		return nil
	}
	for _, dir := range []string{commitPath, backPath} {
		name := dir + "/" + journalName
		if _, err := r.disk.Lstat(name); err == nil {
			return &PathError{
				Kind: ErrInterrupted, Path: r.show(name),
				Fix: "If no other k8ssec is at work, run k8ssec generate: it finishes that run.",
			}
		}
	}
	return nil
}

// state is one file of the tree.
type state struct {
	exists bool
	sha    string
	info   fs.FileInfo
}

func (s state) executable() bool { return s.exists && s.info.Mode()&0o111 != 0 }

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// states reads the files with these names. Directories in the place of files, and symbolic links
// anywhere on the way, are errors for the names that a run may write to, and count as absent for
// the others.
func (r *Repo) states(names []string, mayWrite func(name string) bool) (map[string]state, error) {
	if r.disk == nil {
		return map[string]state{}, nil
	}
	present := map[string]bool{".": true} // directories
	reach := func(name string) (bool, error) {
		for _, dir := range parents(name) {
			ok, known := present[dir]
			if !known {
				info, err := r.disk.Lstat(dir)
				switch {
				case errors.Is(err, fs.ErrNotExist):
				case err != nil:
					return false, r.fail(dir, err)
				case info.IsDir():
					ok = true
				case mayWrite(name):
					return false, r.notDirectory(dir, info)
				}
				if info != nil && !info.IsDir() {
					return false, nil // not remembered: an error for the next name perhaps
				}
				present[dir] = ok
			}
			if !ok {
				return false, nil
			}
		}
		return true, nil
	}
	var reachable []string
	for _, name := range names {
		ok, err := reach(name)
		if err != nil {
			return nil, err
		}
		if ok {
			reachable = append(reachable, name)
		}
	}
	folders := map[string]folder{}
	defer func() {
		for _, f := range folders {
			_ = f.Close() // it was only read
		}
	}()
	for _, name := range reachable {
		if dir := path.Dir(name); folders[dir] == nil {
			f, err := r.disk.Folder(dir)
			if err != nil {
				return nil, r.fail(dir, err)
			}
			folders[dir] = f
		}
	}
	found := make([]state, len(reachable))
	var buffers sync.Pool
	err := parallel(len(reachable), func(i int) error {
		buf, ok := buffers.Get().(*[]byte)
		if !ok {
			buf = new([]byte)
		}
		defer buffers.Put(buf)
		var err error
		found[i], err = r.state(folders[path.Dir(reachable[i])], reachable[i], mayWrite(reachable[i]), buf)
		return err
	})
	if err != nil {
		return nil, err
	}
	states := make(map[string]state, len(reachable))
	for i, name := range reachable {
		if found[i].exists {
			states[name] = found[i]
		}
	}
	return states, nil
}

// state reads one file of a folder, by way of buf.
func (r *Repo) state(f folder, name string, mayWrite bool, buf *[]byte) (state, error) {
	info, err := f.Lstat(path.Base(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return state{}, nil
	case err != nil:
		return state{}, r.fail(name, err)
	case !info.Mode().IsRegular() && mayWrite:
		return state{}, r.notFile(name, info)
	case !info.Mode().IsRegular():
		return state{}, nil
	}
	data, err := f.Append((*buf)[:0], path.Base(name))
	*buf = data
	if err != nil {
		return state{}, r.fail(name, err)
	}
	return state{exists: true, sha: digest(data), info: info}, nil
}

func (r *Repo) notDirectory(name string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return &PathError{
			Kind: ErrSymlink, Path: r.show(name),
			Fix: "k8ssec never writes through one: replace it with a directory.",
		}
	}
	return &PathError{Kind: ErrNotDirectory, Path: r.show(name), Fix: "Move the file away and run again."}
}

func (r *Repo) notFile(name string, info fs.FileInfo) error {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return &PathError{
			Kind: ErrSymlink, Path: r.show(name),
			Fix: "k8ssec never writes through one: replace it with a file.",
		}
	case info.IsDir():
		return &PathError{Kind: ErrNotFile, Path: r.show(name), Fix: "Move the directory away and run again."}
	}
	return &PathError{
		Kind: ErrNotFile, Path: r.show(name), Err: fmt.Errorf("it is a %s", info.Mode().Type()),
		Fix: "Only plain files belong there: move it away and run again.",
	}
}

// Status is the tree against the lock.
type Status struct {
	Lock *Lock
	// Edited files differ from the last render, in bytes or in being executable.
	Edited []string
	// Kept files differ from the last render too, and are what the last run has checked and kept.
	Kept []string
	// Missing files are in the lock and not in the tree.
	Missing []string
	// BaseDamaged files have no base, or one that is not what the lock says. A run repairs those
	// that are not edited.
	BaseDamaged []string
}

// Clean reports whether the tree is what the last run left.
func (s *Status) Clean() bool { return len(s.Edited)+len(s.Missing)+len(s.BaseDamaged) == 0 }

// Status compares every file by its digest; times and sizes are not trusted. It changes nothing.
func (r *Repo) Status() (*Status, error) {
	if err := r.interrupted(); err != nil {
		return nil, err
	}
	lock, err := r.Load()
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(lock.Files))
	states, err := r.states(names, func(string) bool { return false })
	if err != nil {
		return nil, err
	}
	s := &Status{Lock: lock}
	for _, name := range names {
		switch tree := states[name]; {
		case !tree.exists:
			s.Missing = append(s.Missing, name)
		case tree.sha == lock.Files[name].Edited:
			s.Kept = append(s.Kept, name)
		case tree.sha != lock.Files[name].SHA256 || tree.executable() != lock.Files[name].Executable():
			s.Edited = append(s.Edited, name)
		}
	}
	good, err := r.goodBases(lock)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !good[name] {
			s.BaseDamaged = append(s.BaseDamaged, name)
		}
	}
	return s, nil
}

// goodBases names the files whose base is there and is what the lock says.
func (r *Repo) goodBases(lock *Lock) (map[string]bool, error) {
	names, err := r.baseArchives()
	if err != nil {
		return nil, err
	}
	parts := make([][]string, len(names))
	err = parallel(len(names), func(i int) error {
		err := r.readArchive(names[i], func(f baseFile) {
			if digest(f.data) == lock.Files[f.path].SHA256 {
				parts[i] = append(parts[i], f.path)
			}
		})
		if errors.Is(err, ErrDamaged) {
			return nil
		}
		return err
	})
	good := make(map[string]bool, len(lock.Files))
	for _, part := range parts {
		for _, name := range part {
			good[name] = true
		}
	}
	return good, err
}

// Unchanged reports whether a run with these inputs has nothing to do: the lock was made from the
// same inputs, and every file and the base are what it says. It is much cheaper than a render and a
// plan. The caller looks at Lock.NextDeadline first, because a waiver that expires is no input.
func (r *Repo) Unchanged(inputs string) (bool, error) {
	lock, err := r.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || lock.Inputs != inputs {
		return false, err
	}
	status, err := r.Status()
	return err == nil && status.Clean(), err
}

// Entry is one file or link that Walk found.
type Entry struct {
	Path string
	// Symlink marks a symbolic link. Walk does not follow it, and neither does ReadFile.
	Symlink bool
}

// Walk lists every file of the tree, also the user's, sorted, without what belongs to Git and to
// this package.
func (r *Repo) Walk() ([]Entry, error) {
	var entries []Entry
	if r.disk == nil {
		return nil, nil
	}
	var walk func(dir string) error
	walk = func(dir string) error {
		list, err := r.disk.ReadDir(dir)
		if err != nil {
			return r.fail(dir, err)
		}
		for _, e := range list {
			name := path.Join(dir, e.Name())
			switch {
			case name == stateDir || e.Name() == ".git":
			case e.IsDir():
				if err := walk(name); err != nil {
					return err
				}
			case e.Type().IsRegular():
				entries = append(entries, Entry{Path: name})
			case e.Type()&fs.ModeSymlink != 0:
				entries = append(entries, Entry{Path: name, Symlink: true})
			}
		}
		return nil
	}
	err := walk(".")
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return entries, err
}

// ReadFile reads one file of the tree. It does not follow a symbolic link in its last part, and
// never leaves the repository.
func (r *Repo) ReadFile(name string) ([]byte, error) {
	if r.disk == nil {
		return nil, fmt.Errorf("%s: %w", r.show(name), fs.ErrNotExist)
	}
	info, err := r.disk.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", r.show(name), fs.ErrNotExist)
	}
	if err != nil {
		return nil, r.fail(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, r.notFile(name, info)
	}
	data, err := r.disk.ReadFile(name)
	if err != nil {
		return nil, r.fail(name, err)
	}
	return data, nil
}
