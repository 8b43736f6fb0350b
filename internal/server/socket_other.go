//go:build !linux

package server

import "net"

// boundUnsent leaves it to the system how much it holds of an answer.
func boundUnsent(net.Conn) {}
