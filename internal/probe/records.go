package probe

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/generators"
)

// The levels of an audit record, from little to much.
var auditLevels = []string{"None", "Metadata", "Request", "RequestResponse"}

// repeated is how often an audited request is sent. Other requests of a busy cluster are counted as
// well, so a level counts as used only from that many records on.
const repeated = 25

// audited sends a request many times and reads the API server's own count of records by level. It
// does so on one connection, so all of it happens at one API server.
func (r *runner) audited(ctx context.Context, c generators.Audited) outcome {
	const attempts = 3
	var last outcome
	for range attempts {
		last = r.auditedOnce(ctx, c)
		if last.state != Failed || ctx.Err() != nil {
			return last
		}
	}
	return last
}

func (r *runner) auditedOnce(ctx context.Context, c generators.Audited) outcome {
	o, err := toObject(c.Request.Object)
	if err != nil {
		return unable(err)
	}
	request, problem := r.build(ctx, c.Request, o)
	if problem != nil {
		return *problem
	}
	count := func() (map[string]float64, error) {
		return r.metrics(ctx, "apiserver_audit_level_total", "level", nil)
	}
	before, err := count()
	if err != nil {
		return unable(err)
	}
	for range repeated {
		a, err := r.Client.do(ctx, request)
		if err != nil {
			return unable(err)
		}
		if a.code >= 500 {
			return skipped("the API server answers %d %s", a.code, clip(a.message, 200))
		}
	}
	after, err := count()
	if err != nil {
		return unable(err)
	}
	var seen []string
	for _, level := range auditLevels {
		if n := after[level] - before[level]; n > 0 {
			seen = append(seen, fmt.Sprintf("%.0f at %s", n, level))
		}
	}
	grew := func(level string) bool { return after[level]-before[level] >= repeated }
	words := fmt.Sprintf("%d requests, records of the API server meanwhile: %s", repeated, strings.Join(seen, ", "))
	if len(seen) == 0 {
		words = fmt.Sprintf("%d requests and not one record: the audit log is off", repeated)
	}
	more := slices.ContainsFunc(auditLevels[slices.Index(auditLevels, c.Level)+1:], grew)
	return want(grew(c.Level) && !more, "%s", words)
}

// atRest reads one object of the resource, without its data, and asks the API server with which key
// it decrypted what etcd holds.
func (r *runner) atRest(ctx context.Context, c generators.AtRest) outcome {
	const meta = ";g=meta.k8s.io;v=v1"
	a, err := r.Client.do(ctx, call{path: "/api/v1/" + c.Resource + "?limit=1", accept: "application/json;as=PartialObjectMetadataList" + meta})
	if err != nil {
		return unable(err)
	}
	if !a.ok() {
		return skipped("you may not list %s: %s", c.Resource, clip(a.message, 200))
	}
	var list struct{ Items []object }
	if err := a.decode(&list); err != nil {
		return unable(err)
	}
	count := func() (map[string]float64, error) {
		return r.metrics(ctx, "apiserver_storage_transformation_operations_total", "transformer_prefix",
			map[string]string{"resource": c.Resource, "status": "OK"})
	}
	before, err := count()
	if err != nil {
		return unable(err)
	}
	if len(list.Items) == 0 && len(before) == 0 {
		return skipped("there are no %s to look at", c.Resource)
	}
	if len(list.Items) > 0 {
		// Asked for without a resource version, a single object is read from etcd.
		o := list.Items[0]
		if a, err = r.Client.do(ctx, call{
			path:   "/api/v1/namespaces/" + o.namespace() + "/" + c.Resource + "/" + o.name(),
			accept: "application/json;as=PartialObjectMetadata" + meta,
		}); err != nil || !a.ok() {
			return skipped("the %s could not be read", c.Resource)
		}
	}
	after, err := count()
	if err != nil {
		return unable(err)
	}
	switch {
	case len(after) == 0:
		return failed("what etcd holds is read and written as it is: nothing is encrypted")
	case after["identity"] > before["identity"]:
		return failed("an object was read that is not encrypted")
	case after[c.Prefix] == 0:
		return failed("encrypted as %s", strings.Join(slices.Sorted(maps.Keys(after)), ", "))
	}
	return passed("%.0f reads and writes as %s since the API server started", after[c.Prefix], c.Prefix)
}
