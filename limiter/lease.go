package limiter

import (
	"strconv"
	"time"
)

const (
	// leaseTime is how long the store believes that a request is in flight when
	// it hears nothing of it.
	leaseTime = 30 * time.Second
	// renewEvery is how often it hears.
	renewEvery = 10 * time.Second
	// maxOrphans bounds the ended requests that wait for the store to come
	// back; of others it learns when their leases run out.
	maxOrphans = 10_000
)

// A lease is what the store knows of a request in flight.
type lease struct {
	store   *store
	id      string
	entries []entry
	since   time.Time
}

// An entry is one key of a lease.
type entry struct {
	limit  *limit
	bucket string // charges only
	flying string
	size   size
}

// end tells the store, some time, that the request has ended. It does not
// wait.
func (l *lease) end(status int) {
	c := &call{script: endScript, args: make([]any, 1, 1+4*len(l.entries))}
	c.args[0] = l.id
	for i := range l.entries {
		e := &l.entries[i]
		usage, charged := "c", 0
		if e.limit.usage == charges {
			usage = "a"
			c.keys = append(c.keys, e.bucket)
			if e.limit.statuses(status) {
				charged = 1
			}
		}
		c.keys = append(c.keys, e.flying)
		c.args = append(c.args, usage, interval(e.size), e.size.burst, charged)
	}
	l.store.ended(l, c)
}

// renewal keeps the lease.
func (l *lease) renewal() *call {
	c := &call{script: renewScript, args: []any{l.id, leaseTime.Milliseconds()}}
	for i := range l.entries {
		c.keys = append(c.keys, l.entries[i].flying)
	}
	return c
}

// giveUp ends what the store may have granted to a request that is refused
// nevertheless.
func (d *draw) giveUp() {
	if d.lease != nil {
		d.lease.end(0)
		d.lease = nil
	}
}

// interval is how many microseconds a token takes.
func interval(sz size) string {
	if sz.rate <= 0 {
		return "1"
	}
	return strconv.FormatFloat(1e6/sz.rate, 'g', -1, 64)
}
