// Package schema: a stand-in until the real one lands; delete this file with it.
package schema

import "go.yaml.in/yaml/v3"

// Problem is what is wrong with an object.
type Problem struct {
	Path, Message string
	Line, Column  int
}

// Validate holds one object against the schema of a Kubernetes minor.
func Validate(minor int, object *yaml.Node) []Problem { return nil }
