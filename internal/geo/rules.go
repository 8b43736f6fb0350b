package geo

import (
	"errors"
	"fmt"
	"net/netip"

	"sallyport/internal/gate"
)

// A ruleset is one Rules made quick to ask. The lists that it refers to change;
// nothing else does.
type ruleset struct {
	name         string // for the operator
	deny, allow  side
	denyUnknown  bool
	allowUnknown bool // by name: even where the list names prefixes only
	// closed refuses what no rule named: there is an allow list.
	closed bool
}

// A side is what a ruleset denies, or what it allows.
type side struct {
	name  string // geo.deny
	key   *set
	lists []*list
}

// newRuleset compiles rules; name is what errors and details call them, and
// lists finds the list of a path.
func newRuleset(name string, r Rules, lists map[string]*list) (*ruleset, error) {
	deny, err := newSide(name+".deny", r.Deny, r.DenyFiles, lists)
	allow, err2 := newSide(name+".allow", r.Allow, r.AllowFiles, lists)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	s := &ruleset{
		name: name, deny: deny, allow: allow,
		denyUnknown:  r.DenyUnknown || deny.key.unknown,
		allowUnknown: allow.key.unknown,
		closed:       len(r.Allow)+len(r.AllowFiles) > 0,
	}
	if s.denyUnknown && s.allowUnknown {
		return nil, fmt.Errorf("%s: unknown is both denied and allowed", name)
	}
	return s, nil
}

func newSide(name string, rules []Rule, files []string, lists map[string]*list) (side, error) {
	key, err := newKeySet(name, rules)
	s := side{name: name, key: key}
	for _, path := range files {
		s.lists = append(s.lists, lists[path])
	}
	return s, err
}

// prefix returns the set that has the address, or nil.
func (d *side) prefix(addr netip.Addr) *set {
	if d.key.prefixes.Contains(addr) {
		return d.key
	}
	for _, l := range d.lists {
		if v := l.current.Load(); v.prefixes.Contains(addr) {
			return v.set
		}
	}
	return nil
}

// network returns the set that has the network, or nil.
func (d *side) network(asn uint32) *set {
	if asn == 0 {
		return nil
	}
	if _, ok := d.key.asns[asn]; ok {
		return d.key
	}
	for _, l := range d.lists {
		v := l.current.Load()
		if _, ok := v.asns[asn]; ok {
			return v.set
		}
	}
	return nil
}

// networks reports whether the side names networks at all.
func (d *side) networks() bool {
	for _, l := range d.lists {
		if len(l.current.Load().asns) > 0 {
			return true
		}
	}
	return len(d.key.asns) > 0
}

// areas reports whether the side names countries or continents.
func (d *side) areas() bool { return len(d.key.countries)+len(d.key.continents) > 0 }

// narrow reports whether the side names a prefix among the private ones.
func (d *side) narrow() bool {
	for _, l := range d.lists {
		if l.current.Load().narrow {
			return true
		}
	}
	return d.key.narrow
}

// places reports whether the side names what a database tells of an address,
// or unknown.
func (d *side) places() bool { return d.areas() || d.networks() || d.key.unknown }

// asks reports whether the rules depend on what the databases tell.
func (s *ruleset) asks() bool {
	return s.deny.places() || s.allow.places() || s.denyUnknown && !s.closed
}

// answerable refuses rules about what no database could tell: a list of denied
// countries that never matches would look like protection and be none. Where
// unknown places are refused an allow list without a database only refuses too
// much, which is for the configuration to warn about. Lists in files answer for
// their networks themselves.
func (s *ruleset) answerable(cfg Config) error {
	var errs []error
	open := !s.denyUnknown
	listed := s.allow.areas() || len(s.allow.key.asns) > 0 || len(s.allow.lists) > 0
	if cfg.Country == "" && (s.deny.areas() || open && (s.allow.areas() || s.allowUnknown) || !open && !listed) {
		errs = append(errs, fmt.Errorf("%s: rules depend on the country, but geo.country names no database", s.name))
	}
	if cfg.ASN == "" && (len(s.deny.key.asns) > 0 || open && len(s.allow.key.asns) > 0) {
		errs = append(errs, fmt.Errorf("%s: rules depend on the network, but geo.asn names no database", s.name))
	}
	return errors.Join(errs...)
}

// A level is the step at which rules decided, in the order in which they are
// taken.
type level uint8

const (
	deniedPrefix level = iota
	allowedPrefix
	unavailable // what the databases should tell cannot be read
	deniedNetwork
	deniedCountry
	deniedContinent
	deniedPrivate
	allowedNetwork
	allowedCountry
	allowedContinent
	allowedPrivate
	privatePasses // without being named
	deniedUnknown
	allowedUnknown
	notAllowed
	noRule
)

// reasons holds why a level refuses; those that pass are not in it.
var reasons = [...]gate.Reason{
	deniedPrefix:    gate.GeoPrefix,
	unavailable:     gate.GeoUnavailable,
	deniedNetwork:   gate.GeoASN,
	deniedCountry:   gate.GeoCountry,
	deniedContinent: gate.GeoContinent,
	deniedPrivate:   gate.GeoPrivate,
	deniedUnknown:   gate.GeoUnknown,
	notAllowed:      gate.GeoNotAllowed,
	noRule:          "",
}

// A subject is an address and what is known about it.
type subject struct {
	addr    netip.Addr
	place   gate.Place
	private bool
	err     error // why the place may be incomplete
}

// A decision is what rules made of a subject.
type decision struct {
	level level
	by    *set // the list that names it; nil where none does
}

func (d decision) reason() gate.Reason { return reasons[d.level] }

// judge decides about an address. It allocates nothing: words says the rest.
func (s *ruleset) judge(x *subject) decision {
	if by := s.deny.prefix(x.addr); by != nil {
		return decision{deniedPrefix, by}
	}
	if by := s.allow.prefix(x.addr); by != nil {
		return decision{allowedPrefix, by}
	}
	if x.err != nil && s.asks() {
		return decision{unavailable, nil}
	}
	if by := s.deny.network(x.place.ASN); by != nil {
		return decision{deniedNetwork, by}
	}
	deny, allow := s.deny.key, s.allow.key
	if _, ok := deny.countries[x.place.Country]; ok {
		return decision{deniedCountry, deny}
	}
	if _, ok := deny.continents[x.place.Continent]; ok {
		return decision{deniedContinent, deny}
	}
	if x.private && deny.private {
		return decision{deniedPrivate, deny}
	}
	if by := s.allow.network(x.place.ASN); by != nil {
		return decision{allowedNetwork, by}
	}
	if _, ok := allow.countries[x.place.Country]; ok {
		return decision{allowedCountry, allow}
	}
	if _, ok := allow.continents[x.place.Continent]; ok {
		return decision{allowedContinent, allow}
	}
	if x.private && allow.private {
		return decision{allowedPrivate, allow}
	}
	return decision{s.rest(x), nil}
}

// rest decides about an address that no rule names.
func (s *ruleset) rest(x *subject) level {
	switch {
	case x.private && !s.closed:
		return noRule
	case x.private && s.allow.places() && !s.allow.narrow():
		return privatePasses
	case x.private: // the list is about addresses, and this one is not on it
		return notAllowed
	case s.closed && !s.allow.places():
		return notAllowed
	case s.unknown(x.place) && s.denyUnknown:
		return deniedUnknown
	case s.unknown(x.place) && s.closed:
		return allowedUnknown
	case s.closed:
		return notAllowed
	}
	return noRule
}

// unknown reports whether what the allow list asks for first is not known.
func (s *ruleset) unknown(at gate.Place) bool {
	switch {
	case len(s.allow.key.countries) > 0:
	case len(s.allow.key.continents) > 0:
		return at.Continent == ""
	case s.allow.networks():
		return at.ASN == 0
	}
	return at.Country == ""
}
