package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/k8ssec/k8ssec/internal/app"
	"github.com/k8ssec/k8ssec/internal/diag"
)

func newWaivers(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "waivers DIR",
		Short: "List the waivers: which hold, end soon, have expired, or are no longer needed",
		Long: `Waivers lists every waiver of cluster.cue with its days left. What has expired is enforced
again at the next generate; what is stale would hold without the waiver, or has lost its
control or namespace; what is broader than needed says which part of it lifts nothing. Need
is found by evaluating the posture without the waiver.

It exits with 2 where a waiver has expired, is invalid or stale.`,
		Example: `  k8ssec waivers prod
  k8ssec waivers add prod legacy --control cis-5.2.6 --namespace team-a \
    --reason "batch jobs until they are rewritten" --owner team-a --expires 2027-01-31
  k8ssec waivers expire prod legacy`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: directory,
	}
	out := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w, err := a.Waivers(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if out.value == "json" {
			err = w.WriteJSON(a.Stdout)
		} else {
			err = w.WriteText(a.Stdout, diag.Style{Colour: a.Colour})
		}
		return errors.Join(err, w.Err())
	}
	cmd.AddCommand(newWaiversAdd(a), newWaiversExpire(a))
	return cmd
}

func newWaiversAdd(a *app.App) *cobra.Command {
	var w app.NewWaiver
	cmd := &cobra.Command{
		Use:   "add DIR NAME",
		Short: "Append a waiver to cluster.cue, if the posture holds with it",
		Long: `Add appends a waiver to cluster.cue. On a terminal it asks for what no flag gives. The
file is changed only if the posture is valid with the waiver.`,
		Example: `  k8ssec waivers add prod legacy --control cis-5.2.6 --namespace team-a \
    --reason "batch jobs until they are rewritten" --owner team-a --ticket SEC-12 --expires 2027-01-31`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: directory,
	}
	f := cmd.Flags()
	f.StringVar(&w.Control, "control", "", "control that is lifted, for instance cis-5.2.6")
	f.StringSliceVar(&w.Also, "also", nil, "further controls that the same weakness breaks")
	f.StringVar(&w.Scope.Namespace, "namespace", "", "namespace in which it is lifted")
	f.BoolVar(&w.Scope.Cluster, "cluster", false, "lift it in the whole cluster")
	f.StringVar(&w.Reason, "reason", "", "why, for those who read it in a year")
	f.StringVar(&w.Owner, "owner", "", "team that answers for it")
	f.StringVar(&w.Ticket, "ticket", "", "ticket in which it was decided")
	f.StringVar(&w.Expires, "expires", "", "last day on which it holds, YYYY-MM-DD; a year away at most")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := ask(a, &w); err != nil {
			return err
		}
		return a.AddWaiver(cmd.Context(), args[0], args[1], w)
	}
	return cmd
}

// ask asks for what is missing, on a terminal; elsewhere it says which flags are.
func ask(a *app.App, w *app.NewWaiver) error {
	questions := []struct {
		flag, question string
		value          *string
		missing        bool
	}{
		{"control", "Control (cis-5.2.6)", &w.Control, w.Control == ""},
		{"namespace", "Namespace (--cluster lifts it everywhere)", &w.Scope.Namespace, w.Scope.Namespace == "" && !w.Scope.Cluster},
		{"reason", "Reason", &w.Reason, w.Reason == ""},
		{"owner", "Owner", &w.Owner, w.Owner == ""},
		{"expires", "Last day (YYYY-MM-DD)", &w.Expires, w.Expires == ""},
	}
	terminal := isatty.IsTerminal(os.Stdin.Fd())
	var missing []string
	in := bufio.NewScanner(os.Stdin)
	for _, q := range questions {
		if !q.missing {
			continue
		}
		if terminal {
			fmt.Fprintf(a.Stderr, "%s: ", q.question)
			if in.Scan() {
				*q.value = strings.TrimSpace(in.Text())
			}
		}
		if *q.value == "" {
			missing = append(missing, "--"+q.flag)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("a waiver needs %s", strings.Join(missing, ", "))
	}
	return nil
}

func newWaiversExpire(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:               "expire DIR NAME",
		Short:             "End a waiver: its last day becomes yesterday",
		Example:           "  k8ssec waivers expire prod legacy",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: directory,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ExpireWaiver(cmd.Context(), args[0], args[1])
		},
	}
}
