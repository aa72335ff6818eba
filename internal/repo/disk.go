package repo

import (
	"io/fs"
	"os"
	"path"
	"runtime"
	"sync"
)

// disk is what Apply does to the file system. Tests put one in between that fails or stops at any
// step. Every name is a slash path below the root of the repository.
type disk interface {
	Lstat(name string) (fs.FileInfo, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
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
	for i, j := 0, len(dirs)-1; i < j; i, j = i+1, j-1 {
		dirs[i], dirs[j] = dirs[j], dirs[i]
	}
	return dirs
}
