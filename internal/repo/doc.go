// Package repo is the emitted repository on disk: what the last run wrote, what the user made of
// it, what the next run wants, and how the one becomes the other without loss. It knows bytes and
// paths, no postures.
//
// # What is kept
//
// .k8ssec/lock.yaml names every emitted file with its digest, and what it was rendered from.
// .k8ssec/base holds the exact text of the last render, for merging: a few archives of text, one a
// directory or about a thousand files, because a mirrored tree would double the number of files to
// write and to check out. Both are sorted, hold no time and no place, and have one line or one run
// of lines a file, so that Git merges two branches that touched different files.
//
// A file that the lock does not name belongs to the user. It is never changed and never deleted.
//
// # How a run writes
//
// Plan compares render, lock and tree, and changes nothing. Apply makes the plan true, or leaves
// the tree as it was:
//
//  1. Everything is written to .k8ssec/staging: the new files, hard links to the files that will be
//     replaced, and a journal. It is flushed to disk. A run that stops here has changed nothing;
//     the next run throws the directory away.
//  2. staging is renamed to .k8ssec/commit. From here on the new state is decided.
//  3. The new files are renamed into their places, the lock last, then the directory is removed. A
//     run that is killed here leaves the rest to the next run, which finds the journal and goes on.
//  4. Where a step of 3 fails (no permission in one directory, a full disk), commit is renamed to
//     .k8ssec/rollback and the old files are linked back. A run that is killed here leaves the rest
//     to the next run as well.
//
// So a person can see a mixed tree only between a kill and the next run, and Plan and Status say so.
// A file that the user changes in that gap is theirs: recovery passes over it.
package repo
