package controlplane

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the process with the test, even where the test is killed before its clean-up.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
