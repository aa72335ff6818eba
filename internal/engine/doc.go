// Package engine turns a cluster file and profiles into a posture. It is the only importer of
// cuelang.org/go.
//
//	cluster.cue ─ parse ─┐
//	profiles ── evaluate ─┼─ layers ─ check shape ─ check schema ─ check controls ─ posture
//	defaults ── evaluate ─┘                                        (minus active waivers)
//
// Layers are concrete trees; the order decides, never unification: the cluster file over the
// user's own profile over a shipped profile over the defaults. Constraints are CUE and hold no
// defaults. Waivers are judged here, in Go, against the caller's clock, so no line of CUE can
// forge one.
package engine
