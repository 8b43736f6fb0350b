package geo

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"

	"sallyport/internal/gate"
)

// A ruleset is one Rules made quick to ask. It is never modified.
type ruleset struct {
	name        string // for the operator
	deny, allow places
	denyUnknown bool
	// closed refuses what no rule named: there is an allow list.
	closed bool
}

// places is a set of addresses, named in any of the three ways.
type places struct {
	prefixes  *bart.Lite
	asns      map[uint32]struct{}
	countries map[string]struct{}
}

// newRuleset compiles rules; name is what errors and details call them.
func newRuleset(name string, r Rules) (*ruleset, error) {
	deny, err := newPlaces(name+".deny", r.Deny)
	allow, err2 := newPlaces(name+".allow", r.Allow)
	s := &ruleset{name: name, deny: deny, allow: allow, denyUnknown: r.DenyUnknown, closed: len(r.Allow) > 0}
	return s, errors.Join(err, err2)
}

func newPlaces(name string, rules []Rule) (places, error) {
	p := places{new(bart.Lite), make(map[uint32]struct{}), make(map[string]struct{})}
	for i, r := range rules {
		switch {
		case r.Country != "" && r.ASN == 0 && r.Prefix == netip.Prefix{}:
			p.countries[r.Country] = struct{}{}
		case r.Country == "" && r.ASN != 0 && r.Prefix == netip.Prefix{}:
			p.asns[r.ASN] = struct{}{}
		case r.Country == "" && r.ASN == 0 && r.Prefix.IsValid() && !r.Prefix.Addr().Is4In6():
			p.prefixes.Insert(r.Prefix.Masked())
		default:
			return p, fmt.Errorf("%s[%d]: not one of a country, a network and a prefix", name, i)
		}
	}
	return p, nil
}

// names reports whether the place belongs to the set by network or country.
func (p places) names(at gate.Place) bool {
	_, asn := p.asns[at.ASN]
	_, country := p.countries[at.Country]
	return asn || country
}

// asksNetwork reports whether it is the network, not the country, that has to
// be known for the allow list to be applied.
func (s *ruleset) asksNetwork() bool { return len(s.allow.asns) > 0 && len(s.allow.countries) == 0 }

// asksCountry and asksASN report which databases the rules depend on.
func (s *ruleset) asksCountry() bool {
	return len(s.deny.countries)+len(s.allow.countries) > 0 || s.denyUnknown && !s.asksNetwork()
}

func (s *ruleset) asksASN() bool {
	return len(s.deny.asns)+len(s.allow.asns) > 0
}

// answerable refuses rules about what no database could tell: a list of denied
// countries that never matches would look like protection and be none. Where
// unknown places are refused an allow list without a database only refuses too
// much, which is for the configuration to warn about.
func (s *ruleset) answerable(cfg Config) error {
	var errs []error
	open := !s.denyUnknown
	listed := len(s.allow.countries)+len(s.allow.asns) > 0
	if cfg.Country == "" && (len(s.deny.countries) > 0 || open && len(s.allow.countries) > 0 || !open && !listed) {
		errs = append(errs, fmt.Errorf("%s: rules depend on the country, but geo.country names no database", s.name))
	}
	if cfg.ASN == "" && (len(s.deny.asns) > 0 || open && len(s.allow.asns) > 0) {
		errs = append(errs, fmt.Errorf("%s: rules depend on the network, but geo.asn names no database", s.name))
	}
	return errors.Join(errs...)
}

// judge returns why the rules refuse an address that lies at a place, and what
// decided; an empty reason when they let it pass. lookupErr is why the place
// may be incomplete.
func (s *ruleset) judge(addr netip.Addr, at gate.Place, lookupErr error) (gate.Reason, string) {
	switch {
	case s.deny.prefixes.Contains(addr):
		return gate.GeoPrefix, fmt.Sprintf("%s is in %s.deny", addr, s.name)
	case s.allow.prefixes.Contains(addr):
		return "", ""
	}
	if s.asksCountry() || s.asksASN() {
		if lookupErr != nil {
			return gate.GeoUnavailable, lookupErr.Error()
		}
		if _, denied := s.deny.asns[at.ASN]; denied {
			return gate.GeoASN, fmt.Sprintf("AS%d is in %s.deny", at.ASN, s.name)
		}
		if _, denied := s.deny.countries[at.Country]; denied {
			return gate.GeoCountry, fmt.Sprintf("%s is in %s.deny", at.Country, s.name)
		}
		if s.allow.names(at) {
			return "", ""
		}
		if s.unknown(at) {
			if s.denyUnknown {
				return gate.GeoUnknown, "unknown to " + s.name
			}
			if len(s.allow.asns)+len(s.allow.countries) > 0 {
				return "", ""
			}
		}
	}
	if s.closed {
		return gate.GeoNotAllowed, fmt.Sprintf("neither %s nor %s is in %s.allow", addr, name(at), s.name)
	}
	return "", ""
}

// unknown reports whether what the rules ask for first is not known.
func (s *ruleset) unknown(at gate.Place) bool {
	if s.asksNetwork() {
		return at.ASN == 0
	}
	return at.Country == ""
}

// name says where a place is, for the operator.
func name(at gate.Place) string {
	switch {
	case at.Country == "" && at.ASN == 0:
		return "its unknown place"
	case at.Country == "":
		return fmt.Sprintf("AS%d", at.ASN)
	case at.ASN == 0:
		return at.Country
	}
	return fmt.Sprintf("%s (AS%d)", at.Country, at.ASN)
}
