// Command evidence writes what the last run of the kind suite showed, stock beside hardened, as a page:
// go run ./kind/evidence [FILE]. Without a file it is docs/evidence.md.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/e2e/components"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "evidence:", err)
		os.Exit(1)
	}
}

type probe struct {
	ID, Domain, Kind, Title, Result, Observed, Plain string
	Controls                                         []string
}

type mutant struct {
	Object, Change  string
	Effect, Missing []string
}

type ground struct{ When, Kubernetes, Node, Kernel, Containerd, CNI, Flux string }

func run() error {
	root, err := components.Root()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "e2e", "report")
	var hardened, stock struct{ Probes []probe }
	var mutants []mutant
	var on ground
	for name, into := range map[string]any{
		"hardened.json": &hardened, "stock.json": &stock, "mutation.json": &mutants, "ground.json": &on,
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("run make e2e first: %w", err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	before := map[string]probe{}
	for _, p := range stock.Probes {
		before[p.ID] = p
	}
	var b bytes.Buffer
	passed := func(p probe) bool { return p.Result == "passed" }
	count := func(list []probe) (n int) {
		for _, p := range list {
			if passed(p) {
				n++
			}
		}
		return n
	}
	killed := 0
	for _, m := range mutants {
		if len(m.Effect)+len(m.Missing) > 0 {
			killed++
		}
	}
	fmt.Fprintf(&b, `# Evidence

Written by `+"`go run ./kind/evidence`"+` (in e2e/) from the last reports of the kind suite (e2e/report/), begun %s.
It ran on Kubernetes %s, %s, kernel %s, containerd %s, with %s and %s, all in kind.

| | hardened | stock |
| --- | ---: | ---: |
| probes | %d | %d |
| passed | %d | %d |
| not passed | %d | %d |

The stock cluster is what kind makes from the same node image, with the same network. What passes there
as well says why.

Mutation: each class of emitted object was deleted or weakened on the live cluster; %d of %d changes turned
a probe red.

`, on.When, on.Kubernetes, on.Node, on.Kernel, on.Containerd, on.CNI, on.Flux,
		len(hardened.Probes), len(stock.Probes), count(hardened.Probes), count(stock.Probes),
		len(hardened.Probes)-count(hardened.Probes), len(stock.Probes)-count(stock.Probes), killed, len(mutants))

	byDomain := map[string][]probe{}
	for _, p := range hardened.Probes {
		byDomain[p.Domain] = append(byDomain[p.Domain], p)
	}
	domains := make([]string, 0, len(byDomain))
	for d := range byDomain {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	for _, d := range domains {
		fmt.Fprintf(&b, "## %s\n\n| probe | what was tried | must be | hardened | stock | controls |\n| --- | --- | --- | --- | --- | --- |\n", d)
		for _, p := range byDomain[d] {
			must := "allowed"
			if p.Kind == "deny" {
				must = "denied"
			}
			plain := before[p.ID].Result
			if passed(before[p.ID]) {
				plain += ": " + cell(p.Plain)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", p.ID, cell(p.Title), must, p.Result, plain, strings.Join(p.Controls, ", "))
		}
		b.WriteString("\n")
	}
	b.WriteString("## What was broken on purpose\n\n| object | change | noticed by |\n| --- | --- | --- |\n")
	for _, m := range mutants {
		by, red := "**nothing**", m.Effect
		if len(red) == 0 {
			red = m.Missing
		}
		if len(red) > 0 {
			by = "`" + strings.Join(red[:min(3, len(red))], "`, `") + "`"
			if more := len(red) - 3; more > 0 {
				by += fmt.Sprintf(" and %d more", more)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.Object, m.Change, by)
	}
	out := filepath.Join(root, "docs", "evidence.md")
	if len(os.Args) > 1 {
		out = os.Args[1]
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
