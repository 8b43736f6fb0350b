package strict

import (
	"net/http"
	"time"

	"sallyport/internal/gate"
)

// Tunnel ends HTTP on the connection. What came behind the handshake is read
// first; then bytes pass as they are, without limits of ours.
func (c *Conn) Tunnel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode == upgrading {
		c.mode = tunnelling
		c.read.own = time.Time{}
		c.unlimitWrites()
		c.wake.Broadcast()
	}
}

// Resume goes on reading HTTP when an upgrade is not granted. Bytes that came
// before it, or before the first byte of the answer, are refused as
// http.early_bytes: they were meant for another protocol. A handler that ends
// without Tunnel and Resume has not granted the upgrade either.
func (c *Conn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resume()
}

func (c *Conn) resume() {
	if c.mode != upgrading {
		return
	}
	early := c.early || !c.answered && c.raw.len() > 0
	c.expectHead()
	if early {
		h := &gate.Head{Method: http.MethodGet, Proto: "HTTP/1.1"}
		h.Rejection = rejection(flaw{gate.HTTPEarlyBytes, 0, "bytes before the protocol was switched"}, c.raw.bytes())
		c.handOn(h)
	}
	c.wake.Broadcast()
}

// answer notes, before the first byte of an answer is written, whether bytes
// have come behind a handshake. What comes later may be the next request of a
// client that has seen the answer.
func (c *Conn) answer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode == upgrading && !c.answered {
		c.answered, c.early = true, c.raw.len() > 0
	}
}

// readAside keeps what comes behind a handshake, a little of it, and waits for
// Tunnel or Resume. A read that is not the background one means that the
// handler is done without either: the upgrade was refused.
func (c *Conn) readAside(background bool) error {
	if !background {
		c.resume()
		return nil
	}
	if c.raw.len() >= maxAside {
		return c.park()
	}
	c.read.own = time.Time{}
	n, err := c.pull(c.raw.roomFor(maxAside - c.raw.len()))
	c.raw.w += n
	return err
}

// readTunnel passes bytes as they are. The background read that net/http may
// still have open gets none: it would put them into a place of its own.
func (c *Conn) readTunnel(p []byte, background bool) (int, error) {
	if background && !c.plain {
		return 0, c.park()
	}
	if c.raw.len() > 0 {
		n := copy(p, c.raw.bytes())
		c.raw.drop(n)
		return n, nil
	}
	c.raw.release()
	return c.pull(p)
}
