package components

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// K8ssec builds the command under test from the tree around this module and returns its path. The go
// command's own cache makes it a matter of a second.
func K8ssec() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	module, err := moduleDir("")
	if err != nil {
		return "", err
	}
	root := filepath.Dir(filepath.Dir(module))
	bin := filepath.Join(cache, "k8ssec-under-test", "k8ssec")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/k8ssec")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build k8ssec: %w\n%s", err, out)
	}
	return bin, nil
}
