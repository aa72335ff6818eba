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
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	module, err := moduleDir("")
	if err != nil {
		return "", err
	}
	root := filepath.Dir(filepath.Dir(module))
	// Each tree has a place of its own, and the binary is replaced in one step: another package's
	// tests may be running the one before.
	sum := sha256.Sum256([]byte(root))
	dir := filepath.Join(cache, "under-test-"+hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("go", "build", "-o", filepath.Join(tmp, "k8ssec"), "./cmd/k8ssec")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build k8ssec: %w\n%s", err, out)
	}
	bin := filepath.Join(dir, "k8ssec")
	return bin, os.Rename(filepath.Join(tmp, "k8ssec"), bin)
})
