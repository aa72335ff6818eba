// Package k8ssec holds what the command carries with it: the CUE module (schema, controls,
// profiles, domain fragments) and the texts of the emitted repository. The repository root is the
// root of the CUE module, so that the same files serve the command, editors and cue itself.
package k8ssec

import "embed"

// Assets are the embedded files, by their path in the repository.
//
//go:embed cue.mod cue/*/*.cue profiles/*/*.cue profiles/*/README.md generators/*/*.cue all:templates
var Assets embed.FS
