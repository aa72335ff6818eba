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
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// fault is a disk that fails from one change on.
type fault struct {
	disk
	mu sync.Mutex
	// at is the change that fails, counted from 0; after that, once says whether all others do too.
	at    int
	once  bool
	err   error
	count int
	log   []string
}

func (d *fault) change(format string, args ...any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.count
	d.count++
	d.log = append(d.log, fmt.Sprintf(format, args...))
	if n == d.at || n > d.at && !d.once {
		return &fs.PathError{Op: "test", Path: "somewhere", Err: d.err}
	}
	return nil
}

func (d *fault) Mkdir(name string) error {
	if err := d.change("mkdir %s", name); err != nil {
		return err
	}
	return d.disk.Mkdir(name)
}

func (d *fault) Write(name string, data []byte, perm fs.FileMode, flush bool) error {
	if err := d.change("write %s", name); err != nil {
		// A full disk or a kill leaves half of it.
		_ = d.disk.Write(name, data[:len(data)/2], perm, false)
		return err
	}
	return d.disk.Write(name, data, perm, false)
}

func (d *fault) Link(from, to string) error {
	if err := d.change("link %s %s", from, to); err != nil {
		return err
	}
	return d.disk.Link(from, to)
}

func (d *fault) Rename(from, to string) error {
	if err := d.change("rename %s %s", from, to); err != nil {
		return err
	}
	return d.disk.Rename(from, to)
}

func (d *fault) Remove(name string) error {
	if err := d.change("remove %s", name); err != nil {
		return err
	}
	return d.disk.Remove(name)
}

func (d *fault) RemoveAll(name string) error {
	if err := d.change("removeall %s", name); err != nil {
		return err
	}
	return d.disk.RemoveAll(name)
}

// Flushing costs the tests a minute and shows them nothing: it is counted and left out.
func (d *fault) FlushAll() error            { return d.change("flushall") }
func (d *fault) FlushDir(name string) error { return d.change("flushdir %s", name) }

// scene is a repository before a run, and the run.
type scene struct {
	first, second map[string]string
	edit          func(t testing.TB, dir string)
}

var scenes = map[string]scene{
	"the first run": {
		edit:   func(t testing.TB, dir string) { put(t, dir, map[string]string{"notes": "mine", "docs/mine": "mine"}) },
		second: map[string]string{"README.md": "r\n", "docs/a": "1", "manifests/network/a.yaml": "1", "cluster.cue": "c", "bootstrap/x": "x:1"},
	},
	"everything at once": {
		first: map[string]string{
			"README.md": "r\n", "docs/a": "1", "docs/b": "x:1", "old/deep/x": "1", "manifests/network/a.yaml": "1", "mode": "1",
			"manifests/network/mine.yaml": "1", "cluster.cue": "c", "orphan": "1",
		},
		edit: func(t testing.TB, dir string) {
			put(t, dir, map[string]string{"manifests/network/mine.yaml": "edited", "notes": "mine", "orphan": "edited"})
		},
		second: map[string]string{
			"README.md": "r2\n", "docs/a": "2", "docs/b": "x:2", "new/deep/x": "1", "manifests/network/a.yaml": "2", "mode": "x:1",
			"manifests/network/mine.yaml": "1", "cluster.cue": "c2", "patches/a/kustomization.yaml": "k",
		},
	},
}

// arrange builds the scene in a new directory.
func (s scene) arrange(t testing.TB) (dir string) {
	t.Helper()
	dir = memoryDir(t)
	if s.first != nil {
		mustRun(t, dir, s.first)
	}
	s.edit(t, dir)
	return dir
}

// outcome is what the tree is before and after an undisturbed run, and the changes that one makes.
func (s scene) outcome(t testing.TB) (before, after map[string]string, steps []string) {
	t.Helper()
	dir := s.arrange(t)
	before = snapshot(t, dir)
	d := &fault{at: 1 << 30}
	if _, err := runOn(dir, s.second, func(real disk) disk { d.disk = real; return d }); err != nil {
		t.Fatal(err)
	}
	return before, snapshot(t, dir), d.log
}

// memoryDir is a directory in memory where the system has one: these tests make and remove tens of
// thousands of files.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "k8ssec")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestFailAtEveryStep lets each single change fail once. The run reports it, and the tree is
// exactly as it was.
func TestFailAtEveryStep(t *testing.T) {
	for name, s := range scenes {
		t.Run(name, func(t *testing.T) {
			before, after, steps := s.outcome(t)
			for at := range steps {
				for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EACCES} {
					dir := s.arrange(t)
					d := &fault{at: at, once: true, err: errno}
					_, err := runOn(dir, s.second, func(real disk) disk { d.disk = real; return d })
					failed := d.log[at]
					want, wantErr := before, true
					switch {
					case strings.HasPrefix(failed, "link"), strings.HasPrefix(failed, "removeall"):
						want, wantErr = after, false // copied instead; left to the next run
					case strings.HasPrefix(failed, "remove") && !strings.HasSuffix(failed, journalName) &&
						!strings.HasSuffix(failed, "/x") && !strings.HasSuffix(failed, baseSuffix):
						want, wantErr = after, false // an empty directory is left, or it is not empty
					}
					if wantErr {
						var at *PathError
						if !errors.As(err, &at) || errors.Is(err, ErrInterrupted) {
							t.Fatalf("%s: got %v", failed, err)
						}
						if kind := map[syscall.Errno]error{syscall.ENOSPC: ErrNoSpace, syscall.EACCES: ErrPermission}[errno]; !errors.Is(err, kind) {
							t.Fatalf("%s: got %v", failed, err)
						}
					} else if err != nil {
						t.Fatalf("%s: got %v", failed, err)
					}
					got := snapshot(t, dir)
					for name := range got {
						if strings.HasPrefix(name, commitPath) || got[name] == "empty directory" && !wantErr {
							delete(got, name)
						}
					}
					if !reflect.DeepEqual(got, want) {
						t.Fatalf("%s (%v): %s", failed, err, difference(got, want))
					}
					// And the next run gets there.
					mustRun(t, dir, s.second)
					if got := snapshot(t, dir); !reflect.DeepEqual(without(got, "empty directory"), after) {
						t.Fatalf("%s, next run: %s", failed, difference(got, after))
					}
				}
			}
		})
	}
}

func without(tree map[string]string, content string) map[string]string {
	tree = maps.Clone(tree)
	maps.DeleteFunc(tree, func(_, c string) bool { return c == content })
	return tree
}

func difference(got, want map[string]string) string {
	var lines []string
	for name, content := range got {
		if other, ok := want[name]; !ok {
			lines = append(lines, fmt.Sprintf("unexpected %s: %.40q", name, content))
		} else if content != other {
			lines = append(lines, fmt.Sprintf("%s is %.40q, want %.40q", name, content, other))
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			lines = append(lines, "missing "+name)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestKillAtEveryStep stops the run dead at each change. The next run that acquires the repository
// makes it exactly old or exactly new; and reading says so until then.
func TestKillAtEveryStep(t *testing.T) {
	for name, s := range scenes {
		t.Run(name, func(t *testing.T) {
			before, after, steps := s.outcome(t)
			sawOld, sawNew, sawInterrupted := false, false, false
			for at := range steps {
				dir := s.arrange(t)
				d := &fault{at: at, err: syscall.EIO}
				_, _ = runOn(dir, s.second, func(real disk) disk { d.disk = real; return d })

				r, err := Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := r.Status(); errors.Is(err, ErrInterrupted) {
					sawInterrupted = true
					if _, err := r.Plan(files(s.second), meta, nil); !errors.Is(err, ErrInterrupted) {
						t.Errorf("%s: Status says interrupted, Plan says %v", d.log[at], err)
					}
				}
				if err := r.Acquire(context.Background()); err != nil {
					t.Fatalf("%s: %v", d.log[at], err)
				}
				r.Close()
				got := without(snapshot(t, dir), "empty directory")
				switch {
				case reflect.DeepEqual(got, before):
					sawOld = true
				case reflect.DeepEqual(got, after):
					sawNew = true
				default:
					t.Fatalf("%s: neither old nor new.\nto old: %s\nto new: %s", d.log[at], difference(got, before), difference(got, after))
				}
				mustRun(t, dir, s.second)
				if got := without(snapshot(t, dir), "empty directory"); !reflect.DeepEqual(got, after) {
					t.Fatalf("%s, next run: %s", d.log[at], difference(got, after))
				}
			}
			if !sawOld || !sawNew || !sawInterrupted {
				t.Errorf("old %t, new %t, interrupted %t: the test does not reach all of it", sawOld, sawNew, sawInterrupted)
			}
		})
	}
}

// TestKillTwice kills a run, and then the recovery, at every pair of changes.
func TestKillTwice(t *testing.T) {
	s := scene{
		first:  map[string]string{"a": "1", "b/c": "1", "d": "1"},
		edit:   func(t testing.TB, dir string) { put(t, dir, map[string]string{"notes": "mine"}) },
		second: map[string]string{"a": "2", "e/f": "1", "d": "1"},
	}
	before, after, steps := s.outcome(t)
	for at := range steps {
		for second := 0; ; second++ {
			dir := s.arrange(t)
			one := &fault{at: at, once: at%2 == 0, err: syscall.EIO}
			_, _ = runOn(dir, s.second, func(real disk) disk { one.disk = real; return one })
			two := &fault{at: second, err: syscall.EIO}
			r, err := open(dir, func(real disk) disk { two.disk = real; return two })
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Acquire(context.Background())
			r.Close()
			reached := two.count > second
			three, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := three.Acquire(context.Background()); err != nil {
				t.Fatal(err)
			}
			three.Close()
			got := without(snapshot(t, dir), "empty directory")
			if !reflect.DeepEqual(got, before) && !reflect.DeepEqual(got, after) {
				t.Fatalf("killed at %s, then at %d %v: neither old nor new.\nto old: %s\nto new: %s",
					one.log[at], second, two.log, difference(got, before), difference(got, after))
			}
			if !reached {
				break
			}
		}
	}
}

// killed leaves a repository after the point of decision: the files wait in commit.
func killed(t *testing.T, s scene) (dir string, before, after map[string]string) {
	t.Helper()
	before, after, steps := s.outcome(t)
	at := slices.Index(steps, "rename "+stagingPath+" "+commitPath)
	if at < 0 {
		t.Fatal("no point of decision")
	}
	dir = s.arrange(t)
	d := &fault{at: at + 1, err: syscall.EIO}
	_, _ = runOn(dir, s.second, func(real disk) disk { d.disk = real; return d })
	if _, err := os.Stat(filepath.Join(dir, commitPath, journalName)); err != nil {
		t.Fatal(err)
	}
	return dir, before, after
}

func acquire(t *testing.T, dir string) error {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return r.Acquire(context.Background())
}

// TestRecoveryPassesOverEdits: what the user does between a kill and the next run is theirs.
func TestRecoveryPassesOverEdits(t *testing.T) {
	dir, _, after := killed(t, scenes["everything at once"])
	put(t, dir, map[string]string{"README.md": "typed since", "new/deep/x": "typed since"})
	remove(t, dir, "docs/a")
	if err := acquire(t, dir); err != nil {
		t.Fatal(err)
	}
	got := snapshot(t, dir)
	want := maps.Clone(after)
	want["README.md"], want["new/deep/x"] = "typed since", "typed since"
	delete(want, "docs/a")
	if !reflect.DeepEqual(got, want) {
		t.Error(difference(got, want))
	}
}

// TestTornFilesAreTakenBack: the power failed before the new bytes were on disk.
func TestTornFilesAreTakenBack(t *testing.T) {
	dir, before, _ := killed(t, scenes["everything at once"])
	waiting, err := filepath.Glob(filepath.Join(dir, commitPath, "new", "*"))
	if err != nil || len(waiting) < 5 {
		t.Fatal(waiting, err)
	}
	if err := os.Truncate(waiting[3], 0); err != nil {
		t.Fatal(err)
	}
	if err := acquire(t, dir); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, dir); !reflect.DeepEqual(got, before) {
		t.Error(difference(got, before))
	}
}

func TestForgedJournal(t *testing.T) {
	for _, text := range []string{
		"nonsense", `{"steps":[{"path":"../outside","new":"x"}]}`, `{"steps":[{"path":"/etc/passwd"}]}`, `{"steps":[{"path":".git/hooks/x","new":"x"}]}`,
		`{"steps":[{"path":"cluster.cue","old":"x"}]}`, `{"dirs":["../x"]}`, `{"steps":[{"path":".k8ssec/../../x"}]}`,
	} {
		dir := t.TempDir()
		put(t, dir, map[string]string{commitPath + "/" + journalName: text, "cluster.cue": "mine"})
		before := snapshot(t, dir)
		if err := acquire(t, dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got %v", text, err)
		}
		if got := snapshot(t, dir); !reflect.DeepEqual(got, before) {
			t.Errorf("%s: %s", text, difference(got, before))
		}
	}
}

// TestProperty runs random renders over random edits: after each run the tree is the render and
// what the user made of it, and a second plan is empty.
func TestProperty(t *testing.T) {
	names := []string{"a", "b", "d/a", "d/b", "d/e/a", "f/a", "patches/a", "cluster.cue"}
	render := rapid.MapOf(rapid.SampledFrom(names), rapid.SampledFrom([]string{"1", "2", "x:1", "", "-- a --\n"}))
	memory := memoryDir(t)
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(memory, "")
		if err != nil {
			rt.Fatal(err)
		}
		last := map[string]string{} // what the user would expect to be theirs to keep
		for range rapid.IntRange(1, 5).Draw(rt, "runs") {
			for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(append(names, "mine", "d/mine", "g/mine")), rapid.ID).Draw(rt, "edits") {
				if rapid.Bool().Draw(rt, "remove") {
					_ = os.Remove(filepath.Join(dir, name))
				} else {
					put(t, dir, map[string]string{name: rapid.SampledFrom([]string{"1", "2", "mine"}).Draw(rt, "content")})
				}
			}
			before := without(tree(t, dir), "empty directory")
			next := render.Draw(rt, "render")
			want := maps.Clone(before)
			refused := false
			for _, name := range slices.Sorted(maps.Keys(union(next, last))) {
				now, exists := before[name]
				base, known := last[name]
				content, wanted := next[name]
				own := UserOwned(name)
				switch {
				case own && wanted && !exists:
					want[name] = content
				case own:
				case !wanted && exists && now == base:
					delete(want, name)
				case !wanted:
				case exists && now == content:
				case !exists, known && now == base:
					want[name] = content
				case !known && strings.TrimPrefix(now, "x:") == strings.TrimPrefix(content, "x:"):
					want[name] = content
				case !known || base != content:
					refused = true
				}
			}
			_, err := run(dir, next)
			got := without(tree(t, dir), "empty directory")
			var conflict *RefusedError
			if refused {
				if !errors.As(err, &conflict) {
					rt.Fatalf("not refused: %v", err)
				}
				want = before
			} else if err != nil {
				rt.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				rt.Fatalf("render %v: %s", next, difference(got, want))
			}
			if refused {
				continue
			}
			if again := planOf(t, dir, next); !again.Empty() {
				rt.Fatalf("the second plan is not empty: %+v", again)
			}
			kept := map[string]string{}
			for name, content := range last {
				if _, ok := next[name]; !ok && got[name] != "" || !ok && exists(got, name) {
					kept[name] = content // edited, no longer rendered
				}
			}
			for name, content := range next {
				if !UserOwned(name) {
					kept[name] = content
				}
			}
			last = kept
		}
	})
}

func exists(tree map[string]string, name string) bool { _, ok := tree[name]; return ok }

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
