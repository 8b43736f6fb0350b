package proxy

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A lookup finds the addresses of a name, and for how long they hold; 0: not
// told.
type lookup func(ctx context.Context, host string) ([]netip.Addr, time.Duration, error)

// A resolver is the system's: its hosts file, name servers and search list. It
// looks at what the name servers say for the times that net keeps to itself.
type resolver struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (r resolver) lookup(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
	var heard lifetime
	system := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := r.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if packets, ok := c.(*net.UDPConn); ok { // net speaks otherwise to a connection that is none
			return packetEar{packets, &heard}, nil
		}
		return &streamEar{Conn: c, heard: &heard}, nil
	}}
	addrs, err := system.LookupNetIP(ctx, "ip", host)
	return addrs, time.Duration(heard.Load()), err
}

// packetEar listens to the answers in datagrams.
type packetEar struct {
	*net.UDPConn
	heard *lifetime
}

// Read implements net.Conn.
func (e packetEar) Read(p []byte) (int, error) {
	n, err := e.UDPConn.Read(p)
	e.heard.note(p[:n])
	return n, err
}

// streamEar listens to an answer over TCP: its length, and then the message
// (RFC 1035 section 4.2.2).
type streamEar struct {
	net.Conn
	heard *lifetime
	said  []byte
}

// Read implements net.Conn.
func (e *streamEar) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	const longest = 2 + 1<<16
	e.said = append(e.said, p[:min(n, longest-len(e.said))]...)
	if len(e.said) >= 2 && len(e.said) == 2+int(binary.BigEndian.Uint16(e.said)) {
		e.heard.note(e.said[2:])
	}
	return n, err
}

// note takes the shortest time of an answer that holds addresses, aliases on
// the way to them included.
func (l *lifetime) note(message []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil || !h.Response || h.RCode != dnsmessage.RCodeSuccess || p.SkipAllQuestions() != nil {
		return
	}
	shortest, found := int64(0), false
	for {
		r, err := p.AnswerHeader()
		if err != nil {
			break
		}
		switch r.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME:
			// Zero means not to be kept; here, as short as we do keep anything.
			ttl := max(1, int64(r.TTL)) * int64(time.Second)
			if shortest == 0 || ttl < shortest {
				shortest = ttl
			}
			found = found || r.Type != dnsmessage.TypeCNAME
		}
		if p.SkipAnswer() != nil {
			break
		}
	}
	for found {
		old := l.Load()
		if old > 0 && old <= shortest || l.CompareAndSwap(old, shortest) {
			return
		}
	}
}
