// Package app holds one use case a command. It knows no flags and no exit codes: it takes options,
// a clock, streams and directories, and returns results and typed errors.
package app

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"time"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/render"
)

// ClusterFile is the name of the one file that belongs to the user alone.
const ClusterFile = "cluster.cue"

// App is what every use case needs.
type App struct {
	// Now is the clock.
	Now func() time.Time
	// Stdout takes results, Stderr everything for people beside them.
	Stdout, Stderr io.Writer
	// Colour and ErrColour say whether Stdout and Stderr may be coloured.
	Colour, ErrColour bool
	// Tune is told the size of a cluster file, in bytes, before a run; it may be nil.
	Tune func(source int)
	// Edit opens a file in the editor of the person at the terminal and returns when it is closed.
	Edit func(ctx context.Context, file string) error
	// Version is the tool's version.
	Version string
	// Generators are the domains.
	Generators []generators.Generator
}

// ErrFindings is returned where a command worked and found something that its caller must see:
// findings of verify, changes of a dry run. The findings are printed already.
var ErrFindings = errors.New("findings")

// ErrConflict is returned where nothing was written because of edits; it is printed already.
var ErrConflict = errors.New("conflict")

// load evaluates the posture of a repository.
func (a *App) load(ctx context.Context, dir string) (*engine.Result, engine.Options, error) {
	name := filepath.Join(dir, ClusterFile)
	source, err := engine.ReadClusterFile(name)
	if err != nil {
		return nil, engine.Options{}, err
	}
	o := engine.Options{Name: name, Source: source, Dir: dir, Now: a.Now()}
	result, err := engine.Evaluate(ctx, o)
	return result, o, err
}

// tree evaluates and renders a repository.
func (a *App) tree(ctx context.Context, dir string) (*engine.Result, *render.Tree, error) {
	result, _, err := a.load(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	t, err := render.Render(ctx, result, a.Generators)
	return result, t, err
}
