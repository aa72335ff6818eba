package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Join adds a worker: a container like that of the last node, which joins by token as kubeadm does it
// on a real machine. It returns the name of the node, which is also added to Nodes.
func (c *Cluster) Join(ctx context.Context) (string, error) {
	like := c.Nodes[len(c.Nodes)-1]
	name := fmt.Sprintf("%s-joined%d", c.Name, len(c.Nodes))
	out, err := Docker(ctx, "inspect", like)
	if err != nil {
		return "", err
	}
	var containers []struct {
		Config struct {
			Image  string
			Labels map[string]string
		}
		HostConfig      struct{ Binds []string }
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	if err := json.Unmarshal([]byte(out), &containers); err != nil || len(containers) != 1 {
		return "", errors.Join(fmt.Errorf("docker inspect %s", like), err)
	}
	node := containers[0]
	// As kind starts its nodes (pkg/cluster/internal/providers/docker/provision.go of kind).
	args := []string{
		"run", "--detach", "--tty", "--privileged", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--tmpfs", "/tmp", "--tmpfs", "/run", "--volume", "/var", "--cgroupns=private", "--init=false", "--net", networkName,
		"--name", name, "--hostname", name,
	}
	for key, value := range node.Config.Labels {
		if strings.HasPrefix(key, "io.x-k8s.kind.") {
			args = append(args, "--label", key+"="+value)
		}
	}
	for _, bind := range node.HostConfig.Binds {
		args = append(args, "--volume", bind)
	}
	if err := docker(ctx, append(args, node.Config.Image)...); err != nil {
		return "", err
	}
	c.Nodes = append(c.Nodes, name)
	address, err := Docker(ctx, "inspect", "--format", "{{(index .NetworkSettings.Networks \""+networkName+"\").IPAddress}}", name)
	if err != nil {
		return "", err
	}
	config, err := c.Node(ctx, like, "cat", "/kind/kubeadm.conf")
	if err != nil {
		return "", err
	}
	config = strings.NewReplacer(like, name, node.NetworkSettings.Networks[networkName].IPAddress, strings.TrimSpace(address)).Replace(config)
	if err := Eventually(ctx, time.Minute, func() error {
		_, err := c.Node(ctx, name, "ctr", "version")
		return err
	}); err != nil {
		return "", err
	}
	write := command{stdin: strings.NewReader(config)}
	if err := write.run(ctx, "docker", "exec", "--interactive", name, "sh", "-c", "cat > /kind/kubeadm.conf"); err != nil {
		return "", err
	}
	if _, err := c.Node(ctx, name, "kubeadm", "join", "--config", "/kind/kubeadm.conf", "--skip-phases=preflight"); err != nil {
		return "", err
	}
	// kubeadm is done before the node is there.
	return name, Eventually(ctx, 3*time.Minute, func() error {
		_, err := c.Kubectl(ctx, "wait", "--for=condition=Ready", "node/"+name, "--timeout=10s")
		return err
	})
}
