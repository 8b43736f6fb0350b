//go:build !soak

package gateway_test

import "time"

// How much make soak asks for, and how much everybody else.
const (
	streamSize = 64 << 20
	killTime   = 8 * time.Second
)
