package testkit

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// A RawConn speaks to a server in bytes, so that a test can send what no HTTP
// client would.
type RawConn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// A RawAnswer is one response as a client sees it, its body read.
type RawAnswer struct {
	Status  int
	Header  http.Header
	Trailer http.Header
	Body    string
	Close   bool // the server said that it will close
}

// DialRaw connects over TCP and closes the connection when the test ends. No
// read or write takes longer than half a minute.
func DialRaw(t testing.TB, addr string) *RawConn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return NewRawConn(t, c)
}

// NewRawConn speaks over a connection that is open already, as one over TLS.
func NewRawConn(t testing.TB, c net.Conn) *RawConn {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &RawConn{Conn: c, t: t, r: bufio.NewReader(c)}
}

// Send writes bytes. A server that has closed by then is no failure: it may
// have refused what came before.
func (c *RawConn) Send(b []byte) {
	_, _ = c.Conn.Write(b)
}

// SendBytewise writes every byte by itself.
func (c *RawConn) SendBytewise(b []byte) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return
		}
	}
}

// SendCut writes the bytes in pieces, cut at as many places as it is told,
// which follow from the seed. Two places may be the same.
func (c *RawConn) SendCut(b []byte, seed uint64, cuts int) {
	r := rand.New(rand.NewPCG(seed, uint64(len(b))))
	at := make([]int, cuts, cuts+1)
	for i := range at {
		at[i] = r.IntN(len(b) + 1)
	}
	slices.Sort(at)
	from := 0
	for _, to := range append(at, len(b)) {
		if from == to {
			continue
		}
		if _, err := c.Conn.Write(b[from:to]); err != nil {
			return
		}
		from = to
	}
}

// HalfClose ends the sending direction.
func (c *RawConn) HalfClose() {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

// Answer reads one response to a request with the method. Interim responses
// are skipped. The error is io.EOF when the server closed instead.
func (c *RawConn) Answer(method string) (RawAnswer, error) {
	for {
		if _, err := c.r.Peek(1); err != nil {
			return RawAnswer{}, err
		}
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return RawAnswer{}, err
		}
		if 100 <= resp.StatusCode && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		a := RawAnswer{Status: resp.StatusCode, Header: resp.Header, Close: resp.Close}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return a, nil
		}
		b, err := io.ReadAll(resp.Body)
		if cerr := resp.Body.Close(); err == nil {
			err = cerr
		}
		a.Body, a.Trailer = string(b), resp.Trailer
		return a, err
	}
}

// MustAnswer is Answer where there must be one.
func (c *RawConn) MustAnswer(method string) RawAnswer {
	c.t.Helper()
	a, err := c.Answer(method)
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	return a
}

// Reader reads what the server sends as bytes, for tunnels.
func (c *RawConn) Reader() *bufio.Reader { return c.r }

// AtEnd reports whether the server has closed the connection, and fails the
// test when it sends something instead. A reset counts as an end.
func (c *RawConn) AtEnd() bool {
	c.t.Helper()
	b, err := c.r.ReadByte()
	if err == nil {
		c.t.Errorf("another byte after the last answer: %q", b)
		return false
	}
	var ne net.Error
	return !errors.As(err, &ne) || !ne.Timeout()
}
