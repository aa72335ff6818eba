package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newDiff(a *app.App) *cobra.Command {
	var o app.DiffOptions
	var failOn string
	cmd := &cobra.Command{
		Use:   "diff DIR",
		Short: "Say what the next generate changes: first what it means, then the YAML",
		Long: `Diff compares what generate would write with the files as they are, or with a Git
revision. The meaning comes first, the most dangerous line on top: connections that open
or close (computed from all policies, both ends), who gains or loses which rights (through
aggregation and bindings), pods that are newly refused or let in, controls that change
their state, secrets that can be reached, alerts that disappear. Then object by object what
becomes different, and with --text the lines.

A file whose lines are only in another order changes nothing. Patches in patches/ are not
applied here: a change of one counts as weaker until somebody has read it.

It writes nothing. Exit code 0: no change, 2: changes, 3: conflicts with your edits. With
--fail-on weaker, 2 only where something becomes weaker.`,
		Example: `  $EDITOR prod/cluster.cue && k8ssec diff prod
  k8ssec diff prod --from origin/main -o markdown     # for a comment in a pull request
  k8ssec diff prod --from origin/main --fail-on weaker
  k8ssec diff prod --text`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	cmd.Flags().StringVar(&o.From, "from", "", "Git revision to compare with, instead of the files as they are")
	cmd.Flags().BoolVar(&o.Text, "text", false, "add the difference of the texts")
	cmd.Flags().StringVar(&failOn, "fail-on", "", "exit with 2 only for: weaker")
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"weaker"}, cobra.ShellCompDirectiveNoFileComp))
	out := outputFlag(cmd, "text", "json", "markdown", "sarif")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if failOn != "" && failOn != "weaker" {
			return fmt.Errorf("--fail-on is %q; it can be weaker", failOn)
		}
		o.Dir, o.FailOnWeaker = args[0], failOn == "weaker"
		d, err := a.Diff(cmd.Context(), o)
		if err != nil {
			return err
		}
		switch out.value {
		case "json":
			err = d.WriteJSON(a.Stdout)
		case "markdown":
			err = d.WriteMarkdown(a.Stdout)
		case "sarif":
			err = d.WriteSARIF(a.Stdout, a.Version)
		default:
			err = d.WriteText(a.Stdout, diag.Style{Colour: a.Colour})
		}
		return errors.Join(err, d.Err())
	}
	return cmd
}
