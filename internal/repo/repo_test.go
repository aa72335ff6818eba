package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// snapshot is every file below a directory, with its mode, links and empty directories too.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == dir {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			out[rel] = "-> " + target
			return err
		case d.IsDir():
			if entries, err := os.ReadDir(name); err != nil || len(entries) > 0 {
				return err
			}
			out[rel] = "empty directory"
		case d.Type().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			out[rel] = string(data)
			if info.Mode()&0o111 != 0 {
				out[rel] = "x:" + string(data)
			}
		default:
			out[rel] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tree is the snapshot without what belongs to this package.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := snapshot(t, dir)
	maps.DeleteFunc(out, func(name, _ string) bool { return strings.HasPrefix(name, stateDir) })
	return out
}

func put(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// files makes a render: "x:" before the content makes it executable, "own:" the user's.
func files(contents map[string]string) []File {
	var out []File
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		f := File{Path: name, Own: UserOwned(name)}
		content, executable := strings.CutPrefix(contents[name], "x:")
		f.Data, f.Executable = []byte(content), executable
		out = append(out, f)
	}
	return out
}

var meta = Meta{
	Tool: "v0.1.0", Kubernetes: "1.37", Inputs: "sha256:1", NextDeadline: "2027-01-01T00:00:00Z",
	Profiles: []LockedProfile{{Name: "cis", Version: "2.0.1"}, {Name: "./profiles/a: b", Digest: "sha256:2"}},
}

// run plans and applies a render, as a run of the command does.
func run(dir string, contents map[string]string) (*Plan, error) {
	return runOn(dir, contents, func(d disk) disk { return unflushed{d} })
}

// unflushed is the real disk without the waiting.
type unflushed struct{ disk }

func (d unflushed) Write(name string, data []byte, perm fs.FileMode, _ bool) error {
	return d.disk.Write(name, data, perm, false)
}
func (unflushed) FlushAll() error       { return nil }
func (unflushed) FlushDir(string) error { return nil }

func runOn(dir string, contents map[string]string, wrap func(disk) disk) (*Plan, error) {
	r, err := open(dir, wrap)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := r.Acquire(context.Background()); err != nil {
		return nil, err
	}
	plan, err := r.Plan(files(contents), meta, nil)
	if err != nil {
		return nil, err
	}
	return plan, r.Apply(plan)
}

func mustRun(t testing.TB, dir string, contents map[string]string) *Plan {
	t.Helper()
	plan, err := run(dir, contents)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func planOf(t testing.TB, dir string, contents map[string]string) *Plan {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plan, err := r.Plan(files(contents), meta, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestRuns(t *testing.T) {
	tests := []struct {
		name string
		// first is rendered, then edit changes the tree, then second is rendered.
		first  map[string]string
		edit   func(t *testing.T, dir string)
		second map[string]string
		ops    map[string]Op // of the second plan, but for Unchanged
		want   map[string]string
	}{
		{
			name:   "a new repository, nested",
			second: map[string]string{"README.md": "hi\n", "manifests/network/a.yaml": "a\n", "bootstrap/x.sh": "x:#!\n"},
			ops:    map[string]Op{"README.md": Create, "manifests/network/a.yaml": Create, "bootstrap/x.sh": Create},
			want:   map[string]string{"README.md": "hi\n", "manifests/network/a.yaml": "a\n", "bootstrap/x.sh": "x:#!\n"},
		},
		{
			name:   "nothing changed",
			first:  map[string]string{"a": "1", "b": "x:2"},
			second: map[string]string{"a": "1", "b": "x:2"},
			want:   map[string]string{"a": "1", "b": "x:2"},
		},
		{
			name:   "update, create, delete",
			first:  map[string]string{"a": "1", "d/e/old": "1", "d/keep": "1"},
			second: map[string]string{"a": "2", "new/x": "1", "d/keep": "1"},
			ops:    map[string]Op{"a": Update, "d/e/old": Delete, "new/x": Create},
			want:   map[string]string{"a": "2", "new/x": "1", "d/keep": "1"},
		},
		{
			name:   "files move between directories",
			first:  map[string]string{"a": "1", "b/c": "1"},
			second: map[string]string{"x/a": "1", "b/d/c": "1"},
			ops:    map[string]Op{"a": Delete, "b/c": Delete, "x/a": Create, "b/d/c": Create},
			want:   map[string]string{"x/a": "1", "b/d/c": "1"},
		},
		{
			name:   "executable from now on, and no more",
			first:  map[string]string{"a": "1", "b": "x:1"},
			second: map[string]string{"a": "x:1", "b": "1"},
			ops:    map[string]Op{"a": Update, "b": Update},
			want:   map[string]string{"a": "x:1", "b": "1"},
		},
		{
			name:  "edits are kept",
			first: map[string]string{"a": "1", "b": "1", "c": "1", "d": "1", "e/f": "1"},
			edit: func(t *testing.T, dir string) {
				put(t, dir, map[string]string{"a": "mine"})
				remove(t, dir, "b")
				chmod(t, dir, "c")
			},
			second: map[string]string{"a": "1", "b": "1", "c": "1", "d": "2", "e/f": "1"},
			ops:    map[string]Op{"a": Edited, "b": Restore, "c": Edited, "d": Update},
			want:   map[string]string{"a": "mine", "b": "1", "c": "x:1", "d": "2", "e/f": "1"},
		},
		{
			name:   "an edit that the render makes too",
			first:  map[string]string{"a": "1"},
			edit:   func(t *testing.T, dir string) { put(t, dir, map[string]string{"a": "2"}) },
			second: map[string]string{"a": "2"},
			want:   map[string]string{"a": "2"},
		},
		{
			name:   "an edited file that is no longer rendered stays",
			first:  map[string]string{"a": "1", "b": "1", "c": "1"},
			edit:   func(t *testing.T, dir string) { put(t, dir, map[string]string{"a": "mine"}); remove(t, dir, "b") },
			second: map[string]string{"c": "1"},
			ops:    map[string]Op{"a": OrphanEdited},
			want:   map[string]string{"a": "mine", "c": "1"},
		},
		{
			name:   "a file that stands there with the same bytes",
			edit:   func(t *testing.T, dir string) { put(t, dir, map[string]string{"a": "1", "b": "1"}) },
			second: map[string]string{"a": "1", "b": "x:1"},
			ops:    map[string]Op{"a": Adopt, "b": Update},
			want:   map[string]string{"a": "1", "b": "x:1"},
		},
		{
			name:  "the user's own files",
			first: map[string]string{"a": "1", "patches/network/kustomization.yaml": "k", "cluster.cue": "c"},
			edit: func(t *testing.T, dir string) {
				put(t, dir, map[string]string{"cluster.cue": "mine", "notes": "n", "manifests/network/mine.yaml": "m"})
			},
			second: map[string]string{"cluster.cue": "c2", "patches/network/kustomization.yaml": "k2", "patches/access/kustomization.yaml": "k"},
			ops:    map[string]Op{"a": Delete, "cluster.cue": Yours, "patches/network/kustomization.yaml": Yours, "patches/access/kustomization.yaml": Create},
			want: map[string]string{
				"cluster.cue": "mine", "notes": "n", "manifests/network/mine.yaml": "m",
				"patches/network/kustomization.yaml": "k", "patches/access/kustomization.yaml": "k",
			},
		},
		{
			name:   "the user's own file, removed, comes back",
			first:  map[string]string{"patches/network/kustomization.yaml": "k"},
			edit:   func(t *testing.T, dir string) { remove(t, dir, "patches/network/kustomization.yaml") },
			second: map[string]string{"patches/network/kustomization.yaml": "k"},
			ops:    map[string]Op{"patches/network/kustomization.yaml": Create},
			want:   map[string]string{"patches/network/kustomization.yaml": "k"},
		},
		{
			name:  "a link of the user's, elsewhere, is left alone",
			first: map[string]string{"a": "1"},
			edit: func(t *testing.T, dir string) {
				remove(t, dir, "a")
				symlink(t, dir, "/etc/hostname", "a")
			},
			second: map[string]string{"b": "1"},
			ops:    map[string]Op{"b": Create},
			want:   map[string]string{"a": "-> /etc/hostname", "b": "1"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "prod")
			if test.first != nil {
				mustRun(t, dir, test.first)
			}
			if test.edit != nil {
				test.edit(t, dir)
			}
			plan := mustRun(t, dir, test.second)
			ops := map[string]Op{}
			for _, item := range plan.Items {
				if item.Op != Unchanged {
					ops[item.Path] = item.Op
				}
			}
			if len(ops)+len(test.ops) > 0 && !reflect.DeepEqual(ops, test.ops) {
				t.Errorf("ops %v, want %v", ops, test.ops)
			}
			if got := tree(t, dir); !reflect.DeepEqual(got, test.want) {
				t.Errorf("tree %v, want %v", got, test.want)
			}
			// Again: nothing is written, and the files are the same files.
			before := stamps(t, dir)
			again := mustRun(t, dir, test.second)
			if !again.Empty() {
				t.Errorf("the second plan is not empty: %+v %+v", again.Items, again.internal)
			}
			if after := stamps(t, dir); !reflect.DeepEqual(before, after) {
				t.Errorf("a rerun wrote:\n%v\n%v", before, after)
			}
			// The base is the render, to the byte.
			r, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for _, f := range files(test.second) {
				if f.Own {
					continue
				}
				base, err := r.Base(f.Path)
				if err != nil || string(base) != string(f.Data) {
					t.Errorf("base of %s is %q, %v", f.Path, base, err)
				}
			}
		})
	}
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func chmod(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

func symlink(t testing.TB, dir, target, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// stamps are the inode and time of each file and directory.
func stamps(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out[name] = fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino, info.ModTime(), info.Mode())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	mustRun(t, dir, map[string]string{"a": "1", "b": "1", "c": "1", "d": "1"})
	put(t, dir, map[string]string{"a": "mine", "e/f": "mine", "d": "mine"})
	remove(t, dir, "b")
	render := map[string]string{"a": "2", "b": "2", "c": "2", "d": "1", "e/f": "1"}
	before := snapshot(t, dir)
	_, err := run(dir, render)
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v", err)
	}
	got := map[string]Op{}
	for _, item := range refused.Items {
		got[item.Path] = item.Op
	}
	if want := (map[string]Op{"a": Conflict, "e/f": Collision}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, name := range []string{"a: changed by you", "e/f: stands there already"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %q", err, name)
		}
	}
	if after := snapshot(t, dir); !reflect.DeepEqual(before, after) {
		t.Error("a refused run wrote")
	}
}

// TestPlaces puts things in the way.
func TestPlaces(t *testing.T) {
	render := map[string]string{"manifests/network/a.yaml": "a\n", "README.md": "r\n"}
	tests := []struct {
		name    string
		arrange func(t *testing.T, dir string)
		kind    error
		words   []string
	}{
		{"a file where a directory should be", func(t *testing.T, dir string) { put(t, dir, map[string]string{"manifests": "x"}) }, ErrNotDirectory, []string{"manifests:", "Move the file away"}},
		{"a directory where a file should be", func(t *testing.T, dir string) { put(t, dir, map[string]string{"README.md/x": "x"}) }, ErrNotFile, []string{"README.md:", "Move the directory away"}},
		{"a link to a directory outside", func(t *testing.T, dir string) { symlink(t, dir, t.TempDir(), "manifests") }, ErrSymlink, []string{"manifests:", "never writes through one"}},
		{"a link to a directory inside", func(t *testing.T, dir string) {
			put(t, dir, map[string]string{"other/x": "x"})
			symlink(t, dir, "other", "manifests")
		}, ErrSymlink, []string{"manifests:", "replace it with a directory"}},
		{"a link to a file", func(t *testing.T, dir string) {
			put(t, dir, map[string]string{"target": "r\n"})
			symlink(t, dir, "target", "README.md")
		}, ErrSymlink, []string{"README.md:", "replace it with a file"}},
		{"a link to nothing", func(t *testing.T, dir string) { symlink(t, dir, "nowhere", "README.md") }, ErrSymlink, []string{"README.md:"}},
		{"a loop of links", func(t *testing.T, dir string) {
			symlink(t, dir, "two", "manifests")
			symlink(t, dir, "manifests", "two")
		}, ErrSymlink, []string{"manifests:"}},
		{"a pipe", func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(filepath.Join(dir, "README.md"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, ErrNotFile, []string{"README.md:", "Only plain files"}},
		{"the state is a file", func(t *testing.T, dir string) { put(t, dir, map[string]string{".k8ssec": "x"}) }, ErrNotDirectory, []string{".k8ssec:"}},
		{"the state is a link", func(t *testing.T, dir string) { symlink(t, dir, t.TempDir(), ".k8ssec") }, ErrSymlink, []string{".k8ssec:"}},
		{"the lock is a directory", func(t *testing.T, dir string) { put(t, dir, map[string]string{".k8ssec/lock.yaml/x": "x"}) }, ErrNotFile, []string{"lock.yaml:"}},
		{"the lock is a link", func(t *testing.T, dir string) {
			put(t, dir, map[string]string{".k8ssec/x": "x"})
			symlink(t, dir, "x", ".k8ssec/lock.yaml")
		}, ErrSymlink, []string{"lock.yaml:"}},
		{"the base is a file", func(t *testing.T, dir string) { put(t, dir, map[string]string{".k8ssec/base": "x"}) }, ErrNotDirectory, []string{"base:"}},
		{"a link in the base", func(t *testing.T, dir string) {
			put(t, dir, map[string]string{".k8ssec/base/x": "x"})
			symlink(t, dir, "x", ".k8ssec/base/y")
		}, ErrSymlink, []string{"base/y:"}},
		{"the lock is nonsense", func(t *testing.T, dir string) { put(t, dir, map[string]string{".k8ssec/lock.yaml": "\x00"}) }, ErrDamaged, []string{"lock.yaml:", "git checkout"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.arrange(t, dir)
			before := snapshot(t, dir)
			_, err := run(dir, render)
			var at *PathError
			if !errors.As(err, &at) || !errors.Is(err, test.kind) {
				t.Fatalf("got %v", err)
			}
			for _, word := range append(test.words, dir) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
			if after := snapshot(t, dir); !reflect.DeepEqual(before, after) {
				t.Errorf("before %v\nafter %v", before, after)
			}
		})
	}
}

func TestOpenPlaces(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"file": "x"})
	symlink(t, dir, "nowhere", "dangling")
	symlink(t, dir, "loop", "loop")
	for name, kind := range map[string]error{"file": ErrNotDirectory, "dangling": ErrSymlink, "loop": ErrSymlink, "file/below": ErrNotDirectory} {
		_, err := run(filepath.Join(dir, name), map[string]string{"a": "1"})
		if !errors.Is(err, kind) {
			t.Errorf("%s: got %v, want %v", name, err, kind)
		}
	}
	// A link to the repository itself is the user's way of naming it.
	symlink(t, dir, "real", "link")
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, filepath.Join(dir, "link"), map[string]string{"a": "1"})
	if got := tree(t, filepath.Join(dir, "real")); got["a"] != "1" {
		t.Errorf("got %v", got)
	}
}

func TestAcquireCreatesAndTakesBack(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "a", "b", "prod")
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Exists() {
		t.Error("it exists before")
	}
	if _, err := r.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load: %v", err)
	}
	if err := r.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, parent); !reflect.DeepEqual(got, map[string]string{".": "empty directory"}) {
		t.Errorf("left behind: %v", got)
	}
}

func TestTwoRunsAtOnce(t *testing.T) {
	dir := t.TempDir()
	one, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if err := one.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	two, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if err := two.acquire(t.Context(), 50*time.Millisecond); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "Wait") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := two.Acquire(ctx); !errors.Is(err, ErrBusy) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// Reading is free, writing without the lock is not.
	plan, err := two.Plan(files(map[string]string{"a": "1"}), meta, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Apply(plan); err == nil {
		t.Error("applied without the lock")
	}
	done := make(chan error)
	go func() { done <- two.Acquire(t.Context()) }()
	time.Sleep(30 * time.Millisecond)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the first was done: %v", err)
	}
}

func TestChangedDuringTheRun(t *testing.T) {
	for _, name := range []string{"a", "new", "gone"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustRun(t, dir, map[string]string{"a": "1", "gone": "1"})
			r, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := r.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			plan, err := r.Plan(files(map[string]string{"a": "2", "new": "1"}), meta, nil)
			if err != nil {
				t.Fatal(err)
			}
			put(t, dir, map[string]string{name: "typed just now"})
			before := snapshot(t, dir)
			if err := r.Apply(plan); !errors.Is(err, ErrChanged) {
				t.Errorf("got %v", err)
			}
			if after := snapshot(t, dir); !reflect.DeepEqual(before, after) {
				t.Errorf("before %v\nafter %v", before, after)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	render := map[string]string{"a": "1", "b": "1", "c": "x:1", "d/e": "1", "d/f": "1"}
	mustRun(t, dir, render)
	status := func() *Status {
		t.Helper()
		r, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		s, err := r.Status()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := status(); !s.Clean() || len(s.Lock.Files) != 5 || !reflect.DeepEqual(s.Lock.Meta, meta) {
		t.Errorf("got %+v", s)
	}
	// The same size and the same time, other bytes.
	full := filepath.Join(dir, "a")
	info, err := os.Stat(full)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, map[string]string{"a": "2", ".k8ssec/base/d/.base": "damaged"})
	if err := os.Chtimes(full, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "b")
	if err := os.Chmod(filepath.Join(dir, "c"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := status()
	if !reflect.DeepEqual(s.Edited, []string{"a", "c"}) || !reflect.DeepEqual(s.Missing, []string{"b"}) ||
		!reflect.DeepEqual(s.BaseDamaged, []string{"d/e", "d/f"}) {
		t.Errorf("got %+v", s)
	}
	// A run repairs the base, brings back what is missing and keeps the edits.
	mustRun(t, dir, render)
	if s := status(); !s.Clean() || !reflect.DeepEqual(s.Kept, []string{"a", "c"}) {
		t.Errorf("got %+v", s)
	}
}

func TestUnchanged(t *testing.T) {
	dir := t.TempDir()
	unchanged := func(inputs string) bool {
		t.Helper()
		r, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		ok, err := r.Unchanged(inputs)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if unchanged("") {
		t.Error("unchanged without a lock")
	}
	mustRun(t, dir, map[string]string{"a": "1"})
	if !unchanged("sha256:1") || unchanged("sha256:2") {
		t.Error("inputs are not compared")
	}
	put(t, dir, map[string]string{"a": "2"})
	if unchanged("sha256:1") {
		t.Error("bytes are not compared")
	}
	put(t, dir, map[string]string{"a": "1"})
	if !unchanged("sha256:1") {
		t.Error("the edit is gone")
	}
	if err := os.RemoveAll(filepath.Join(dir, basePath)); err != nil {
		t.Fatal(err)
	}
	if unchanged("sha256:1") {
		t.Error("the base is gone")
	}
}

func TestWalk(t *testing.T) {
	dir := t.TempDir()
	mustRun(t, dir, map[string]string{"a": "1", "b/c": "1"})
	put(t, dir, map[string]string{".git/config": "x", "b/.git/x": "x", "b/mine": "x"})
	symlink(t, dir, "/etc", "etc")
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Walk()
	want := []Entry{{Path: "a"}, {Path: "b/c"}, {Path: "b/mine"}, {Path: "etc", Symlink: true}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for name, kind := range map[string]error{"etc": ErrSymlink, "b": ErrNotFile, "none": fs.ErrNotExist} {
		if _, err := r.ReadFile(name); !errors.Is(err, kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.ReadFile("etc/hostname"); err == nil {
		t.Error("read through a link")
	}
	if data, err := r.ReadFile("b/mine"); err != nil || string(data) != "x" {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestPaths(t *testing.T) {
	for _, name := range []string{
		"", ".", "/a", "../a", "a/../b", "a//b", "a/", "./a", `a\b`, "a:b", "a\nb", "é", "a*", ".git/x", "x/.GIT/y", ".k8ssec/lock.yaml", "x/.K8ssec/y",
		"a.", "a/b ", " a", "x.base", "x.Base/y", strings.Repeat("a", 251),
	} {
		if err := checkPaths([]string{name}); err == nil {
			t.Errorf("%q passes", name)
		}
	}
	for _, names := range [][]string{{"a", "A"}, {"a", "a/b"}, {"a/B", "a/b/c"}, {"x/a", "X/b"}, {"a", "a"}} {
		if err := checkPaths(names); err == nil {
			t.Errorf("%q pass", names)
		}
	}
	if err := checkPaths([]string{"a", "b/c.d-e_f+g", "b/c", ".sops.yaml", "x y/z"}); err != nil {
		t.Error(err)
	}
	r, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, f := range []File{{Path: "../x"}, {Path: "cluster.cue"}, {Path: "patches/a/kustomization.yaml"}, {Path: "README.md", Own: true}} {
		if _, err := r.Plan([]File{f}, meta, nil); err == nil {
			t.Errorf("%+v passes", f)
		}
	}
}

func BenchmarkThousandNamespaces(b *testing.B) {
	render := map[string]string{}
	for _, domain := range []string{"access", "namespaces", "network", "resources", "workloads"} {
		for i := range 1000 {
			name := fmt.Sprintf("manifests/%s/team-%04d.yaml", domain, i)
			render[name] = strings.Repeat(fmt.Sprintf("# %s\nspec:\n  podSelector: {}\n", name), 40)
		}
	}
	list := files(render)
	b.Run("init", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			dir := filepath.Join(b.TempDir(), "prod")
			if _, err := runOn(dir, render, func(d disk) disk { return d }); err != nil {
				b.Fatal(err)
			}
		}
	})
	dir := b.TempDir()
	mustRun(b, dir, render)
	b.Run("unchanged", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			r, err := Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			if ok, err := r.Unchanged(meta.Inputs); !ok || err != nil {
				b.Fatal(ok, err)
			}
			r.Close()
		}
	})
	b.Run("plan", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			r, err := Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			if plan, err := r.Plan(list, meta, nil); err != nil || !plan.Empty() {
				b.Fatal(err)
			}
			r.Close()
		}
	})
	b.Run("one namespace more", func(b *testing.B) {
		defer reportCPU(b)()
		n := 1000
		for b.Loop() {
			n++
			render[fmt.Sprintf("manifests/network/team-%04d.yaml", n)] = "x\n"
			mustRun(b, dir, render)
		}
	})
}

// reportCPU reports the processor time of a benchmark, which is what the budgets are about: a run
// waits for the disk longer than it works.
func reportCPU(b *testing.B) func() {
	cpu := func() time.Duration {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			b.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	before := cpu()
	return func() { b.ReportMetric(float64((cpu()-before).Milliseconds())/float64(b.N), "cpu-ms/op") }
}
