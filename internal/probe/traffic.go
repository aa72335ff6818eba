package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/k8ssec/k8ssec/generators"
)

// hostNamespace is where a pod may be in the network of its node, to ask whether an address answers
// at all.
const hostNamespace = "kube-system"

// dialTimeout is when a connection counts as refused. A policy drops packets, so each denial takes
// this long.
const dialTimeout = 4 * time.Second

// patience is how often a connection is tried before it counts: a network plug-in learns of new pods
// a moment after they run.
const patience = 4

// network is the part of a run that needs pods.
type network struct {
	*runner
	mu      sync.Mutex
	sources map[string]*pod // by where they run
	servers map[string]*pod
}

// pod is one pod of the run.
type pod struct {
	namespace, name string
	start           sync.Once
	ip              string
	problem         error
}

// dial is what came of one connection.
type dial struct {
	open bool
	said string // what the client printed, for people
	err  error  // the connection could not be tried
}

// traffic runs the probes that open connections. The network plug-in has to show first, in the
// sandbox, that it acts on a policy at all: without that no denial means anything.
func (r *runner) traffic(ctx context.Context, probes []generators.Probe, indices []int) []outcome {
	out := make([]outcome, len(indices))
	fill := func(o outcome) []outcome {
		for i := range out {
			out[i] = o
		}
		return out
	}
	if r.sandbox == nil {
		return fill(skipped("it creates pods for a moment: run with --active"))
	}
	n := &network{runner: r, sources: map[string]*pod{}, servers: map[string]*pod{}}
	verdict := n.enforcing(ctx)
	if verdict.state != Passed {
		return fill(verdict)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for k, i := range indices {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out[k] = n.probe(ctx, &probes[i])
		})
	}
	wg.Wait()
	return out
}

// outside is a pod in the sandbox.
var outside = generators.Endpoint{}

// enforcing shows with two pods of the sandbox that a connection works, and that it stops when a
// policy denies it.
func (n *network) enforcing(ctx context.Context) outcome {
	denied := generators.Endpoint{Labels: map[string]string{"k8ssec.dev/probe-denied": "true"}}
	const port = 8080
	if d := n.dial(ctx, outside, denied, port, "TCP", true); d.err != nil {
		return skipped("no pod could be used: %v", d.err)
	} else if !d.open {
		return skipped("two pods do not reach each other in a namespace without any policy (%s), so a denial would show nothing", d.said)
	}
	a, err := n.Client.do(ctx, call{
		method: http.MethodPost, path: "/apis/networking.k8s.io/v1/namespaces/" + n.sandbox.namespace + "/networkpolicies",
		body: map[string]any{
			"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": map[string]any{"name": generators.ProbeName},
			"spec": map[string]any{"podSelector": map[string]any{"matchLabels": denied.Labels}, "policyTypes": []any{"Ingress"}},
		},
	})
	if err != nil {
		return unable(err)
	}
	if !a.ok() {
		return skipped("no network policy can be made in the short-lived namespace: %s", clip(a.message, 200))
	}
	for end := time.Now().Add(20 * time.Second); ; {
		d := n.dial(ctx, outside, denied, port, "TCP", false)
		if d.err != nil {
			return unable(d.err)
		}
		if !d.open {
			return passed("")
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return outcome{NotEnforced, "the network plug-in lets through what a NetworkPolicy denies: 20 s after the policy the connection still works"}
		}
	}
}

// probe tries one connection, with what shows that its failure would mean something.
func (n *network) probe(ctx context.Context, p *generators.Probe) outcome {
	c := p.Check.(generators.Traffic)
	protocol := c.Protocol
	if protocol == "" {
		protocol = "TCP"
	}
	if c.To.Entity == "dns" {
		return n.resolves(ctx, p.Kind, c)
	}
	d := n.dial(ctx, c.From, c.To, c.Port, protocol, p.Kind == generators.Allow)
	switch {
	case d.err != nil:
		return unable(d.err)
	case p.Kind == generators.Allow:
		return want(d.open, "%s", d.said)
	case d.open:
		return failed("connected")
	case c.From.Namespace == "":
		// Nothing denies the sandbox anything: a closed port is what is asked for.
		return passed("no connection (%s)", d.said)
	}
	switch {
	case c.To.Address != "":
		if alive := n.dial(ctx, generators.Endpoint{Entity: "node"}, c.To, c.Port, protocol, true); alive.err != nil || !alive.open {
			return skipped("no connection, but the node itself gets none there either, so this shows nothing")
		}
		return passed("no connection (%s), while the node itself gets one", d.said)
	case c.To.Namespace != "":
		// A pod that runs listens, and the plug-in has shown that it denies.
		return passed("no connection (%s), while the pod there listens", d.said)
	}
	if alive := n.dial(ctx, outside, c.To, c.Port, protocol, true); alive.err != nil || !alive.open {
		return skipped("no connection, but a pod without any policy gets none there either, so this shows nothing")
	}
	return passed("no connection (%s), while a pod without any policy gets one", d.said)
}

// resolves looks up a name of the cluster. The connection to it may fail: what counts is the name.
func (n *network) resolves(ctx context.Context, kind generators.ProbeKind, c generators.Traffic) outcome {
	var last string
	// Without the dot every domain of the pod's search list would be tried first, each until it times out.
	name := strings.TrimSuffix(c.To.Address, ".") + "."
	for range patience {
		source := n.source(ctx, c.From)
		if source.problem != nil {
			return unable(source.problem)
		}
		_, stderr, _, err := n.Client.exec(ctx, source.namespace, source.name, "probe",
			"/agnhost", "connect", name+":443", "--timeout="+dialTimeout.String())
		if err != nil {
			return unable(err)
		}
		last = clip(string(stderr), 200)
		if !strings.HasPrefix(last, "DNS") {
			return want(kind == generators.Allow, "%s resolves", c.To.Address)
		}
	}
	return want(kind == generators.Deny, "%s", last)
}

// dial opens a connection, and tries again while it is not yet as hoped.
func (n *network) dial(ctx context.Context, from, to generators.Endpoint, port int, protocol string, hope bool) dial {
	source := n.source(ctx, from)
	if source.problem != nil {
		return dial{err: source.problem}
	}
	host, port, err := n.target(ctx, to, port, protocol)
	if err != nil {
		return dial{err: err}
	}
	var d dial
	for i := range patience {
		if i > 0 {
			select {
			case <-ctx.Done():
				return dial{err: ctx.Err()}
			case <-time.After(time.Duration(i) * time.Second):
			}
		}
		_, stderr, code, err := n.Client.exec(ctx, source.namespace, source.name, "probe", "/agnhost", "connect",
			net.JoinHostPort(host, strconv.Itoa(port)), "--timeout="+dialTimeout.String(), "--protocol="+strings.ToLower(protocol))
		if err != nil {
			return dial{err: fmt.Errorf("in pod %s/%s: %w", source.namespace, source.name, err)}
		}
		d = dial{open: code == 0, said: clip(string(stderr), 100)}
		if code == 0 {
			d.said = "connected"
		}
		if d.open == hope {
			return d
		}
	}
	return d
}

// target is the address to connect to.
func (n *network) target(ctx context.Context, to generators.Endpoint, port int, protocol string) (string, int, error) {
	switch to.Entity {
	case "apiserver":
		var service object
		if err := n.Client.get(ctx, "/api/v1/namespaces/default/services/kubernetes", &service); err != nil {
			return "", 0, err
		}
		return service.text("spec", "clusterIP"), 443, nil
	case "node":
		host, err := n.controlPlaneNode(ctx)
		return host, port, err
	}
	if to.Address != "" {
		return to.Address, port, nil
	}
	s := n.server(ctx, to, port, protocol)
	return s.ip, port, s.problem
}

// controlPlaneNode is the address of the first control plane node.
func (n *network) controlPlaneNode(ctx context.Context) (string, error) {
	var list struct{ Items []object }
	if err := n.Client.get(ctx, "/api/v1/nodes?labelSelector=node-role.kubernetes.io%2Fcontrol-plane", &list); err != nil {
		return "", err
	}
	for _, node := range list.Items {
		if address := internalIP(node); address != "" {
			return address, nil
		}
	}
	return "", errors.New("no control plane node is to be seen")
}

// source is a pod from which connections are opened; one for each place and set of labels.
func (n *network) source(ctx context.Context, e generators.Endpoint) *pod {
	return n.pod(ctx, n.sources, "from", e, func(spec *corev1.PodSpec) {
		spec.Containers[0].Command = []string{"/agnhost", "pause"}
		if e.Entity == "node" {
			spec.HostNetwork = true
		}
	})
}

// server is a pod that listens.
func (n *network) server(ctx context.Context, e generators.Endpoint, port int, protocol string) *pod {
	return n.pod(ctx, n.servers, fmt.Sprintf("to %d %s", port, protocol), e, func(spec *corev1.PodSpec) {
		c := &spec.Containers[0]
		probed := port
		c.Command = []string{"/agnhost", "netexec", "--http-port=" + strconv.Itoa(port), "--udp-port=-1"}
		if protocol == "UDP" {
			probed = 8080
			c.Command = []string{"/agnhost", "netexec", "--http-port=8080", "--udp-port=" + strconv.Itoa(port)}
		}
		c.StartupProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(probed))}},
			PeriodSeconds: 1, FailureThreshold: 60,
		}
		// So that no capability is needed for ports below 1024.
		spec.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}
	})
}

// pod makes a pod once and waits until its container has started.
func (n *network) pod(ctx context.Context, known map[string]*pod, role string, e generators.Endpoint, change func(*corev1.PodSpec)) *pod {
	key := role + " " + e.Entity + " " + e.Namespace
	for _, k := range slices.Sorted(maps.Keys(e.Labels)) {
		key += " " + k + "=" + e.Labels[k]
	}
	n.mu.Lock()
	p := known[key]
	if p == nil {
		p = &pod{namespace: e.Namespace, name: fmt.Sprintf("%s-%s-%d", generators.ProbeName, strings.Fields(role)[0], len(known))}
		switch {
		case e.Entity == "node":
			p.namespace = hostNamespace
		case e.Namespace == "":
			p.namespace = n.sandbox.namespace
		}
		p.name += n.sandbox.namespace[strings.LastIndex(n.sandbox.namespace, "-"):]
		known[key] = p
	}
	n.mu.Unlock()
	p.start.Do(func() {
		spec := generators.ProbePodSpec(n.Image)
		change(&spec)
		if p.problem = n.create(ctx, p, e.Labels, spec); p.problem == nil {
			p.ip, p.problem = n.started(ctx, p)
		}
	})
	return p
}

func (n *network) create(ctx context.Context, p *pod, labels map[string]string, spec corev1.PodSpec) error {
	var namespace object
	if err := n.Client.get(ctx, "/api/v1/namespaces/"+p.namespace, &namespace); err != nil {
		return err
	}
	body := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.name, Namespace: p.namespace, Labels: map[string]string{probeLabel: n.sandbox.label},
			// A pod with the labels of a workload must not become part of it: a controller takes over no
			// pod that has one already.
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Namespace", Name: p.namespace, UID: types.UID(namespace.text("metadata", "uid")), Controller: new(true),
			}},
		},
		Spec: spec,
	}
	maps.Copy(body.Labels, labels)
	body.Spec.RestartPolicy = corev1.RestartPolicyNever
	body.Spec.TerminationGracePeriodSeconds = new(int64(0))
	body.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "linux"}
	// And no service sends requests to a pod that never is ready.
	body.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: probeLabel}}
	body.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
	path := "/api/v1/namespaces/" + p.namespace + "/pods"
	a, err := n.Client.do(ctx, call{method: http.MethodPost, path: path, body: body})
	if err != nil {
		return err
	}
	if !a.ok() {
		return fmt.Errorf("no pod can be made in namespace %s: %s", p.namespace, clip(a.message, 300))
	}
	return nil
}

// started waits until the pod's container has started, for as long as an image may take to pull, and
// returns the pod's address.
func (n *network) started(ctx context.Context, p *pod) (ip string, err error) {
	last := ""
	err = wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
		a, err := n.Client.do(ctx, call{path: "/api/v1/namespaces/" + p.namespace + "/pods/" + p.name})
		if err != nil || !a.ok() {
			return false, err
		}
		var o corev1.Pod
		if err := a.decode(&o); err != nil {
			return false, err
		}
		ip, last = o.Status.PodIP, string(o.Status.Phase)
		for _, c := range o.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				last = clip(c.Message, 200)
			}
		}
		for _, s := range o.Status.ContainerStatuses {
			switch {
			case s.State.Terminated != nil:
				return false, fmt.Errorf("it ended: exit code %d %s", s.State.Terminated.ExitCode, clip(s.State.Terminated.Message, 200))
			case s.State.Waiting != nil:
				last = s.State.Waiting.Reason + " " + clip(s.State.Waiting.Message, 200)
			case s.Started != nil && *s.Started && ip != "":
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		if wait.Interrupted(err) && ctx.Err() == nil {
			err = fmt.Errorf("not within 90 s: %s", last)
		}
		return "", fmt.Errorf("pod %s/%s with image %s does not start: %w", p.namespace, p.name, n.Image, err)
	}
	return ip, nil
}
