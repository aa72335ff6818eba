package engine

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"cuelang.org/go/cue"

	"github.com/k8ssec/k8ssec"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// Profile is one profile as it was loaded.
type Profile struct {
	// Name is the short name, "cis", also for a directory of the user's.
	Name string
	// Source is what the cluster file names: "cis" or "./profiles/acme".
	Source  string
	Title   string
	Extends []string
	Level   int
	// Digest covers the files of a user's own profile; empty for a shipped one, which the tool's
	// version pins.
	Digest string

	layer    *layer
	controls []*Control
}

// Control is one requirement of a profile.
type Control struct {
	ID        string
	Catalogue string
	Title     string
	Level     int
	Automated bool
	Domain    string
	Why       string
	Fix       string
	// Profile is the name of the profile that defines the control.
	Profile string
	// InForce is false where the control is of a higher level than the cluster asks for.
	InForce bool
	// Waivers are the names of the active waivers of this control.
	Waivers []string

	kinds []string
	// cluster and namespace are the constraints; neither need exist.
	cluster, namespace cue.Value
}

// ShippedProfiles are the names of the profiles that the command carries.
func ShippedProfiles() []string {
	var names []string
	entries, err := fs.ReadDir(k8ssec.Assets, "profiles")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// profiles loads the named profiles and all that they extend, in canonical order: what is
// extended comes before what extends it, else by name. The order in which a person names them
// does not matter.
func (l *loader) profiles(names []named, dir string) ([]*Profile, error) {
	var ordered []*Profile
	bySource := map[string]*Profile{}
	var visit func(n named, from string, chain []string) error
	visit = func(n named, from string, chain []string) error {
		source := n.name
		if isDirectory(source) {
			source = filepath.ToSlash(filepath.Clean(filepath.Join(from, source)))
		}
		if slices.Contains(chain, source) {
			return n.error("the profiles extend each other in a circle: " + strings.Join(append(chain, source), " -> "))
		}
		if bySource[source] != nil {
			return nil
		}
		p, err := l.profile(n, source, from)
		if err != nil {
			return err
		}
		extends := slices.Clone(p.Extends)
		slices.Sort(extends)
		for _, e := range extends {
			base := dir
			if isDirectory(n.name) {
				base = source
			}
			if err := visit(named{e, n.pos}, base, append(chain, source)); err != nil {
				return err
			}
		}
		for _, other := range ordered {
			if other.Name == p.Name {
				return n.error(fmt.Sprintf("two profiles have the name %q: %s and %s", p.Name, other.Source, p.Source))
			}
		}
		bySource[source] = p
		ordered = append(ordered, p)
		return nil
	}
	sorted := slices.Clone(names)
	slices.SortFunc(sorted, func(a, b named) int { return strings.Compare(a.name, b.name) })
	for _, n := range sorted {
		if err := visit(n, dir, nil); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}

// named is a profile's name where it was written.
type named struct {
	name string
	pos  pos
}

func (n named) error(message string) diag.List {
	return diag.List{{
		Severity: diag.Error, File: n.pos.file, Line: n.pos.line, Column: n.pos.column, Field: "profiles", Value: quote(n.name),
		Message: message, Rule: "shipped profiles: " + strings.Join(ShippedProfiles(), ", ") + "; your own: a directory that begins with ./",
		Fix: `profiles: ["cis"]`,
	}}
}

func isDirectory(name string) bool {
	return strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") || strings.HasPrefix(name, "/")
}

func (l *loader) profile(n named, source, from string) (*Profile, error) {
	user := isDirectory(n.name)
	var v cue.Value
	var err error
	if user {
		dir, shown := source, source
		if rel, relErr := filepath.Rel(from, source); relErr == nil && filepath.IsLocal(rel) {
			shown = filepath.ToSlash(rel)
		}
		source = shown
		if v, err = l.directory(dir, shown); err != nil {
			return nil, profileErrors(n, shown, err)
		}
	} else {
		if !slices.Contains(ShippedProfiles(), n.name) {
			message := fmt.Sprintf("there is no profile %q", n.name)
			list := n.error(message)
			if near := nearest(n.name, ShippedProfiles()); near != "" {
				list[0].Message += "; did you mean " + quote(near) + "?"
				list[0].Fix = `profiles: ["` + near + `"]`
			}
			return nil, list
		}
		if v, err = l.shipped("profiles/" + n.name); err != nil {
			return nil, fmt.Errorf("shipped profile %s: %w", n.name, err)
		}
	}
	root := v.LookupPath(cue.ParsePath("profile"))
	if !root.Exists() {
		return nil, profileErrors(n, source, fmt.Errorf("the package has no field \"profile\""))
	}
	if user {
		// A shipped profile unifies with the schema in its own file, and a test holds it so.
		schema, err := l.shipped("cue/control")
		if err != nil {
			return nil, err
		}
		root = schema.LookupPath(cue.ParsePath("#Profile")).Unify(root)
		if err := root.Validate(); err != nil {
			return nil, profileErrors(n, source, err)
		}
	}
	p := &Profile{Source: n.name}
	if user {
		p.Digest = l.digest(source)
	}
	fields := struct {
		Name    string
		Title   string
		Extends []string
		Level   int
	}{}
	for name, into := range map[string]any{"name": &fields.Name, "title": &fields.Title, "extends": &fields.Extends, "level": &fields.Level} {
		if err := root.LookupPath(cue.ParsePath(name)).Decode(into); err != nil {
			return nil, profileErrors(n, source, err)
		}
	}
	p.Name, p.Title, p.Extends, p.Level = fields.Name, fields.Title, fields.Extends, fields.Level
	p.layer = &layer{name: "profile " + p.Name, profile: p.Name, user: user, namespaceDefaults: map[string]*node{}}
	if p.layer.root, err = fromValue(root.LookupPath(cue.ParsePath("defaults")), p.layer, 0); err != nil {
		return nil, profileErrors(n, source, err)
	}
	kinds, err := fromValue(root.LookupPath(cue.ParsePath("namespaceDefaults")), p.layer, 0)
	if err != nil {
		return nil, profileErrors(n, source, err)
	}
	p.layer.namespaceDefaults = kinds.object
	controls, err := root.LookupPath(cue.ParsePath("controls")).Fields()
	if err != nil {
		return nil, profileErrors(n, source, err)
	}
	for controls.Next() {
		c, err := controlOf(controls.Value())
		if err != nil {
			return nil, profileErrors(n, source, err)
		}
		c.Profile = p.Name
		p.controls = append(p.controls, c)
	}
	return p, nil
}

func controlOf(v cue.Value) (*Control, error) {
	fields := struct {
		ID, Catalogue, Title, Kind, Domain, Why, Fix string
		Level                                        int
		Kinds                                        []string
	}{}
	for name, into := range map[string]any{
		"id": &fields.ID, "catalogue": &fields.Catalogue, "title": &fields.Title, "kind": &fields.Kind,
		"domain": &fields.Domain, "why": &fields.Why, "level": &fields.Level, "kinds": &fields.Kinds,
	} {
		if err := v.LookupPath(cue.MakePath(cue.Str(name))).Decode(into); err != nil {
			return nil, err
		}
	}
	if fix := v.LookupPath(cue.MakePath(cue.Str("fix"))); fix.Exists() {
		if err := fix.Decode(&fields.Fix); err != nil {
			return nil, err
		}
	}
	return &Control{
		ID: fields.ID, Catalogue: fields.Catalogue, Title: fields.Title, Level: fields.Level,
		Automated: fields.Kind == "automated", Domain: fields.Domain, Why: fields.Why, Fix: fields.Fix,
		kinds:     fields.Kinds,
		cluster:   v.LookupPath(cue.MakePath(cue.Str("cluster"))),
		namespace: v.LookupPath(cue.MakePath(cue.Str("namespace"))),
	}, nil
}

// profileErrors are the findings about a user's own profile directory.
func profileErrors(n named, source string, err error) error {
	if list, ok := asList(err); ok {
		return list
	}
	list := evaluationErrors(source, err)
	for i := range list {
		list[i].Message = fmt.Sprintf("profile %q cannot be loaded: %s", n.name, list[i].Message)
		if list[i].Line == 0 {
			list[i].File, list[i].Line, list[i].Column = n.pos.file, n.pos.line, n.pos.column
		}
		list[i].Rule = "a profile is a CUE package with a field profile: {name, title, extends, defaults, controls}"
		list[i].Fix = "k8ssec profiles --help shows a complete example"
	}
	return list
}
