package cli

import (
	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newReport(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report DIR",
		Short: "Say how every control and every known attack stands on this cluster",
		Long: `Report lists each control of the cluster's profiles, and the attacks of OWASP's Top Ten,
ATT&CK for Containers and Microsoft's threat matrix, with the state in which it ends:
enforced, waived, provider, procedure, undecided or failing, and what answers it. A control
that an edit of the repository broke is failing. An attack stands as the weakest control
that has to hold against it.

The score of an area is the share of its controls that hold.`,
		Example: `  k8ssec report prod
  k8ssec report prod --catalogue cis-2.0.1
  k8ssec report prod -o html > report.html                    # for people, on screen or paper
  k8ssec report prod -o oscal > assessment-results.json       # for auditors' tools
  k8ssec report prod --fail-on failing,undecided -o sarif     # a gate in CI`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	var options app.ReportOptions
	o := outputFlag(cmd, "text", "json", "markdown", "html", "sarif", "oscal")
	cmd.Flags().StringSliceVar(&options.Catalogues, "catalogue", nil, "only these catalogues, for instance cis-2.0.1")
	cmd.Flags().StringSliceVar(&options.FailOn, "fail-on", nil, "exit with 2 where a control ends in one of these states, for instance failing,undecided")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options.Dir = args[0]
		r, err := a.Report(cmd.Context(), options)
		if err != nil {
			return err
		}
		switch o.value {
		case "json":
			err = r.WriteJSON(a.Stdout)
		case "markdown":
			err = r.WriteMarkdown(a.Stdout)
		case "html":
			err = r.WriteHTML(a.Stdout)
		case "sarif":
			err = r.WriteSARIF(a, args[0])
		case "oscal":
			err = r.WriteOSCAL(a.Stdout, a.Version)
		default:
			err = r.WriteText(a.Stdout, diag.Style{Colour: a.Colour})
		}
		if err == nil && r.Fails {
			return app.ErrFindings
		}
		return err
	}
	return cmd
}
