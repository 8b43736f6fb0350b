//go:build unix

package strict

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A writable asks a socket whether a write would wait.
type writable struct {
	socket syscall.RawConn // nil: it cannot be asked
	look   func(fd uintptr)
	full   bool
}

func newWritable(nc net.Conn) *writable {
	w := &writable{}
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = t.NetConn()
	}
	s, ok := nc.(syscall.Conn)
	if !ok {
		return w
	}
	if raw, err := s.SyscallConn(); err == nil {
		w.socket, w.look = raw, w.ask
	}
	return w
}

func (w *writable) ask(fd uintptr) {
	question := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(question[:], 0)
	w.full = n == 0 && err == nil
}

// waits reports whether a write would wait; false when that cannot be told.
func (w *writable) waits() bool {
	return w.socket != nil && w.socket.Control(w.look) == nil && w.full
}
