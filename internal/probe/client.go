package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/k8ssec/k8ssec/generators"
)

// Client speaks to one API server in plain requests: what is probed is the answer, with its status,
// headers and warnings, which a typed client would hide.
type Client struct {
	// Context is the name of the kubeconfig's context, Server the address of the API server.
	Context, Server string

	config    *rest.Config
	own       *http.Client // with the credentials of whoever runs the probes
	anonymous *http.Client
	base      *url.URL

	mu    sync.Mutex
	kinds map[string]map[string]resource // by apiVersion and kind
}

// resource is how the API serves a kind.
type resource struct {
	plural     string
	namespaced bool
}

// requestTimeout bounds one request; the longest wait of a request is in a queue of API Priority and
// Fairness.
const requestTimeout = 30 * time.Second

// Connect reads a kubeconfig, an empty one by the rules of kubectl, and takes one of its contexts, an
// empty one being the current.
func Connect(kubeconfig, contextName string) (*Client, error) {
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
	return newClient(config, contextName)
}

func newClient(config *rest.Config, contextName string) (*Client, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = "k8ssec-probe"
	config.Timeout = requestTimeout
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	own, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	anonymous, err := rest.HTTPClientFor(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, err
	}
	anonymous.Timeout = requestTimeout
	return &Client{
		Context: contextName, Server: base.String(), config: config, own: own, anonymous: anonymous, base: base,
		kinds: map[string]map[string]resource{},
	}, nil
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	body         any // encoded as JSON
	contentType  string
	accept       string
	as           generators.Identity
	anonymous    bool
	token        string
	// once sends the request a single time, also where the answer is 429.
	once bool
}

// answer is what came back.
type answer struct {
	code     int
	body     []byte
	header   http.Header
	message  string // of a Status, or the text
	warnings []string
}

func (a *answer) ok() bool { return a.code < 300 }

// decode reads the body into a value.
func (a *answer) decode(v any) error { return json.Unmarshal(a.body, v) }

// do sends a request. A server that is busy is asked again, later, as it asks for.
func (c *Client) do(ctx context.Context, r call) (*answer, error) {
	const attempts = 5
	for i := 1; ; i++ {
		a, err := c.send(ctx, r)
		if err != nil || a.code != http.StatusTooManyRequests || r.once || i == attempts {
			return a, err
		}
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil {
			seconds = 1
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(min(seconds, 10)) * time.Second):
		}
	}
}

func (c *Client) send(ctx context.Context, r call) (*answer, error) {
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	target := *c.base
	path, query, _ := strings.Cut(r.path, "?")
	target.Path, target.RawQuery = strings.TrimSuffix(target.Path, "/")+path, query
	if len(r.query) > 0 {
		target.RawQuery = r.query.Encode()
	}
	method := r.method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		if r.contentType != "" {
			req.Header.Set("Content-Type", r.contentType)
		}
	}
	client := c.own
	switch {
	case r.anonymous:
		client = c.anonymous
	case r.token != "":
		client = c.anonymous
		req.Header.Set("Authorization", "Bearer "+r.token)
	case r.as.User != "":
		req.Header.Set("Impersonate-User", r.as.User)
		for _, g := range r.as.Groups {
			req.Header.Add("Impersonate-Group", g)
		}
		req.Header.Add("Impersonate-Group", "system:authenticated")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	const most = 64 << 20 // metrics of a large API server
	b, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return nil, err
	}
	a := &answer{code: resp.StatusCode, body: b, header: resp.Header}
	for _, w := range resp.Header.Values("Warning") {
		a.warnings = append(a.warnings, warning(w))
	}
	if a.code >= 300 {
		var status metav1.Status
		if json.Unmarshal(b, &status) == nil && status.Kind == "Status" {
			a.message = status.Message
		} else {
			a.message = strings.TrimSpace(string(b[:min(len(b), 300)]))
		}
	}
	return a, nil
}

// warning is the text of a Warning header: `299 - "text"`.
func warning(header string) string {
	_, text, ok := strings.Cut(header, `"`)
	if !ok {
		return header
	}
	text = strings.TrimSuffix(strings.TrimSpace(text), `"`)
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(text)
}

// errNoKind says that the API server does not serve a kind.
var errNoKind = errors.New("the API server does not serve it")

// kind finds out how the API serves a kind.
func (c *Client) kind(ctx context.Context, apiVersion, kind string) (resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.kinds[apiVersion]
	if !ok {
		a, err := c.do(ctx, call{path: groupPath(apiVersion)})
		if err != nil {
			return resource{}, err
		}
		known = map[string]resource{}
		if a.ok() {
			var list metav1.APIResourceList
			if err := a.decode(&list); err != nil {
				return resource{}, err
			}
			for _, r := range list.APIResources {
				if !strings.Contains(r.Name, "/") {
					known[r.Kind] = resource{r.Name, r.Namespaced}
				}
			}
		} else if a.code != http.StatusNotFound {
			return resource{}, fmt.Errorf("GET %s: %d %s", groupPath(apiVersion), a.code, a.message)
		}
		c.kinds[apiVersion] = known
	}
	r, ok := known[kind]
	if !ok {
		return r, fmt.Errorf("%s %s: %w", apiVersion, kind, errNoKind)
	}
	return r, nil
}

func groupPath(apiVersion string) string {
	if strings.Contains(apiVersion, "/") {
		return "/apis/" + apiVersion
	}
	return "/api/" + apiVersion
}

// path is the collection of an object, or the object itself with a name.
func (c *Client) path(ctx context.Context, o object, name string) (string, error) {
	// The subject of a subresource is not of the subresource's kind.
	apiVersion, kind := o.apiVersion(), o.kind()
	if kind == "TokenRequest" {
		apiVersion, kind = "v1", "ServiceAccount"
	}
	r, err := c.kind(ctx, apiVersion, kind)
	if err != nil {
		return "", err
	}
	p := groupPath(apiVersion)
	if r.namespaced {
		p += "/namespaces/" + o.namespace()
	}
	p += "/" + r.plural
	if name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p, nil
}

// get reads a path into a value, as whoever runs the probes.
func (c *Client) get(ctx context.Context, path string, into any) error {
	a, err := c.do(ctx, call{path: path})
	if err != nil {
		return err
	}
	if !a.ok() {
		return fmt.Errorf("GET %s: %d %s", path, a.code, a.message)
	}
	return a.decode(into)
}

// tlsConfig trusts the cluster and sends no certificate.
func (c *Client) tlsConfig() (*tls.Config, error) {
	return rest.TLSConfigFor(rest.AnonymousClientConfig(c.config))
}

// Version is the version of the API server, for instance "v1.37.2".
func (c *Client) Version(ctx context.Context) (string, error) {
	var v struct{ GitVersion string }
	if err := c.get(ctx, "/version", &v); err != nil {
		return "", err
	}
	return v.GitVersion, nil
}

// Applied says whether any namespace carries the label of this project.
func (c *Client) Applied(ctx context.Context) bool {
	var list struct{ Items []object }
	err := c.get(ctx, "/api/v1/namespaces?limit=1&labelSelector="+url.QueryEscape(generators.LabelManagedBy+"=k8ssec"), &list)
	return err != nil || len(list.Items) > 0
}
