// Command lowcaps is an OCI runtime that runs runc with the capabilities that this machine can give.
//
// docker run --privileged asks for every capability that there is. Where the bounding set of the
// machine itself lacks one (CAP_SYS_RESOURCE on some CI machines), runc refuses the container. This
// takes the missing ones out of the bundle's config.json, or out of the process file of an exec, and
// then becomes runc.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "lowcaps:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	for i := 1; i < len(args)-1; i++ {
		var err error
		switch args[i] {
		case "--bundle", "-b":
			err = rewrite(filepath.Join(args[i+1], "config.json"), "process", "capabilities")
		case "--process", "-p":
			err = rewrite(args[i+1], "capabilities")
		}
		if err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	return syscall.Exec(runc, append([]string{"runc"}, args[1:]...), os.Environ())
}

// missing is what the machines that this is for cannot give.
const missing = "CAP_SYS_RESOURCE"

// rewrite takes the missing capability out of the sets at the path of a JSON file.
func rewrite(file string, path ...string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var root map[string]any
	if err := json.Unmarshal(b, &root); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	sets := root
	for _, p := range path {
		sets, _ = sets[p].(map[string]any)
	}
	for name, set := range sets {
		if list, ok := set.([]any); ok {
			sets[name] = slices.DeleteFunc(list, func(c any) bool { return c == missing })
		}
	}
	if b, err = json.Marshal(root); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}
