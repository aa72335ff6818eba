package kind

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layer collects the files of an image layer by their path in the image.
type layer map[string]file

type file struct {
	mode fs.FileMode
	// One of these: a file of this machine, its bytes, a link, or a folder where all are empty.
	from string
	data []byte
	link string
}

func (l layer) add(to, from string, mode fs.FileMode) { l[to] = file{mode: mode, from: from} }
func (l layer) write(to, text string)                 { l[to] = file{mode: 0o644, data: []byte(text)} }
func (l layer) symlink(to, target string)             { l[to] = file{mode: 0o777, link: target} }
func (l layer) dir(to string, mode fs.FileMode)       { l[to] = file{mode: fs.ModeDir | mode} }

// tree adds a folder of this machine with everything below it.
func (l layer) tree(to, from string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil || e.IsDir() {
			return err
		}
		at := path.Join(to, filepath.ToSlash(rel))
		info, err := os.Stat(name) // what a link points to, for it may point out of the folder
		if err != nil {
			return err
		}
		l.add(at, name, info.Mode().Perm())
		return nil
	})
}

// pack writes the layer as a tar file, sorted and without times, so that the same files are the same
// bytes.
func (l layer) pack(w io.Writer) error {
	names := make([]string, 0, len(l))
	for n := range l {
		names = append(names, n)
	}
	slices.Sort(names)
	t := tar.NewWriter(w)
	made := map[string]bool{}
	for _, n := range names {
		if err := l.parents(t, n, made); err != nil {
			return err
		}
		if err := l.entry(t, n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return t.Close()
}

func (l layer) parents(t *tar.Writer, name string, made map[string]bool) error {
	parts := strings.Split(strings.Trim(path.Dir(name), "/"), "/")
	for i := range parts {
		dir := strings.Join(parts[:i+1], "/")
		if _, own := l["/"+dir]; dir == "" || dir == "." || made[dir] || own {
			continue
		}
		made[dir] = true
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	return nil
}

func (l layer) entry(t *tar.Writer, name string) error {
	f := l[name]
	h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: int64(f.mode.Perm())}
	if f.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	switch {
	case f.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		return t.WriteHeader(h)
	case f.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		return t.WriteHeader(h)
	}
	var from io.Reader = bytes.NewReader(f.data)
	h.Typeflag, h.Size = tar.TypeReg, int64(len(f.data))
	if f.from != "" {
		source, err := os.Open(f.from)
		if err != nil {
			return err
		}
		defer source.Close()
		info, err := source.Stat()
		if err != nil {
			return err
		}
		from, h.Size = source, info.Size()
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(t, from)
	return err
}

// writeImage writes a Docker archive of the layers, each a tar file, under a reference.
func writeImage(archive, reference string, config v1.Config, layers ...string) error {
	ref, err := name.NewTag(reference)
	if err != nil {
		return err
	}
	img := mutate.ConfigMediaType(empty.Image, "application/vnd.docker.container.image.v1+json")
	for _, l := range layers {
		// Nothing here crosses a network: packing costs more than the bytes.
		packed, err := tarball.LayerFromFile(l, tarball.WithCompressionLevel(gzip.NoCompression))
		if err != nil {
			return err
		}
		if img, err = mutate.AppendLayers(img, packed); err != nil {
			return err
		}
	}
	c, err := img.ConfigFile()
	if err != nil {
		return err
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Config = "linux", "amd64", config
	if img, err = mutate.ConfigFile(img, c); err != nil {
		return err
	}
	tmp := archive + ".tmp"
	if err := tarball.WriteToFile(tmp, ref, img); err != nil {
		return err
	}
	return os.Rename(tmp, archive)
}
