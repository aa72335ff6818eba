package components

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// K8ssec builds the command under test from the tree around this module, once a process, and returns
// its path.
var K8ssec = sync.OnceValues(func() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	return build(root, "k8ssec", "./cmd/k8ssec")
})

// Build builds a command of this module and returns its path.
func Build(name, pkg string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	return build(filepath.Join(root, "e2e"), name, pkg)
}

func build(module, name, pkg string) (string, error) {
	// Each tree has a place of its own, and the binary is replaced in one step: another package's
	// tests may be running the one before.
	sum := sha256.Sum256([]byte(module))
	dir, err := Dir("under-test-" + hex.EncodeToString(sum[:6]))
	if err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("go", "build", "-o", filepath.Join(tmp, name), pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	bin := filepath.Join(dir, name)
	return bin, os.Rename(filepath.Join(tmp, name), bin)
}

// Dir returns a folder of that name in the cache, which it makes.
func Dir(name string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// Root is the tree that the tests are in.
var Root = sync.OnceValues(func() (string, error) {
	module, err := moduleDir("")
	if err != nil {
		return "", err
	}
	return filepath.Dir(filepath.Dir(module)), nil
})
