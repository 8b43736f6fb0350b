package proxy_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
)

// A rawH2 speaks HTTP/2 in frames that are written by hand.
type rawH2 struct {
	net.Conn
	br *bufio.Reader
}

func (c rawH2) frame(kind, flags byte, stream uint32, payload []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = binary.BigEndian.AppendUint32(append(head, flags), stream)
	_, _ = c.Write(append(head, payload...))
}

// fields encodes name and value by turns, without compression (RFC 7541 section
// 6.2.2).
func fields2(pairs ...string) []byte {
	var out []byte
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, 0)
		for _, s := range pairs[i : i+2] {
			if n := len(s); n < 127 {
				out = append(out, byte(n))
			} else {
				out = append(out, 127)
				for n -= 127; n >= 128; n >>= 7 {
					out = append(out, byte(n)|0x80)
				}
				out = append(out, byte(n))
			}
			out = append(out, s...)
		}
	}
	return out
}

// next reads frames until a HEADERS frame, and returns its stream.
func (c rawH2) next() (stream uint32, ok bool) {
	for {
		var head [9]byte
		if _, err := io.ReadFull(c.br, head[:]); err != nil {
			return 0, false
		}
		if _, err := c.br.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2])); err != nil {
			return 0, false
		}
		switch {
		case head[3] == 4 && head[4] == 0: // SETTINGS
			c.frame(4, 1, 0, nil)
		case head[3] == 1:
			return binary.BigEndian.Uint32(head[5:]), true
		}
	}
}

// scriptH2 starts a backend that plays a script for each HTTP/2 request, with a
// first SETTINGS frame of its own.
func scriptH2(t *testing.T, settings []byte, play func(b *backend, c rawH2, stream uint32)) *backend {
	t.Helper()
	return script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		if _, err := br.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
			return
		}
		raw := rawH2{c, br}
		raw.frame(4, 0, 0, settings)
		for {
			stream, ok := raw.next()
			if !ok {
				return
			}
			b.requests.Add(1)
			play(b, raw, stream)
		}
	})
}

const (
	endStream  = 1
	endHeaders = 4
)

func TestMisbehavingHTTP2Backends(t *testing.T) {
	head := func(flags byte, pairs ...string) func(*backend, rawH2, uint32) {
		return func(_ *backend, c rawH2, stream uint32) { c.frame(1, endHeaders|flags, stream, fields2(pairs...)) }
	}
	then := func(first func(*backend, rawH2, uint32), more ...func(*backend, rawH2, uint32)) func(*backend, rawH2, uint32) {
		return func(b *backend, c rawH2, stream uint32) {
			first(b, c, stream)
			for _, f := range more {
				f(b, c, stream)
			}
		}
	}
	data := func(flags byte, body string) func(*backend, rawH2, uint32) {
		return func(_ *backend, c rawH2, stream uint32) { c.frame(0, flags, stream, []byte(body)) }
	}
	for _, tc := range []struct {
		rule   string
		play   func(*backend, rawH2, uint32)
		status int // 0: the connection is cut
		reason gate.Reason
	}{
		{"a plain answer", then(head(0, ":status", "200", "content-length", "2"), data(endStream, "hi")), 200, ""},
		{"two lengths", then(head(0, ":status", "200", "content-length", "2", "content-length", "3"), data(endStream, "hi")), 502, gate.PoolBadAnswer},
		{"a length that is none", then(head(0, ":status", "200", "content-length", "0x2"), data(endStream, "hi")), 502, gate.PoolBadAnswer},
		{"connection", head(endStream, ":status", "200", "connection", "close"), 502, gate.PoolBadAnswer},
		{"transfer-encoding", then(head(0, ":status", "200", "transfer-encoding", "chunked"), data(endStream, "0\r\n\r\n")), 502, gate.PoolBadAnswer},
		{"upgrade", head(endStream, ":status", "200", "upgrade", "h2c"), 502, gate.PoolBadAnswer},
		{"a 101", head(endStream, ":status", "101"), 502, gate.PoolBadAnswer},
		{"no status", head(endStream, "server", "x"), 502, gate.PoolBadAnswer},
		{"an upper-case name", head(endStream, ":status", "200", "X-Odd", "1"), 502, gate.PoolBadAnswer},
		{"a line break in a value", head(endStream, ":status", "200", "x-odd", "1\r\nset-cookie: a=b"), 502, gate.PoolBadAnswer},
		{"less than declared", then(head(0, ":status", "200", "content-length", "5"), data(endStream, "hi")), 0, gate.PoolBroken},
		{"more than declared", then(head(0, ":status", "200", "content-length", "2"), data(endStream, "hi there")), 0, gate.PoolBroken},
		{"reset in the middle", then(head(0, ":status", "200"), data(0, "hi"), func(_ *backend, c rawH2, stream uint32) {
			c.frame(3, 0, stream, []byte{0, 0, 0, 2})
		}), 0, gate.PoolBroken},
		{"reset at once", func(_ *backend, c rawH2, stream uint32) { c.frame(3, 0, stream, []byte{0, 0, 0, 2}) }, 502, gate.PoolBadAnswer},
		{"the connection breaks", func(_ *backend, c rawH2, _ uint32) { _ = c.Close() }, 502, gate.PoolBadAnswer},
		{"a broken frame", func(_ *backend, c rawH2, _ uint32) { c.frame(8, 0, 0, []byte("odd")) }, 502, gate.PoolBadAnswer},
		{"a large head", func(_ *backend, c rawH2, stream uint32) {
			c.frame(1, 0, stream, fields2(":status", "200"))
			for range 100 {
				c.frame(9, 0, stream, fields2("x-large", strings.Repeat("x", 10000)))
			}
			c.frame(9, endHeaders, stream, fields2("x-large", "x"))
		}, 502, gate.PoolBadAnswer},
		{"endless interim answers", func(_ *backend, c rawH2, stream uint32) {
			for range 100 {
				c.frame(1, endHeaders, stream, fields2(":status", "102", "link", "</a>"))
			}
		}, 502, gate.PoolBadAnswer},
		{"no answer", func(*backend, rawH2, uint32) {}, 504, gate.PoolTimeout},
		{"a body on 204", then(head(0, ":status", "204"), data(endStream, "hi")), 204, ""},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := scriptH2(t, nil, tc.play)
			g := h2cRig(b.addr)
			g.pool().Retry.Attempts = 1
			g.pool().Timeout.Header, g.pool().Timeout.Idle = 200*time.Millisecond, 200*time.Millisecond
			g.start(t)
			var a answer
			if raw := g.raw(t, getRaw); tc.status != 0 {
				a = read(t, bufio.NewReader(strings.NewReader(raw)), "GET")
			} else if strings.HasSuffix(raw, "\r\n0\r\n\r\n") || strings.Contains(raw, "hi there") {
				t.Errorf("the answer %q looks complete, want it cut off", raw)
			}
			rec := g.records.last(t, 1)
			if a.status != tc.status {
				t.Errorf("status %d, want %d (%s)", a.status, tc.status, rec.Detail)
			}
			if rec.Reason != tc.reason || b.requests.Load() != 1 || a.header.Get("Set-Cookie") != "" {
				t.Errorf("reason %q (%s) after %d requests, want %q; %v", rec.Reason, rec.Detail, b.requests.Load(), tc.reason, a.header)
			}
		})
	}
}

// TestRetriesOfHTTP2 shows that what the transport sends again by itself is in
// the record and in the budget.
func TestRetriesOfHTTP2(t *testing.T) {
	refuse := func(c rawH2, stream uint32) { c.frame(3, 0, stream, []byte{0, 0, 0, 7}) } // REFUSED_STREAM
	for _, tc := range []struct {
		rule     string
		attempts int
		refusals int64
		status   int
		seen     int64
	}{
		{"refused once, and sent again", 2, 1, 200, 2},
		{"refused once, with one attempt", 1, 1, 502, 1},
		{"refused for ever", 3, 99, 502, 3},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := scriptH2(t, nil, func(b *backend, c rawH2, stream uint32) {
				if b.requests.Load() <= tc.refusals {
					refuse(c, stream)
					return
				}
				c.frame(1, endHeaders|endStream, stream, fields2(":status", "200"))
			})
			g := h2cRig(b.addr)
			g.pool().Retry.Attempts = tc.attempts
			g.start(t)
			a := g.ask(t, "POST / HTTP/1.1\nHost: shop.example.org\nContent-Length: 0\nConnection: close", "")
			rec := g.records.last(t, 1)
			// One that is called off may be on its way already.
			if seen := b.requests.Load(); a.status != tc.status || seen < tc.seen || seen > tc.seen+1 || rec.Pool.Attempts != int(tc.seen) {
				t.Errorf("status %d, %d attempts in the record, the backend saw %d; want %d, %d (%s)", a.status, rec.Pool.Attempts, seen, tc.status, tc.seen, rec.Detail)
			}
			if got := g.handler.Pools()[0]; got.Retries != uint64(tc.seen-1) {
				t.Errorf("%d retries counted, want %d", got.Retries, tc.seen-1)
			}
		})
	}
}

// TestDeadlineOfTheClient: a backend that keeps the time that a client gives it
// has not failed, or any client could have it ejected.
func TestDeadlineOfTheClient(t *testing.T) {
	b := scriptH2(t, nil, func(_ *backend, c rawH2, stream uint32) { c.frame(3, 0, stream, []byte{0, 0, 0, 8}) }) // CANCEL
	for _, tc := range []struct {
		field    string
		reason   gate.Reason
		failures uint64
	}{
		{"Grpc-Timeout: 1n", gate.PoolTimeout, 0},
		{"X-Other: 1", gate.PoolBadAnswer, 1},
	} {
		g := h2cRig(b.addr)
		g.pool().Retry.Attempts = 1
		g.start(t)
		a := g.ask(t, "POST / HTTP/1.1\nHost: shop.example.org\nContent-Length: 0\n"+tc.field, "")
		rec := g.records.last(t, 1)
		if got := g.handler.Pools()[0].Backends[0].Failures; a.status < 502 || rec.Reason != tc.reason || got != tc.failures {
			t.Errorf("%s: status %d, reason %s, %d failures; want %s, %d", tc.field, a.status, rec.Reason, got, tc.reason, tc.failures)
		}
	}
}

// TestBackendThatTakesNoBody: over HTTP/2 a backend can hold up a body without
// the connection noticing.
func TestBackendThatTakesNoBody(t *testing.T) {
	b := scriptH2(t, []byte{0, 4, 0, 0, 0, 0}, func(*backend, rawH2, uint32) {}) // SETTINGS_INITIAL_WINDOW_SIZE: 0
	g := h2cRig(b.addr)
	g.pool().Timeout.Header, g.pool().Timeout.Idle = time.Minute, 200*time.Millisecond
	g.start(t)
	a := g.ask(t, "POST / HTTP/1.1\nHost: shop.example.org\nContent-Length: 200000\nConnection: close", strings.Repeat("x", 200000))
	if rec := g.records.last(t, 1); a.status != 504 || rec.Reason != gate.PoolTimeout {
		t.Errorf("status %d, reason %s (%s)", a.status, rec.Reason, rec.Detail)
	}
}
