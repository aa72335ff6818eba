package report

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/k8ssec/k8ssec"
	"github.com/k8ssec/k8ssec/internal/render"
)

// page is what the template of the HTML report sees.
type page struct {
	*Report
	Date    string
	States  []stateCount
	Total   int
	Graph   template.HTML
	Flows   []Flow
	Omitted int
	Open    int // ways that both sides declare
}

// stateCount is how many controls, of all catalogues, end in a state.
type stateCount struct {
	State   render.State
	Count   int
	Meaning string
}

var meanings = map[render.State]string{
	render.Enforced:    "an emitted object or file that a component reads serves it",
	render.Waived:      "a waiver with an owner and an end lifts it",
	render.Provider:    "the duty of whoever runs the platform",
	render.ByProcedure: "people follow the steps of a named page",
	render.Undecided:   "one line in cluster.cue would decide it",
	render.Planned:     "nothing serves it yet",
	render.Failing:     "the files as they stand do not serve it",
}

// WriteHTML writes the report as one page that needs nothing else: no script, no font, no address.
func (r *Report) WriteHTML(w io.Writer) error {
	const name = "templates/report/report.html.tmpl"
	source, err := k8ssec.Assets.ReadFile(name)
	if err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	t, err := template.New("report").Funcs(template.FuncMap{
		"left": left, "join": func(list []string) string { return strings.Join(list, ", ") },
		"count": func(c Count, s render.State) int { return c.States[s] },
		"of": func(catalogue string) []Control {
			var list []Control
			for _, c := range r.Controls {
				if c.Catalogue == catalogue {
					list = append(list, c)
				}
			}
			return list
		},
	}).Parse(string(source))
	if err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	data := page{Report: r, Date: r.now.Format("2006-01-02 15:04 UTC"), Total: len(r.Controls), Flows: Flows(r.posture)}
	for _, s := range render.States {
		n := 0
		for _, c := range r.Controls {
			if c.State == s {
				n++
			}
		}
		if n > 0 {
			data.States = append(data.States, stateCount{s, n, meanings[s]})
		}
	}
	data.Graph, data.Omitted = graph(r.posture, data.Flows)
	for _, f := range data.Flows {
		if !f.Half {
			data.Open++
		}
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	_, err = w.Write(b.Bytes())
	return err
}
