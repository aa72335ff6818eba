package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
)

func newVersion(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  k8ssec version -o json",
		Args:    cobra.NoArgs,
	}
	o := outputFlag(cmd, "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		if o.value == "json" {
			return json.NewEncoder(a.Stdout).Encode(map[string]any{
				"version": a.Version, "go": runtime.Version(), "kubernetes": []string{"1.34", "1.35", "1.36", "1.37"},
			})
		}
		_, err := fmt.Fprintf(a.Stdout, "k8ssec %s (%s), for Kubernetes 1.34 to 1.37\n", a.Version, runtime.Version())
		return err
	}
	return cmd
}
