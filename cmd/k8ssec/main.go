// Command k8ssec writes, checks and explains a GitOps repository that makes a Kubernetes cluster
// as secure as its posture says.
package main

import (
	"os"
	"time"

	"github.com/k8ssec/k8ssec/cmd/k8ssec/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, time.Now))
}
