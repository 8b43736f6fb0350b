//go:build !unix

package strict

import "net"

// A readable would wait until a socket has something to read.
type readable struct{}

func newReadable(net.Conn) *readable { return nil }

func (*readable) wait() error { return nil }
