//go:build soak

package gateway_test

import "testing"

// TestTwoHundredReloads is TestReloads for as long as leaks need to show.
func TestTwoHundredReloads(t *testing.T) { testReloads(t, 200) }
