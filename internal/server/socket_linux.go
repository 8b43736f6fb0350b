package server

import (
	"net"
	"syscall"
)

// unsentLimit bounds what the kernel holds of an answer that it has not sent
// yet, for each connection. Without a bound it takes half a megabyte and more
// for a client that reads nothing, for thousands of them at once, and the write
// rate is measured against the kernel instead of the client. What is on its way
// does not count, so fast clients far away lose nothing.
const unsentLimit = 128 << 10

// tcpNotSentLowat is TCP_NOTSENT_LOWAT of tcp(7); package syscall lacks it.
const tcpNotSentLowat = 25

// boundUnsent sets the bound. It is not inherited from a listening socket where
// that speaks Multipath TCP, as those of package net do.
func boundUnsent(c net.Conn) {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // closed already
	}
	// A socket that is not TCP refuses, and goes without.
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsentLimit)
	})
}
