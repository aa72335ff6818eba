package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/engine"
)

func newProfiles(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profiles [NAME]",
		Short: "List the shipped profiles, or print what one is for",
		Long: `Profiles lists what can be named in cluster.cue. A profile of your own is a directory
with a CUE package, named as ./profiles/acme, for instance:

  package acme

  import "k8ssec.dev/cue/control"

  profile: control.#Profile & {
      name:    "acme"
      title:   "Every cluster of Acme"
      extends: ["cis"]
      defaults: logging: audit: maxAgeDays: 90
      controls: "acme-1": {
          catalogue: "acme"
          title:     "Audit files are kept for at least 90 days"
          domain:    "logging"
          why:       "Our auditors look back one quarter."
          fix:       "logging: audit: maxAgeDays: 90"
          cluster: logging: audit: maxAgeDays: >=90
      }
  }`,
		Example: `  k8ssec profiles
  k8ssec profiles cis`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return engine.ShippedProfiles(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	o := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			text, err := a.ProfileReadme(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.Stdout, text)
			return err
		}
		list, err := a.Profiles(cmd.Context())
		if err != nil {
			return err
		}
		if o.value == "json" {
			enc := json.NewEncoder(a.Stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(map[string]any{"profiles": list})
		}
		w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		for _, p := range list {
			fmt.Fprintf(w, "%s\t%d controls in force\t%s\n", p.Name, p.Controls, p.Title)
		}
		return w.Flush()
	}
	return cmd
}
