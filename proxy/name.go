package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// How long the addresses of a name are kept, whatever its TTL says.
	shortestTTL = time.Second
	longestTTL  = 5 * time.Minute
	// plainTTL is for names that come without: those of the hosts file.
	plainTTL = 30 * time.Second
	// lookupRetry is when a name is asked for again that was not found.
	lookupRetry = 5 * time.Second
	lookupTime  = 10 * time.Second
	// addressRest is how long an address is passed over that could not be
	// connected to, while there are others.
	addressRest = 10 * time.Second
	// addressTries is how many addresses share the time for one connection.
	addressTries = 4
)

var errNoAddress = errors.New("the name has no address")

// lifetime is the shortest time to live that was heard, in nanoseconds; 0: none.
type lifetime struct{ atomic.Int64 }

// A name is the host of a backend that is known by name. Requests go to its
// addresses by turns. To the transport each address is a host of its own, so
// that connections to one that is gone are not used for another request.
type name struct {
	index      int // of the backend in its pool
	host, port string

	ready chan struct{} // closed when the name was looked up for the first time
	mu    sync.Mutex
	first bool // it was
	list  []*endpoint
	next  int
	err   error // of the last lookup; nil: it went well
}

// An endpoint is one address of a name.
type endpoint struct {
	addr netip.Addr
	key  string    // the host and port that the transport knows it by
	rest time.Time // passed over until then
}

// newName returns the name that a backend is known by, or nil when its host is
// an address.
func newName(index int, authority string) *name {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	return &name{index: index, host: host, port: port, ready: make(chan struct{})}
}

const nameMark = ".name.invalid:" // nobody has such a name (RFC 6761 section 6.4)

func (n *name) key(of string) string {
	return strconv.Itoa(n.index) + "-" + strings.NewReplacer(":", "-", ".", "-", "%", "-").Replace(of) + nameMark + n.port
}

// named finds the name that a key was made by.
func named(names []*name, key string) *name {
	before, _, ok := strings.Cut(key, nameMark)
	if !ok {
		return nil
	}
	digits, _, _ := strings.Cut(before, "-")
	index, err := strconv.Atoi(digits)
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(names, func(n *name) bool { return n.index == index })
	if i < 0 {
		return nil
	}
	return names[i]
}

// pick returns the key of the address for the next request.
func (n *name) pick() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == 0 {
		return n.key("none")
	}
	now := time.Now()
	for range n.list {
		n.next++
		if a := n.list[n.next%len(n.list)]; !now.Before(a.rest) {
			return a.key
		}
	}
	return n.list[n.next%len(n.list)].key
}

// dial connects to the address with a key, or to the next ones when it cannot
// be connected to. They share the time that ctx leaves.
func (n *name) dial(ctx context.Context, key string, connect func(context.Context, string) (net.Conn, error)) (net.Conn, error) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("look up %s: %w", n.host, ctx.Err())
	}
	turn, err := n.turn(key)
	for i, a := range turn {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if end, bounded := ctx.Deadline(); bounded {
			attempt, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(len(turn)-i))
		}
		c, failed := connect(attempt, net.JoinHostPort(a.addr.String(), n.port))
		cancel()
		if failed == nil {
			return c, nil
		}
		err = failed
		if ctx.Err() != nil && i < len(turn)-1 {
			break // the client is gone: nothing is known about the others
		}
		n.pass(a)
	}
	return nil, err
}

// turn returns the addresses to try, that of the key first.
func (n *name) turn(key string) ([]*endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == 0 {
		if n.err != nil {
			return nil, n.err
		}
		return nil, errNoAddress
	}
	first := max(0, slices.IndexFunc(n.list, func(a *endpoint) bool { return a.key == key }))
	turn := slices.Concat(n.list[first:], n.list[:first])
	return turn[:min(len(turn), addressTries)], nil
}

// pass leaves an address alone for a while.
func (n *name) pass(a *endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a.rest = time.Now().Add(addressRest)
}

// known are the addresses that requests go to.
func (n *name) known() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]netip.Addr, len(n.list))
	for i, a := range n.list {
		out[i] = a.addr
	}
	return out
}

// addresses are the same for an operator.
func (n *name) addresses() []string {
	var out []string
	for _, addr := range n.known() {
		out = append(out, addr.String())
	}
	return out
}

// keep looks the name up until ctx ends, each time when what it knows is too
// old. learned is called after each lookup, with whether an address is no longer
// the name's.
func (n *name) keep(ctx context.Context, find lookup, learned func(left bool), log *zap.Logger) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		limited, cancel := context.WithTimeout(ctx, lookupTime)
		addrs, ttl, err := find(limited, n.host)
		cancel()
		if ctx.Err() != nil {
			return
		}
		again, left := n.learn(addrs, ttl, err, log)
		learned(left)
		timer.Reset(again)
	}
}

// learn takes the outcome of a lookup, and returns when to look again and
// whether an address was left. A name that is not found keeps those that it
// had.
func (n *name) learn(addrs []netip.Addr, ttl time.Duration, err error, log *zap.Logger) (again time.Duration, left bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.first {
		n.first = true
		defer close(n.ready)
	}
	if err == nil && len(addrs) == 0 {
		err = errNoAddress
	}
	if err != nil {
		if n.err == nil {
			log.Warn("a backend's name is not found, its last addresses stay", zap.String("host", n.host), zap.Int("addresses", len(n.list)), zap.Error(err))
		}
		n.err = err
		return lookupRetry, false
	}
	if n.err != nil {
		log.Info("a backend's name is found again", zap.String("host", n.host))
	}
	n.err = nil
	list := make([]*endpoint, 0, len(addrs))
	for _, addr := range addrs {
		addr = addr.Unmap()
		same := func(a *endpoint) bool { return a.addr == addr }
		if slices.ContainsFunc(list, same) {
			continue
		}
		if i := slices.IndexFunc(n.list, same); i >= 0 {
			list = append(list, n.list[i])
			continue
		}
		list = append(list, &endpoint{addr: addr, key: n.key(addr.String())})
	}
	left = slices.ContainsFunc(n.list, func(a *endpoint) bool { return !slices.Contains(list, a) })
	n.list = list
	if ttl <= 0 {
		ttl = plainTTL
	}
	return min(max(ttl, shortestTTL), longestTTL), left
}
