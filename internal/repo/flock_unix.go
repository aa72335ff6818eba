//go:build unix

package repo

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock on an open directory, which leaves no file behind and ends with the
// process. It reports false where another process holds it.
func tryLock(dir *os.File) (bool, error) {
	err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, nil
	case errors.Is(err, syscall.EBADF), errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.EINVAL):
		return true, nil // some network file systems know no locks on directories
	}
	return false, err
}
