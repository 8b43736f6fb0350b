package server

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Generation is one configuration at work. It is built whole, serves, and is
// closed when the last request that began on it has ended.
type Generation interface {
	http.Handler
	// Server is the part of the configuration that belongs to this package.
	Server() Config
	// TrustedPeer reports whether who connected is a trusted proxy, whose
	// connections are not counted per client: by the address, or, where there
	// is none, as the other end of a Unix socket.
	TrustedPeer(peer netip.Addr, unix bool) bool
	// Status and Pools are what the admin endpoint shows; both are encoded as
	// JSON.
	Status() any
	Pools() any
	// SetWeight and Drain change what a backend gets, until the configuration
	// says otherwise, and return its state. The error names what there is not.
	SetWeight(pool, backend string, weight int) (any, error)
	Drain(pool, backend string, drain bool) (any, error)
	// Turn reports whether a connection of the peer is to be closed unread
	// because it is banned, and whether that is to be recorded.
	Turn(peer netip.Addr) (away, record bool)
	// Bans lists who is kept out; Ban and Unban change it by hand. The error of
	// both is for the operator who asked. All are encoded as JSON.
	Bans() any
	Ban(client netip.Addr, length time.Duration, reason string) (any, error)
	Unban(client netip.Addr) error
	// Activate is called once, when the generation starts to serve. It cannot
	// fail.
	Activate()
	Close() error
}

// A lease holds a generation for one request; releasing it twice does nothing.
type lease struct {
	run  *running
	done atomic.Bool
}

func (l *lease) release() {
	if !l.done.Swap(true) {
		l.run.release()
	}
}

// running counts who uses a generation.
type running struct {
	Generation
	number   uint64
	users    atomic.Int64 // requests, and 1 while it is current
	retiring *sync.WaitGroup
}

func newRunning(g Generation, number uint64, retiring *sync.WaitGroup) *running {
	r := &running{Generation: g, number: number, retiring: retiring}
	r.users.Store(1)
	retiring.Add(1)
	return r
}

// acquire reports false when the generation has ended already.
func (r *running) acquire() bool {
	for {
		n := r.users.Load()
		if n == 0 {
			return false
		}
		if r.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release closes the generation when nobody uses it any more. Closing runs in
// a goroutine of its own, so that the last request does not wait for it;
// Shutdown waits.
func (r *running) release() {
	if r.users.Add(-1) > 0 {
		return
	}
	go func() {
		defer r.retiring.Done()
		_ = r.Close() // nothing is left to be told: each part logs its own trouble
	}()
}
