// Package manifest is the YAML of the emitted repository: it writes artifacts and reads files back
// with their positions.
//
// Writing has its own encoder because encoding is where most of the time of a render goes:
// sigs.k8s.io/yaml goes through JSON and a generic tree, ten times slower than walking the typed
// object once. A fuzz test shows that what it writes reads back the same as what sigs.k8s.io/yaml
// writes, under the YAML 1.1 rules of kubectl and the YAML 1.2 rules of everything newer.
//
// Reading keeps the nodes of go.yaml.in/yaml/v3, for line and column, and refuses what has no place
// in a repository that people review: anchors, aliases, merge keys, duplicate keys, custom tags.
package manifest
