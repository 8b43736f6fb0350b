//go:build !unix

package http1

import (
	"net"
	"time"
)

// silent reports whether a connection is open and has no bytes to read.
func silent(nc net.Conn) bool { return nothing(nc, time.Now().Add(moment)) }
