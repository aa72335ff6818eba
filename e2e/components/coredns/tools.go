//go:build tools

// Package coredns pins CoreDNS.
package coredns

import (
	_ "github.com/coredns/coredns"
)
