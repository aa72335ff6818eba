package kind

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// recipe is the code that decides what is in the images.
//
//go:embed archive.go debian.go images.go node.go
var recipe embed.FS

// Images are what the nodes of a cluster run.
type Images struct {
	// Node is the tag of the node image.
	Node string
	// Load are images that are not in the node image yet.
	Load []string

	tools binaries
}

// Images returns the images of a cluster. E2E_IMAGES says where they come from: "source" builds them
// here, "published" pulls kind's node image and those of Cilium, Flux and the probes; without it they
// are pulled where a registry answers.
func (e *Engine) Images(ctx context.Context) (*Images, error) {
	switch from := os.Getenv("E2E_IMAGES"); from {
	case "source":
		return e.fromSource(ctx)
	case "published":
		return e.published(ctx)
	case "":
		try, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		images, err := e.published(try)
		if err == nil || ctx.Err() != nil {
			return images, err
		}
		fmt.Fprintln(e.log, "no registry answers, so every image is built here")
		return e.fromSource(ctx)
	default:
		return nil, fmt.Errorf("E2E_IMAGES is %q, want source or published", from)
	}
}

// published pulls what others have built.
func (e *Engine) published(ctx context.Context) (*Images, error) {
	node, err := publishedNode()
	if err != nil {
		return nil, err
	}
	agnhost, err := agnhostReference()
	if err != nil {
		return nil, err
	}
	i := &Images{Node: node, Load: []string{CiliumImage, agnhost}}
	for _, name := range fluxControllers {
		version, err := components.ModuleVersion("github.com/fluxcd/" + name)
		if err != nil {
			return nil, err
		}
		i.Load = append(i.Load, "ghcr.io/fluxcd/"+name+":"+version)
	}
	for _, reference := range append([]string{node}, i.Load...) {
		if docker(ctx, "image", "inspect", reference) == nil {
			continue
		}
		if err := docker(ctx, "pull", "--quiet", reference); err != nil {
			return nil, err
		}
	}
	i.tools, err = build(e.log, components.Kubernetes, components.Kind)
	return i, err
}

// publishedNode is the node image that the pinned kind takes by default, with its digest.
func publishedNode() (string, error) {
	module, err := components.Module("sigs.k8s.io/kind")
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(module, "pkg/apis/config/defaults/image.go"))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(b), "const Image = \"")
	image, _, ok := strings.Cut(rest, "\"")
	if !ok {
		return "", errors.New("kind names its default node image in another way than expected")
	}
	return image, nil
}

// fromSource returns the node image that is built here, which it makes first where it is missing.
func (e *Engine) fromSource(ctx context.Context) (*Images, error) {
	if err := packages(ctx, e.log, buildPackages...); err != nil {
		return nil, err
	}
	b, err := build(e.log, nodeComponents...)
	if err != nil {
		return nil, err
	}
	tag, err := b.tag()
	if err != nil {
		return nil, err
	}
	i := &Images{Node: tag, tools: b}
	if docker(ctx, "image", "inspect", tag) == nil {
		return i, nil
	}
	if err := step(e.log, "node image "+tag, func() error { return e.bake(ctx, b, tag) }); err != nil {
		return nil, err
	}
	return i, e.prune(ctx, tag)
}

// tag names everything that decides what is in the node image.
func (b binaries) tag() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(recipe, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := recipe.ReadFile(name)
		h.Write(text)
		return err
	})
	if err != nil {
		return "", err
	}
	names := make([]string, 0, len(b))
	for n := range b {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintln(h, n, filepath.Base(b[n]))
	}
	version, err := components.Version(components.Kubernetes)
	return nodeRepository + ":v" + version + "-" + hex.EncodeToString(h.Sum(nil))[:12], err
}

// nodeRepository is the name of the node images that are built here.
const nodeRepository = "k8ssec.local/node"

// prune removes the node images of earlier recipes.
func (e *Engine) prune(ctx context.Context, keep string) error {
	tags, err := Docker(ctx, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", nodeRepository)
	if err != nil {
		return err
	}
	for tag := range strings.FieldsSeq(tags) {
		if strings.HasPrefix(tag, keep) {
			continue
		}
		if err := docker(ctx, "image", "rm", "--force", tag); err != nil {
			return err
		}
	}
	return nil
}
