package kind

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// Cluster is a running kind cluster.
type Cluster struct {
	Name string
	// Kubeconfig is the path of the administrator's credentials.
	Kubeconfig string
	// Nodes are the containers, the control plane first.
	Nodes []string

	tools binaries
	dir   string
}

// CNI is a network plug-in that a cluster can have.
type CNI string

// The network plug-ins.
const (
	// CiliumCNI enforces policies.
	CiliumCNI CNI = "cilium"
	// PlainCNI connects pods and ignores every policy: what a probe of a policy must notice.
	PlainCNI CNI = "plain"
)

// Options describe a cluster.
type Options struct {
	Name string
	// Config is a kind configuration, and Dir the folder that its relative mounts begin at.
	Config, Dir string
	CNI         CNI
}

// FromRepository are the options of the cluster that an emitted repository describes.
func FromRepository(name, repository string) Options {
	return Options{Name: name, Dir: repository, Config: filepath.Join(repository, "bootstrap", "kind-config.yaml"), CNI: CiliumCNI}
}

// Create makes a cluster and waits until its nodes are ready and it resolves names.
func (e *Engine) Create(ctx context.Context, o Options) (_ *Cluster, err error) {
	images, err := e.Images(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "k8ssec-"+o.Name+"-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: o.Name, Kubeconfig: filepath.Join(dir, "kubeconfig"), tools: images.tools, dir: dir}
	defer func() {
		if err != nil && os.Getenv("E2E_KEEP") == "" {
			err = errors.Join(err, c.Delete(context.WithoutCancel(ctx)))
		}
	}()
	// What an interrupted run left behind.
	if err := c.kind(ctx, "delete", "cluster", "--name", o.Name); err != nil {
		return nil, err
	}
	if err := step(e.log, "cluster "+o.Name, func() error {
		return c.kindIn(ctx, o.Dir, "create", "cluster", "--name", o.Name, "--image", images.Node, "--config", o.Config, "--retain")
	}); err != nil {
		return nil, err
	}
	for _, image := range images.Load {
		if err := c.kind(ctx, "load", "docker-image", "--name", o.Name, image); err != nil {
			return nil, err
		}
	}
	nodes, err := Docker(ctx, "ps", "--filter", "label=io.x-k8s.kind.cluster="+o.Name, "--format", "{{.Names}}")
	if err != nil {
		return nil, err
	}
	c.Nodes = strings.Fields(nodes)
	slices.Sort(c.Nodes) // NAME-control-plane before NAME-worker
	return c, step(e.log, "network of "+o.Name, func() error { return c.install(ctx, o.CNI) })
}

// Delete removes the cluster.
func (c *Cluster) Delete(ctx context.Context) error {
	err := c.kind(ctx, "delete", "cluster", "--name", c.Name)
	return errors.Join(err, os.RemoveAll(c.dir))
}

func (c *Cluster) kind(ctx context.Context, args ...string) error { return c.kindIn(ctx, "", args...) }

func (c *Cluster) kindIn(ctx context.Context, dir string, args ...string) error {
	return command{dir: dir, env: c.env()}.run(ctx, c.tools.path(components.Kind, "kind"), args...)
}

func (c *Cluster) env() []string { return []string{"KUBECONFIG=" + c.Kubeconfig} }

// Kubectl runs the real kubectl as the administrator and returns what it printed.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	err := command{stdout: &out, env: c.env()}.run(ctx, c.tools.path(components.Kubernetes, "kubectl"), args...)
	return out.String(), err
}

// Apply applies a YAML text as the administrator.
func (c *Cluster) Apply(ctx context.Context, text string) error {
	return c.applyFrom(ctx, strings.NewReader(text), "-f", "-")
}

func (c *Cluster) applyFrom(ctx context.Context, stdin io.Reader, args ...string) error {
	args = append([]string{"apply", "--server-side", "--force-conflicts"}, args...)
	return command{stdin: stdin, env: c.env()}.run(ctx, c.tools.path(components.Kubernetes, "kubectl"), args...)
}

// Replace makes objects exactly what a YAML text says, whoever changed them since.
func (c *Cluster) Replace(ctx context.Context, text string) error {
	replace := command{stdin: strings.NewReader(text), env: c.env()}
	err := replace.run(ctx, c.tools.path(components.Kubernetes, "kubectl"), "replace", "-f", "-")
	if err != nil && strings.Contains(err.Error(), "NotFound") {
		return c.Apply(ctx, text)
	}
	return err
}

// Node runs a command on a node and returns what it printed.
func (c *Cluster) Node(ctx context.Context, node string, command ...string) (string, error) {
	return Docker(ctx, append([]string{"exec", "--privileged", node}, command...)...)
}

// Eventually waits until f finds nothing to complain about.
func Eventually(ctx context.Context, most time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("still after %s: %w", most, err)
		case <-time.After(time.Second):
		}
	}
}

//go:embed cilium.yaml
var ciliumManifest string

// install gives the cluster its network and waits until everything of kube-system runs.
func (c *Cluster) install(ctx context.Context, cni CNI) error {
	switch cni {
	case CiliumCNI:
		files, err := c.ciliumCRDs()
		if err != nil {
			return err
		}
		var args []string
		for _, f := range files {
			args = append(args, "-f", f)
		}
		if err := c.applyFrom(ctx, nil, args...); err != nil {
			return err
		}
		manifest := strings.NewReplacer("$IMAGE", CiliumImage, "$API_SERVER", c.Nodes[0]).Replace(ciliumManifest)
		if err := c.Apply(ctx, manifest); err != nil {
			return err
		}
		if _, err := c.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "daemonset/cilium", "--timeout=180s"); err != nil {
			return err
		}
	case PlainCNI:
		if err := c.plain(ctx); err != nil {
			return err
		}
	default:
		return fmt.Errorf("no CNI %q", cni)
	}
	return c.Healthy(ctx)
}

// Healthy waits until every node is ready and every pod of kube-system runs.
func (c *Cluster) Healthy(ctx context.Context) error {
	for _, args := range [][]string{
		{"wait", "--for=condition=Ready", "node", "--all", "--timeout=20s"},
		{"-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=20s"},
		{"-n", "kube-system", "rollout", "status", "daemonset/kube-proxy", "--timeout=20s"},
		{"-n", "kube-system", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=20s"},
	} {
		// An API server that has just started refuses for a moment what it will allow.
		if err := Eventually(ctx, 3*time.Minute, func() error {
			_, err := c.Kubectl(ctx, args...)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// ciliumCRDs are all definitions of Cilium, which its operator would make.
func (c *Cluster) ciliumCRDs() ([]string, error) {
	module, err := components.Module("github.com/cilium/cilium")
	if err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(module, "pkg/k8s/apis/cilium.io/client/crds/v2*/*.yaml"))
}

// plain gives each node a plain point to point network and routes to the others.
func (c *Cluster) plain(ctx context.Context) error {
	type node struct{ name, cidr, address string }
	var nodes []node
	if err := Eventually(ctx, time.Minute, func() error {
		out, err := c.Kubectl(ctx, "get", "nodes", "-o",
			`jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}`)
		if err != nil {
			return err
		}
		nodes = nil
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) != 3 {
				return fmt.Errorf("node without a pod network: %q", line)
			}
			nodes = append(nodes, node{f[0], f[1], f[2]})
		}
		return nil
	}); err != nil {
		return err
	}
	for _, n := range nodes {
		conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"ptp","plugins":[{"type":"ptp","ipMasq":false,"mtu":1500,"ipam":`+
			`{"type":"host-local","dataDir":"/run/cni-ipam-state","ranges":[[{"subnet":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}},`+
			`{"type":"portmap","capabilities":{"portMappings":true}}]}`, n.cidr)
		if _, err := c.Node(ctx, n.name, "sh", "-c", "printf %s '"+conf+"' > /etc/cni/net.d/10-ptp.conflist"); err != nil {
			return err
		}
		for _, other := range nodes {
			if other.name == n.name {
				continue
			}
			if _, err := c.Node(ctx, n.name, "ip", "route", "replace", other.cidr, "via", other.address); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove removes the cluster of that name, whoever made it.
func (e *Engine) Remove(ctx context.Context, name string) error {
	tools, err := build(e.log, components.Kind)
	if err != nil {
		return err
	}
	return output(ctx, nil, tools.path(components.Kind, "kind"), "delete", "cluster", "--name", name)
}
