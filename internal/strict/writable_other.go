//go:build !unix

package strict

import "net"

// A writable would ask a socket whether a write would wait.
type writable struct{}

func newWritable(net.Conn) *writable { return &writable{} }

func (*writable) waits() bool { return false }
