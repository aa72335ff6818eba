// Command lab keeps a kind cluster for work by hand: go run ./kind/lab up REPOSITORY | down | image.
// The tests make and remove clusters of their own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/k8ssec/k8ssec/e2e/kind"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("use: lab up REPOSITORY, lab down or lab image")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	engine, err := kind.StartEngine(ctx, os.Stderr)
	if err != nil {
		return err
	}
	switch {
	case args[0] == "image":
		_, err := engine.Images(ctx)
		return err
	case args[0] == "up" && len(args) == 2:
		repository, err := filepath.Abs(args[1])
		if err != nil {
			return err
		}
		c, err := engine.Create(ctx, kind.FromRepository("lab", repository))
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, "export KUBECONFIG="+c.Kubeconfig)
		return nil
	case args[0] == "down":
		return engine.Remove(ctx, "lab")
	}
	return errUsage
}
