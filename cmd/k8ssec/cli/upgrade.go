package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newUpgrade(a *app.App) *cobra.Command {
	var o app.UpgradeOptions
	cmd := &cobra.Command{
		Use:   "upgrade DIR --to 1.N",
		Short: "Plan the way to the next minor version of Kubernetes",
		Long: `Upgrade knows what each minor version removes and changes. It looks through the manifests,
patches, values and edits of the repository, and with --kubeconfig at the cluster: APIs that
somebody still asks for, disruption budgets that stop a drain, version skew, flags and feature
gates that no longer exist, pods that the new Pod Security refuses (by dry run; nothing is
changed). It says what is blocking, risky or good to know, shows what the posture becomes,
and writes the plan to docs/.

One minor version at a time. Only --apply changes cluster.cue and the manifests, and only
where nothing is blocking. Exit code 2: something is blocking.`,
		Example: `  k8ssec upgrade prod --to 1.37
  k8ssec upgrade prod --to 1.37 --kubeconfig admin.conf
  k8ssec upgrade prod --to 1.37 --apply`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	f := cmd.Flags()
	f.StringVar(&o.To, "to", "", "version to go to, 1.N")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "look at this cluster too")
	f.StringVar(&o.Context, "context", "", "context of the kubeconfig (alone: of your default kubeconfig)")
	f.BoolVar(&o.Apply, "apply", false, "change cluster.cue and write what follows, if nothing is blocking")
	f.BoolVar(&o.DryRun, "dry-run", false, "write nothing, not even the plan")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		cobra.CheckErr(err)
	}
	cmd.MarkFlagsMutuallyExclusive("apply", "dry-run")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"1.35", "1.36", "1.37"}, cobra.ShellCompDirectiveNoFileComp))
	out := outputFlag(cmd, "text", "json", "markdown")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Dir, o.Live = args[0], o.Kubeconfig != "" || o.Context != ""
		u, err := a.Upgrade(cmd.Context(), o)
		if u == nil {
			return err
		}
		var written error
		switch out.value {
		case "json":
			written = u.WriteJSON(a.Stdout)
		case "markdown":
			written = u.WriteMarkdown(a.Stdout)
		default:
			written = u.WriteText(a.Stdout, diag.Style{Colour: a.Colour})
		}
		if err = errors.Join(err, written); err == nil && u.Blocked() {
			return app.ErrFindings
		}
		return err
	}
	return cmd
}
