package engine

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
			for i, c := range append(chain, source) {
				chain = append(chain[:i:i], filepath.Base(c))
			}
			return n.error("the profiles extend each other in a circle: " + strings.Join(chain, " -> "))
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
			for _, c := range p.controls {
				if slices.ContainsFunc(other.controls, func(o *Control) bool { return o.ID == c.ID }) {
					list := n.error(fmt.Sprintf("profile %s defines control %s, which belongs to profile %s", p.Name, c.ID, other.Name))
					list[0].Control, list[0].Rule = c.ID, "an id belongs to one profile: a profile adds controls, it never changes another's"
					list[0].Fix = "give the control an id of your own, for instance " + quote(p.Name+"-1")
					return list
				}
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
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			list := n.error(fmt.Sprintf("there is no directory %s", shown))
			list[0].Fix = "make the directory with a profile in it; k8ssec profiles --help shows a complete example"
			return nil, list
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
		list := n.error(fmt.Sprintf("%s has no field \"profile\"", source))
		list[0].Rule, list[0].Fix = profileRule, profileFix
		return nil, list
	}
	if user {
		// A test holds the shipped profiles against cue/control. They are not held at each start: it
		// costs time, and values that come out of a definition are slow to unite.
		if found := checkProfile(root); len(found) > 0 {
			return nil, found.Sort()
		}
	}
	p := &Profile{Source: n.name}
	if user {
		p.Digest = l.digest(source)
	}
	p.Level = 1
	for _, f := range []struct {
		name string
		into any
	}{{"name", &p.Name}, {"title", &p.Title}, {"extends", &p.Extends}, {"level", &p.Level}} {
		if err := decodeField(root, f.name, f.into); err != nil {
			return nil, profileErrors(n, source, err)
		}
	}
	p.layer = &layer{name: "profile " + p.Name, profile: p.Name, user: user, namespaceDefaults: map[string]*node{}}
	p.layer.root = &node{object: map[string]*node{}, layer: p.layer}
	for _, f := range []struct {
		name string
		set  func(*node)
	}{
		{"defaults", func(n *node) { p.layer.root = n }},
		{"namespaceDefaults", func(n *node) { p.layer.namespaceDefaults = n.object }},
	} {
		v := root.LookupPath(cue.ParsePath(f.name))
		if !v.Exists() {
			continue
		}
		value, err := fromValue(v, p.layer, 0)
		if err != nil {
			return nil, profileErrors(n, source, err)
		}
		f.set(value)
	}
	all := root.LookupPath(cue.ParsePath("controls"))
	if !all.Exists() {
		return p, nil
	}
	controls, err := all.Fields()
	if err != nil {
		return nil, profileErrors(n, source, err)
	}
	for controls.Next() {
		c, err := controlOf(controls.Selector().Unquoted(), controls.Value())
		if err != nil {
			return nil, profileErrors(n, source, err)
		}
		c.Profile = p.Name
		p.controls = append(p.controls, c)
	}
	return p, nil
}

// decodeField decodes a field that may be absent.
func decodeField(v cue.Value, name string, into any) error {
	f := v.LookupPath(cue.MakePath(cue.Str(name)))
	if !f.Exists() {
		return nil
	}
	return f.Decode(into)
}

// controlOf reads one control; what is absent has the default that cue/control says.
func controlOf(id string, v cue.Value) (*Control, error) {
	c := &Control{ID: id, Level: 1, kinds: []string{"tenant"}}
	fields, err := v.Fields()
	if err != nil {
		return nil, err
	}
	for fields.Next() {
		value := fields.Value()
		var err error
		switch fields.Selector().Unquoted() {
		case "catalogue":
			c.Catalogue, err = value.String()
		case "title":
			c.Title, err = value.String()
		case "domain":
			c.Domain, err = value.String()
		case "why":
			c.Why, err = value.String()
		case "fix":
			c.Fix, err = value.String()
		case "kind":
			var kind string
			kind, err = value.String()
			c.Automated = kind == "automated"
		case "level":
			var level int64
			level, err = value.Int64()
			c.Level = int(level)
		case "kinds":
			c.kinds = nil
			err = value.Decode(&c.kinds)
		case "cluster":
			c.cluster = value
		case "namespace":
			c.namespace = value
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
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
		list[i].Rule, list[i].Fix = profileRule, profileFix
	}
	return list
}

const (
	profileRule = "a profile is a CUE package with a field profile: {name, title, extends, defaults, controls}"
	profileFix  = "k8ssec profiles --help shows a complete example"
)

// profileFields and controlFields are those of #Profile and #Control; a test holds them together.
var (
	profileFields = []string{"name", "title", "extends", "level", "defaults", "namespaceDefaults", "controls"}
	controlFields = []string{"id", "catalogue", "title", "level", "kind", "domain", "why", "fix", "cluster", "namespace", "kinds"}
	nameForm      = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	idForm        = regexp.MustCompile(`^[a-z0-9]+-[A-Za-z0-9_.:-]+$`)
)

// checkProfile holds a user's own profile to what cue/control says, in words.
func checkProfile(root cue.Value) diag.List {
	var found diag.List
	report := func(v cue.Value, field, message, rule, fix string) {
		at := posOf(v.Pos())
		if at.line == 0 {
			at = posOf(root.Pos())
		}
		found = append(found, diag.Diagnostic{
			Severity: diag.Error, File: at.file, Line: at.line, Column: at.column, Field: field, Message: message, Rule: rule, Fix: fix,
		})
	}
	text := func(v cue.Value, where, name, rule, fix string, ok func(string) bool) {
		f := v.LookupPath(cue.MakePath(cue.Str(name)))
		s, err := f.String()
		switch {
		case !f.Exists():
			report(v, where+name, where+name+" is missing", "it must be given: "+rule, fix)
		case err != nil || !ok(s):
			report(f, where+name, where+name+" is not "+rule, rule, fix)
		}
	}
	known := func(v cue.Value, where string, fields []string) {
		iter, err := v.Fields(cue.Optional(true))
		if err != nil {
			report(v, where, strings.TrimSuffix(where, ".")+" is not an object", profileRule, profileFix)
			return
		}
		for iter.Next() {
			name := iter.Selector().Unquoted()
			if slices.Contains(fields, name) {
				continue
			}
			message, fix := where+name+" is not a field that k8ssec reads", "remove it"
			if near := nearest(name, fields); near != "" {
				message += "; did you mean " + quote(near) + "?"
				fix = near + ": ..."
			}
			report(iter.Value(), where+name, message, "known here: "+strings.Join(fields, ", "), fix)
		}
	}
	filled := func(s string) bool { return strings.TrimSpace(s) != "" }

	known(root, "profile.", profileFields)
	text(root, "profile.", "name", "lower-case letters, digits and '-'", `name: "acme"`, nameForm.MatchString)
	text(root, "profile.", "title", "one line that says for whom the profile is", `title: "Every cluster of Acme"`, filled)
	controls := root.LookupPath(cue.ParsePath("controls"))
	if !controls.Exists() {
		return found
	}
	iter, err := controls.Fields()
	if err != nil {
		report(controls, "profile.controls", "profile.controls is not an object", profileRule, profileFix)
		return found
	}
	for iter.Next() {
		id, c := iter.Selector().Unquoted(), iter.Value()
		where := "profile.controls." + quote(id) + "."
		if !idForm.MatchString(id) {
			report(c, where, quote(id)+" is not the id of a control", "a prefix, '-', and a number or name", `"acme-1": { ... }`)
		}
		known(c, where, controlFields)
		text(c, where, "catalogue", "the name of the catalogue", `catalogue: "acme"`, filled)
		text(c, where, "title", "what must hold, in one line", `title: "Audit files are kept for at least 90 days"`, filled)
		text(c, where, "domain", "the domain that serves it", `domain: "logging"`, filled)
		text(c, where, "why", "what goes wrong without it", `why: "Our auditors look back one quarter."`, filled)
	}
	return found
}
