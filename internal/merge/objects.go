package merge

// Objects are the identities of the objects of a YAML file: "NetworkPolicy team-a/dns". A file that
// cannot be read has none.
func Objects(data []byte) []string {
	text, _ := normalLines(data)
	f, err := parse(text)
	if err != nil {
		return nil
	}
	ids := make([]string, len(f.docs))
	for i, d := range f.docs {
		ids[i] = d.id
	}
	return ids
}

// Move takes objects out of one file and appends them to another, with the comments above them. It
// is how the versions of two files are brought in line when a render puts an object elsewhere.
// Without objects a file is nil. Files that cannot be read stay as they are.
func Move(from, to []byte, ids map[string]bool) (fromRest, toWith []byte) {
	text, shape := normalLines(from)
	f, err := parse(text)
	if err != nil {
		return from, to
	}
	target, shapeTo := normalLines(to)
	t, err := parse(target)
	if err != nil {
		return from, to
	}
	var stay []*entry
	for _, d := range f.docs {
		if !ids[d.id] {
			stay = append(stay, d)
			continue
		}
		d.mark = ""
		t.docs = append(t.docs, d)
	}
	if len(stay) == len(f.docs) {
		return from, to
	}
	f.docs = stay
	if len(stay) > 0 {
		var w writer
		w.file(f)
		fromRest = shape.restore(w.Bytes())
	}
	var w writer
	w.file(t)
	return fromRest, shapeTo.restore(w.Bytes())
}
