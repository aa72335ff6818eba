// Command update fills in the digests of ../pins.json from the registries that hold the charts and
// images. Change a version or tag in pins.json first, then run
//
//	go run ./generators/addons/update
//
// from the root of the repository and read the diff. A tag that points elsewhere than before is an
// error, because released tags do not move: look why before you run it with -moved. It needs the
// network, and git for charts in a Git repository.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/generators/addons"
)

func main() {
	log.SetFlags(0)
	file := flag.String("file", "generators/addons/pins.json", "the pins")
	moved := flag.Bool("moved", false, "accept tags that point elsewhere than before")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	u := &updater{
		registry: &registry{client: &http.Client{Timeout: time.Minute}, scheme: "https"},
		commit:   gitCommit,
		moved:    *moved,
	}
	err := u.file(ctx, *file)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// updater fills in digests.
type updater struct {
	registry *registry
	// commit is the commit of a tag of a Git repository.
	commit func(ctx context.Context, url, tag string) (string, error)
	moved  bool
}

// file updates the pins in a file. Nothing is written where one of them fails.
func (u *updater) file(ctx context.Context, name string) error {
	pins, err := read(name)
	if err != nil {
		return err
	}
	for _, addon := range slices.Sorted(maps.Keys(pins)) {
		pin := pins[addon]
		if err := u.pin(ctx, &pin); err != nil {
			return fmt.Errorf("%s: %w", addon, err)
		}
		pins[addon] = pin
	}
	out, err := encode(pins)
	if err != nil {
		return err
	}
	return os.WriteFile(name, out, 0o644)
}

func read(name string) (map[string]addons.Pin, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var pins map[string]addons.Pin
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&pins); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return pins, nil
}

// encode writes pins as pins.json has them: an image a line, so that a diff shows one change in one.
func encode(pins map[string]addons.Pin) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("{\n")
	for i, name := range slices.Sorted(maps.Keys(pins)) {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "  %q: {\n", name)
		if pins[name].Chart != (addons.Chart{}) {
			chart, err := oneLine(pins[name].Chart)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "    \"chart\": %s,\n", chart)
		}
		b.WriteString("    \"images\": {")
		images := pins[name].Images
		for k, part := range slices.Sorted(maps.Keys(images)) {
			image, err := oneLine(images[part])
			if err != nil {
				return nil, err
			}
			if k > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "\n      %q: %s", part, image)
		}
		if len(images) > 0 {
			b.WriteString("\n    ")
		}
		b.WriteString("}\n  }")
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}

// oneLine is the value with a space after each colon and comma between its fields; no value of a pin
// holds a quote.
func oneLine(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return strings.NewReplacer(`":"`, `": "`, `","`, `", "`).Replace(string(data)), nil
}

func (u *updater) pin(ctx context.Context, pin *addons.Pin) error {
	c := &pin.Chart
	switch {
	case c.Path != "":
		commit, err := u.commit(ctx, c.URL, c.Version)
		if err != nil {
			return err
		}
		if err := u.set(&c.Digest, commit, c.URL+" "+c.Version); err != nil {
			return err
		}
	case strings.HasPrefix(c.URL, "oci://"):
		digest, err := u.registry.digest(ctx, strings.TrimPrefix(c.URL, "oci://"), c.Version)
		if err != nil {
			return err
		}
		if err := u.set(&c.Digest, digest, c.URL+":"+c.Version); err != nil {
			return err
		}
	}
	for part, image := range pin.Images {
		digest, err := u.registry.digest(ctx, image.Repository, image.Tag)
		if err != nil {
			return err
		}
		if err := u.set(&image.Digest, digest, image.Repository+":"+image.Tag); err != nil {
			return err
		}
		pin.Images[part] = image
	}
	return nil
}

// set replaces a digest. Whoever changes a version empties its digest with it.
func (u *updater) set(digest *string, found, what string) error {
	if *digest != "" && *digest != found && !u.moved {
		return fmt.Errorf("%s was %s and is %s now; a changed version must have an empty digest, and a tag that moved needs a look", what, *digest, found)
	}
	*digest = found
	return nil
}

// gitCommit asks the server for the commit of a tag.
func gitCommit(ctx context.Context, url, tag string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", "ls-remote", "--exit-code", url, "refs/tags/"+tag, "refs/tags/"+tag+"^{}")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git ls-remote %s %s: %w", url, tag, err)
	}
	// An annotated tag has two lines; the second, with ^{}, is the commit.
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	commit, _, _ := strings.Cut(lines[len(lines)-1], "\t")
	return commit, nil
}
