package cli

import (
	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newExplain(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain DIR [CONTROL | FILE | OBJECT]",
		Short: "Say which artifacts serve a control and why, or which controls a file or object serves",
		Example: `  k8ssec explain prod                                          # all controls, a line each
  k8ssec explain prod cis-5.2.2                                # one control
  k8ssec explain prod manifests/network/team-a.yaml            # one file
  k8ssec explain prod "NetworkPolicy team-a/default-deny"      # one object
  k8ssec explain prod cis-1.2.16 -o json`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: directory,
	}
	o := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options := app.ExplainOptions{Dir: args[0]}
		if len(args) == 2 {
			options.Subject = args[1]
		}
		e, err := a.Explain(cmd.Context(), options)
		if err != nil {
			return err
		}
		if o.value == "json" {
			return e.WriteJSON(a.Stdout)
		}
		return e.WriteText(a.Stdout, diag.Style{Colour: a.Colour})
	}
	return cmd
}
