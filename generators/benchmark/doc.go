// Package benchmark emits the jobs that hold the nodes to the CIS benchmark from inside the cluster,
// and the exceptions of the scanners in the scanners' own forms.
//
// A scanner that reports what everybody knows is soon read by nobody. So each active waiver, and each
// check that looks at a flag where this posture uses a file, is left out by name, with the reason on
// docs/benchmark.md. What fails then is news, and ends the job with an error that an alert sees.
package benchmark
