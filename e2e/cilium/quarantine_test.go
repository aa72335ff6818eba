package cilium

import (
	"io"
	"log/slog"
	"testing"

	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/incident"
)

// TestQuarantine shows that the containment policy isolates a pod with the label under everything that
// the emitted policies open, that its own node still reaches it for the probes, and that it touches
// nothing else.
func TestQuarantine(t *testing.T) {
	p := generatortest.Posture(t, example)
	contained := func(t *testing.T) *engine {
		e := newEngine(t, p, nil)
		out, err := incident.New().Generate(p)
		if err != nil {
			t.Fatal(err)
		}
		applied := 0
		for _, a := range out.Artifacts {
			if a.Path != "incident/quarantine.yaml" {
				continue
			}
			for _, o := range a.Objects {
				applied++
				e.add(slog.New(slog.NewTextHandler(io.Discard, nil)), a.Path, o, nil)
			}
		}
		if applied != 1 {
			t.Fatalf("%d objects in incident/quarantine.yaml", applied)
		}
		return e
	}
	// Open before, for the same pods and with the label: it is the policy that closes them.
	open := []flow{
		{"quarantined", "dns", "UDP", 53, "open"},
		{"quarantined", "apiserver", "TCP", 6443, "open"},
		{"quarantined", "world", "TCP", 443, "open"},
		{"quarantined", "node", "TCP", 443, "open"},
		{"quarantined", "a", "TCP", 8443, "open"},
		{"a", "quarantined", "TCP", 8443, "open"},
		{"world", "quarantined", "TCP", 8443, "open"},
		{"node", "quarantined", "TCP", 9443, "open"},
		{"apiserver", "quarantined", "TCP", 9443, "open"},
		{"prometheus", "quarantined", "TCP", 8080, "open"},
		{"b/web", "quarantined", "TCP", 8005, "open"},
	}
	e := newEngine(t, p, nil)
	for _, f := range open {
		e.check(f)
	}
	e = contained(t)
	for _, f := range open {
		f.want = "ingress closed"
		if f.from == "quarantined" {
			f.want = "egress closed"
		}
		e.check(f)
	}
	for _, f := range []flow{
		{"host", "quarantined", "TCP", 8443, "open"},
		{"quarantined", "host", "TCP", 10250, "egress closed"},
		{"quarantined", "partner", "TCP", 5432, "egress closed"},
		{"a", "dns", "UDP", 53, "open"},
		{"a", "world", "TCP", 443, "open"},
		{"b/web", "a/api", "TCP", 8005, "open"},
		{"unknown", "world", "TCP", 80, "open"},
	} {
		e.check(f)
	}
}
