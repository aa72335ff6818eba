package probe

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

// exec runs a command in a container and returns what it printed and its exit code. A busy kubelet
// hears of a container only a moment after it has started.
func (c *Client) exec(ctx context.Context, namespace, pod, container string, command ...string) (stdout, stderr []byte, code int, err error) {
	for end := time.Now().Add(15 * time.Second); ; {
		stdout, stderr, code, err = c.execOnce(ctx, namespace, pod, container, command...)
		if err == nil || !strings.Contains(err.Error(), "container not found") || time.Now().After(end) {
			return stdout, stderr, code, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, 0, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (c *Client) execOnce(ctx context.Context, namespace, pod, container string, command ...string) (stdout, stderr []byte, code int, err error) {
	target := *c.base
	target.Path = "/api/v1/namespaces/" + namespace + "/pods/" + pod + "/exec"
	target.RawQuery = url.Values{"container": {container}, "command": command, "stdout": {"true"}, "stderr": {"true"}}.Encode()
	config := rest.CopyConfig(c.config)
	config.Timeout = 0 // of the connection; the context bounds the command
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", target.String())
	if err != nil {
		return nil, nil, 0, err
	}
	var out, problems bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &problems})
	var exit utilexec.CodeExitError
	if errors.As(err, &exit) {
		return out.Bytes(), problems.Bytes(), exit.Code, nil
	}
	return out.Bytes(), problems.Bytes(), 0, err
}
