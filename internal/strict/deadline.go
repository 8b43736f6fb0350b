package strict

import (
	"errors"
	"net"
	"os"
	"time"
)

// errOwnDeadline is the end of a wait that this package limits.
var errOwnDeadline = errors.New("the client sent nothing in time")

// A deadline is when reading from the socket must end: the earlier of what the
// user of the connection asked for and what the limits say. Setting it on a
// socket costs more than most of a request, so it is left alone while it stands
// earlier than it should; when it then fires, it is set anew.
type deadline struct {
	user, own time.Time
	applied   time.Time // what the socket has
	stale     bool      // applied has passed
	kicked    bool      // the user asked for a Read in progress to end
}

// expired tells whose deadline has passed, if any: errOwnDeadline, or timeout,
// which the user gets to see.
func (d *deadline) expired(timeout error) error {
	now := time.Now()
	switch {
	case d.kicked || !d.user.IsZero() && !now.Before(d.user):
		return timeout
	case !d.own.IsZero() && !now.Before(d.own):
		return errOwnDeadline
	}
	return nil
}

// want is when a read must end; zero: never.
func (d *deadline) want() time.Time { return earlier(d.user, d.own) }

// earlier is the earlier of two times of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// arm makes sure that the socket wakes in time.
func (c *Conn) arm() {
	d := &c.read
	t := d.want()
	if d.stale && !t.Equal(d.applied) || !t.IsZero() && (d.applied.IsZero() || t.Before(d.applied)) {
		d.applied, d.stale = t, false
		// An error means that the socket is closed; the read will say so.
		_ = c.nc.SetReadDeadline(t)
	}
}

// SetReadDeadline ends reads at t, also one that is in progress. What has been
// read of a head or body by then is kept. Zero: no deadline but that of the
// limits.
func (c *Conn) SetReadDeadline(t time.Time) error {
	// net/http wakes its reads with a time long ago: no clock is needed for it.
	if t.IsZero() || !t.Before(c.opened) && t.After(time.Now()) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.read.user = t; !t.IsZero() {
			c.arm()
			c.wake.Broadcast()
		}
		return nil
	}
	c.mu.Lock()
	d := &c.read
	d.user, d.applied, d.stale, d.kicked = t, t, true, true
	c.wake.Broadcast()
	c.mu.Unlock()
	// Without the lock, which the read that wakes up needs. Should somebody
	// else set a deadline in between, the read wakes up once for nothing.
	return c.nc.SetReadDeadline(t)
}

// SetDeadline sets both deadlines. net/http calls it when a handler takes the
// connection over, and at no other time: from then on a tunnel's bytes belong
// to whoever reads.
func (c *Conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.plain = c.mode == tunnelling
	c.mu.Unlock()
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// park waits without reading until the user's deadline passes or something
// changes. It returns nil when the caller should look again.
func (c *Conn) park() error {
	if c.closed {
		return net.ErrClosed
	}
	if c.read.kicked || !c.read.user.IsZero() && !time.Now().Before(c.read.user) {
		return os.ErrDeadlineExceeded
	}
	if t := c.read.user; !t.IsZero() {
		timer := time.AfterFunc(time.Until(t), func() {
			c.mu.Lock() // not before the wait has begun
			defer c.mu.Unlock()
			c.wake.Broadcast()
		})
		defer timer.Stop()
	}
	c.wake.Wait()
	return nil
}

// isTimeout reports whether an error is a deadline that passed.
func isTimeout(err error) bool {
	if ne, ok := err.(net.Error); ok { // nearly always, and without an allocation
		return ne.Timeout()
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
