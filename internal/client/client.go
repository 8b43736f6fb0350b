// Package client decides who is calling: who connected, or the address that
// trusted proxies name in a forwarding field (Forwarded of RFC 7239,
// X-Forwarded-For, or a field with a single address).
//
// It believes nobody but the configured proxies, never reads further left than
// the first hop that is not one of them, and never refuses a request: what
// stands left of that hop is the client's own talk.
package client

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"

	"sallyport/internal/gate"
)

// The fields that list every hop; any other name holds one address.
const (
	headerXFF       = "X-Forwarded-For"
	headerForwarded = "Forwarded"
	headerRequestID = "X-Request-Id"
)

// unreadable follows the field's name in ChosenBy when the hop that had to
// name the client held no address.
const unreadable = " (unreadable)"

// maxHops bounds how many hops of one request are read. Real chains have two
// or three; a longer one is a client's attempt to make us work.
const maxHops = 64

// maxID is how much of a client's request id is kept, in bytes.
const maxID = 128

// A Resolver finds the client of each request. It is safe for concurrent use.
type Resolver struct {
	trusted   *bart.Lite
	unix      bool
	header    string // as configured
	doubtful  string // ChosenBy when the header did not name the client
	trustedID bool
	next      func(text string) (hop, rest string, more bool) // nil: the header holds one address
	read      func(hop string) (netip.Addr, bool)
}

// New returns a resolver. It refuses prefixes that are not valid and a header
// that is not a field name.
func New(cfg Config) (*Resolver, error) {
	header := cfg.Header
	if header == "" {
		header = headerXFF
	}
	if !validFieldName(header) {
		return nil, fmt.Errorf("clients.header: %q is not a field name", header)
	}
	r := &Resolver{
		trusted:   new(bart.Lite),
		unix:      cfg.TrustUnix,
		header:    header,
		doubtful:  header + unreadable,
		trustedID: cfg.TrustRequestID,
		read:      parseNode,
	}
	switch {
	case strings.EqualFold(header, headerXFF):
		r.next = lastHop
	case strings.EqualFold(header, headerForwarded):
		r.next, r.read = lastElement, parseElement
	}
	var errs []error
	for _, p := range cfg.Trusted {
		q, ok := unmapPrefix(p)
		if !ok {
			errs = append(errs, fmt.Errorf("clients.trusted_proxies: %s is not a prefix", p))
			continue
		}
		r.trusted.Insert(q)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// Check finds the client of the request and sets Client, ChosenBy and Trusted,
// and either ID (from a trusted proxy) or ClientID. It always passes. Whom
// nobody names, who connected by a Unix socket, is not known: the zero Addr.
func (r *Resolver) Check(req *gate.Request) gate.Verdict {
	peer, by := clean(req.Peer.Addr()), req.Origin.ChosenBy
	if by == "" {
		by = gate.ByPeer
	}
	req.Client, req.ChosenBy = peer, by
	req.Trusted = r.TrustedPeer(peer, req.Origin.Unix)
	if req.Trusted {
		req.Client, req.ChosenBy = r.resolve(peer, by, req.Head.Fields)
	}
	r.identify(req)
	return gate.Passes(gate.StageClient)
}

// TrustedPeer reports whether who connected is one of the trusted proxies: by
// the address, or as a process of this machine that has none.
func (r *Resolver) TrustedPeer(addr netip.Addr, unix bool) bool {
	if !addr.IsValid() {
		return unix && r.unix
	}
	return r.trusted.Contains(clean(addr))
}

// resolve finds the client behind a trusted peer, and how. What no field says
// stays as it was.
func (r *Resolver) resolve(peer netip.Addr, by string, fields []gate.Field) (netip.Addr, string) {
	if r.next == nil {
		return r.single(peer, by, fields)
	}
	client := peer
	hops := 0
	for i := len(fields) - 1; i >= 0; i-- {
		if !strings.EqualFold(fields[i].Name, r.header) {
			continue
		}
		for rest, more := fields[i].Value, true; more; hops++ {
			if hops == maxHops {
				return client, r.doubtful
			}
			var hop string
			hop, rest, more = r.next(rest)
			addr, ok := r.read(hop)
			if !ok {
				// The hop was written by someone we trust, yet names nobody.
				// Whatever stands further left may be anyone's invention.
				return client, r.doubtful
			}
			client, by = addr, r.header
			if !r.trusted.Contains(addr) {
				return client, by
			}
		}
	}
	return client, by
}

// single reads a field that holds the client's address and nothing else. Two
// lines of it mean that one was not written by the proxy.
func (r *Resolver) single(peer netip.Addr, by string, fields []gate.Field) (netip.Addr, string) {
	value, n := lines(fields, r.header)
	if n == 0 {
		return peer, by
	}
	if addr, ok := r.read(trim(value)); ok && n == 1 {
		return addr, r.header
	}
	return peer, r.doubtful
}

// identify takes the request's id from a trusted proxy where that is wanted
// and the id is harmless in a log, a page and a field; otherwise it only notes
// what the client called the request.
func (r *Resolver) identify(req *gate.Request) {
	id, n := lines(req.Head.Fields, headerRequestID)
	if r.trustedID && req.Trusted && n == 1 && validID(id) {
		req.ID = id
		return
	}
	req.ClientID = id[:min(len(id), maxID)]
}

// lines returns the value of the first field line with the name, and how many
// such lines there are.
func lines(fields []gate.Field, name string) (first string, n int) {
	for i := range fields {
		if strings.EqualFold(fields[i].Name, name) {
			if n == 0 {
				first = fields[i].Value
			}
			n++
		}
	}
	return first, n
}

// validID reports whether a request id consists of letters, digits and the few
// marks that real ids use (UUID, ULID, base64, trace ids): visible ASCII
// without anything that means something to HTML, a shell or a list.
func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !isAlphanumeric(c) && strings.IndexByte("-._~+/=:@;", c) < 0 {
			return false
		}
	}
	return true
}

// validFieldName reports whether name is a token (RFC 9110 section 5.6.2).
func validFieldName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// clean brings an address into the one form that all stages compare: an
// IPv4-mapped address is its IPv4 address (RFC 4291 section 2.5.5.2), and a
// zone means nothing beyond the link.
func clean(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// unmapPrefix is clean for prefixes; false when p is not valid.
func unmapPrefix(p netip.Prefix) (netip.Prefix, bool) {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), p.IsValid()
}
