package proxy

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
)

// maxLearned is how many addresses of a pool are looked for beside those of
// its configuration.
const maxLearned = 64

// A lookout knows what must not be told of a pool: what the configuration says
// of its backends, and the addresses that connections to them have led to,
// since a name in the configuration is an address to the backend itself. Its
// methods may be called from any goroutine.
type lookout struct {
	backends []*url.URL
	also     []string
	set      atomic.Pointer[leakSet]

	mu      sync.Mutex
	learned []netip.AddrPort // the newest at the end
}

func newLookout(backends []*url.URL, also []string) *lookout {
	l := &lookout{backends: backends, also: also}
	l.set.Store(newLeakSet(backends, also...))
	return l
}

// tokens is what to look for now.
func (l *lookout) tokens() *leakSet { return l.set.Load() }

// learn adds the address that a new connection to a backend has led to.
func (l *lookout) learn(at net.Addr) {
	tcp, ok := at.(*net.TCPAddr)
	if !ok { // a Unix socket
		return
	}
	addr := netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap().WithZone(""), tcp.AddrPort().Port())
	l.mu.Lock()
	defer l.mu.Unlock()
	text := addr.String()
	if !addr.IsValid() || slices.Contains(l.learned, addr) || slices.ContainsFunc(l.backends, func(u *url.URL) bool { return u.Host == text }) {
		return
	}
	if len(l.learned) >= maxLearned {
		l.learned = slices.Delete(l.learned, 0, 1)
	}
	l.learned = append(l.learned, addr)
	all := slices.Clone(l.backends)
	for _, a := range l.learned {
		all = append(all, &url.URL{Scheme: "http", Host: a.String()})
	}
	l.set.Store(newLeakSet(all, l.also...))
}
