package cli

import (
	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newProbe(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe DIR --list",
		Short: "Show what a live cluster must refuse and allow under this posture",
		Example: `  k8ssec probe prod --list                       # every probe, without a cluster
  k8ssec probe prod --list --control cis-5.2.11  # those that prove one control`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	o := outputFlag(cmd, "text", "json")
	options := app.ProbeOptions{}
	cmd.Flags().Bool("list", false, "list the probes; needs no cluster")
	cmd.Flags().StringSliceVar(&options.Domains, "domain", nil, "only the probes of this domain (repeatable)")
	cmd.Flags().StringSliceVar(&options.Controls, "control", nil, "only the probes that prove this control (repeatable)")
	_ = cmd.MarkFlagRequired("list")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options.Dir = args[0]
		r, err := a.ListProbes(cmd.Context(), options)
		if err != nil {
			return err
		}
		if o.value == "json" {
			return r.WriteJSON(a.Stdout)
		}
		return r.WriteList(a.Stdout, diag.Style{Colour: a.Colour})
	}
	return cmd
}
