// Package impact says what a change of the emitted tree means for the security of the cluster: which
// connections open or close, who gains or loses which rights, which pods are newly refused or let in,
// which controls change, which secrets become reachable, which alerts go silent. It compares values,
// never text: a file whose lines are only in another order changes nothing.
package impact

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

// Direction says what a change does to the security of the cluster.
type Direction string

// The directions.
const (
	Weaker  Direction = "weaker"
	Tighter Direction = "tighter"
	Neutral Direction = "neutral"
)

// Change is one thing that becomes different.
type Change struct {
	// Object is "NetworkPolicy team-a/dns"; empty where a control changes and no object does.
	Object string `json:"object"`
	File   string `json:"file"`
	Domain string `json:"domain"`
	// Direction is weaker, tighter or neutral.
	Direction Direction `json:"direction"`
	// Meaning is one sentence for people.
	Meaning string `json:"meaning"`
	// Controls are those that the object serves, or the one that changes its state.
	Controls []string `json:"controls"`

	risk int
}

// Field is one value of an object that becomes another; empty where there is none.
type Field struct {
	Path string `json:"path"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// ObjectChange is one object with what changes in it.
type ObjectChange struct {
	Object string `json:"object"`
	File   string `json:"file"`
	// Change is added, removed, changed or moved.
	Change string  `json:"change"`
	Fields []Field `json:"fields,omitempty"`
}

// Report is everything that changes, the most dangerous first.
type Report struct {
	Changes []Change       `json:"changes"`
	Objects []ObjectChange `json:"objects"`
	// Texts are changed files that hold no objects: pages, scripts, configuration.
	Texts []string `json:"texts"`
	// Rearranged counts files that change in order, comments or layout alone.
	Rearranged int `json:"rearranged"`
}

// Count is the number of changes in a direction.
func (r *Report) Count(d Direction) int {
	n := 0
	for _, c := range r.Changes {
		if c.Direction == d {
			n++
		}
	}
	return n
}

// Empty reports whether nothing changes at all, not even a comment.
func (r *Report) Empty() bool {
	return len(r.Changes)+len(r.Objects)+len(r.Texts)+r.Rearranged == 0
}

// Control is how a control is answered.
type Control struct {
	State, Title string
	Domain       string
}

// Tree is one version of a repository.
type Tree struct {
	Posture *posture.Posture
	Files   map[string][]byte
	// Controls are the answers by id; nil where they are not known.
	Controls map[string]Control
	// Waivers are those in force, by name: what each lifts, where and until when.
	Waivers map[string]string
	// Serves gives the controls that an object of a file serves ("NetworkPolicy team-a/dns"; empty for
	// all of the file), and the domain of the file.
	Serves func(file, object string) []string
	Domain func(file string) string
}

// object is one object of a tree.
type object struct {
	id, kind, group, namespace, name string
	file                             string
	value                            map[string]any
}

func (o *object) get(keys ...string) any {
	var v any = o.value
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func (o *object) labels() map[string]any {
	m, _ := o.get("metadata", "labels").(map[string]any)
	return m
}

// holdsObjects reports whether a file is of objects that something applies or reads.
func holdsObjects(name string) bool {
	ext := path.Ext(name)
	if ext != ".yaml" && ext != ".yml" {
		return false
	}
	top, _, _ := strings.Cut(name, "/")
	return top == "manifests" || top == "gitops" || top == "bootstrap"
}

// Compare compares two trees.
func Compare(before, after *Tree) *Report {
	c := &comparison{
		before: before, after: after, r: &Report{Changes: []Change{}, Objects: []ObjectChange{}, Texts: []string{}},
		old: newSet(before), next: newSet(after), explained: map[string]bool{},
	}
	c.files()
	c.objects()
	if c.touches("Namespace", "NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy") {
		c.network()
	}
	if c.touches("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") {
		c.rights()
	}
	c.podSecurity()
	c.admission()
	c.secrets()
	c.alerts()
	c.controlPlane()
	c.quotas()
	c.controls()
	c.rest()
	slices.SortStableFunc(c.r.Changes, func(a, b Change) int {
		if n := rank(a.Direction) - rank(b.Direction); n != 0 {
			return n
		}
		return cmp.Or(b.risk-a.risk, cmp.Compare(a.File, b.File), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Meaning, b.Meaning))
	})
	slices.SortFunc(c.r.Objects, func(a, b ObjectChange) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Object, b.Object))
	})
	slices.Sort(c.r.Texts)
	return c.r
}

func rank(d Direction) int {
	return slices.Index([]Direction{Weaker, Tighter, Neutral}, d)
}

type comparison struct {
	before, after *Tree
	old, next     *set
	r             *Report
	// changed are the objects that differ, by id; either may be nil.
	changed []pair
	// explained are objects whose change has a meaning in the report.
	explained map[string]bool
}

type pair struct{ old, next *object }

func (p pair) any() *object {
	if p.next != nil {
		return p.next
	}
	return p.old
}

func (p pair) both() bool { return p.old != nil && p.next != nil }

// set is the objects of a tree, read when they are asked for.
type set struct {
	tree   *Tree
	parsed map[string][]*object
}

func newSet(t *Tree) *set { return &set{tree: t, parsed: map[string][]*object{}} }

// file reads one file; nil if it has no objects or cannot be read.
func (s *set) file(name string) []*object {
	if list, ok := s.parsed[name]; ok {
		return list
	}
	var list []*object
	docs, err := manifest.Decode(s.tree.Files[name])
	if err == nil {
		for _, d := range docs {
			value, err := manifest.Value(d.Node)
			m, ok := value.(map[string]any)
			if err != nil || !ok {
				continue
			}
			list = append(list, newObject(d, m, name))
		}
	}
	s.parsed[name] = list
	return list
}

func newObject(d manifest.Document, value map[string]any, file string) *object {
	group, _, ok := strings.Cut(d.APIVersion, "/")
	if !ok {
		group = ""
	}
	name := d.Name
	if d.Namespace != "" {
		name = d.Namespace + "/" + name
	}
	return &object{
		id: strings.TrimSpace(d.Kind + " " + name), kind: d.Kind, group: group, namespace: d.Namespace, name: d.Name, file: file, value: value,
	}
}

// all reads the objects of every file below the given directories, in order.
func (s *set) all(dirs ...string) []*object {
	var list []*object
	for _, name := range sortedKeys(s.tree.Files) {
		if holdsObjects(name) && slices.ContainsFunc(dirs, func(d string) bool { return strings.HasPrefix(name, d) }) {
			list = append(list, s.file(name)...)
		}
	}
	return list
}

// files finds the files that differ.
func (c *comparison) files() {
	names := map[string]bool{}
	for name := range c.before.Files {
		names[name] = true
	}
	for name := range c.after.Files {
		names[name] = true
	}
	olds, news := map[string]*object{}, map[string]*object{}
	var order []string
	for _, name := range sortedKeys(names) {
		a, inOld := c.before.Files[name]
		b, inNew := c.after.Files[name]
		if inOld == inNew && string(a) == string(b) {
			continue
		}
		switch {
		case strings.HasPrefix(name, "patches/"):
			c.add(Change{
				File: name, Domain: c.domain(name), Direction: Weaker, risk: 40,
				Meaning: "a patch of yours changes what is applied in a way that is not computed here: read it",
			})
			c.r.Texts = append(c.r.Texts, name)
			continue
		case !holdsObjects(name) || path.Base(name) == "kustomization.yaml" && !strings.HasPrefix(name, "gitops/"):
			c.r.Texts = append(c.r.Texts, name)
			continue
		}
		unreadable := false
		for _, side := range []struct {
			set   *set
			there bool
			into  map[string]*object
		}{{c.old, inOld, olds}, {c.next, inNew, news}} {
			if !side.there {
				continue
			}
			if _, err := manifest.Decode(side.set.tree.Files[name]); err != nil {
				unreadable = true
			}
			for _, o := range side.set.file(name) {
				side.into[o.id] = o
				order = append(order, o.id)
			}
		}
		if unreadable {
			c.add(Change{
				File: name, Domain: c.domain(name), Direction: Weaker, risk: 85, Controls: c.serves(name, ""),
				Meaning: "the file cannot be read as YAML on one side: what it does is not known",
			})
		}
	}
	done := map[string]bool{}
	moved := map[string]bool{}
	for _, id := range order {
		if done[id] {
			continue
		}
		done[id] = true
		p := pair{olds[id], news[id]}
		if p.both() && sameValue(p.old.value, p.next.value) {
			if p.old.file != p.next.file {
				moved[id] = true
				c.r.Objects = append(c.r.Objects, ObjectChange{Object: id, File: p.next.file, Change: "moved"})
			}
			continue
		}
		c.changed = append(c.changed, p)
	}
	// What is left are files whose objects are all the same.
	touched := map[string]bool{}
	for _, p := range c.changed {
		for _, o := range []*object{p.old, p.next} {
			if o != nil {
				touched[o.file] = true
			}
		}
	}
	for id := range moved {
		touched[olds[id].file], touched[news[id].file] = true, true
	}
	for _, name := range sortedKeys(names) {
		a, b := c.before.Files[name], c.after.Files[name]
		if holdsObjects(name) && !touched[name] && string(a) != string(b) && !slices.Contains(c.r.Texts, name) {
			c.r.Rearranged++
		}
	}
}

// touches reports whether an object of one of the kinds changes.
func (c *comparison) touches(kinds ...string) bool {
	return slices.ContainsFunc(c.changed, func(p pair) bool { return slices.Contains(kinds, p.any().kind) })
}

func (c *comparison) domain(file string) string {
	for _, t := range []*Tree{c.after, c.before} {
		if t.Domain != nil {
			if d := t.Domain(file); d != "" {
				return d
			}
		}
	}
	parts := strings.Split(file, "/")
	if len(parts) > 2 && (parts[0] == "manifests" || parts[0] == "patches") {
		return parts[1]
	}
	return parts[0]
}

func (c *comparison) serves(file, object string) []string {
	var ids []string
	for _, t := range []*Tree{c.after, c.before} {
		if t.Serves == nil {
			continue
		}
		for _, id := range t.Serves(file, object) {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// add adds a change.
func (c *comparison) add(change Change) {
	if change.Controls == nil {
		change.Controls = []string{}
	}
	if slices.ContainsFunc(c.r.Changes, func(o Change) bool { return o.Object == change.Object && o.Meaning == change.Meaning }) {
		return
	}
	c.r.Changes = append(c.r.Changes, change)
}

// about adds a change of an object.
func (c *comparison) about(o *object, d Direction, risk int, meaning string) {
	c.explained[o.id] = true
	c.add(Change{
		Object: o.id, File: o.file, Domain: c.domain(o.file), Direction: d, risk: risk, Meaning: meaning, Controls: c.serves(o.file, o.id),
	})
}

// objects lists what changes in each object.
func (c *comparison) objects() {
	for _, p := range c.changed {
		o := ObjectChange{Object: p.any().id, File: p.any().file, Change: "changed"}
		switch {
		case p.old == nil:
			o.Change = "added"
		case p.next == nil:
			o.Change = "removed"
		default:
			o.Fields = fields(p.old.value, p.next.value)
		}
		c.r.Objects = append(c.r.Objects, o)
	}
}

// controls compares the answers.
func (c *comparison) controls() {
	if c.before.Controls == nil || c.after.Controls == nil {
		return
	}
	for _, name := range sortedKeys(c.after.Waivers) {
		if old := c.before.Waivers[name]; old != c.after.Waivers[name] {
			c.add(Change{File: "cluster.cue", Direction: Weaker, risk: 83, Meaning: "waiver " + name + " lifts " + c.after.Waivers[name]})
		}
	}
	for _, name := range sortedKeys(c.before.Waivers) {
		if c.after.Waivers[name] == "" {
			c.add(Change{File: "cluster.cue", Direction: Tighter, risk: 45, Meaning: "waiver " + name + " is gone: enforced again is " + c.before.Waivers[name]})
		}
	}
	worth := map[string]int{"enforced": 5, "provider": 4, "procedure": 3, "undecided": 1, "planned": 1, "waived": 0, "failing": 0}
	ids := map[string]bool{}
	for id := range c.before.Controls {
		ids[id] = true
	}
	for id := range c.after.Controls {
		ids[id] = true
	}
	for _, id := range sortedKeys(ids) {
		a, inOld := c.before.Controls[id]
		b, inNew := c.after.Controls[id]
		change := Change{File: "cluster.cue", Controls: []string{id}, Domain: b.Domain}
		switch {
		case !inOld:
			change.Direction, change.risk = Tighter, 30
			change.Meaning = id + " is asked for from now on, and is " + b.State + ": " + b.Title
			if worth[b.State] < 2 {
				change.Direction = Neutral
			}
		case !inNew:
			change.Direction, change.risk, change.Domain = Weaker, 80, a.Domain
			change.Meaning = id + " is no longer asked for; it was " + a.State + ": " + a.Title
			if worth[a.State] < 2 {
				change.Direction = Neutral
			}
		case a.State != b.State:
			change.Meaning = id + " goes from " + a.State + " to " + b.State + ": " + b.Title
			change.Direction, change.risk = Tighter, 30
			if worth[b.State] < worth[a.State] {
				change.Direction, change.risk = Weaker, 80
			}
		default:
			continue
		}
		c.add(change)
	}
}

// rest says something of each changed object that nothing else did.
func (c *comparison) rest() {
	for _, p := range c.changed {
		o := p.any()
		if c.explained[o.id] {
			continue
		}
		serves := c.serves(o.file, o.id)
		switch {
		case p.next == nil && len(serves) > 0:
			c.about(o, Weaker, 55, "it is removed, and served controls")
		case p.next == nil:
			c.about(o, Neutral, 5, "it is removed")
		case p.old == nil && len(serves) > 0:
			c.about(o, Tighter, 20, "it is new, and serves controls")
		case p.old == nil:
			c.about(o, Neutral, 5, "it is new")
		default:
			meaning := "no connection, right or admission changes"
			if list := fields(p.old.value, p.next.value); len(list) == 1 {
				meaning = list[0].words()
			} else if len(list) > 1 {
				meaning = list[0].words() + ", and " + plural(len(list)-1, "more field")
			}
			c.about(o, Neutral, 5, meaning)
		}
	}
}
