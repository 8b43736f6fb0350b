package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"

	"sallyport/internal/gate"
)

// SplitConfig is one arm of a route: a share of its clients goes to a pool.
type SplitConfig struct {
	Pool string
	// Weight is the share, against the sum of the route's weights. 0: only
	// those who ask for the arm.
	Weight int
}

// OverrideConfig says how testers choose an arm: by its pool's name in a field
// or a cookie. Empty names: not at all.
type OverrideConfig struct{ Header, Cookie string }

// A split sends each client of a route to one of several pools, always to the
// same one.
type split struct {
	arms     []*pool
	until    []uint64 // by arm: where its share ends
	salt     [sha256.Size]byte
	override OverrideConfig
}

// newSplit returns nil for a route with one pool. The key makes the shares of
// one route independent of another's, and a client unable to tell which arm it
// is in; gateways that share it agree.
func newSplit(rc *RouteConfig, pools map[string]*pool, key []byte) (*split, error) {
	if len(rc.Split) == 0 {
		return nil, nil
	}
	s := &split{override: rc.Override}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(rc.Route.Name))
	mac.Sum(s.salt[:0])
	total := uint64(0)
	for _, arm := range rc.Split {
		p := pools[arm.Pool]
		if p == nil {
			return nil, fmt.Errorf("route %s: there is no pool %q", rc.Route.Name, arm.Pool)
		}
		total += uint64(max(0, arm.Weight)) //nolint:gosec // not negative
		s.arms = append(s.arms, p)
		s.until = append(s.until, total)
	}
	if total == 0 {
		return nil, fmt.Errorf("route %s: no arm of the split has a weight", rc.Route.Name)
	}
	return s, nil
}

// of is the arm of a client. When a weight grows, only clients that move into
// the arm change theirs.
func (s *split) of(client netip.Addr) *pool {
	point := s.point(client)
	for i, until := range s.until {
		if point < until {
			return s.arms[i]
		}
	}
	return s.arms[len(s.arms)-1] // not reached: the last share ends at the total
}

// point places a client evenly below the sum of the weights. An IPv6 client is
// its /64, in which it may change its address at will (RFC 8981).
func (s *split) point(client netip.Addr) uint64 {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		client = netip.PrefixFrom(client, 64).Masked().Addr()
	}
	raw := client.As16() // all zero for an address that is not known: they share an arm
	if !client.IsValid() {
		raw = [16]byte{}
	}
	sum := sha256.Sum256(append(s.salt[:len(s.salt):len(s.salt)], raw[:]...))
	// The bias of a remainder of 64 bits is less than 1 in 2^40 here.
	return binary.BigEndian.Uint64(sum[:8]) % s.until[len(s.until)-1]
}

// asked is the arm that a tester asks for, or nil.
func (s *split) asked(head *gate.Head) *pool {
	var names [2]string
	if s.override.Header != "" {
		names[0], _ = head.Get(s.override.Header)
	}
	if s.override.Cookie != "" {
		names[1] = cookieValue(head, s.override.Cookie)
	}
	for _, name := range names {
		for _, p := range s.arms {
			if name == p.name {
				return p
			}
		}
	}
	return nil
}

// split chooses the pool.
func (h *Handler) split(v *visit) gate.Verdict {
	v.arm = v.site.pool
	if s := v.site.split; s != nil {
		if v.arm = s.asked(v.req.Head); v.arm == nil {
			v.arm = s.of(v.req.Client)
		}
	}
	return gate.Passes(gate.StageRoute)
}
