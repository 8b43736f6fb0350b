package geo

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"
)

// A set is the addresses of one list: of a key of the configuration, or of one
// version of a file. It is never modified once it is in use.
//
// The numbers tell where each entry stands: the position in the key, or the
// line of the file.
type set struct {
	name       string // geo.deny, or the path of the file
	line       bool   // the numbers are lines
	prefixes   *bart.Table[uint32]
	asns       map[uint32]uint32
	countries  map[string]uint32
	continents map[string]uint32
	private    bool // names the class
	unknown    bool // names the class
	// narrow is set when a prefix lies among the private ones.
	narrow  bool
	expires []expiry // in order of time
}

// An expiry is an entry with an end.
type expiry struct {
	end    time.Time // from which on it does not count
	prefix netip.Prefix
	asn    uint32
	at     uint32
}

// compareEnds orders entries by their end.
func compareEnds(a, b expiry) int { return a.end.Compare(b.end) }

func newSet(name string) *set {
	return &set{
		name: name, prefixes: new(bart.Table[uint32]), asns: map[uint32]uint32{},
		countries: map[string]uint32{}, continents: map[string]uint32{},
	}
}

// newKeySet compiles the rules of one key of the configuration.
func newKeySet(name string, rules []Rule) (*set, error) {
	s := newSet(name)
	for i, r := range rules {
		if err := r.valid(); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
		}
		switch at := uint32(i); {
		case r.Country != "":
			s.countries[r.Country] = at
		case r.Continent != "":
			s.continents[r.Continent] = at
		case r.ASN != 0:
			s.asns[r.ASN] = at
		case r.Class == Private:
			s.private = true
		case r.Class == Unknown:
			s.unknown = true
		default:
			s.prefixes.Insert(r.Prefix.Masked(), at)
		}
	}
	s.narrow = s.namesPrivate()
	return s, nil
}

// namesPrivate reports whether a prefix of the set lies among the private ones.
func (s *set) namesPrivate() bool {
	for _, p := range privatePrefixes {
		for range s.prefixes.Subnets(p) {
			return true
		}
	}
	return false
}

// size is how many entries count.
func (s *set) size() int { return s.prefixes.Size() + len(s.asns) }

// due reports whether an entry has come to its end.
func (s *set) due(now time.Time) bool { return len(s.expires) > 0 && !now.Before(s.expires[0].end) }

// without returns the set without the entries that have come to their end.
func (s *set) without(now time.Time) *set {
	rest := slices.IndexFunc(s.expires, func(e expiry) bool { return now.Before(e.end) })
	if rest < 0 {
		rest = len(s.expires)
	}
	next := *s
	next.expires = s.expires[rest:]
	next.prefixes, next.asns = s.prefixes.Clone(), maps.Clone(s.asns)
	for _, e := range s.expires[:rest] {
		if e.asn != 0 {
			delete(next.asns, e.asn)
		} else {
			next.prefixes.Delete(e.prefix)
		}
	}
	next.narrow = next.namesPrivate()
	return &next
}

// place tells where the entry stands that a number belongs to.
func (s *set) place(at uint32) string {
	if s.line {
		return fmt.Sprintf("%s:%d", s.name, at)
	}
	return fmt.Sprintf("%s[%d]", s.name, at)
}
