package cli

import (
	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newGenerate(a *app.App) *cobra.Command {
	var o app.GenerateOptions
	cmd := &cobra.Command{
		Use:   "generate DIR",
		Short: "Write what cluster.cue says; an unchanged rerun writes nothing",
		Long: `Generate evaluates cluster.cue and writes the files that changed. A file that you
edited is never overwritten: where it would have to be, nothing at all is written,
the files are named, and the exit code is 3.`,
		Example: `  k8ssec generate prod
  k8ssec generate prod --dry-run`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "write nothing; say what would be written")
	out := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Dir = args[0]
		w, err := a.Generate(cmd.Context(), o)
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
