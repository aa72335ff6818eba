package repo

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// File is one file of a render.
type File struct {
	Path       string
	Data       []byte
	Executable bool
	// Own marks a file that is written once and belongs to the user from then on.
	Own bool
	// Keep puts the text of such a file into the base, so that a later run can tell what the last one
	// was made from.
	Keep bool
}

// Op says what a run does with one path.
type Op int

const (
	// Unchanged: the tree has what the render wants.
	Unchanged Op = iota
	// Create: the file is new.
	Create
	// Update: the file is as the last run wrote it, and the render wants another.
	Update
	// Delete: the file is as the last run wrote it, and the render has it no more.
	Delete
	// Adopt: the lock does not know the file, and its bytes are those of the render.
	Adopt
	// Edited: the user changed the file, and what the render changes in it is nothing. It stays.
	Edited
	// Merged: the user changed the file, and the render too. It is written with both.
	Merged
	// Restore: the file is gone from the tree. It is written again: nothing of the user's is lost,
	// and a domain without one of its files is neither what was rendered nor something that builds.
	Restore
	// OrphanEdited: the user changed the file, and the render has it no more. It stays.
	OrphanEdited
	// Yours: the file belongs to the user. It stays.
	Yours
	// Conflict: the user changed the file, and the render too, and nobody could merge it. Refused.
	Conflict
	// Collision: the lock does not know the file, and the render wants another. Refused.
	Collision
)

// String is the op in words that fit after "path: ".
func (op Op) String() string {
	switch op {
	case Unchanged:
		return "unchanged"
	case Create:
		return "new"
	case Update:
		return "updated"
	case Delete:
		return "no longer needed"
	case Adopt:
		return "adopted as it is"
	case Edited:
		return "edited by you, kept"
	case Merged:
		return "merged with your edits"
	case Restore:
		return "missing, written again"
	case OrphanEdited:
		return "edited by you and no longer needed, kept"
	case Yours:
		return "yours"
	case Conflict:
		return "changed by you, and the new render changes it too"
	case Collision:
		return "stands there already, and k8ssec did not write it"
	}
	return "unknown"
}

// Writes reports whether the op changes the tree.
func (op Op) Writes() bool {
	return op == Create || op == Restore || op == Update || op == Merged || op == Delete
}

// Refused reports whether the op stands in the way of the whole plan.
func (op Op) Refused() bool { return op == Conflict || op == Collision }

// Item is what a plan says of one path.
type Item struct {
	Path string
	Op   Op
	// Data is what the file will hold: the render, merged with the edits; nil where it goes away or is
	// not in the render.
	Data       []byte
	Executable bool

	tree state
}

// Plan is what a run would do. It holds for the tree as it was read; Apply looks again.
type Plan struct {
	// Items has every path of the render and of the lock, sorted.
	Items []Item

	// internal are the writes below .k8ssec, the lock last.
	internal []Item
}

// Empty reports whether there is nothing to write.
func (p *Plan) Empty() bool {
	return len(p.internal) == 0 && !slices.ContainsFunc(p.Items, func(i Item) bool { return i.Op.Writes() || i.Op.Refused() })
}

// Refused lists the items for which Apply would refuse the plan.
func (p *Plan) Refused() []Item {
	var items []Item
	for _, item := range p.Items {
		if item.Op.Refused() {
			items = append(items, item)
		}
	}
	return items
}

// Count is the number of items with an op.
func (p *Plan) Count(op Op) int {
	n := 0
	for _, item := range p.Items {
		if item.Op == op {
			n++
		}
	}
	return n
}

// Edit is a file that the user changed, in its three versions; nil where there is none.
type Edit struct {
	Path string
	// Op is Edited, Conflict, Collision or OrphanEdited: what becomes of it if nobody merges it.
	Op                 Op
	Base, Tree, Render []byte
}

// Resolution is what becomes of an edited file.
type Resolution struct {
	// Data is what the file will hold.
	Data []byte
	// Delete removes a file that is no longer rendered, because nothing of the user's is left in it.
	Delete bool
}

// Resolver merges edits. What it gives no Resolution for stays what Edit.Op says. It may also give
// one for a file that is rendered and not edited, where something of the user's moves there; read
// gives such a file as it was rendered last, and as it is now.
type Resolver func(edits []Edit, read func(path string) (base, tree []byte, err error)) (map[string]Resolution, error)

// Plan compares a render with the lock and the tree, and has the edits merged by resolve, which may
// be nil. It changes nothing. The data of the files is kept, not copied.
func (r *Repo) Plan(files []File, meta Meta, resolve Resolver) (*Plan, error) {
	if err := r.interrupted(); err != nil {
		return nil, err
	}
	old, err := r.Load()
	if errors.Is(err, fs.ErrNotExist) {
		old, err = &Lock{}, nil
	}
	if err != nil {
		return nil, err
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	render := make(map[string]int, len(files))
	names := make([]string, 0, len(files))
	for i, f := range files {
		names = append(names, f.Path)
		render[f.Path] = i
		if UserOwned(f.Path) != f.Own {
			return nil, errors.New("path " + f.Path + ": cluster.cue and patches/ are the user's and written once, all else is not")
		}
	}
	if err := checkPaths(names); err != nil {
		return nil, err
	}
	for name := range old.Files {
		if _, ok := render[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	states, err := r.states(names, func(name string) bool { _, ok := render[name]; return ok })
	if err != nil {
		return nil, err
	}

	p := &planning{
		repo: r, old: old, plan: &Plan{Items: make([]Item, 0, len(names))}, rendered: map[string][]byte{},
		lock: &Lock{Version: lockVersion, Meta: meta, Files: make(map[string]LockedFile, len(files))},
	}
	for _, name := range names {
		item := Item{Path: name, tree: states[name]}
		locked, known := old.Files[name]
		i, wanted := render[name]
		switch {
		case !wanted:
			item.Op = orphan(item.tree, locked)
			if !item.tree.exists {
				continue // gone on both sides
			}
			if item.Op == OrphanEdited {
				p.lock.Files[name] = LockedFile{SHA256: locked.SHA256, Mode: locked.Mode, Edited: item.tree.sha}
			}
		case files[i].Own:
			item.Data, item.Executable = files[i].Data, files[i].Executable
			if item.Op = Yours; !item.tree.exists {
				item.Op = Create
			}
			if files[i].Keep {
				p.kept = append(p.kept, baseFile{name, files[i].Data})
			}
		default:
			f := files[i]
			item.Data, item.Executable = f.Data, f.Executable
			next := LockedFile{SHA256: digest(f.Data)}
			if f.Executable {
				next.Mode = executableMode
			}
			item.Op = decide(item.tree, locked, known, next)
			p.lock.Files[name] = next
			p.rendered[name] = f.Data
		}
		p.plan.Items = append(p.plan.Items, item)
	}
	if err := p.resolve(resolve); err != nil {
		return nil, err
	}
	base, err := p.base()
	if err != nil {
		return nil, err
	}
	p.plan.internal, err = r.internal(p.lock, base)
	if err != nil {
		return nil, err
	}
	return p.plan, nil
}

// planning is a plan in the making.
type planning struct {
	repo     *Repo
	old      *Lock
	lock     *Lock // what the plan will leave
	plan     *Plan
	rendered map[string][]byte
	kept     []baseFile
}

// base is what the plan will leave as the base: the render, and the last one of what is kept without.
func (p *planning) base() ([]baseFile, error) {
	var orphans []string
	base := slices.Grow(slices.Clone(p.kept), len(p.lock.Files))
	for name := range p.lock.Files {
		if data, ok := p.rendered[name]; ok {
			base = append(base, baseFile{name, data})
		} else {
			orphans = append(orphans, name)
		}
	}
	if len(orphans) > 0 {
		kept, err := p.repo.bases(p.old, orphans)
		if err != nil {
			return nil, err
		}
		for _, name := range orphans {
			if data, ok := kept[name]; ok {
				base = append(base, baseFile{name, data})
			}
		}
	}
	slices.SortFunc(base, func(a, b baseFile) int { return strings.Compare(a.path, b.path) })
	return base, nil
}

// resolve has the edits merged and puts the outcome into the items and the lock.
func (p *planning) resolve(resolve Resolver) error {
	var edited, wanted []string
	index := map[string]int{}
	for i, item := range p.plan.Items {
		index[item.Path] = i
		switch item.Op {
		case Conflict, OrphanEdited:
			wanted = append(wanted, item.Path)
			edited = append(edited, item.Path)
		case Edited, Collision:
			edited = append(edited, item.Path)
		}
	}
	if len(edited) == 0 {
		return nil
	}
	bases, err := p.repo.bases(p.old, wanted)
	if err != nil {
		return err
	}
	edits := make([]Edit, 0, len(edited))
	for _, name := range edited {
		item := &p.plan.Items[index[name]]
		e := Edit{Path: name, Op: item.Op, Base: bases[name], Render: p.rendered[name]}
		switch {
		case item.Op == Edited:
			e.Base = e.Render
		case item.Op == Conflict && e.Base == nil:
			return p.repo.noBase(name)
		}
		if e.Tree, err = p.read(item); err != nil {
			return err
		}
		edits = append(edits, e)
	}
	var resolutions map[string]Resolution
	if resolve != nil {
		resolutions, err = resolve(edits, func(name string) (base, tree []byte, err error) {
			i, ok := index[name]
			if !ok || p.rendered[name] == nil {
				return nil, nil, nil
			}
			if _, ok := p.old.Files[name]; ok {
				found, err := p.repo.bases(p.old, []string{name})
				if err != nil {
					return nil, nil, err
				}
				if base = found[name]; base == nil {
					return nil, nil, p.repo.noBase(name)
				}
			}
			tree, err = p.read(&p.plan.Items[i])
			return base, tree, err
		})
		if err != nil {
			return err
		}
	}
	for _, e := range edits {
		// Where nobody merges, an edit that the render leaves alone is still recorded.
		if resolution, ok := resolutions[e.Path]; ok {
			p.settle(&p.plan.Items[index[e.Path]], resolution)
		} else if e.Op == Edited {
			p.settle(&p.plan.Items[index[e.Path]], Resolution{Data: e.Tree})
		}
		delete(resolutions, e.Path)
	}
	for name, resolution := range resolutions {
		if i, ok := index[name]; ok && p.rendered[name] != nil {
			p.settle(&p.plan.Items[i], resolution)
		}
	}
	return nil
}

// read reads a file of the tree as the plan saw it.
func (p *planning) read(item *Item) ([]byte, error) {
	if !item.tree.exists {
		return nil, nil
	}
	data, err := p.repo.disk.ReadFile(item.Path)
	if err != nil {
		return nil, p.repo.fail(item.Path, err)
	}
	if digest(data) != item.tree.sha {
		return nil, &PathError{Kind: ErrChanged, Path: p.repo.show(item.Path), Fix: "Nothing was written; run again."}
	}
	return data, nil
}

// settle makes a resolution what becomes of an item.
func (p *planning) settle(item *Item, resolution Resolution) {
	name := item.Path
	render, wanted := p.rendered[name]
	locked, known := p.old.Files[name]
	switch {
	case !wanted && resolution.Delete:
		item.Op = Delete
		delete(p.lock.Files, name)
		return
	case !wanted:
		return
	}
	next := p.lock.Files[name]
	item.Data = resolution.Data
	executable := next.Executable()
	if known && item.tree.exists && item.tree.executable() != locked.Executable() {
		executable = item.tree.executable() // that was edited too
	}
	item.Executable = executable
	sha := digest(item.Data)
	rendered := sha == next.SHA256 && executable == next.Executable()
	if !rendered {
		next.Edited = sha
		p.lock.Files[name] = next
	}
	asIs := item.tree.exists && item.tree.sha == sha && item.tree.executable() == executable
	switch {
	case asIs && rendered:
		item.Op = Unchanged
	case asIs:
		item.Op = Edited
	case rendered || string(item.Data) == string(render):
		item.Op = Update
	default:
		item.Op = Merged
	}
}

// orphan decides on a file that the render has no more.
func orphan(tree state, locked LockedFile) Op {
	if same(tree, locked) {
		return Delete
	}
	return OrphanEdited
}

// decide decides on a file of the render.
func decide(tree state, locked LockedFile, known bool, next LockedFile) Op {
	switch {
	case same(tree, next) && known:
		return Unchanged
	case same(tree, next):
		return Adopt
	case !tree.exists && known:
		return Restore
	case !tree.exists:
		return Create
	case !known && tree.sha == next.SHA256:
		return Update // the same bytes, but (not) executable
	case !known:
		return Collision
	case same(tree, locked):
		return Update
	case locked.SHA256 != next.SHA256 || locked.Mode != next.Mode:
		return Conflict
	}
	return Edited
}

func same(tree state, f LockedFile) bool {
	return tree.exists && tree.sha == f.SHA256 && tree.executable() == f.Executable()
}

// Files of this package beside lock and base.
const (
	attributes = "# Written by k8ssec. The base is the last render, kept for merging: no reviewer has to read it.\n" +
		"base/** linguist-generated -text -diff\n" +
		"lock.yaml linguist-generated -text\n"
	ignore = "# Written by k8ssec. What a run leaves here while it writes is no part of the repository.\n" +
		"/staging/\n/commit/\n/rollback/\n"
)

// internal plans the writes below .k8ssec: what differs from the disk, deletions after writes, the
// lock last.
func (r *Repo) internal(lock *Lock, base []baseFile) ([]Item, error) {
	want := archives(base)
	have, err := r.baseArchives()
	if err != nil {
		return nil, err
	}
	want[stateDir+"/.gitattributes"] = []byte(attributes)
	want[stateDir+"/.gitignore"] = []byte(ignore)
	want[lockPath] = lock.format()
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(name string) bool { return name == lockPath })
	names = append(names, lockPath)
	states, err := r.states(append(have, names...), func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	items := make([]Item, 0, len(names))
	add := func(name string) {
		item := Item{Path: name, Op: Create, Data: want[name], tree: states[name]}
		if item.tree.exists {
			item.Op = Update
			if item.tree.sha == digest(item.Data) {
				return
			}
		}
		items = append(items, item)
	}
	for _, name := range names[:len(names)-1] {
		add(name)
	}
	for _, name := range have {
		if _, ok := want[name]; !ok {
			items = append(items, Item{Path: name, Op: Delete, tree: states[name]})
		}
	}
	add(lockPath)
	return items, nil
}
