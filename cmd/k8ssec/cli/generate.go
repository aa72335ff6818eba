package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newGenerate(a *app.App) *cobra.Command {
	var o app.GenerateOptions
	cmd := &cobra.Command{
		Use:   "generate DIR",
		Short: "Write what cluster.cue says, merged with your edits; an unchanged rerun writes nothing",
		Long: `Generate evaluates cluster.cue and writes the files that changed. What you edited
since the last run is merged, object by object and field by field: your values, comments
and order stay, and what changed elsewhere comes in beside them.

Where both changed one field to different values nothing at all is written, the exit code
is 3, and file, field and the three values are named; --on-conflict decides. The base
moves on with each run, so that what was decided once is not asked again.

The merged files are held against the controls again: an edit that removes what a control
needs is an error that names it. Only a waiver in cluster.cue makes something weaker.`,
		Example: `  k8ssec generate prod
  k8ssec generate prod --dry-run
  k8ssec generate prod --on-conflict=ours      # keep your values where both changed a field
  k8ssec generate prod --on-conflict=theirs    # take the new ones
  k8ssec generate prod --on-conflict=edit      # decide each file in $EDITOR`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "write nothing; say what would be written")
	on := &output{allowed: []string{string(app.Ours), string(app.Theirs), string(app.InEditor)}}
	cmd.Flags().Var(on, "on-conflict", fmt.Sprintf("what becomes of a field that both sides changed, one of %v", on.allowed))
	_ = cmd.RegisterFlagCompletionFunc("on-conflict", cobra.FixedCompletions(on.allowed, cobra.ShellCompDirectiveNoFileComp))
	out := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Dir, o.OnConflict = args[0], app.OnConflict(on.value)
		w, err := a.Generate(cmd.Context(), o)
		if errors.Is(err, app.ErrConflict) && out.value == "json" {
			return errors.Join(err, w.WriteJSON(a.Stdout))
		}
		if err != nil {
			return err
		}
		if out.value == "json" {
			return w.WriteJSON(a.Stdout)
		}
		return w.WriteText(a.Stdout, diag.Style{Colour: a.Colour}, false)
	}
	return cmd
}
