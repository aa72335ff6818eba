//go:build !unix

package repo

import "os"

// tryLock does nothing where the system has no advisory locks on directories.
func tryLock(*os.File) (bool, error) { return true, nil }
