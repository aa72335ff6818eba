package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
)

func newInit(a *app.App) *cobra.Command {
	var o app.InitOptions
	var level int
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a new hardened repository",
		Long: `Init writes cluster.cue (which is yours from then on) and everything that follows
from it. It needs no input beside the profile: what only you can know (identity
provider, registries, bucket, receivers) stays out and is listed as undecided.

Several profiles can be named; the stricter wins.`,
		Example: `  k8ssec init prod --profile cis
  k8ssec init prod --profile cis,nsa --kubernetes 1.36 --cni calico
  k8ssec init prod --profile cis --oidc-issuer https://login.company.org/realms/staff
  k8ssec init prod --profile ./profiles/acme          # your own profile, which extends a shipped one
  k8ssec init lab --profile cis --platform kind && cd lab && kind create cluster --config bootstrap/kind-config.yaml`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Values.Profiles, "profile", nil, "profiles: shipped names, or directories of your own that begin with ./")
	f.IntVar(&level, "level", 1, "level of the CIS benchmark: 1, or 2 for both")
	f.StringVar(&o.Values.Name, "name", "cluster", "name of the cluster")
	f.StringVar(&o.Values.Platform, "platform", "kubeadm", "kubeadm or kind")
	f.StringVar(&o.Values.Kubernetes, "kubernetes", "1.37", "Kubernetes minor version, 1.34 to 1.37")
	f.StringVar(&o.Values.CNI, "cni", "cilium", "cilium, calico or other")
	f.StringVar(&o.Values.GitOps, "gitops", "", "flux (the default) or argocd")
	f.StringVar(&o.Values.GitURL, "git-url", "", "URL of the Git repository that this directory is committed to")
	f.StringVar(&o.Values.GitPath, "git-path", "", "directory of this repository inside that Git repository (default \".\")")
	f.StringVar(&o.Values.Secrets, "secrets", "", "secret store: vault or aws")
	f.StringVar(&o.Values.OIDCIssuer, "oidc-issuer", "", "URL of the identity provider for people")
	f.StringSliceVar(&o.Values.Registries, "registry", nil, "registries that images may come from")
	f.BoolVar(&o.DryRun, "dry-run", false, "write nothing; say what would be written")
	if err := cmd.MarkFlagRequired("profile"); err != nil {
		cobra.CheckErr(err)
	}
	for name, values := range map[string][]string{
		"profile": engine.ShippedProfiles(), "level": {"1", "2"}, "platform": {"kubeadm", "kind"},
		"kubernetes": {"1.34", "1.35", "1.36", "1.37"}, "cni": {"cilium", "calico", "other"},
		"gitops": {"flux", "argocd"}, "secrets": {"vault", "aws"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	out := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Dir = args[0]
		switch level {
		case 1:
		case 2:
			i := slices.Index(o.Values.Profiles, "cis")
			if i < 0 {
				return fmt.Errorf("--level 2 is a level of the CIS benchmark: name --profile cis with it")
			}
			o.Values.Profiles[i] = "cis-l2"
		default:
			return fmt.Errorf("--level is %d; the CIS benchmark has the levels 1 and 2", level)
		}
		w, err := a.Init(cmd.Context(), o)
		if err != nil {
			return err
		}
		if out.value == "json" {
			return w.WriteJSON(a.Stdout)
		}
		return w.WriteText(a.Stdout, diag.Style{Colour: a.Colour}, true)
	}
	return cmd
}
