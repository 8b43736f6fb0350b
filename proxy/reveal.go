package proxy

import (
	"net/textproto"
	"net/url"
)

// RevealsSoftware reports whether a field of an answer is one of those that
// the mask drops because they tell what is behind it. Fields of the connection
// itself are dropped too, and tell nothing.
func RevealsSoftware(name string) bool {
	switch name = textproto.CanonicalMIMEHeaderKey(name); name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Content-Length",
		"X-Request-Id", "Date":
		return false
	}
	return newMask(nil).fate(name) == drop
}

// RevealsBalancer reports whether a cookie is one in which a load balancer
// writes down a server.
func RevealsBalancer(cookie string) bool { return balancerCookie(cookie) }

// A Searcher finds the names and addresses of backends as the leak detector
// does. It may be used by any number of goroutines.
type Searcher struct{ set *leakSet }

// NewSearcher looks for the backends of all pools, and for what mask.leaks.also
// names.
func NewSearcher(cfg Config) *Searcher {
	var urls []*url.URL
	for _, p := range cfg.Pools {
		urls = append(urls, backendURLs(p.Backends)...)
	}
	return &Searcher{newLeakSet(urls, cfg.MaskAlso...)}
}

// Find returns what stands in a text, each token once and in the order of the
// text.
func (s *Searcher) Find(text []byte) []string {
	var found []string
	seen := map[string]bool{}
	scan := leakScanner{set: s.set, edit: func(t leakToken) (string, bool) {
		if !seen[t.shown] {
			seen[t.shown] = true
			found = append(found, t.shown)
		}
		return "", false
	}}
	scan.feed(nil, text, true)
	return found
}
