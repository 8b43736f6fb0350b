//go:build unix

package strict

import (
	"net"
	"syscall"
)

// A readable waits until a socket has something to read, so that no memory has
// to be held for it meanwhile.
type readable struct {
	socket syscall.RawConn
	look   func(fd uintptr) bool // made once
	waited bool
}

// newReadable returns nil for a connection that is no socket, or holds bytes of
// its own as TLS does.
func newReadable(nc net.Conn) *readable {
	s, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	r := &readable{socket: raw}
	r.look = r.has
	return r
}

// wait returns when a Read would not have to wait, be it for an error, and
// sometimes too early. The read deadline of the connection ends it.
func (r *readable) wait() error {
	r.waited = false
	return r.socket.Read(r.look)
}

// has looks without taking anything; when something has come meanwhile, the
// Read that follows sees what.
func (r *readable) has(fd uintptr) bool {
	if r.waited {
		return true
	}
	r.waited = true
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err != syscall.EAGAIN && err != syscall.EWOULDBLOCK
}
