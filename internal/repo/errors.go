package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// What can be wrong with a place on disk. Every *PathError is one of these to errors.Is.
var (
	ErrPermission   = errors.New("no permission")
	ErrNoSpace      = errors.New("the disk is full")
	ErrReadOnly     = errors.New("the file system is read-only")
	ErrSymlink      = errors.New("a symbolic link is in the way")
	ErrNotDirectory = errors.New("a file stands where a directory must be")
	ErrNotFile      = errors.New("a directory stands where a file must be")
	ErrChanged      = errors.New("the file changed during the run")
	ErrBusy         = errors.New("another run is at work")
	ErrInterrupted  = errors.New("an earlier run did not finish")
	ErrDamaged      = errors.New("a file of k8ssec itself is damaged")
	ErrIO           = errors.New("the file system reports an error")
)

// PathError names a place on disk, what is wrong with it and what to do about it. The tree is as it
// was before.
type PathError struct {
	Kind error  // one of the errors above
	Path string // as a person would type it
	Fix  string // what to do
	Err  error  // what the system said; may be nil
}

func (e *PathError) Error() string {
	message := fmt.Sprintf("%s: %s", e.Path, e.Kind)
	if e.Err != nil {
		message += fmt.Sprintf(" (%s)", e.Err)
	}
	if e.Fix != "" {
		message += ". " + e.Fix
	}
	return message
}

func (e *PathError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// fail turns an error of the system into one that a person can act on.
func (r *Repo) fail(name string, err error) error {
	var known *PathError
	if err == nil || errors.As(err, &known) {
		return err
	}
	e := &PathError{Kind: ErrIO, Path: r.show(name), Err: cause(err)}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Fix = ErrNoSpace, "Free some space and run again; nothing was changed."
	case errors.Is(err, syscall.EROFS):
		e.Kind, e.Fix = ErrReadOnly, "Mount it for writing, or name another directory."
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Fix = ErrPermission, "Give yourself the right to read and write there, or name another directory."
	case errors.Is(err, syscall.ELOOP):
		e.Kind, e.Fix = ErrSymlink, "Replace the symbolic link with a directory."
	case errors.Is(err, syscall.ENOTDIR):
		e.Kind, e.Fix = ErrNotDirectory, "Move the file away and run again."
	case errors.Is(err, syscall.EISDIR):
		e.Kind, e.Fix = ErrNotFile, "Move the directory away and run again."
	}
	return e
}

// cause is what the system said, without the path that the message begins with.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// show is a path as a person would type it.
func (r *Repo) show(name string) string {
	return filepath.Join(r.dir, filepath.FromSlash(name))
}

// RefusedError says that a plan was not applied because it would have lost work of the user's.
type RefusedError struct {
	// Items are all paths that stand in the way, sorted.
	Items []Item
}

func (e *RefusedError) Error() string {
	lines := make([]string, 0, 1+len(e.Items))
	lines = append(lines, "nothing was written: these files are yours or have edits of yours, and the new render differs")
	for _, item := range e.Items {
		lines = append(lines, fmt.Sprintf("  %s: %s", item.Path, item.Op))
	}
	return strings.Join(lines, "\n")
}
