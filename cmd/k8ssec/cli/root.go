// Package cli turns flags into options: one file a command, and nothing else.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/generators/all"
	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// Version is the tool's version; a release build sets it.
var version = "dev"

// Exit codes, the same for every command.
const (
	exitOK       = 0
	exitError    = 1
	exitFindings = 2
	exitConflict = 3
)

// Main runs one command at the time that now tells and returns its exit code.
func Main(args []string, stdout, stderr io.Writer, now func() time.Time) int {
	debug.SetGCPercent(600)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app.App{
		Now: now, Stdout: stdout, Stderr: stderr, Version: version, Tune: tune,
		Colour: colour(stdout), ErrColour: colour(stderr), Generators: all.List(), Edit: edit,
	}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return report(err, stderr, diag.Style{Colour: colour(stderr)})
}

// edit opens a file in the person's editor.
func edit(ctx context.Context, file string) error {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		return errors.New("neither VISUAL nor EDITOR is set")
	}
	// The variable may hold arguments ("code --wait"), as Git allows.
	words := strings.Fields(editor)
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], file)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
	return cmd.Run()
}

// tune fits the runtime to a run that lives for a moment. Short of the limit, memory is cheaper than
// time; and waking a second processor costs more than it brings where there is little to do.
func tune(source int) {
	debug.SetMemoryLimit(60<<20 + 320*int64(source))
	if source < 32<<10 {
		runtime.GOMAXPROCS(1)
	}
}

// report prints an error that is not printed yet and chooses the exit code by its type.
func report(err error, stderr io.Writer, style diag.Style) int {
	var found diag.List
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, app.ErrFindings):
		return exitFindings
	case errors.Is(err, app.ErrConflict):
		return exitConflict
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "interrupted; nothing was written")
		return exitError
	case errors.As(err, &found):
		_ = found.WriteText(stderr, style)
		return exitError
	default:
		fmt.Fprintf(stderr, "%s %v\n", style.Bad("error:"), err)
		return exitError
	}
}

// colour says whether a stream is a terminal that wants colours (https://no-color.org).
func colour(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	return isatty.IsTerminal(f.Fd())
}

func newRoot(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "k8ssec",
		Short: "Write, check and explain a hardened GitOps repository for a Kubernetes cluster",
		Long: `k8ssec turns a short description of how secure a cluster must be (profiles and
cluster.cue) into a Git repository of hardened manifests and control plane files,
and keeps it true through every later change.

Exit codes: 0 done, 1 error, 2 findings or changes, 3 conflict (nothing written).`,
		Example: `  k8ssec init prod --profile cis       # a new repository
  $EDITOR prod/cluster.cue             # change the posture
  k8ssec diff prod                     # what that means, the most dangerous line first
  k8ssec generate prod                 # write what changed, merged with your edits
  k8ssec upgrade prod --to 1.37        # plan the next minor version
  k8ssec verify prod                   # check it offline, for CI
  k8ssec explain prod cis-5.2.2        # why, and which files serve it
  k8ssec report prod                   # how every control and attack stands`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(
		newInit(a), newGenerate(a), newDiff(a), newVerify(a), newExplain(a), newProbe(a), newReport(a), newWaivers(a), newUpgrade(a), newProfiles(a), newSchema(a), newVersion(a),
	)
	return cmd
}

// output is the value of -o, one of a command's formats.
type output struct {
	value   string
	allowed []string
}

func (o *output) String() string { return o.value }
func (o *output) Type() string   { return "format" }

func (o *output) Set(s string) error {
	for _, a := range o.allowed {
		if s == a {
			o.value = s
			return nil
		}
	}
	return fmt.Errorf("%q is none of %v", s, o.allowed)
}

// outputFlag adds -o with the given formats; the first is the default.
func outputFlag(cmd *cobra.Command, formats ...string) *output {
	o := &output{value: formats[0], allowed: formats}
	cmd.Flags().VarP(o, "output", "o", fmt.Sprintf("output format, one of %v", formats))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return o
}

// directory completes the argument DIR.
func directory(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}
