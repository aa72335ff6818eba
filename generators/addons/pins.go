package addons

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

//go:embed pins.json
var pinsFile []byte

// Pin is what one add-on consists of.
type Pin struct {
	// Chart is empty for an add-on whose objects its domain emits itself.
	Chart Chart `json:"chart,omitzero"`
	// Images by the part that they play in the chart, as far as the emitted values name them.
	Images map[string]Image `json:"images"`
}

// Chart says where a chart comes from. The form of URL says how: oci:// is a registry, https:// with
// Name a chart repository, https:// with Path a Git repository, whose tag is Version.
type Chart struct {
	URL     string `json:"url"`
	Name    string `json:"name,omitempty"`
	Path    string `json:"path,omitempty"`
	Version string `json:"version"`
	// Digest is that of the manifest in the registry ("sha256:..."), or the commit of a Git
	// repository. It stays empty for a chart repository: nothing that reads one can check it.
	Digest string `json:"digest"`
}

// Image is one container image.
type Image struct {
	Repository string `json:"repository"` // with the registry's host
	Tag        string `json:"tag"`
	Digest     string `json:"digest"` // "sha256:..." of the image index, or empty
}

// Pinned is the tag with the digest where it is known: "v1.2.3@sha256:...". Charts that put a colon
// between repository and tag take it as the tag.
func (i Image) Pinned() string {
	if i.Digest == "" {
		return i.Tag
	}
	return i.Tag + "@" + i.Digest
}

// Ref is the whole name of the image.
func (i Image) Ref() string { return i.Repository + ":" + i.Pinned() }

// Split is the registry's host and the path in it, for charts that ask for both.
func (i Image) Split() (host, path string) {
	host, path, _ = strings.Cut(i.Repository, "/")
	return host, path
}

var readPins = sync.OnceValues(func() (map[string]Pin, error) {
	var pins map[string]Pin
	if err := json.Unmarshal(pinsFile, &pins); err != nil {
		return nil, fmt.Errorf("pins.json: %w", err)
	}
	return pins, nil
})

// Lookup returns the pin of an add-on.
func Lookup(name string) (Pin, error) {
	pins, err := readPins()
	if err != nil {
		return Pin{}, err
	}
	pin, ok := pins[name]
	if !ok {
		return Pin{}, fmt.Errorf("pins.json has no add-on %s", name)
	}
	return pin, nil
}
