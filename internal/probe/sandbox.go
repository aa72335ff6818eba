package probe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/k8ssec/k8ssec/generators"
)

// probeLabel is on everything that a run creates. Its value is when the run must be over, in seconds
// since 1970: what is older was left behind by a run that was killed, and the next one removes it.
const probeLabel = "k8ssec.dev/probe"

// longest is how long a run may take.
const longest = 15 * time.Minute

// sandbox is the short-lived namespace of a run, without any rule of the repository that goes by the
// namespace: no Pod Security, no network policy, no quota.
type sandbox struct {
	namespace string
	label     string
	// touched are the other namespaces in which the run makes pods.
	touched []string
}

// bare is the name of the second short-lived namespace, which has no labels of Pod Security.
func (s *sandbox) bare() string { return s.namespace + "-bare" }

// rename puts the name of the namespace into an identity that stands for an account in it.
func (s *sandbox) rename(id generators.Identity) generators.Identity {
	id.User = strings.ReplaceAll(id.User, generators.ProbeNamespace, s.namespace)
	id.Groups = slices.Clone(id.Groups)
	for i := range id.Groups {
		id.Groups[i] = strings.ReplaceAll(id.Groups[i], generators.ProbeNamespace, s.namespace)
	}
	return id
}

// prepare removes what an earlier run left behind and makes the sandbox. The function that it returns
// removes everything again, also after the context has ended.
func (r *runner) prepare(ctx context.Context, probes []generators.Probe) (cleanUp func() error, err error) {
	nothing := func() error { return nil }
	if err := r.sweep(ctx); err != nil {
		return nothing, err
	}
	random := make([]byte, 4)
	if _, err := rand.Read(random); err != nil {
		return nothing, err
	}
	s := &sandbox{
		namespace: "k8ssec-probe-" + hex.EncodeToString(random),
		label:     strconv.FormatInt(time.Now().Add(longest).Unix(), 10),
	}
	for _, p := range probes {
		if c, ok := p.Check.(generators.Traffic); ok {
			for _, e := range []generators.Endpoint{c.From, c.To} {
				if e.Namespace != "" && !slices.Contains(s.touched, e.Namespace) {
					s.touched = append(s.touched, e.Namespace)
				}
			}
		}
	}
	s.touched = append(s.touched, hostNamespace)
	cleanUp = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return r.remove(ctx, s)
	}
	for name, level := range map[string]string{s.namespace: "privileged", s.bare(): ""} {
		labels := map[string]any{probeLabel: s.label}
		if level != "" {
			labels["pod-security.kubernetes.io/enforce"] = level
		}
		a, err := r.Client.do(ctx, call{method: http.MethodPost, path: "/api/v1/namespaces", body: map[string]any{
			"apiVersion": "v1", "kind": "Namespace",
			"metadata": map[string]any{
				"name": name, "labels": labels,
				"annotations": map[string]any{"k8ssec.dev/purpose": "k8ssec probe --active is running; it removes this namespace when it ends"},
			},
		}})
		if err != nil {
			return cleanUp, err
		}
		if !a.ok() {
			return cleanUp, fmt.Errorf("active probes need a short-lived namespace, and you may not create one: %s", clip(a.message, 300))
		}
	}
	r.sandbox = s
	return cleanUp, r.furnish(ctx, probes)
}

// furnish makes the account and the rights that probes in the sandbox need, and waits until pods can
// be made there.
func (r *runner) furnish(ctx context.Context, probes []generators.Probe) error {
	s := r.sandbox
	meta := map[string]any{"name": generators.ProbeName, "labels": map[string]any{probeLabel: s.label}}
	subjects := []any{map[string]any{"kind": "ServiceAccount", "name": generators.ProbeName, "namespace": s.namespace}}
	for _, p := range probes {
		c, ok := p.Check.(generators.Admission)
		if ok && c.Sandbox != "" && c.As.User != "" && !strings.HasPrefix(c.As.User, "system:") {
			subject := map[string]any{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": c.As.User}
			if !slices.ContainsFunc(subjects, func(x any) bool { return x.(map[string]any)["name"] == c.As.User }) {
				subjects = append(subjects, subject)
			}
		}
	}
	const rbac = "rbac.authorization.k8s.io/v1"
	for _, o := range []struct {
		path string
		body map[string]any
	}{
		{"/api/v1/namespaces/" + s.namespace + "/serviceaccounts", map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}},
		{"/apis/" + rbac + "/namespaces/" + s.namespace + "/roles", map[string]any{
			"apiVersion": rbac, "kind": "Role", "metadata": meta,
			"rules": []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"serviceaccounts/token", "events"}, "verbs": []any{"create"}}},
		}},
		{"/apis/" + rbac + "/namespaces/" + s.namespace + "/rolebindings", map[string]any{
			"apiVersion": rbac, "kind": "RoleBinding", "metadata": meta, "subjects": subjects,
			"roleRef": map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": generators.ProbeName},
		}},
	} {
		a, err := r.Client.do(ctx, call{method: http.MethodPost, path: o.path, body: o.body})
		if err != nil {
			return err
		}
		if !a.ok() {
			return fmt.Errorf("POST %s: %d %s", o.path, a.code, clip(a.message, 300))
		}
	}
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		for _, name := range []string{s.namespace, s.bare()} {
			a, err := r.Client.do(ctx, call{path: "/api/v1/namespaces/" + name + "/serviceaccounts/default"})
			if there := err == nil && a.ok(); !there {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return errors.New("the controller manager makes no service account in a new namespace within 20 s")
	}
	return nil
}

// sweep removes what runs that were killed left behind.
func (r *runner) sweep(ctx context.Context) error {
	for _, kind := range []string{"namespaces", "pods"} {
		var list struct{ Items []object }
		if err := r.Client.get(ctx, "/api/v1/"+kind+"?labelSelector="+url.QueryEscape(probeLabel), &list); err != nil {
			return err
		}
		for _, o := range list.Items {
			until, err := strconv.ParseInt(o.text("metadata", "labels", probeLabel), 10, 64)
			if err != nil || time.Unix(until, 0).After(time.Now()) || o.at("metadata", "deletionTimestamp") != nil {
				continue
			}
			path := "/api/v1/" + kind + "/" + o.name()
			if kind == "pods" {
				path = "/api/v1/namespaces/" + o.namespace() + "/pods/" + o.name()
			}
			if r.Note != nil {
				r.Note("removing %s, which an earlier run left behind", strings.TrimPrefix(path, "/api/v1/"))
			}
			if _, err := r.Client.do(ctx, call{method: http.MethodDelete, path: path}); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove removes what the run created, and waits until it is gone.
func (r *runner) remove(ctx context.Context, s *sandbox) error {
	var problems []error
	gone := func(a *answer, err error, what string) {
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", what, err))
		case !a.ok() && a.code != http.StatusNotFound:
			problems = append(problems, fmt.Errorf("%s: %d %s", what, a.code, clip(a.message, 200)))
		}
	}
	mine := url.Values{"labelSelector": {probeLabel + "=" + s.label}, "gracePeriodSeconds": {"0"}}
	for _, ns := range s.touched {
		a, err := r.Client.do(ctx, call{method: http.MethodDelete, path: "/api/v1/namespaces/" + ns + "/pods", query: mine})
		gone(a, err, "the pods of namespace "+ns)
	}
	names := []string{s.namespace, s.bare()}
	for _, name := range names {
		a, err := r.Client.do(ctx, call{method: http.MethodDelete, path: "/api/v1/namespaces/" + name})
		gone(a, err, "namespace "+name)
	}
	if len(problems) > 0 {
		return fmt.Errorf("not everything could be removed; the next run tries again, or: kubectl delete namespace,pods -A -l %s=%s\n%w",
			probeLabel, s.label, errors.Join(problems...))
	}
	_ = wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		for _, name := range names {
			a, err := r.Client.do(ctx, call{path: "/api/v1/namespaces/" + name})
			if gone := err == nil && a.code == http.StatusNotFound; !gone {
				return false, nil
			}
		}
		return true, nil
	})
	return nil
}
