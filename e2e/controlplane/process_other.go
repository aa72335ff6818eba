//go:build !linux

package controlplane

import "os/exec"

// dieWithParent is only possible on Linux; elsewhere a killed test leaves its processes behind.
func dieWithParent(*exec.Cmd) {}
