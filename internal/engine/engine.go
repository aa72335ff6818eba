package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"cuelang.org/go/cue"

	"github.com/k8ssec/k8ssec"
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// Options are what an evaluation depends on, and nothing else does.
type Options struct {
	// Name is the cluster file's name in findings; Source is its content.
	Name   string
	Source []byte
	// Dir is where relative profile directories and cue.mod/pkg are looked for.
	Dir string
	// Now is the time against which waivers and certificates are judged.
	Now time.Time
	// Lift names a waiver that is looked at as if it were not there.
	Lift string
}

// Result is an evaluated posture with everything that was found on the way.
type Result struct {
	Posture *posture.Posture
	// Profiles are in canonical order: what is extended comes first.
	Profiles []*Profile
	// Controls are all controls of all profiles, in force or not, in the profiles' order.
	Controls []*Control
	// Warnings do not stop anything.
	Warnings diag.List
	// Expired are the names of the waivers that no longer hold.
	Expired []string
	// Deadline is when the result changes although no input does: the first moment at which a
	// waiver that is active now is not. Zero means never.
	Deadline time.Time
}

// Evaluate turns a cluster file into a posture. The error is a diag.List where the input is at
// fault.
func Evaluate(ctx context.Context, o Options) (*Result, error) {
	l := newLoader(o.Dir)
	cluster, err := l.clusterLayer(o.Name, o.Source)
	if err != nil {
		return nil, err
	}
	l.cluster = cluster
	names, err := profileNames(cluster)
	if err != nil {
		return nil, err
	}
	profiles, err := l.profiles(names, o.Dir)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	base, err := l.defaults()
	if err != nil {
		return nil, err
	}
	forceControls(profiles)

	var found diag.List
	for _, p := range profiles {
		if p.layer.user {
			shape(p.layer.root, reflect.TypeFor[posture.Posture](), nil, &found)
			for _, kind := range p.layer.namespaceDefaults {
				shape(kind, reflect.TypeFor[posture.Namespace](), []string{"namespaceDefaults"}, &found)
			}
		}
	}
	shape(cluster.root, reflect.TypeFor[posture.Posture](), nil, &found)
	if len(found) > 0 {
		return nil, found.Sort()
	}

	t := base.merge(profiles, cluster, l)
	waivers := judge(t, profiles, o.Now)
	if o.Lift != "" {
		waivers.active = slices.DeleteFunc(waivers.active, func(a active) bool { return a.name == o.Lift })
	}
	if waivers.found.HasErrors() {
		return nil, waivers.found.Sort()
	}
	checker, err := newChecker(l, profiles, waivers.lifts)
	if err != nil {
		return nil, err
	}
	var absent [][]string
	missing(t.root, reflect.TypeFor[posture.Posture](), nil, &absent)
	for _, path := range absent {
		found = append(found, checker.schemaFinding(path, nil, false))
	}
	if len(found) == 0 {
		found = checker.check(t.root, t.kindOf)
	}
	if len(found) > 0 {
		// An expired waiver is the likely cause of a control that fails again.
		return nil, append(found.Sort(), waivers.found.Sort()...)
	}
	p := &posture.Posture{}
	decode(t.root, reflect.ValueOf(p).Elem())
	waivers.mark(p, profiles)

	sense := &judgement{tree: t, posture: p, now: o.Now, place: checker.place}
	sense.all()
	if sense.found.HasErrors() {
		return nil, sense.found.Sort()
	}
	result := &Result{
		Posture: p, Profiles: profiles, Deadline: waivers.deadline, Expired: waivers.expired,
		Warnings: append(waivers.found, sense.found...).Sort(),
	}
	for _, profile := range profiles {
		result.Controls = append(result.Controls, profile.controls...)
	}
	return result, nil
}

// profileNames reads the field that decides which profiles are loaded, before anything else is
// checked.
func profileNames(cluster *layer) ([]named, error) {
	n := cluster.root.child("profiles")
	if n == nil || !n.isList || len(n.list) == 0 {
		d := diag.Diagnostic{
			Severity: diag.Error, File: cluster.name, Line: 1, Column: 1, Field: "profiles",
			Message: "the cluster file names no profile", Rule: "profiles must be at least one profile: a list of names",
			Why: "without a profile nothing is asked of the cluster", Fix: `profiles: ["cis"]`,
		}
		if n != nil {
			d.Line, d.Column, d.Value = n.pos.line, n.pos.column, n.text()
			d.Message = "profiles is " + n.text() + ", which names no profile"
		}
		return nil, diag.List{d}
	}
	var names []named
	for _, item := range n.list {
		name := item.str()
		if name == "" {
			return nil, named{item.text(), item.pos}.error("profiles has " + item.text() + ", which is not the name of a profile")
		}
		if slices.ContainsFunc(names, func(n named) bool { return n.name == name }) {
			return nil, named{name, item.pos}.error(fmt.Sprintf("profiles names %q twice", name))
		}
		names = append(names, named{name, item.pos})
	}
	return names, nil
}

// forceControls marks the controls in force: a control is, when its level is not above the highest
// level among the profile that defines it and the profiles that extend that one.
func forceControls(profiles []*Profile) {
	level := map[string]int{}
	for _, p := range profiles {
		for _, name := range append(reach(p, profiles), p.Name) {
			level[name] = max(level[name], p.Level)
		}
	}
	for _, p := range profiles {
		for _, c := range p.controls {
			c.InForce = c.Level <= level[p.Name]
		}
	}
}

// reach returns the names of all profiles that p extends, directly or not.
func reach(p *Profile, profiles []*Profile) []string {
	var names []string
	for _, e := range p.Extends {
		for _, other := range profiles {
			if other.Name == e || (isDirectory(e) && other.Source == e) {
				names = append(names, other.Name)
				names = append(names, reach(other, profiles)...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// defaults are the lowest layer, from the schema's package.
type defaults struct {
	layer      *layer
	namespaces map[string]*node
	platforms  *node
	addons     *node
	optional   *node
}

func (l *loader) defaults() (*defaults, error) {
	v, err := l.shipped("cue/posture")
	if err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	d := &defaults{layer: &layer{name: "the defaults"}}
	for name, into := range map[string]**node{
		"defaults": &d.layer.root, "platformDefaults": &d.platforms, "addonNamespaces": &d.addons, "optionalDefaults": &d.optional,
	} {
		if *into, err = fromValue(v.LookupPath(cue.ParsePath(name)), d.layer, 0); err != nil {
			return nil, fmt.Errorf("defaults: %s: %w", name, err)
		}
	}
	kinds, err := fromValue(v.LookupPath(cue.ParsePath("namespaceDefaults")), d.layer, 0)
	if err != nil {
		return nil, fmt.Errorf("defaults: namespaceDefaults: %w", err)
	}
	d.namespaces = kinds.object
	return d, nil
}

// tree is the merged posture before it is checked.
type tree struct {
	root *node
	// shipped are the levels of the namespaces that the defaults know, by name.
	shipped map[string]*node
	// kindDefaults are the merged defaults of each kind of namespace.
	kindDefaults map[string]*node
}

// kindOf is the kind by whose constraints a namespace is held. A namespace that the defaults do
// not know is held as a tenant, whatever it calls itself: else the name would be a way around the
// profile.
func (t *tree) kindOf(name string) string {
	if n := t.shipped[name]; n != nil {
		return n.child("kind").str()
	}
	return "tenant"
}

// merge lays the layers over each other: defaults, profiles in canonical order, the cluster file;
// then, below each namespace, the defaults of its kind.
func (d *defaults) merge(profiles []*Profile, cluster *layer, l *loader) *tree {
	d.platform(profiles, cluster)
	root, kinds := d.shippedLayers(profiles)
	d.repair(&root, kinds, profiles, l)
	t := &tree{kindDefaults: kinds, shipped: map[string]*node{}}
	decided := merge(root, cluster.root)
	root = d.addOns(root, decided)
	for name, n := range root.child("namespaces").object {
		t.shipped[name] = merge(kinds[n.child("kind").str()], n)
	}
	root = merge(root, cluster.root)
	if all := root.child("namespaces"); all.isObject() {
		merged := &node{object: make(map[string]*node, len(all.object)), pos: all.pos, layer: all.layer}
		for name, n := range all.object {
			kind := "tenant"
			if k := n.child("kind").str(); kinds[k] != nil {
				kind = k
			}
			base := kinds[kind]
			if kind != "tenant" && t.shipped[name] == nil {
				// Held as a tenant, so it begins with a tenant's quota; see kindOf.
				base = base.with(kinds["tenant"].child("quota"), "quota")
			}
			merged.object[name] = merge(base, n)
		}
		root = root.with(merged, "namespaces")
	}
	for _, pattern := range d.optional.keys() {
		root = fill(root, d.optional.object[pattern], strings.Split(pattern, "."))
	}
	t.root = root
	return t
}

// platform lays what is different on the chosen platform over the defaults.
func (d *defaults) platform(profiles []*Profile, cluster *layer) {
	chosen := d.layer.root.at("cluster", "platform").str()
	for _, p := range profiles {
		if s := p.layer.root.at("cluster", "platform").str(); s != "" {
			chosen = s
		}
	}
	if s := cluster.root.at("cluster", "platform").str(); s != "" {
		chosen = s
	}
	d.layer.root = merge(d.layer.root, d.platforms.child(chosen))
}

// shippedLayers are the layers below the cluster file.
func (d *defaults) shippedLayers(profiles []*Profile) (*node, map[string]*node) {
	root, kinds := d.layer.root, maps.Clone(d.namespaces)
	for _, p := range profiles {
		root = merge(root, p.layer.root)
		for kind, n := range p.layer.namespaceDefaults {
			kinds[kind] = merge(kinds[kind], n)
		}
	}
	return root, kinds
}

// repair makes the stricter of two unrelated shipped profiles win, in whatever order they are
// named: where a default of one breaks a control of the other, the other's own default is taken.
// A user's own profile is not repaired: its author is told.
func (d *defaults) repair(root **node, kinds map[string]*node, profiles []*Profile, l *loader) {
	related := func(a, b *Profile) bool {
		return slices.Contains(reach(a, profiles), b.Name) || slices.Contains(reach(b, profiles), a.Name)
	}
	independent := false
	for i, a := range profiles {
		for _, b := range profiles[i+1:] {
			independent = independent || (!related(a, b) && !a.layer.user && !b.layer.user)
		}
	}
	if !independent {
		return
	}
	for _, p := range profiles {
		// The values that p alone would give.
		chain := append(reach(p, profiles), p.Name)
		own := slices.DeleteFunc(slices.Clone(profiles), func(q *Profile) bool { return !slices.Contains(chain, q.Name) })
		ownRoot, ownKinds := d.shippedLayers(own)
		for _, c := range p.controls {
			if !c.InForce {
				continue
			}
			if c.cluster.Exists() {
				*root = repaired(*root, ownRoot, failing(c.cluster, l.ctx.BuildExpr((*root).expr())))
			}
			if c.namespace.Exists() {
				for _, kind := range c.kinds {
					kinds[kind] = repaired(kinds[kind], ownKinds[kind], failing(c.namespace, l.ctx.BuildExpr(kinds[kind].expr())))
				}
			}
		}
	}
}

func repaired(n, own *node, failures []failure) *node {
	for _, f := range failures {
		value := n.at(f.path...)
		if value != nil && value.layer.user {
			continue
		}
		if better := own.at(f.path...); better != nil {
			n = n.with(better, f.path...)
		}
	}
	return n
}

// addOns adds the namespaces of the add-ons that are switched on.
func (d *defaults) addOns(root, decided *node) *node {
	for _, name := range d.addons.keys() {
		addon := d.addons.object[name]
		var path []string
		for _, item := range addon.child("when").list {
			path = append(path, item.str())
		}
		value := decided.at(path...).str()
		on := value == addon.child("is").str()
		if not := addon.child("isNot"); not != nil {
			on = value != not.str()
		}
		if unless := addon.child("unless"); unless != nil {
			var path []string
			for _, item := range unless.list {
				path = append(path, item.str())
			}
			on = on && decided.at(path...).str() != ""
		}
		if absent := addon.child("absent"); absent != nil {
			var path []string
			for _, item := range absent.list {
				path = append(path, item.str())
			}
			on = on && decided.at(path...) == nil
		}
		if !on {
			continue
		}
		namespace := merge(&node{object: map[string]*node{"kind": {scalar: "addon", layer: d.layer}}, layer: d.layer}, addon.child("namespace"))
		root = root.with(merge(namespace, root.at("namespaces", name)), "namespaces", name)
	}
	return root
}

// fill lays under below each value that the pattern matches.
func fill(n, under *node, pattern []string) *node {
	if n == nil {
		return nil
	}
	if len(pattern) == 0 {
		if !n.isObject() {
			return n
		}
		return merge(under, n)
	}
	if pattern[0] != "*" {
		value := n.child(pattern[0])
		if value == nil {
			return n
		}
		filled := fill(value, under, pattern[1:])
		if filled == value {
			return n
		}
		return n.with(filled, pattern[0])
	}
	keys := []string{}
	if n.isList {
		for i := range n.list {
			keys = append(keys, itoa(i))
		}
	} else if n.object != nil {
		keys = n.keys()
	}
	out := n
	for _, key := range keys {
		value := n.at(key)
		filled := fill(value, under, pattern[1:])
		if filled == value {
			continue
		}
		if out == n {
			out = &node{object: maps.Clone(n.object), list: slices.Clone(n.list), isList: n.isList, pos: n.pos, layer: n.layer}
		}
		if n.isList {
			out.list[atoi(key)] = filled
		} else {
			out.object[key] = filled
		}
	}
	return out
}

// Inputs is a digest of everything that a result depends on but the clock: the cluster file, the
// user's own profiles, the embedded CUE and the tool's version.
func Inputs(o Options, version string) (string, error) {
	l := newLoader(o.Dir)
	cluster, err := l.clusterLayer(o.Name, o.Source)
	if err != nil {
		return "", err
	}
	l.cluster = cluster
	names, err := profileNames(cluster)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "version %s\nassets %s\ncluster %x\n", version, assetsDigest(), sha256.Sum256(o.Source))
	own := slices.ContainsFunc(names, func(n named) bool { return isDirectory(n.name) })
	if own {
		if _, err := l.profiles(names, o.Dir); err != nil {
			return "", err
		}
		for _, name := range slices.Sorted(maps.Keys(l.files)) {
			fmt.Fprintf(h, "file %q %x\n", name, sha256.Sum256(l.files[name]))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// assetsDigest covers the embedded files.
func assetsDigest() string {
	h := sha256.New()
	// The walk of an embedded filesystem cannot fail and has one order.
	_ = fs.WalkDir(k8ssec.Assets, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(k8ssec.Assets, path)
		fmt.Fprintf(h, "%s %d\n", path, len(data))
		h.Write(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))
}
