package kind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// The network of the nodes. kind takes an existing one of its name as it is. Its first address is the
// machine itself, which is what the clusters see as the outside world.
const (
	networkName   = "kind"
	networkBridge = "br-k8ssec"
	networkCIDR   = "172.30.0.0/24"
	// HostAddress is this machine as the nodes and pods see it: outside of the cluster.
	HostAddress = "172.30.0.1"
)

// Engine is a Docker engine with the network for clusters.
type Engine struct {
	log io.Writer
	// own is the engine that we started, or nil where one was running.
	own *exec.Cmd
}

// StartEngine returns the engine that runs, or starts one where none does, which takes root and the
// packages of Debian.
func StartEngine(ctx context.Context, log io.Writer) (*Engine, error) {
	e := &Engine{log: log}
	if err := packages(ctx, log, "docker:docker.io"); err != nil {
		return nil, err
	}
	if docker(ctx, "info") == nil {
		return e, e.network(ctx)
	}
	if err := packages(ctx, log, "dockerd:docker.io", "runc:runc", "iptables:iptables"); err != nil {
		return nil, err
	}
	if os.Getuid() != 0 {
		return nil, errors.New("no Docker engine answers, and starting one takes root")
	}
	dir, err := components.Dir("docker")
	if err != nil {
		return nil, err
	}
	runtime, err := components.Build("lowcaps", "github.com/k8ssec/k8ssec/e2e/kind/lowcaps")
	if err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	cmd := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "run"),
		"--pidfile", filepath.Join(dir, "dockerd.pid"), "--storage-driver", "overlay2",
		// No name is ever looked up outside.
		"--dns", "127.0.0.1", "--log-level", "warn",
		"--add-runtime", "lowcaps="+runtime, "--default-runtime", "lowcaps")
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start dockerd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if docker(ctx, "info") == nil {
			break
		}
		select {
		case err := <-ended:
			text, _ := os.ReadFile(logFile.Name())
			return nil, fmt.Errorf("dockerd ended: %w\n%s", err, text)
		default:
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("dockerd does not answer; see %s", logFile.Name())
		}
	}
	e.own = cmd
	fmt.Fprintln(log, "started a Docker engine")
	return e, e.network(ctx)
}

// network makes the nodes' network, from which nothing leaves the machine.
func (e *Engine) network(ctx context.Context) error {
	if docker(ctx, "network", "inspect", networkName) != nil {
		if err := docker(ctx, "network", "create", "--driver", "bridge", "--subnet", networkCIDR,
			"--opt", "com.docker.network.bridge.name="+networkBridge,
			"--opt", "com.docker.network.bridge.enable_ip_masquerade=false", networkName); err != nil {
			return err
		}
	}
	if os.Getuid() != 0 {
		return nil // without masquerading nothing finds its way back
	}
	rule := []string{"DOCKER-USER", "-i", networkBridge, "!", "-o", networkBridge, "-j", "REJECT"}
	if output(ctx, nil, "iptables", append([]string{"-C"}, rule...)...) == nil {
		return nil
	}
	return output(ctx, nil, "iptables", append([]string{"-I"}, rule...)...)
}

// Stop ends the engine if we started it. Its images stay for the next run.
func (e *Engine) Stop() {
	if e.own == nil {
		return
	}
	_ = e.own.Process.Signal(syscall.SIGTERM)
	for range 100 {
		if syscall.Kill(e.own.Process.Pid, 0) != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = e.own.Process.Kill()
}

func docker(ctx context.Context, args ...string) error {
	return output(ctx, nil, "docker", args...)
}

// Docker runs a docker command and returns what it printed.
func Docker(ctx context.Context, args ...string) (string, error) {
	var b bytes.Buffer
	err := output(ctx, &b, "docker", args...)
	return b.String(), err
}

// output runs a command; an error has what it wrote.
func output(ctx context.Context, stdout io.Writer, name string, args ...string) error {
	return command{stdout: stdout}.run(ctx, name, args...)
}

// command is how a program is run.
type command struct {
	stdin  io.Reader
	stdout io.Writer
	env    []string
	dir    string
}

func (c command) run(ctx context.Context, name string, args ...string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = append(os.Environ(), c.env...), c.dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, c.stdout, &stderr
	if c.stdout == nil {
		cmd.Stdout = &stderr
	}
	if err := cmd.Run(); err != nil {
		const most = 4000
		text := strings.TrimSpace(stderr.String())
		if len(text) > most {
			text = "..." + text[len(text)-most:]
		}
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, text)
	}
	return nil
}

// packages installs Debian packages for commands that are missing, as "command:package".
func packages(ctx context.Context, log io.Writer, pairs ...string) error {
	root, err := components.Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "tools", "packages.sh"), pairs...)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd.Run()
}

// step says what is done and how long it took.
func step(log io.Writer, name string, f func() error) error {
	begin := time.Now()
	err := f()
	took := strconv.FormatFloat(time.Since(begin).Seconds(), 'f', 1, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(log, "%s: %s s\n", name, took)
	return nil
}
