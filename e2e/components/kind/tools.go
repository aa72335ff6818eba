//go:build tools

// Package kind pins kind.
package kind

import (
	_ "sigs.k8s.io/kind"
)
