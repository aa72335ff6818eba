package repo

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// smallDisk is a real file system of one megabyte, or false where this process may not mount one.
func smallDisk(t *testing.T) (dir string, remount func(flags uintptr), ok bool) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return "", nil, false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=1m"); err != nil {
			t.Fatal(err)
		}
	}, true
}

// TestFullDisk fills a real disk where it can, and a pretended one where it cannot.
func TestFullDisk(t *testing.T) {
	wrap := func(d disk) disk { return d }
	dir, _, ok := smallDisk(t)
	if !ok {
		dir = t.TempDir()
		wrap = func(d disk) disk { return &fault{disk: d, at: 5, err: syscall.ENOSPC} }
	}
	mustRun(t, dir, map[string]string{"a": "1"})
	before := snapshot(t, dir)
	_, err := runOn(dir, map[string]string{"a": "2", "b": strings.Repeat("x", 600_000), "c": "1"}, wrap)
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "Free some space") {
		t.Errorf("got %v", err)
	}
	after := snapshot(t, dir)
	if !ok {
		for name := range after { // the pretended disk cannot remove either
			if strings.HasPrefix(name, stagingPath) {
				delete(after, name)
			}
		}
	}
	if !reflect.DeepEqual(before, after) {
		t.Error(difference(after, before))
	}
	mustRun(t, dir, map[string]string{"a": "2"})
}

func TestReadOnlyDisk(t *testing.T) {
	wrap := func(d disk) disk { return d }
	dir, remount, ok := smallDisk(t)
	if !ok {
		dir = t.TempDir()
		remount = func(uintptr) {}
		wrap = func(d disk) disk { return &fault{disk: d, err: syscall.EROFS} }
	}
	mustRun(t, dir, map[string]string{"a": "1"})
	before := snapshot(t, dir)
	remount(syscall.MS_RDONLY)
	_, err := runOn(dir, map[string]string{"a": "2"}, wrap)
	if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "Mount it for writing") {
		t.Errorf("got %v", err)
	}
	if after := snapshot(t, dir); !reflect.DeepEqual(before, after) {
		t.Error(difference(after, before))
	}
	remount(0)
}

// TestNoPermission: root may do everything, so there it is pretended.
func TestNoPermission(t *testing.T) {
	wrap := func(d disk) disk { return d }
	if os.Getuid() == 0 {
		wrap = func(d disk) disk { return &fault{disk: d, err: syscall.EACCES} }
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	_, err := runOn(dir, map[string]string{"a": "1"}, wrap)
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if got := snapshot(t, dir); !reflect.DeepEqual(got, map[string]string{".": "empty directory"}) {
		t.Errorf("got %v", got)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
