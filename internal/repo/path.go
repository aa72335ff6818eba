package repo

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Names below the root of the repository.
const (
	stateDir    = ".k8ssec"
	lockPath    = stateDir + "/lock.yaml"
	basePath    = stateDir + "/base"
	stagingPath = stateDir + "/staging"
	commitPath  = stateDir + "/commit"
	backPath    = stateDir + "/rollback"
)

// UserOwned reports whether a path belongs to the user alone: the cluster file and the patches.
// What a run puts there, it puts there once.
func UserOwned(name string) bool {
	return name == "cluster.cue" || strings.HasPrefix(name, "patches/")
}

// checkPath refuses a path that could leave the repository, hide in it, or mean something else on
// another machine. It holds for the render (where it is a bug of ours) and for the lock (which
// comes from a repository, and so from anyone who can open a pull request).
func checkPath(name string) error {
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("path %q is not relative and clean", name)
	}
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' || strings.IndexByte(`\:*?"<>|`, c) >= 0 {
			return fmt.Errorf("path %q has the character %q, which not every file system has", name, c)
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		switch lower := strings.ToLower(part); {
		case lower == ".git" || lower == stateDir:
			return fmt.Errorf("path %q is in %s, which has its own writer", name, part)
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") || strings.HasPrefix(part, " "):
			return fmt.Errorf("path %q begins or ends a name with a space or dot, which not every file system keeps", name)
		case strings.HasSuffix(lower, baseSuffix):
			return fmt.Errorf("path %q ends in %s, which is the name of an archive of ours", name, baseSuffix)
		case len(part) > 250:
			return fmt.Errorf("path %q has a name longer than 250 characters", name)
		}
	}
	return nil
}

// checkPaths checks every path on its own and against the others: no two that are the same on a
// file system that ignores case, none that is a directory of another.
func checkPaths(names []string) error {
	files := make(map[string]string, len(names))
	for _, name := range names {
		if err := checkPath(name); err != nil {
			return err
		}
		lower := strings.ToLower(name)
		if other, ok := files[lower]; ok {
			return fmt.Errorf("paths %q and %q are the same where case is ignored", other, name)
		}
		files[lower] = name
	}
	dirs := map[string]string{}
	for _, name := range names {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			lower := strings.ToLower(dir)
			if file, ok := files[lower]; ok {
				return fmt.Errorf("path %q needs %q to be a directory, and it is a file", name, file)
			}
			if other, ok := dirs[lower]; ok && other != dir {
				return fmt.Errorf("directories %q and %q are the same where case is ignored", other, dir)
			} else if ok {
				break
			}
			dirs[lower] = dir
		}
	}
	return nil
}
