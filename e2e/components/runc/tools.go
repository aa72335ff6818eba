//go:build tools

// Package runc pins runc.
package runc

import (
	_ "github.com/opencontainers/runc"
)
