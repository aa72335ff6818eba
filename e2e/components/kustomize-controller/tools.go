//go:build tools

// Package kustomizecontroller pins Flux kustomize-controller.
package kustomizecontroller

import (
	_ "github.com/fluxcd/kustomize-controller"
)
