package report

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators/all"
	"github.com/k8ssec/k8ssec/internal/catalogue"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/render"
)

var now = time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)

// input renders a cluster file.
func input(t *testing.T, source string) Input {
	t.Helper()
	result, err := engine.Evaluate(context.Background(), engine.Options{Name: "cluster.cue", Source: []byte(source), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := render.Render(context.Background(), result, all.List())
	if err != nil {
		t.Fatal(err)
	}
	catalogues, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	return Input{Result: result, Tree: tree, Catalogues: catalogues, Now: now}
}

// TestCatalogueControls holds that every control that an attack is mapped to exists, in the profile
// that a person is told to name for it.
func TestCatalogueControls(t *testing.T) {
	in := input(t, `profiles: ["cis-l2", "nsa"]`)
	profile := map[string]string{}
	for _, c := range in.Result.Controls {
		profile[c.ID] = c.Profile
	}
	for _, c := range in.Catalogues {
		for _, item := range c.Items {
			for _, n := range slices.Concat(item.Prevent, item.Detect) {
				for _, id := range n.Controls() {
					got, ok := profile[id]
					want := ProfileOf(id)
					if !ok {
						t.Errorf("%s %s: there is no control %s", c.ID, item.ID, id)
					} else if got != want && !(want == "restricted" && got == "baseline") {
						t.Errorf("%s belongs to the profile %s; the report would name %s", id, got, want)
					}
				}
			}
		}
	}
}

// TestEveryControl holds the cis profile to the number of its controls, and testdata/complete to
// leaving nothing open.
func TestEveryControl(t *testing.T) {
	total := map[string]int{"cis-2.0.1": 131, "pss-1.37": 19, "owasp-k8s-2025": 10, "attack-containers-19": 29, "ms-threat-matrix": 40}
	r := New(input(t, `profiles: ["cis"], namespaces: "team-a": owner: "team-a"`))
	for _, c := range r.Summary.Catalogues {
		if want, ok := total[c.Name]; ok && c.Total != want {
			t.Errorf("%s: %d controls, want %d", c.Name, c.Total, want)
		}
		delete(total, c.Name)
	}
	if len(total) > 0 {
		t.Errorf("missing: %v", total)
	}
	for _, c := range r.Controls {
		if c.Title == "" || c.Answer == "" {
			t.Errorf("%s %s has no title or answer", c.Catalogue, c.ID)
		}
	}
	complete, err := os.ReadFile("../../testdata/complete/cluster.cue")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range New(input(t, string(complete))).Controls {
		if c.State == render.Undecided || c.State == render.Failing {
			t.Errorf("complete: %s %s is %s: %s", c.Catalogue, c.ID, c.State, c.Answer)
		}
	}
}

// TestWeakest holds that an attack is no better than the weakest control against it, and that a
// control which the profiles do not have is asked for by the profile that has it.
func TestWeakest(t *testing.T) {
	in := input(t, `profiles: ["baseline"], namespaces: "team-a": owner: "team-a"`)
	in.Broken = map[string]diag.Diagnostic{"net-1": {Severity: diag.Error, File: "manifests/network/team-a.yaml", Line: 7, Column: 1, Message: "gone"}}
	r := New(in)
	find := func(catalogue, id string) Control {
		i := slices.IndexFunc(r.Controls, func(c Control) bool { return c.Catalogue == catalogue && c.ID == id })
		if i < 0 {
			t.Fatalf("no %s %s", catalogue, id)
		}
		return r.Controls[i]
	}
	if c := find("k8ssec", "net-1"); c.State != render.Failing || !strings.Contains(c.Answer, "team-a.yaml:7:1: gone") {
		t.Errorf("net-1 is %s: %s", c.State, c.Answer)
	}
	if c := find("owasp-k8s-2025", "K05"); c.State != render.Failing || !strings.Contains(c.Answer, "net-1 (failing)") {
		t.Errorf("K05 is %s: %s", c.State, c.Answer)
	}
	if c := find("attack-containers-19", "T1136.001"); c.State != render.Undecided || !strings.Contains(c.Answer, "write `profiles: [\"baseline\", \"restricted\"]`") {
		t.Errorf("T1136.001 is %s: %s", c.State, c.Answer)
	}
	var broken, warned bool
	for _, d := range r.Findings("prod/cluster.cue") {
		broken = broken || (d.Severity == diag.Error && d.Control == "net-1" && d.File == "manifests/network/team-a.yaml" && d.Line == 7)
		warned = warned || (d.Severity == diag.Warning && d.File == "prod/cluster.cue")
		if d.Control == "ns-1" {
			t.Error("ns-1 holds, and is a finding")
		}
	}
	if !broken || !warned {
		t.Errorf("findings: the broken one %t, an undecided one %t", broken, warned)
	}
}

func TestWaivers(t *testing.T) {
	r := New(input(t, `
profiles: ["cis"]
waivers: {
	late: {control: "cis-5.1.7", scope: cluster: true, reason: "The old pipeline still uses it.", owner: "platform", expires: "2026-12-01"}
	later: {control: "cis-5.3.1", scope: cluster: true, reason: "Shown by hand on this CNI.", owner: "platform", expires: "2027-01-10"}
}`))
	if len(r.Waivers) != 2 || r.Waivers[0].Name != "late" || r.Waivers[0].DaysLeft != 9 || r.Waivers[1].DaysLeft != 49 {
		t.Errorf("waivers: %+v", r.Waivers)
	}
	for _, c := range r.Controls {
		if c.Control == "cis-5.3.1" && c.State != render.Waived {
			t.Errorf("cis-5.3.1 is %s", c.State)
		}
	}
}

func TestFlows(t *testing.T) {
	p := &posture.Posture{
		Cluster: posture.Cluster{APIPort: 6443}, Network: posture.Network{MonitoringNamespace: "monitoring"},
		Namespaces: map[string]posture.Namespace{
			"monitoring": {Kind: "addon", APIAccess: true},
			"shop": {
				Kind: "tenant", Metrics: []int{9090}, Webhooks: []int{9443},
				Egress: map[string]posture.Flow{
					"billing": {Peers: []posture.Peer{{Namespace: "billing"}}, Ports: []posture.Port{{Port: 8443, Protocol: "TCP"}}},
					"ledger":  {Peers: []posture.Peer{{Namespace: "ledger"}}, Ports: []posture.Port{{Port: 1, End: 9, Protocol: "UDP"}}},
				},
				Ingress: map[string]posture.Flow{"world": {Peers: []posture.Peer{{Entity: "world"}}}},
			},
			"billing": {Kind: "tenant", Ingress: map[string]posture.Flow{"shop": {Why: "Orders.", Peers: []posture.Peer{{Namespace: "shop"}}, Ports: []posture.Port{{Port: 8443, Protocol: "TCP"}}}}},
			"ledger":  {Kind: "tenant"},
		},
	}
	var got []string
	for _, f := range Flows(p) {
		line := f.From + ">" + f.To + ":" + f.Ports
		if f.Half {
			line += " half"
		}
		got = append(got, line)
	}
	want := []string{
		"API server>shop:9443", "anywhere>shop:all", "monitoring>API server:6443", "monitoring>shop:9090", "shop>billing:8443", "shop>ledger:1-9/UDP half",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHTML holds that the page is well-formed where that matters, needs nothing from elsewhere, and
// escapes what people write.
func TestHTML(t *testing.T) {
	r := New(input(t, `
profiles: ["cis"]
namespaces: shop: {owner: "shop", egress: out: {why: "</svg><script>x</script>", peers: [{entity: "world"}], ports: [{port: 443}]}}
`))
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"<script", "src=", "http-equiv=\"refresh\"", "@import", "url(http", "ZgotmplZ", "<link"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	start, end := strings.Index(page, "<svg"), strings.Index(page, "</svg>")
	if start < 0 || end < 0 {
		t.Fatal("no graph")
	}
	for dec := xml.NewDecoder(strings.NewReader(page[start : end+6])); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the graph is not well-formed: %v", err)
		}
	}
	for _, c := range r.Controls {
		if !strings.Contains(page, ">"+c.ID+"<") {
			t.Errorf("%s %s is not on the page", c.Catalogue, c.ID)
		}
	}
	if shorten("abcdefghij", 5) != "ab…ij" || shorten("abc", 5) != "abc" {
		t.Errorf("shorten: %s", shorten("abcdefghij", 5))
	}
}

// TestDeterministic holds that two reports of the same state at the same time are the same bytes.
func TestDeterministic(t *testing.T) {
	var before string
	for range 2 {
		r := New(input(t, `profiles: ["cis"], namespaces: "team-a": owner: "team-a"`))
		var b bytes.Buffer
		for _, write := range []func(io.Writer) error{r.WriteJSON, r.WriteMarkdown, r.WriteHTML, func(w io.Writer) error { return r.WriteOSCAL(w, "dev") }} {
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
		}
		if before != "" && before != b.String() {
			t.Error("two reports differ")
		}
		before = b.String()
	}
}
