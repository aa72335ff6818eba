package render

import (
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/engine"
)

// page is what the templates of the spanning documents see.
type page struct {
	Posture    *posture.Posture
	Profiles   string
	Tree       *Tree
	States     []State
	Summaries  []Summary
	Catalogues []catalogue
	Pages      []string
}

type catalogue struct {
	Name    string
	Title   string
	Answers []Answer
}

// titles are the catalogues' names for people.
var titles = map[string]string{
	"cis-2.0.1": "CIS Kubernetes Benchmark v2.0.1",
	"nsa-1.2":   "NSA/CISA Kubernetes Hardening Guide v1.2",
	"pss-1.37":  "Pod Security Standards v1.37",
	"k8ssec":    "k8ssec's own",
}

// CatalogueTitle is a catalogue's name for people.
func CatalogueTitle(name string) string {
	if title := titles[name]; title != "" {
		return title
	}
	return name
}

// documents renders the pages that need to know the whole tree.
func documents(result *engine.Result, t *Tree) ([]File, error) {
	var names []string
	for _, p := range result.Profiles {
		names = append(names, p.Name)
	}
	data := page{
		Posture: result.Posture, Profiles: strings.Join(names, ", "), Tree: t, States: States, Summaries: t.Summaries(),
	}
	for _, f := range t.Files {
		if strings.HasPrefix(f.Path, "docs/") {
			data.Pages = append(data.Pages, strings.TrimPrefix(f.Path, "docs/"))
		}
	}
	slices.Sort(data.Pages)
	for _, s := range data.Summaries {
		c := catalogue{Name: s.Catalogue, Title: CatalogueTitle(s.Catalogue)}
		for _, a := range t.Controls {
			if a.Control.Catalogue == s.Catalogue {
				c.Answers = append(c.Answers, a)
			}
		}
		data.Catalogues = append(data.Catalogues, c)
	}
	var files []File
	for _, doc := range []struct{ path, template string }{
		{"README.md", "repository/README.md.tmpl"},
		{"docs/coverage.md", "repository/coverage.md.tmpl"},
	} {
		text, err := generators.Text(doc.template, data)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: doc.path, Data: []byte(text)})
	}
	return files, nil
}

// Short is a control's number in its catalogue: the id without the catalogue's prefix, for the
// catalogues that have one.
func (a Answer) Short() string {
	prefix, number, _ := strings.Cut(a.Control.ID, "-")
	if strings.HasPrefix(a.Control.Catalogue, prefix+"-") {
		return number
	}
	return a.Control.ID
}

// Cell is a text made safe for a cell of a Markdown table.
func (a Answer) Cell() string {
	text := a.Text
	if len(a.Artifacts) > 0 && a.State != ByProcedure {
		places := "`" + strings.Join(a.Artifacts[:min(2, len(a.Artifacts))], "`, `") + "`"
		if more := a.Count - min(2, len(a.Artifacts)); more > 0 {
			places += " and more"
		}
		text = strings.TrimSpace(places + ". " + text)
	}
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}
