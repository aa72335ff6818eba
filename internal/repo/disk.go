package repo

import (
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
)

// disk is what Apply does to the file system. Tests put one in between that fails or stops at any
// step. Every name is a slash path below the root of the repository.
type disk interface {
	Lstat(name string) (fs.FileInfo, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	// Folder opens a directory for reading many of its files. os.Root walks down from the root for
	// each name, which would be most of the work of a rerun.
	Folder(name string) (folder, error)
	Mkdir(name string) error
	// Write creates a file that must not exist yet.
	Write(name string, data []byte, perm fs.FileMode, flush bool) error
	Link(from, to string) error
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	// FlushAll brings to disk all that was written.
	FlushAll() error
	// FlushDir brings to disk the names in a directory.
	FlushDir(name string) error
}

// folder reads the files of one directory, by their last name.
type folder interface {
	Lstat(name string) (fs.FileInfo, error)
	// Append appends the content of a plain file to buf.
	Append(buf []byte, name string) ([]byte, error)
	Close() error
}

// rootFolder is the real one.
type rootFolder struct{ *os.Root }

func (d rootFolder) Append(buf []byte, name string) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	for {
		buf = slices.Grow(buf, 512)
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// rootDisk is the real one. os.Root never leaves the repository, whatever links are in it.
type rootDisk struct{ root *os.Root }

func (d rootDisk) Lstat(name string) (fs.FileInfo, error) { return d.root.Lstat(name) }
func (d rootDisk) ReadFile(name string) ([]byte, error)   { return d.root.ReadFile(name) }
func (d rootDisk) Mkdir(name string) error                { return d.root.Mkdir(name, 0o755) }
func (d rootDisk) Link(from, to string) error             { return d.root.Link(from, to) }
func (d rootDisk) Rename(from, to string) error           { return d.root.Rename(from, to) }
func (d rootDisk) Remove(name string) error               { return d.root.Remove(name) }
func (d rootDisk) RemoveAll(name string) error            { return d.root.RemoveAll(name) }

func (d rootDisk) ReadDir(name string) ([]fs.DirEntry, error) {
	return fs.ReadDir(d.root.FS(), name)
}

func (d rootDisk) Folder(name string) (folder, error) {
	root, err := d.root.OpenRoot(name)
	return rootFolder{root}, err
}

func (d rootDisk) Write(name string, data []byte, perm fs.FileMode, flush bool) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && flush {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (d rootDisk) FlushAll() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	err = syncFileSystem(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (d rootDisk) FlushDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be flushed there
	}
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// parallel calls do for 0 to n-1 on a few goroutines and returns the error of the lowest index.
func parallel(n int, do func(i int) error) error {
	workers := min(n, 2*runtime.GOMAXPROCS(0), 8)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		next   int
		failed = n
		first  error
	)
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := first != nil
				mu.Unlock()
				if i >= n || stop {
					return
				}
				if err := do(i); err != nil {
					mu.Lock()
					if i < failed {
						failed, first = i, err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}

// parents lists the directories above a path, the outermost first.
func parents(name string) []string {
	var dirs []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}
