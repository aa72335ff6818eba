package upgrade

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is a running cluster that is looked at before an upgrade. It is only read, but for requests
// with dryRun, which change nothing.
type Cluster struct {
	// Context and Server say which one it is.
	Context, Server string

	client *http.Client
	base   *url.URL
}

// Connect reads a kubeconfig, an empty one by the rules of kubectl, and takes one of its contexts, an
// empty one being the current.
func Connect(kubeconfig, contextName string) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	rules.WarnIfAllMissing = false
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: contextName})
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, err
	}
	if contextName == "" {
		contextName = raw.CurrentContext
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, err
	}
	return newCluster(config, contextName)
}

func newCluster(config *rest.Config, contextName string) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.UserAgent, config.Timeout = "k8ssec-upgrade", 30*time.Second
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{Context: contextName, Server: base.String(), client: client, base: base}, nil
}

// maxAnswer bounds an answer: the metrics of a large API server.
const maxAnswer = 64 << 20

func (c *Cluster) send(ctx context.Context, method, path string, body []byte) ([]byte, http.Header, error) {
	target := *c.base
	bare, query, _ := strings.Cut(path, "?")
	target.Path, target.RawQuery = strings.TrimSuffix(target.Path, "/")+bare, query
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.Server, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode >= 300 {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(data, &status) // what is no Status has no message
		err = fmt.Errorf("%s answers %d: %s", bare, resp.StatusCode, status.Message)
	}
	return data, resp.Header, err
}

func (c *Cluster) get(ctx context.Context, path string, into any) error {
	data, _, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// meta is what every object has.
type meta struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

type containers struct {
	Name    string   `json:"name"`
	Image   string   `json:"image"`
	Command []string `json:"command"`
	Args    []string `json:"args"`
}

// Scan looks at the cluster. What cannot be read becomes a finding as well: nobody has looked there.
func (c *Cluster) Scan(ctx context.Context, from, to int) ([]Finding, error) {
	var version struct{ Major, Minor, GitVersion string }
	if err := c.get(ctx, "/version", &version); err != nil {
		return nil, err
	}
	var found []Finding
	add := func(level Level, where, message, fix, source string) {
		found = append(found, Finding{Level: level, Where: where, Message: message, Fix: fix, Source: source})
	}
	if minor, err := ParseMinor(version.GitVersion); err != nil {
		return nil, err
	} else if minor != from {
		add(Blocking, c.Server, fmt.Sprintf("the cluster runs %s, and cluster.cue says 1.%d", version.GitVersion, from),
			"plan from what runs: correct cluster.cue, or name the right context", "/version")
	}
	for _, look := range []struct {
		what string
		do   func(context.Context, int, int, func(Level, string, string, string, string)) error
	}{
		{"deprecated APIs in use (/metrics)", c.deprecated}, {"nodes", c.nodes}, {"disruption budgets", c.budgets},
		{"arguments of the control plane", c.controlPlane}, {"configuration of kubeadm and the kubelets", c.configuration}, {"Pod Security of the new version", c.podSecurity},
	} {
		if err := look.do(ctx, from, to, add); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			add(Risky, c.Server, look.what+" could not be looked at: "+err.Error(), "run this with the rights of a platform admin", "")
		}
	}
	Sort(found)
	return found, nil
}

var deprecatedMetric = regexp.MustCompile(`(?m)^apiserver_requested_deprecated_apis\{([^}]*)\} ([0-9.e+]+)`)

// deprecated reads which APIs that go away somebody has asked for since the API server started.
func (c *Cluster) deprecated(ctx context.Context, _, to int, add func(Level, string, string, string, string)) error {
	data, _, err := c.send(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return err
	}
	for _, m := range deprecatedMetric.FindAllStringSubmatch(string(data), -1) {
		labels := map[string]string{}
		for _, pair := range strings.Split(m[1], ",") {
			key, value, _ := strings.Cut(pair, "=")
			labels[key] = strings.Trim(value, `"`)
		}
		removed, err := ParseMinor(labels["removed_release"])
		if err != nil || m[2] == "0" {
			continue
		}
		api := strings.TrimPrefix(labels["group"]+"/"+labels["version"], "/") + " " + labels["resource"]
		level, text := Information, fmt.Sprintf("%s was asked for, and goes away in 1.%d", api, removed)
		if removed <= to {
			level = Blocking
		}
		add(level, "the API server", text, "the audit log names who: k8s.io/removed-release in its annotations", "apiserver_requested_deprecated_apis")
	}
	return nil
}

// nodes looks at kubelets, runtimes and readiness.
func (c *Cluster) nodes(ctx context.Context, _, to int, add func(Level, string, string, string, string)) error {
	var list struct {
		Items []struct {
			Metadata meta
			Spec     struct{ Unschedulable bool }
			Status   struct {
				NodeInfo struct {
					KubeletVersion          string `json:"kubeletVersion"`
					ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
				} `json:"nodeInfo"`
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := c.get(ctx, "/api/v1/nodes?limit=5000", &list); err != nil {
		return err
	}
	for _, n := range list.Items {
		where := "Node " + n.Metadata.Name
		if minor, err := ParseMinor(n.Status.NodeInfo.KubeletVersion); err == nil && minor < to-3 {
			add(Blocking, where, fmt.Sprintf("the kubelet is %s: more than three minors behind 1.%d", n.Status.NodeInfo.KubeletVersion, to), "upgrade this kubelet first", "version skew policy")
		} else if err == nil && minor == to-3 {
			add(Risky, where, fmt.Sprintf("the kubelet is %s: it must be upgraded before the step after this one", n.Status.NodeInfo.KubeletVersion), "upgrade this kubelet soon", "version skew policy")
		}
		if strings.HasPrefix(n.Status.NodeInfo.ContainerRuntimeVersion, "containerd://1.") {
			level := Information
			if to >= 38 {
				level = Blocking
			}
			add(level, where, n.Status.NodeInfo.ContainerRuntimeVersion+": Kubernetes 1.38 no longer works with containerd 1", "plan for containerd 2", "release notes of 1.37")
		}
		if n.Spec.Unschedulable {
			add(Risky, where, "the node is cordoned", "uncordon it, or take it out, before others are drained", "")
		}
		for _, condition := range n.Status.Conditions {
			if condition.Type == "Ready" && condition.Status != "True" {
				add(Blocking, where, "the node is not ready", "mend it first: an upgrade needs the capacity of all nodes", "")
			}
		}
	}
	return nil
}

// budgets finds disruption budgets that stop a drain.
func (c *Cluster) budgets(ctx context.Context, _, _ int, add func(Level, string, string, string, string)) error {
	var list struct {
		Items []struct {
			Metadata meta
			Status   struct {
				DisruptionsAllowed int `json:"disruptionsAllowed"`
				ExpectedPods       int `json:"expectedPods"`
			}
		}
	}
	if err := c.get(ctx, "/apis/policy/v1/poddisruptionbudgets?limit=5000", &list); err != nil {
		return err
	}
	for _, b := range list.Items {
		if b.Status.ExpectedPods > 0 && b.Status.DisruptionsAllowed == 0 {
			add(Risky, "PodDisruptionBudget "+b.Metadata.Namespace+"/"+b.Metadata.Name, "it allows no disruption now: a drain waits for it, for ever if it stays so",
				"more replicas, or a budget that leaves one pod", "status.disruptionsAllowed")
		}
	}
	return nil
}

var etcdTag = regexp.MustCompile(`:v?(\d+)\.(\d+)\.(\d+)`)

// controlPlane looks at the arguments that the control plane runs with, and at etcd's version.
func (c *Cluster) controlPlane(ctx context.Context, from, to int, add func(Level, string, string, string, string)) error {
	var list struct {
		Items []struct {
			Metadata meta
			Spec     struct{ Containers []containers }
		}
	}
	if err := c.get(ctx, "/api/v1/namespaces/kube-system/pods?labelSelector=tier%3Dcontrol-plane", &list); err != nil {
		return err
	}
	for _, p := range list.Items {
		where := "Pod kube-system/" + p.Metadata.Name
		for _, container := range p.Spec.Containers {
			for _, f := range ScanText(container.Name+".args", strings.Join(append(container.Command, container.Args...), " "), from, to) {
				add(f.Level, where, f.Message, f.Fix, f.Source)
			}
			if container.Name != "etcd" || to < 37 {
				continue
			}
			if m := etcdTag.FindStringSubmatch(container.Image); m != nil && older(m[1:], []int{3, 6, 11}) {
				add(Blocking, where, "etcd is "+strings.Join(m[1:], ".")+": the way to 3.7, which comes with 1.37, begins at 3.6.11", "bring etcd to 3.6.11 or newer first, then take a snapshot", "etcd.io/docs/v3.7/upgrades/upgrade_3_7")
			}
		}
	}
	if len(list.Items) == 0 {
		add(Information, "kube-system", "no pods of a control plane are here: its arguments were not looked at", "look at them where the provider shows them", "")
	}
	return nil
}

func older(version []string, than []int) bool {
	for i, part := range version {
		n, err := strconv.Atoi(part)
		if err != nil || n != than[i] {
			return err == nil && n < than[i]
		}
	}
	return false
}

// configuration looks at what kubeadm keeps in the cluster.
func (c *Cluster) configuration(ctx context.Context, from, to int, add func(Level, string, string, string, string)) error {
	var list struct {
		Items []struct {
			Metadata meta
			Data     map[string]string
		}
	}
	if err := c.get(ctx, "/api/v1/namespaces/kube-system/configmaps?limit=500", &list); err != nil {
		return err
	}
	for _, m := range list.Items {
		if !slices.Contains([]string{"kubeadm-config", "kubelet-config", "kube-proxy"}, m.Metadata.Name) {
			continue
		}
		for key, text := range m.Data {
			for _, f := range ScanText(m.Metadata.Name+"/"+key+".yaml", text, from, to) {
				add(f.Level, "ConfigMap kube-system/"+m.Metadata.Name, fmt.Sprintf("%s, line %d: %s", key, f.Line, f.Message), f.Fix, f.Source)
			}
		}
	}
	return nil
}

// podSecurity asks the API server, by dry run, which running pods the new version of Pod Security
// would refuse.
func (c *Cluster) podSecurity(ctx context.Context, _, to int, add func(Level, string, string, string, string)) error {
	var list struct{ Items []struct{ Metadata meta } }
	if err := c.get(ctx, "/api/v1/namespaces?limit=5000", &list); err != nil {
		return err
	}
	for _, ns := range list.Items {
		level := ns.Metadata.Labels["pod-security.kubernetes.io/enforce"]
		if level == "" || level == "privileged" {
			continue
		}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{
			// A level that is set to itself is not looked at; the version is what changes.
			"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": fmt.Sprintf("v1.%d", to),
		}}})
		if err != nil {
			return err
		}
		_, header, err := c.send(ctx, http.MethodPatch, "/api/v1/namespaces/"+url.PathEscape(ns.Metadata.Name)+"?dryRun=All", body)
		if err != nil {
			// A cluster does not know the Pod Security of a version that is newer than itself by name: it
			// takes its own newest, and says so in a warning, not in an error.
			return err
		}
		for _, warning := range header.Values("Warning") {
			text := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(warning, `299 - "`), `"`), `\"`, `"`)
			if strings.Contains(text, "existing pods") || strings.Contains(text, "violate") || strings.Contains(text, ": ") && !strings.Contains(text, "unknown version") {
				add(Risky, "Namespace "+ns.Metadata.Name, text, "mend these pods before enforce-version moves on", fmt.Sprintf("dry run of %s at v1.%d", level, to))
			}
		}
	}
	return nil
}
