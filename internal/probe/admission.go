package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/generators"
)

var dryRun = url.Values{"dryRun": {"All"}, "fieldValidation": {"Strict"}}

// admission sends the request as a dry run and says whether admission did what it should.
func (r *runner) admission(ctx context.Context, kind generators.ProbeKind, c generators.Admission) outcome {
	o, err := toObject(c.Object)
	if err != nil {
		return unable(err)
	}
	switch c.Sandbox {
	case generators.Open:
		o.metadata()["namespace"] = r.sandbox.namespace
	case generators.Bare:
		o.metadata()["namespace"] = r.sandbox.bare()
	}
	request, problem := r.build(ctx, c, o)
	if problem != nil {
		return *problem
	}
	a, err := r.Client.do(ctx, request)
	if err != nil {
		return unable(err)
	}
	out := judge(kind, c, a)
	if out.state == Failed && kind == generators.Deny && strings.Contains(a.message, "ValidatingAdmissionPolicy '") {
		return r.counted(ctx, c, request, out)
	}
	return out
}

// named is how a refusal or warning names the policy and its binding.
var named = regexp.MustCompile(`ValidatingAdmissionPolicy '([^']+)'(?: with binding '([^']+)')?`)

// counted looks whether a policy refused a request for which another one answered: where several do,
// the answer names the first alone, and the API server counts them all.
func (r *runner) counted(ctx context.Context, c generators.Admission, request call, before outcome) outcome {
	names := named.FindStringSubmatch(c.By)
	if names == nil {
		return before
	}
	match := map[string]string{"policy": names[1], "enforcement_action": "deny"}
	if names[2] != "" {
		match["policy_binding"] = names[2]
	}
	if c.Warns {
		match["enforcement_action"] = "warn"
	}
	count := func() (float64, error) {
		sums, err := r.metrics(ctx, "apiserver_validating_admission_policy_check_total", "policy", match)
		return sums[names[1]], err
	}
	first, err := count()
	if err != nil {
		return unable(err)
	}
	if _, err := r.Client.do(ctx, request); err != nil {
		return unable(err)
	}
	second, err := count()
	if err != nil {
		return unable(err)
	}
	if second > first {
		return passed("refused; another policy answered first, and the API server counts this one too")
	}
	return before
}

// build makes the request of a check, or says why there is none.
func (r *runner) build(ctx context.Context, c generators.Admission, o object) (call, *outcome) {
	as := c.As
	if c.Sandbox != "" {
		as = r.sandbox.rename(as)
	}
	request := call{method: http.MethodPost, as: as, query: dryRun, body: o}
	name := o.name()
	if name == "" && c.Select != nil {
		found, err := r.first(ctx, o, c.Select)
		if err != nil {
			out := unable(err)
			return request, &out
		}
		if found == "" {
			out := skipped("there is no such object to try it on: a %s of %s with %s", o.kind(), o.namespace(), selector(c.Select))
			return request, &out
		}
		name = found
		o.metadata()["name"] = name
	}
	target := name
	if c.Verb == "create" && c.Subresource == "" {
		target = ""
	}
	path, err := r.Client.path(ctx, o, target)
	if err != nil {
		out := unable(err)
		if errors.Is(err, errNoKind) {
			out = failed("%v", err)
		}
		return request, &out
	}
	if c.Subresource != "" {
		path += "/" + c.Subresource
	}
	request.path = path
	switch c.Verb {
	case "patch":
		request.method, request.contentType = http.MethodPatch, "application/merge-patch+json"
	case "delete":
		request.method, request.body, request.query = http.MethodDelete, nil, url.Values{"dryRun": {"All"}}
	case "connect":
		// To a pod that does not exist, and without the upgrade that a shell would need: admission is
		// asked before the pod is looked for, and nothing is run.
		request.body, request.query = nil, url.Values{}
		if c.Subresource == "exec" || c.Subresource == "attach" {
			request.query = url.Values{"command": {"true"}, "stdout": {"true"}}
		}
	}
	return request, nil
}

// first is the name of the first object of a kind with the labels.
func (r *runner) first(ctx context.Context, o object, labels map[string]string) (string, error) {
	path, err := r.Client.path(ctx, o, "")
	if err != nil {
		return "", err
	}
	var list struct{ Items []object }
	if err := r.Client.get(ctx, path+"?labelSelector="+url.QueryEscape(selector(labels)), &list); err != nil {
		return "", err
	}
	var names []string
	for _, item := range list.Items {
		if item.at("metadata", "deletionTimestamp") == nil {
			names = append(names, item.name())
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return slices.Min(names), nil
}

func selector(labels map[string]string) string {
	var terms []string
	for k, v := range labels {
		terms = append(terms, k+"="+v)
	}
	slices.Sort(terms)
	return strings.Join(terms, ",")
}

// judge compares the answer of an admission check with what was expected.
func judge(kind generators.ProbeKind, c generators.Admission, a *answer) outcome {
	warned := slices.IndexFunc(a.warnings, func(w string) bool { return c.By != "" && strings.Contains(w, c.By) })
	said := clip(a.message, 300)
	byRule := c.By != "" && strings.Contains(a.message, c.By) && strings.Contains(a.message, c.Also)
	// A pod that does not exist is what a connect asks for.
	accepted := a.ok() || c.Verb == "connect" && a.code == http.StatusNotFound
	if kind == generators.Deny {
		switch {
		case c.Warns && accepted && warned >= 0:
			return passed("accepted, with the warning: %s", clip(a.warnings[warned], 300))
		case c.Warns && accepted:
			return failed("accepted without that warning")
		case byRule && !a.ok():
			return passed("refused: %s", said)
		case accepted:
			return failed("accepted")
		case unauthorized(a):
			return skipped("RBAC refuses it before admission is asked: %s", said)
		}
		return failed("not refused by that rule, but: %d %s", a.code, said)
	}
	switch {
	case !accepted && unauthorized(a):
		return skipped("RBAC refuses it before admission is asked: %s", said)
	case !accepted:
		return failed("refused: %d %s", a.code, said)
	case c.Warns && warned >= 0:
		return failed("accepted, but with the warning: %s", clip(a.warnings[warned], 300))
	}
	return returned(c.Returns, a)
}

// returned looks at the fields of the object that would have been stored.
func returned(fields []generators.FieldValue, a *answer) outcome {
	if len(fields) == 0 {
		return passed("accepted")
	}
	var o map[string]any
	if err := a.decode(&o); err != nil {
		return unable(err)
	}
	var seen []string
	for _, f := range fields {
		value := lookup(o, f.Field)
		got := ""
		if value != nil {
			got = fmt.Sprint(value)
		}
		switch {
		case f.Value == "" && got != "":
			return failed("accepted, but with %s = %s", f.Field, short(value))
		case f.Value == "":
			seen = append(seen, "no "+f.Field)
		case got != f.Value:
			return failed("accepted, but %s is %q", f.Field, got)
		default:
			seen = append(seen, f.Field+" = "+got)
		}
	}
	return passed("accepted, with %s", strings.Join(seen, ", "))
}

// unauthorized says that the authorizer refused, so that admission was never asked. Its message ends
// with where the right is missing (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters).
func unauthorized(a *answer) bool {
	return a.code == http.StatusForbidden && strings.Contains(a.message, `" cannot `) && strings.Contains(a.message, "User \"") ||
		a.code == http.StatusUnauthorized
}

// access asks the authorizer.
func (r *runner) access(ctx context.Context, kind generators.ProbeKind, c generators.Access) outcome {
	spec := map[string]any{}
	if c.As.User == "" {
		return skipped("the probe names nobody")
	}
	spec["user"], spec["groups"] = c.As.User, append(slices.Clone(c.As.Groups), "system:authenticated")
	if c.Path != "" {
		spec["nonResourceAttributes"] = map[string]any{"verb": c.Verb, "path": c.Path}
	} else {
		plural, sub, _ := strings.Cut(c.Resource, "/")
		spec["resourceAttributes"] = map[string]any{
			"verb": c.Verb, "group": c.Group, "resource": plural, "subresource": sub, "namespace": c.Namespace, "name": c.Name,
		}
	}
	a, err := r.Client.do(ctx, call{
		method: http.MethodPost, path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
		body: map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec},
	})
	if err != nil {
		return unable(err)
	}
	if !a.ok() {
		return skipped("the authorizer does not answer you: %d %s", a.code, clip(a.message, 300))
	}
	var review struct {
		Status struct {
			Allowed                 bool
			Reason, EvaluationError string
		}
	}
	if err := a.decode(&review); err != nil {
		return unable(err)
	}
	word := "not allowed"
	if review.Status.Allowed {
		word = "allowed"
	}
	if review.Status.Reason != "" {
		word += ": " + clip(review.Status.Reason, 200)
	}
	return want(review.Status.Allowed == (kind == generators.Allow), "%s", word)
}
