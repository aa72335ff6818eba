package render_test

import (
	"context"
	"testing"
	"time"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/access"
	"github.com/k8ssec/k8ssec/generators/namespaces"
	"github.com/k8ssec/k8ssec/generators/network"
	"github.com/k8ssec/k8ssec/generators/resources"
	"github.com/k8ssec/k8ssec/generators/workloads"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/render"
)

func TestTry(t *testing.T) {
	r, err := engine.Evaluate(context.Background(), engine.Options{Name: "cluster.cue", Source: []byte("profiles: [\"cis\"]\nnamespaces: \"team-a\": owner: \"team-a\""), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := render.Render(context.Background(), r, []generators.Generator{access.New(), namespaces.New(), network.New(), resources.New(), workloads.New()})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tree.Files {
		t.Log(f.Path, len(f.Data))
	}
	for _, s := range tree.Summaries() {
		t.Log(s)
	}
	for _, a := range tree.Controls {
		if a.State == render.Failing {
			t.Log("failing", a.Control.ID, a.Control.Domain, a.Control.Title)
		}
	}
}
