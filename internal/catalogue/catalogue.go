// Package catalogue holds the lists of attacks that a posture is measured against besides the
// benchmarks: OWASP's ten, ATT&CK for Containers and Microsoft's threat matrix.
//
// The controls of a benchmark are profiles, because they ask something of a posture. An attack asks
// for nothing; it is answered by the controls that stand in its way. Ids are the sources' own, titles
// are in our words.
package catalogue

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
)

//go:embed data/*.json
var data embed.FS

// Catalogue is one list.
type Catalogue struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Source is where the list is published.
	Source string `json:"source"`
	Items  []Item `json:"items"`
}

// Item is one attack.
type Item struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Tactic is the attacker's purpose, in the source's order; empty where the source has none.
	Tactic string `json:"tactic,omitempty"`
	// Also are the ids of other sources, or of sub-techniques, for the same.
	Also []string `json:"also,omitempty"`
	// Prevent are the controls that stand in its way: each must hold.
	Prevent []Need `json:"prevent"`
	// Detect are the controls that make it seen.
	Detect []Need `json:"detect,omitempty"`
}

// Need is one control, or several separated by "|" of which any one will do: the benchmarks name the
// same thing more strictly than our own controls, and not every cluster is held to a benchmark.
type Need string

// Controls are the ids, the strictest first.
func (n Need) Controls() []string { return strings.Split(string(n), "|") }

// Load returns the catalogues, by id. They are read at the first call.
var Load = sync.OnceValues(load)

func load() ([]Catalogue, error) {
	names, err := fs.Glob(data, "data/*.json")
	if err != nil {
		return nil, fmt.Errorf("catalogues: %w", err)
	}
	list := make([]Catalogue, 0, len(names))
	for _, name := range names {
		source, err := data.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("catalogues: %w", err)
		}
		var c Catalogue
		if err := json.Unmarshal(source, &c); err != nil {
			return nil, fmt.Errorf("catalogue %s: %w", path.Base(name), err)
		}
		list = append(list, c)
	}
	return list, nil
}
