//go:build soak

package gateway_test

import "time"

// How much make soak asks for, and how much everybody else.
const (
	streamSize = 1 << 30
	killTime   = 2 * time.Minute
)
