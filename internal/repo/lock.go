package repo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lockVersion is the version of the format that this package writes. Version 1, which it reads too,
// did not know edits.
const lockVersion = 2

// maxLockSize is far above the lock of a cluster with 10,000 namespaces (6 MB).
const maxLockSize = 64 << 20

// Lock says what the last run rendered, and from what.
type Lock struct {
	Version int `yaml:"version"`
	Meta    `yaml:",inline"`
	// Files are all emitted files by path.
	Files map[string]LockedFile `yaml:"files"`
}

// Meta is what a render was made from, as the caller names it. None of it may depend on the time or
// the machine of the run.
type Meta struct {
	// Tool is the version of k8ssec.
	Tool string `yaml:"tool"`
	// Kubernetes is the minor version, "1.37".
	Kubernetes string `yaml:"kubernetes"`
	// Profiles are those of the cluster file, in its order.
	Profiles []LockedProfile `yaml:"profiles"`
	// Inputs is the digest of everything that the render depends on.
	Inputs string `yaml:"inputs"`
	// NextDeadline is the time (RFC 3339) at which the same inputs begin to render something else,
	// because a waiver expires; empty if none does.
	NextDeadline string `yaml:"nextDeadline,omitempty"`
}

// LockedProfile is one profile and what pins it.
type LockedProfile struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version,omitempty"`
	Digest  string `yaml:"digest,omitempty"`
}

// LockedFile is the last render of one file.
type LockedFile struct {
	// SHA256 is the digest of its bytes, in hexadecimal.
	SHA256 string `yaml:"sha256"`
	// Mode is "0755" for an executable file, else empty.
	Mode string `yaml:"mode,omitempty"`
	// Edited is the digest of the file with the user's edits, as the last run found or merged it and
	// held it against the controls; empty for a file as it was rendered.
	Edited string `yaml:"edited,omitempty"`
}

// Executable reports whether the file may be run.
func (f LockedFile) Executable() bool { return f.Mode == executableMode }

const executableMode = "0755"

// Load reads the lock. A repository without one gives an error that is fs.ErrNotExist.
func (r *Repo) Load() (*Lock, error) {
	if r.disk == nil {
		return nil, fmt.Errorf("%s: %w", r.show(lockPath), fs.ErrNotExist)
	}
	info, err := r.disk.Lstat(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", r.show(lockPath), fs.ErrNotExist)
	}
	if err != nil {
		return nil, r.fail(stateDir, err)
	}
	if !info.IsDir() {
		return nil, r.notDirectory(stateDir, info)
	}
	info, err = r.disk.Lstat(lockPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", r.show(lockPath), fs.ErrNotExist)
	}
	if err != nil {
		return nil, r.fail(lockPath, err)
	}
	if !info.Mode().IsRegular() {
		return nil, r.notFile(lockPath, info)
	}
	if info.Size() > maxLockSize {
		return nil, r.damaged(lockPath, errors.New("it is far too large"))
	}
	data, err := r.disk.ReadFile(lockPath)
	if err != nil {
		return nil, r.fail(lockPath, err)
	}
	lock, err := parseLock(data)
	if err != nil {
		return nil, r.damaged(lockPath, err)
	}
	return lock, nil
}

func (r *Repo) damaged(name string, err error) error {
	return &PathError{
		Kind: ErrDamaged, Path: r.show(name), Err: err,
		Fix: "Bring it back from Git (git checkout -- " + name + ") and run again.",
	}
}

// format writes the lock: sorted, one line a file, so that Git merges it line by line.
func (l *Lock) format() []byte {
	var b bytes.Buffer
	b.WriteString("# Written by k8ssec: what the files of this repository were rendered from, and their digests.\n" +
		"# Do not edit. A file whose digest differs from its line here counts as edited by you; \"edited\" is\n" +
		"# the digest of one whose edits the last run has checked and kept.\n")
	fmt.Fprintf(&b, "version: %d\n", lockVersion)
	fmt.Fprintf(&b, "tool: %s\n", quote(l.Tool))
	fmt.Fprintf(&b, "kubernetes: %s\n", quote(l.Kubernetes))
	if len(l.Profiles) > 0 {
		b.WriteString("profiles:\n")
	}
	for _, p := range l.Profiles {
		fmt.Fprintf(&b, "- name: %s\n", quote(p.Name))
		if p.Version != "" {
			fmt.Fprintf(&b, "  version: %s\n", quote(p.Version))
		}
		if p.Digest != "" {
			fmt.Fprintf(&b, "  digest: %s\n", quote(p.Digest))
		}
	}
	fmt.Fprintf(&b, "inputs: %s\n", quote(l.Inputs))
	if l.NextDeadline != "" {
		fmt.Fprintf(&b, "nextDeadline: %s\n", quote(l.NextDeadline))
	}
	b.WriteString(filesLine)
	for _, name := range slices.Sorted(maps.Keys(l.Files)) {
		b.WriteString("  ")
		b.WriteString(name)
		b.WriteString(": {sha256: ")
		b.WriteString(quote(l.Files[name].SHA256))
		if l.Files[name].Executable() {
			b.WriteString(`, mode: "` + executableMode + `"`)
		}
		if edited := l.Files[name].Edited; edited != "" {
			b.WriteString(`, edited: "` + edited + `"`)
		}
		b.WriteString("}\n")
	}
	return b.Bytes()
}

const filesLine = "files:\n"

func quote(s string) string { return strconv.QuoteToASCII(s) }

// parseLock reads the lock. What this package wrote is read line by line, because a YAML parser
// would take longer over thousands of lines than all the rest of a rerun; anything else (a lock that
// a formatter went over) goes through the parser.
func parseLock(data []byte) (*Lock, error) {
	lock := &Lock{}
	head, tail, ok := bytes.Cut(data, []byte("\n"+filesLine))
	if !ok {
		head, tail = data, nil
	}
	if err := decodeLock(head, lock); err != nil || len(lock.Files) > 0 {
		ok = false
	}
	if ok {
		lock.Files, ok = parseFileLines(tail)
	}
	if !ok {
		lock = &Lock{}
		if err := decodeLock(data, lock); err != nil {
			return nil, err
		}
	}
	if lock.Version != lockVersion && lock.Version != 1 {
		if lock.Version > lockVersion {
			return nil, fmt.Errorf("format version %d was written by a newer k8ssec: use that one, or a newer one", lock.Version)
		}
		return nil, fmt.Errorf("format version %d is unknown", lock.Version)
	}
	lock.Version = lockVersion // what is missing in an older one is empty
	for name, f := range lock.Files {
		if digest, err := hex.DecodeString(f.SHA256); err != nil || len(digest) != 32 {
			return nil, fmt.Errorf("%s: %q is not a SHA-256 digest", name, f.SHA256)
		}
		if digest, err := hex.DecodeString(f.Edited); err != nil || len(digest) != 32 && f.Edited != "" {
			return nil, fmt.Errorf("%s: %q is not a SHA-256 digest", name, f.Edited)
		}
		if f.Mode != "" && f.Mode != executableMode {
			return nil, fmt.Errorf("%s: mode %q is neither %s nor left out", name, f.Mode, executableMode)
		}
		if UserOwned(name) {
			return nil, fmt.Errorf("%s is yours and cannot be in the lock", name)
		}
	}
	if err := checkPaths(slices.Sorted(maps.Keys(lock.Files))); err != nil {
		return nil, err
	}
	return lock, nil
}

func decodeLock(data []byte, lock *Lock) error {
	if bytes.Contains(data, []byte("\n<<<<<<< ")) {
		return errors.New("it has the conflict markers of a Git merge: take either side whole, then run k8ssec generate")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(lock); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return nil
}

// parseFileLines reads lines of the form that format writes, and reports whether all of them are.
func parseFileLines(data []byte) (map[string]LockedFile, bool) {
	text := string(data)
	files := make(map[string]LockedFile, strings.Count(text, "\n"))
	for text != "" {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok {
			return nil, false
		}
		text = rest
		name, value, ok := strings.Cut(line, `: {sha256: "`)
		if !ok || !strings.HasPrefix(name, "  ") || len(value) < 66 {
			return nil, false
		}
		f := LockedFile{SHA256: value[:64]}
		value = value[64:]
		if rest, ok := strings.CutPrefix(value, `", mode: "`+executableMode); ok {
			f.Mode, value = executableMode, rest
		}
		if rest, ok := strings.CutPrefix(value, `", edited: "`); ok && len(rest) > 64 {
			f.Edited, value = rest[:64], rest[64:]
		}
		if value != `"}` {
			return nil, false
		}
		name = name[2:]
		if _, ok := files[name]; ok || strings.ContainsAny(name, `"'#:`) {
			return nil, false
		}
		files[name] = f
	}
	return files, true
}
