//go:build tools

// Package helm pins helm, with which the benchmark compares.
package helm

import (
	_ "helm.sh/helm/v4/cmd/helm"
)
