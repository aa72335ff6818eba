package cli

import (
	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/engine"
)

func newSchema(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the schema of cluster.cue, for editors and for reading",
		Example: `  k8ssec schema                          # CUE, with what each field must be
  k8ssec schema -o json > cluster.schema.json`,
		Args: cobra.NoArgs,
	}
	o := outputFlag(cmd, "cue", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		read := engine.SchemaCUE
		if o.value == "json" {
			read = engine.SchemaJSON
		}
		data, err := read()
		if err != nil {
			return err
		}
		_, err = a.Stdout.Write(append(data, '\n'))
		return err
	}
	return cmd
}
