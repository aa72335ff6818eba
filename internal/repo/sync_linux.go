package repo

import (
	"os"

	"golang.org/x/sys/unix"
)

// flushEach is the number of files up to which each is flushed on its own. Measured on ext4: one
// fsync costs 0.3 to 1 ms, one syncfs after 5,000 files 0.14 s.
const flushEach = 64

// syncFileSystem brings to disk all that was written to the file system of f.
func syncFileSystem(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
