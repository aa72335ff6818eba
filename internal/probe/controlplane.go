package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/generators"
)

// request sends one request and looks at its status and body.
func (r *runner) request(ctx context.Context, c generators.Request) outcome {
	a, err := r.Client.do(ctx, call{method: c.Method, path: c.Path, as: c.As, anonymous: c.Anonymous, token: c.Token, accept: "*/*"})
	if err != nil {
		return unable(err)
	}
	if !c.Anonymous && c.Token == "" && unauthorized(a) && !slices.Contains(c.Status, a.code) {
		return skipped("you may not: %s", clip(a.message, 200))
	}
	switch {
	case !slices.Contains(c.Status, a.code):
		return failed("%d %s", a.code, clip(a.message, 200))
	case c.Contains != "" && !bytes.Contains(a.body, []byte(c.Contains)):
		return failed("%d, but without %s", a.code, c.Contains)
	case c.Lacks != "" && bytes.Contains(a.body, []byte(c.Lacks)):
		return failed("%d, but with %s", a.code, c.Lacks)
	}
	return passed("%d", a.code)
}

// handshake opens a TLS connection and closes it.
func (r *runner) handshake(ctx context.Context, kind generators.ProbeKind, c generators.Handshake) outcome {
	config, err := r.Client.tlsConfig()
	if err != nil {
		return unable(err)
	}
	if config == nil {
		return failed("the API server is spoken to without TLS")
	}
	config = config.Clone()
	config.MinVersion, config.MaxVersion, config.CipherSuites = tls.VersionTLS10, c.MaxVersion, c.Suites
	if config.ServerName == "" {
		config.ServerName = r.Client.base.Hostname()
	}
	address := r.Client.base.Host
	if r.Client.base.Port() == "" {
		address = net.JoinHostPort(r.Client.base.Hostname(), "443")
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return skipped("no direct way to the API server: %v", err)
	}
	defer func() { _ = raw.Close() }()
	conn := tls.Client(raw, config)
	err = conn.HandshakeContext(ctx)
	if err != nil {
		// A certificate that does not fit, or a server that hangs up, says nothing about versions.
		if refused := strings.Contains(err.Error(), "protocol version") || strings.Contains(err.Error(), "handshake failure"); !refused {
			return skipped("the handshake broke off for another reason: %v", err)
		}
		return want(kind == generators.Deny, "the server refuses: %v", err)
	}
	state := conn.ConnectionState()
	return want(kind == generators.Allow, "connected with %s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
}

// fairness asks the API server how it sorted a request.
func (r *runner) fairness(ctx context.Context, c generators.Fairness) outcome {
	names, err := r.flow.get(func() (map[string]string, error) {
		names := map[string]string{}
		for _, kind := range []string{"flowschemas", "prioritylevelconfigurations"} {
			var list struct{ Items []object }
			if err := r.Client.get(ctx, "/apis/flowcontrol.apiserver.k8s.io/v1/"+kind, &list); err != nil {
				return nil, err
			}
			for _, o := range list.Items {
				names[o.text("metadata", "uid")] = o.name()
			}
		}
		return names, nil
	})
	if err != nil {
		return unable(err)
	}
	a, err := r.Client.do(ctx, call{path: "/version", as: c.As})
	if err != nil {
		return unable(err)
	}
	schema, level := names[a.header.Get("X-Kubernetes-PF-FlowSchema-UID")], names[a.header.Get("X-Kubernetes-PF-PriorityLevel-UID")]
	if schema == "" && level == "" {
		return skipped("the answer does not say how it was sorted")
	}
	return want(schema == c.Schema && level == c.Level, "sorted by flow schema %s into priority level %s", schema, level)
}

// flag looks at the arguments of a component, in its static pod or, for the API server of 1.36 and
// newer, in what it says itself.
func (r *runner) flag(ctx context.Context, c generators.Flag) outcome {
	pods, err := r.pods.get(func() ([]object, error) {
		var list struct{ Items []object }
		err := r.Client.get(ctx, "/api/v1/namespaces/kube-system/pods?labelSelector=tier%3Dcontrol-plane", &list)
		return list.Items, err
	})
	if err != nil {
		return unable(err)
	}
	seen := 0
	for _, pod := range pods {
		if pod.text("metadata", "labels", "component") != c.Component {
			continue
		}
		seen++
		if out := compareFlag(c, arguments(pod)); out.state != Passed {
			out.observed += " in " + pod.name()
			return out
		}
	}
	if seen > 0 {
		return passed("so in %d static pods", seen)
	}
	if c.Component != "kube-apiserver" {
		return skipped("no static pod of %s is to be seen in kube-system", c.Component)
	}
	flags, err := r.flagz.get(func() (map[string]string, error) {
		a, err := r.Client.do(ctx, call{path: "/flagz", accept: "text/plain"})
		if err != nil {
			return nil, err
		}
		if !a.ok() {
			return nil, fmt.Errorf("GET /flagz: %d", a.code)
		}
		flags := map[string]string{}
		for line := range strings.Lines(string(a.body)) {
			// The page is for people: what stands between a name and its value changes from start to start.
			line = strings.TrimSpace(line)
			if i := strings.IndexAny(line, ":= "); i > 0 {
				flags[line[:i]] = strings.TrimLeft(line[i:], ":= ")
			}
		}
		return flags, nil
	})
	if err != nil {
		return skipped("neither a static pod nor the API server shows it: %v", err)
	}
	return compareFlag(c, flags)
}

// arguments are the flags in the command of a static pod.
func arguments(pod object) map[string]string {
	flags := map[string]string{}
	containers, _ := pod.at("spec", "containers").([]any)
	for _, c := range containers {
		m, _ := c.(map[string]any)
		for _, field := range []string{"command", "args"} {
			list, _ := m[field].([]any)
			for _, word := range list {
				if flag, ok := strings.CutPrefix(fmt.Sprint(word), "--"); ok {
					name, value, _ := strings.Cut(flag, "=")
					flags[name] = value
				}
			}
		}
	}
	return flags
}

func compareFlag(c generators.Flag, flags map[string]string) outcome {
	value, ok := flags[c.Name]
	switch {
	case !ok || c.Value == "" && value == "":
		return want(c.Value == "", "--%s is not set", c.Name)
	case sorted(value) == sorted(c.Value) || sameDuration(value, c.Value):
		return passed("--%s=%s", c.Name, value)
	}
	return failed("--%s=%s", c.Name, clip(value, 200))
}

// sameDuration says whether both are durations of the same length: "60s" and "1m0s".
func sameDuration(a, b string) bool {
	x, errX := time.ParseDuration(a)
	y, errY := time.ParseDuration(b)
	return errX == nil && errY == nil && x == y
}

// sorted is a list of words with commas, in order: how the API server itself prints a list. It may
// put brackets around it.
func sorted(value string) string {
	words := strings.FieldsFunc(strings.Trim(value, "[]"), func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(words)
	return strings.Join(words, ",")
}

// kubeletSetting asks each kubelet with which configuration it runs.
func (r *runner) kubeletSetting(ctx context.Context, c generators.KubeletSetting) outcome {
	nodes, err := r.allNodes(ctx)
	if err != nil {
		return unable(err)
	}
	var expected any
	if err := json.Unmarshal([]byte(c.Value), &expected); err != nil {
		expected = c.Value
	}
	seen, silent := 0, ""
	for _, node := range nodes {
		cached, _ := r.configz.LoadOrStore(node.name(), &onceValue[object]{})
		config, err := cached.(*onceValue[object]).get(func() (object, error) {
			var answer struct{ Kubeletconfig object }
			err := r.Client.get(ctx, "/api/v1/nodes/"+node.name()+"/proxy/configz", &answer)
			return answer.Kubeletconfig, err
		})
		if err != nil {
			silent = err.Error()
			continue
		}
		seen++
		if got := lookup(map[string]any(config), c.Field); !reflect.DeepEqual(got, expected) {
			return failed("%s: %s on node %s", c.Field, short(got), node.name())
		}
	}
	switch {
	case seen == 0 && silent != "":
		return skipped("no kubelet says so: %s", clip(silent, 200))
	case seen == 0:
		return skipped("there is no node")
	case silent != "":
		return passed("so on %d of %d nodes; another does not answer: %s", seen, len(nodes), clip(silent, 200))
	}
	return passed("so on %d nodes", seen)
}

func (r *runner) allNodes(ctx context.Context) ([]object, error) {
	return r.nodes.get(func() ([]object, error) {
		var list struct{ Items []object }
		err := r.Client.get(ctx, "/api/v1/nodes", &list)
		return list.Items, err
	})
}

// internalIP is the address of a node inside the cluster, or empty.
func internalIP(node object) string {
	addresses, _ := node.at("status", "addresses").([]any)
	for _, a := range addresses {
		if m, _ := a.(map[string]any); m["type"] == "InternalIP" {
			return fmt.Sprint(m["address"])
		}
	}
	return ""
}

// nodeRequest asks each node that can be reached from here.
func (r *runner) nodeRequest(ctx context.Context, c generators.NodeRequest) outcome {
	nodes, err := r.allNodes(ctx)
	if err != nil {
		return unable(err)
	}
	// Whose certificate it is does not matter: nothing is sent, and a kubelet may have signed its own.
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, //nolint:gosec // see above
	}
	seen, silent := 0, "there is no node"
	for _, node := range nodes {
		address := net.JoinHostPort(internalIP(node), strconv.Itoa(c.Port))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+c.Path, nil)
		if err != nil {
			return unable(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			silent = err.Error()
			continue
		}
		resp.Body.Close()
		seen++
		if resp.StatusCode != c.Status {
			return failed("%d from node %s", resp.StatusCode, node.name())
		}
	}
	if seen == 0 {
		return skipped("no node can be reached from here: %s", silent)
	}
	return passed("%d from %d of %d nodes", c.Status, seen, len(nodes))
}

// metrics sums up a counter of the API server over the series that match, by the value of one label.
func (r *runner) metrics(ctx context.Context, name, by string, match map[string]string) (map[string]float64, error) {
	a, err := r.Client.do(ctx, call{path: "/metrics", accept: "text/plain"})
	if err != nil {
		return nil, err
	}
	if a.code != http.StatusOK {
		return nil, fmt.Errorf("GET /metrics: %d %s", a.code, clip(a.message, 200))
	}
	return counters(a.body, name, by, match), nil
}

func counters(text []byte, name, by string, match map[string]string) map[string]float64 {
	sums := map[string]float64{}
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name+"{"))
		if !ok {
			continue
		}
		end := bytes.LastIndexByte(rest, '}')
		if end < 0 {
			continue
		}
		labels := map[string]string{}
		for _, pair := range strings.Split(string(rest[:end]), `",`) {
			key, value, _ := strings.Cut(pair, `="`)
			labels[key] = strings.TrimSuffix(value, `"`)
		}
		fits := true
		for k, v := range match {
			fits = fits && labels[k] == v
		}
		var value float64
		if _, err := fmt.Sscan(string(rest[end+1:]), &value); err == nil && fits {
			sums[labels[by]] += value
		}
	}
	return sums
}
