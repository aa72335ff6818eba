// Package merge merges three versions of a file: the base (what was rendered last), yours (what a
// person made of it) and new (what is rendered now).
//
// YAML is merged by object and field, over spans of the text: what nobody changed is copied as it
// stands in yours, with its comments, order, blank lines, quotes and indentation; what changed on one
// side is taken from that side; what changed on both, to different values, is a conflict. Objects are
// matched by kind, namespace and name, entries of maps by key, items of lists by the key that
// Kubernetes merges them by (see keys.go), other items by value and, where they were edited, by
// likeness. Everything else is merged by lines, as diff3 does.
//
// A result is never believed: the merged text is parsed again and must hold exactly the merged
// values, or the whole file is a conflict. No conflict marker is ever written.
package merge
