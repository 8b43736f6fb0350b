//go:build !unix

package http1

import (
	"net"
	"time"
)

// An ear hears whether a connection has bytes to read.
type ear struct{ nc net.Conn }

func newEar(nc net.Conn) *ear { return &ear{nc} }

// silent reports whether the connection is open and has nothing.
func (e *ear) silent() bool { return nothing(e.nc, time.Now().Add(moment)) }
