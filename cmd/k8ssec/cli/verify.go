package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newVerify(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check a repository offline: the gate for CI",
		Long: `Verify checks, without a cluster: that cluster.cue is valid and its waivers hold,
that every emitted file is what the posture renders and still serves its controls,
that every object fits the API of the chosen Kubernetes minor, that the ways stay
open without which the cluster would lock itself out, and that no secret is in the tree.

It exits with 2 where it finds something.`,
		Example: `  k8ssec verify prod
  k8ssec verify prod -o sarif > k8ssec.sarif   # for code scanning`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	o := outputFlag(cmd, "text", "json", "sarif")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := a.Verify(cmd.Context(), app.VerifyOptions{Dir: args[0]})
		if err != nil {
			return err
		}
		switch o.value {
		case "json":
			err = v.Findings.WriteJSON(a.Stdout)
		case "sarif":
			err = v.Findings.WriteSARIF(a.Stdout, a.Version)
		default:
			if err = v.Findings.WriteText(a.Stdout, diag.Style{Colour: a.Colour}); err == nil && !v.Findings.HasErrors() {
				_, err = fmt.Fprintf(a.Stdout, "ok: %d files, %d objects, %d controls\n", v.Files, v.Objects, v.Controls)
			}
		}
		if err == nil && v.Findings.HasErrors() {
			return app.ErrFindings
		}
		return err
	}
	return cmd
}
