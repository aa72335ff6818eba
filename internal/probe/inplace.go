package probe

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/k8ssec/k8ssec/generators"
)

// inPlace compares each object with the one in the cluster.
func (r *runner) inPlace(ctx context.Context, c generators.InPlace) outcome {
	var (
		mu       sync.Mutex
		wg       sync.WaitGroup
		problems = make([]string, len(c.Objects))
		broken   error
		slots    = make(chan struct{}, 2)
	)
	for i, value := range c.Objects {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			problem, err := r.differs(ctx, value, c.Patched)
			mu.Lock()
			defer mu.Unlock()
			problems[i] = problem
			if err != nil {
				broken = err
			}
		})
	}
	wg.Wait()
	var found []string
	for _, p := range problems {
		if p != "" {
			found = append(found, p)
		}
	}
	switch {
	case len(found) > 3:
		return failed("%s; and %d more", strings.Join(found[:3], "; "), len(found)-3)
	case len(found) > 0:
		return failed("%s", strings.Join(found, "; "))
	case broken != nil:
		return unable(broken)
	case c.Patched:
		return passed("there, with your patches")
	case len(c.Objects) == 1:
		return passed("as emitted")
	}
	return passed("all %d as emitted", len(c.Objects))
}

// differs says in which way an object in the cluster is not the emitted one. The API server itself
// fills the defaults into the emitted one, by a dry run of an update, so that a rule that somebody
// added is seen as well as one that is gone. Who may not update is told only of what is gone. A patched one need only be there.
func (r *runner) differs(ctx context.Context, value any, patched bool) (string, error) {
	emitted, err := toObject(value)
	if err != nil {
		return "", err
	}
	path, err := r.Client.path(ctx, emitted, emitted.name())
	if errors.Is(err, errNoKind) {
		return emitted.String() + ": " + err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	a, err := r.Client.do(ctx, call{path: path})
	if err != nil {
		return "", err
	}
	if a.code == http.StatusNotFound {
		return emitted.String() + " is not there", nil
	}
	if !a.ok() {
		return "", errors.New(emitted.String() + ": " + clip(a.message, 200))
	}
	if patched {
		return "", nil
	}
	var live object
	if err := a.decode(&live); err != nil {
		return "", err
	}
	if d := missing(map[string]any(emitted), map[string]any(live), ""); d != "" {
		return emitted.String() + ": " + d, nil
	}
	update := maps.Clone(emitted)
	metadata := maps.Clone(emitted.metadata())
	metadata["resourceVersion"] = live.at("metadata", "resourceVersion")
	update["metadata"] = metadata
	a, err = r.Client.do(ctx, call{method: http.MethodPut, path: path, body: update, query: dryRun})
	if err != nil {
		return "", err
	}
	if !a.ok() {
		return "", nil
	}
	var full object
	if err := a.decode(&full); err != nil {
		return "", err
	}
	if d := missing(content(live), content(full), ""); d != "" {
		return emitted.String() + " has more than is emitted: " + strings.ReplaceAll(d, ", emitted ", " in the emitted one, in the cluster "), nil
	}
	return "", nil
}

// content is what an object says, without what the cluster writes into it.
func content(o object) map[string]any {
	c := maps.Clone(map[string]any(o))
	delete(c, "metadata")
	delete(c, "status")
	if c["aggregationRule"] != nil {
		delete(c, "rules") // filled in by the controller manager
	}
	if o.kind() == "ServiceAccount" {
		delete(c, "secrets")
	}
	return c
}
