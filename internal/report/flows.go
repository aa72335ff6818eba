package report

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// Flow is one way that the posture opens.
type Flow struct {
	From, To, Ports, Why string
	// Half marks a way between two namespaces that only one of them declares: it stays closed until
	// the other declares it too.
	Half bool

	declared [2]bool // by the side that sends, by the side that receives
}

// Flows are the declared ways of a posture, sorted; what each namespace has (cluster DNS, and its own
// pods where it says so) is not among them.
func Flows(p *posture.Posture) []Flow {
	byKey := map[string]*Flow{}
	add := func(from, to, ports, why string, side int) {
		key := from + "\x00" + to + "\x00" + ports
		f := byKey[key]
		if f == nil {
			f = &Flow{From: from, To: to, Ports: ports, Why: why}
			byKey[key] = f
		}
		if f.Why == "" {
			f.Why = why
		}
		f.declared[side] = true
	}
	for _, name := range p.NamespaceNames() {
		ns := p.Namespaces[name]
		addonIngress, addonEgress := p.AddonFlows(name)
		for _, flows := range []map[string]posture.Flow{addonEgress, ns.Egress} {
			for _, flow := range sortedKeys(flows) {
				for _, peer := range flows[flow].Peers {
					add(name, peerName(peer), portsText(flows[flow].Ports), flows[flow].Why, 0)
				}
			}
		}
		for _, flows := range []map[string]posture.Flow{addonIngress, ns.Ingress} {
			for _, flow := range sortedKeys(flows) {
				for _, peer := range flows[flow].Peers {
					add(peerName(peer), name, portsText(flows[flow].Ports), flows[flow].Why, 1)
				}
			}
		}
		if ns.APIAccess {
			add(name, peerAPI, strconv.Itoa(p.Cluster.APIPort), "The pods call the API server.", 0)
		}
		for _, port := range ns.Webhooks {
			add(peerAPI, name, strconv.Itoa(port), "The API server calls webhooks.", 1)
		}
		if m := p.Network.MonitoringNamespace; m != "" && m != name {
			for _, port := range ns.Metrics {
				add(m, name, strconv.Itoa(port), "Metrics are scraped.", 1)
				add(m, name, strconv.Itoa(port), "", 0)
			}
		}
	}
	flows := make([]Flow, 0, len(byKey))
	for _, f := range byKey {
		_, sends := p.Namespaces[f.From]
		_, receives := p.Namespaces[f.To]
		f.Half = sends && receives && f.From != f.To && f.declared != [2]bool{true, true}
		flows = append(flows, *f)
	}
	slices.SortFunc(flows, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Ports, b.Ports))
	})
	return flows
}

// peerAPI is the name of the API server in the graph.
const peerAPI = "API server"

func peerName(p posture.Peer) string {
	switch {
	case p.Namespace != "":
		return p.Namespace
	case p.CIDR != "":
		return p.CIDR
	case p.FQDN != "":
		return p.FQDN
	case p.Entity == "apiserver":
		return peerAPI
	case p.Entity == "world":
		return "anywhere"
	case p.Entity == "cluster":
		return "all namespaces"
	}
	return p.Entity
}

func portsText(ports []posture.Port) string {
	if len(ports) == 0 {
		return "all"
	}
	var list []string
	for _, p := range ports {
		s := strconv.Itoa(p.Port)
		if p.End > 0 {
			s += "-" + strconv.Itoa(p.End)
		}
		if p.Protocol != "TCP" {
			s += "/" + p.Protocol
		}
		list = append(list, s)
	}
	return strings.Join(list, ", ")
}

// maxGraph bounds the namespaces that are drawn: beyond it a graph tells less than the table below it.
const maxGraph = 40

// Sizes of the drawing, in its own units.
const (
	boxWidth, boxHeight, boxGap = 190, 30, 16
	columnGap, margin           = 190, 12
)

// graph draws the flows: sources on the left, namespaces in the middle, destinations on the right.
// Ways between namespaces are arcs on the left of the middle. It returns how many namespaces are left
// out.
func graph(p *posture.Posture, flows []Flow) (svg template.HTML, omitted int) {
	touched := map[string]bool{}
	for _, f := range flows {
		touched[f.From], touched[f.To] = true, true
	}
	var left, middle, right []string
	for _, kind := range []string{"addon", "tenant", "system"} {
		for _, name := range p.NamespacesOf(kind) {
			switch {
			case !touched[name]:
			case len(middle) == maxGraph:
				omitted++
			default:
				middle = append(middle, name)
			}
		}
	}
	inMiddle := func(name string) bool { return slices.Contains(middle, name) }
	for _, f := range flows {
		_, known := p.Namespaces[f.From]
		if !known && inMiddle(f.To) && !slices.Contains(left, f.From) {
			left = append(left, f.From)
		}
		_, known = p.Namespaces[f.To]
		if !known && inMiddle(f.From) && !slices.Contains(right, f.To) {
			right = append(right, f.To)
		}
	}
	if len(middle) == 0 {
		return "", omitted
	}
	rows := max(len(left), len(middle), len(right))
	height := rows*(boxHeight+boxGap) + 2*margin
	width := 3*boxWidth + 2*columnGap + 2*margin
	x := func(column int) int { return margin + column*(boxWidth+columnGap) }
	y := func(list []string, name string) int {
		i := slices.Index(list, name)
		return margin + (height-2*margin)*(2*i+1)/(2*len(list))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="Ways that the posture opens" class="graph">`, width, height)
	b.WriteString(`<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z"/></marker></defs>`)
	for _, f := range flows {
		var path string
		from, to := inMiddle(f.From), inMiddle(f.To)
		switch {
		case from && to:
			if f.From == f.To {
				continue
			}
			y1, y2 := y(middle, f.From), y(middle, f.To)
			bulge := min(30+abs(y2-y1)/3, columnGap-20)
			path = fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x(1), y1-4, x(1)-bulge, y1-4, x(1)-bulge, y2+4, x(1), y2+4)
		case to && slices.Contains(left, f.From):
			path = curve(x(0)+boxWidth, y(left, f.From), x(1), y(middle, f.To))
		case from && slices.Contains(right, f.To):
			path = curve(x(1)+boxWidth, y(middle, f.From), x(2), y(right, f.To))
		default:
			continue
		}
		class := "way"
		if f.Half {
			class = "way half"
		}
		fmt.Fprintf(&b, `<path class="%s" d="%s" marker-end="url(#arrow)"><title>%s</title></path>`, class, path,
			template.HTMLEscapeString(fmt.Sprintf("%s to %s, ports %s. %s", f.From, f.To, f.Ports, f.Why)))
	}
	for column, list := range [][]string{left, middle, right} {
		for _, name := range list {
			kind := "outside"
			if ns, ok := p.Namespaces[name]; ok {
				kind = ns.Kind
			}
			top := y(list, name) - boxHeight/2
			fmt.Fprintf(&b, `<g class="box %s"><rect x="%d" y="%d" width="%d" height="%d" rx="5"/><text x="%d" y="%d">%s<title>%s</title></text></g>`,
				kind, x(column), top, boxWidth, boxHeight, x(column)+boxWidth/2, top+boxHeight/2+4,
				template.HTMLEscapeString(shorten(name, 25)), template.HTMLEscapeString(name))
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()), omitted //nolint:gosec // every name and text in it is escaped above
}

func curve(x1, y1, x2, y2 int) string {
	mid := (x1 + x2) / 2
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, mid, y1, mid, y2, x2, y2)
}

func abs(n int) int { return max(n, -n) }

// shorten cuts the middle out of a text, because both ends of a DNS name or address tell something.
func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most/2]) + "…" + string(r[len(r)-(most-most/2-1):])
}
