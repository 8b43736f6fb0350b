//go:build unix

package http1

import (
	"net"
	"syscall"
	"time"
)

// An ear hears whether a socket has bytes to read, without taking any.
type ear struct {
	nc     net.Conn
	socket syscall.RawConn // nil: it cannot be asked
	look   func(fd uintptr) bool
	got    error
}

func newEar(nc net.Conn) *ear {
	e := &ear{nc: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			e.socket, e.look = rc, e.peek
		}
	}
	return e
}

func (e *ear) peek(fd uintptr) bool {
	var b [1]byte
	_, _, e.got = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return true
}

// silent reports whether the socket is open and has nothing.
func (e *ear) silent() bool {
	if e.socket == nil {
		return nothing(e.nc, time.Now().Add(moment))
	}
	return e.socket.Read(e.look) == nil && (e.got == syscall.EAGAIN || e.got == syscall.EWOULDBLOCK)
}
