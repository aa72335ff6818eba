//go:build tools

// Package sourcecontroller pins Flux source-controller.
package sourcecontroller

import (
	_ "github.com/fluxcd/source-controller"
)
