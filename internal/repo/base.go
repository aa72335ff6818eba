package repo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// The base is kept in archives of text. One holds the files of one directory; a directory of very
// many files is cut before those whose path has a digest that ends in ten zero bits, about one in a
// thousand. The cut depends on the path alone, so that a new namespace rewrites one archive and
// leaves the others.
//
// In an archive, a line "-- PATH --" begins a file. A line of a file that begins like one (after any
// number of backslashes) gets one more backslash.

const (
	baseSuffix   = ".base"
	markerStart  = "-- "
	markerEnd    = " --"
	markerEndCut = " -- without a final newline"
)

// baseFile is one file of the base.
type baseFile struct {
	path string
	data []byte
}

// archives puts files, sorted by path, into archives by the path of the archive.
func archives(files []baseFile) map[string][]byte {
	out := map[string][]byte{}
	current := map[string]string{} // directory to the archive that it is filling
	for _, f := range files {
		dir, name := path.Split(f.path)
		archive, ok := current[dir]
		switch sum := sha256.Sum256([]byte(f.path)); {
		case !ok:
			archive = path.Join(basePath, dir, baseSuffix)
		case sum[31] == 0 && sum[30]&3 == 0:
			archive = path.Join(basePath, dir, name+baseSuffix)
		}
		current[dir] = archive
		data, ok := out[archive]
		if !ok {
			data = []byte("The last render of the files in /" + strings.TrimSuffix(dir, "/") + ", for merging. Written by k8ssec: do not edit.\n")
		}
		out[archive] = appendBaseFile(data, f)
	}
	return out
}

func appendBaseFile(b []byte, f baseFile) []byte {
	b = append(append(b, markerStart...), f.path...)
	end := markerEnd
	if len(f.data) > 0 && f.data[len(f.data)-1] != '\n' {
		end = markerEndCut
	}
	b = append(append(b, end...), '\n')
	if !bytes.Contains(f.data, []byte(markerStart)) {
		b = append(b, f.data...)
	} else {
		for line := range bytes.Lines(f.data) {
			if bytes.HasPrefix(bytes.TrimLeft(line, `\`), []byte(markerStart)) {
				b = append(b, '\\')
			}
			b = append(b, line...)
		}
	}
	if end == markerEndCut {
		b = append(b, '\n')
	}
	return b
}

// parseArchive calls yield for each file of an archive. The data may be part of the archive's.
func parseArchive(data []byte, yield func(baseFile)) error {
	var f *baseFile
	cut := false
	flush := func() {
		if f == nil {
			return
		}
		if cut {
			f.data = bytes.TrimSuffix(f.data, []byte("\n"))
		}
		yield(*f)
	}
	start := 0 // of the lines of f that need no change and are not taken over yet
	take := func(end int) {
		if f != nil && f.data == nil {
			f.data = data[start:end:end]
		} else if f != nil {
			f.data = append(f.data, data[start:end]...)
		}
	}
	for at := 0; at < len(data); {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		line := data[at:end]
		switch {
		case bytes.HasPrefix(line, []byte(markerStart)):
			take(at)
			flush()
			name, noNewline := strings.CutSuffix(string(line), markerEndCut+"\n")
			if !noNewline {
				var ok bool
				if name, ok = strings.CutSuffix(name, markerEnd+"\n"); !ok {
					return fmt.Errorf("%q does not begin a file", strings.TrimSpace(string(line)))
				}
			}
			f, cut, start = &baseFile{path: name[len(markerStart):]}, noNewline, end
		case f != nil && line[0] == '\\' && bytes.HasPrefix(bytes.TrimLeft(line, `\`), []byte(markerStart)):
			take(at)
			start = at + 1
		case f == nil && at > 0:
			return errors.New("it does not begin with a file")
		}
		at = end
	}
	take(len(data))
	flush()
	return nil
}

// maxArchiveSize bounds what is read; a thousand files of 10 KB are 10 MB.
const maxArchiveSize = 256 << 20

// baseArchives lists the archives that are on disk, sorted.
func (r *Repo) baseArchives() ([]string, error) {
	var names []string
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := r.disk.ReadDir(dir)
		if err != nil {
			return r.fail(dir, err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			switch {
			case e.IsDir():
				if err := walk(name); err != nil {
					return err
				}
			case !e.Type().IsRegular():
				return &PathError{
					Kind: ErrSymlink, Path: r.show(name),
					Fix: "Only plain files belong there: remove it and run again.",
				}
			default:
				names = append(names, name)
			}
		}
		return nil
	}
	if r.disk == nil {
		return nil, nil
	}
	info, err := r.disk.Lstat(basePath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, r.fail(basePath, err)
	}
	if !info.IsDir() {
		return nil, r.notDirectory(basePath, info)
	}
	err = walk(basePath)
	slices.Sort(names)
	return names, err
}

// Base returns the exact bytes of the last render of one file. It is an error that is ErrDamaged
// where they are not there any more or are not what the lock says.
func (r *Repo) Base(name string) ([]byte, error) {
	lock, err := r.Load()
	if err != nil {
		return nil, err
	}
	base, err := r.bases(lock, []string{name})
	if err != nil {
		return nil, err
	}
	data, ok := base[name]
	if !ok {
		return nil, r.noBase(name)
	}
	return data, nil
}

// noBase says that there is nothing to merge a file from.
func (r *Repo) noBase(name string) error {
	return &PathError{
		Kind: ErrDamaged, Path: r.show(basePath), Err: fmt.Errorf("the last render of %s is missing or differs from the lock", name),
		Fix: "Bring the directory back from Git (git checkout -- " + basePath + ").",
	}
}

// Kept returns the text that a file of the user's had at the last run (File.Keep); false where no run
// has kept it.
func (r *Repo) Kept(name string) ([]byte, bool, error) {
	if r.disk == nil {
		return nil, false, nil
	}
	archives, err := r.baseArchives()
	if err != nil {
		return nil, false, err
	}
	var data []byte
	found := false
	for _, archive := range archives {
		if path.Dir(archive) != path.Join(basePath, path.Dir(name)) {
			continue
		}
		err := r.readArchive(archive, func(f baseFile) {
			if f.path == name {
				data, found = f.data, true
			}
		})
		if err != nil && !errors.Is(err, ErrDamaged) {
			return nil, false, err
		}
	}
	return data, found, nil
}

// bases returns the last render of some files: those that are there and are what the lock says.
func (r *Repo) bases(lock *Lock, names []string) (map[string][]byte, error) {
	wanted := make(map[string]bool, len(names))
	dirs := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
		dirs[path.Join(basePath, path.Dir(name))] = true
	}
	found := map[string][]byte{}
	all, err := r.baseArchives()
	if err != nil {
		return nil, err
	}
	// A Git merge can leave a file in another archive of its directory than a fresh run would.
	for _, archive := range all {
		if !dirs[path.Dir(archive)] {
			continue
		}
		err := r.readArchive(archive, func(f baseFile) {
			if wanted[f.path] && digest(f.data) == lock.Files[f.path].SHA256 {
				found[f.path] = f.data
			}
		})
		if err != nil && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
	}
	return found, nil
}

func (r *Repo) readArchive(name string, yield func(baseFile)) error {
	info, err := r.disk.Lstat(name)
	if err != nil {
		return r.fail(name, err)
	}
	if info.Size() > maxArchiveSize {
		return r.damaged(name, errors.New("it is far too large"))
	}
	data, err := r.disk.ReadFile(name)
	if err != nil {
		return r.fail(name, err)
	}
	if err := parseArchive(data, yield); err != nil {
		return r.damaged(name, err)
	}
	return nil
}
