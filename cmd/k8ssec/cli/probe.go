package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newProbe(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe DIR [ID...]",
		Short: "Ask a live cluster whether the posture really holds",
		Long: `Probe asks a live cluster for what the posture must refuse and for what it must allow,
and reports what happened: passed, failed, not enforced (the rule is there and nothing
acts on it) or skipped (it could not be tried, and why).

It changes nothing: it reads, asks the authorizer, and sends dry runs. With --active it
also creates a namespace and pods that live for a moment, for what only traffic shows,
and removes them in any case; docs/probes.md of the project says what and where. It acts
as other people and accounts, so it takes an administrator's kubeconfig.

It exits with 2 where something does not hold.`,
		Example: `  k8ssec probe prod --list                       # every probe, without a cluster
  k8ssec probe prod                              # against the current context of kubectl
  k8ssec probe prod --active                     # with short-lived pods: network, etcd, nodes
  k8ssec probe prod --domain network --active
  k8ssec probe prod --control cis-5.2.11         # what proves one control
  k8ssec probe prod workloads-host-path-deny     # one alone
  k8ssec probe prod -o junit > probes.xml        # for CI`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: directory,
	}
	o := outputFlag(cmd, "text", "json", "junit", "markdown")
	options := app.ProbeOptions{}
	var list bool
	f := cmd.Flags()
	f.BoolVar(&list, "list", false, "list the probes; needs no cluster")
	f.StringSliceVar(&options.Domains, "domain", nil, "only the probes of this domain (repeatable)")
	f.StringSliceVar(&options.Controls, "control", nil, "only the probes that prove this control (repeatable)")
	f.StringVar(&options.Kubeconfig, "kubeconfig", "", "kubeconfig file (default: as kubectl)")
	f.StringVar(&options.Context, "context", "", "context of the kubeconfig (default: the current one)")
	f.BoolVar(&options.Active, "active", false, "also run the probes that create a namespace and pods for a moment")
	f.StringVar(&options.Image, "image", app.ProbeImage, "image of the pods of active probes, with the program /agnhost")
	f.StringVar(&options.YesOn, "yes-on", "", "name of the context, to run active probes on a production cluster")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options.Dir, options.IDs = args[0], args[1:]
		if list {
			switch o.value {
			case "junit", "markdown":
				return errors.New("--list is printed as text or json")
			}
			r, err := a.ListProbes(cmd.Context(), options)
			if err != nil {
				return err
			}
			if o.value == "json" {
				return r.WriteJSON(a.Stdout)
			}
			return r.WriteList(a.Stdout, diag.Style{Colour: a.Colour})
		}
		r, err := a.Probe(cmd.Context(), options)
		if err != nil {
			return err
		}
		switch o.value {
		case "json":
			err = r.WriteJSON(a.Stdout)
		case "junit":
			err = r.WriteJUnit(a.Stdout)
		case "markdown":
			err = r.WriteMarkdown(a.Stdout)
		default:
			err = r.WriteText(a.Stdout, diag.Style{Colour: a.Colour})
		}
		if err == nil && r.HasFindings() {
			return app.ErrFindings
		}
		return err
	}
	return cmd
}
