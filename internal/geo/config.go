package geo

import (
	"net/netip"

	"sallyport/internal/gate"
)

// Config says where requests may come from.
type Config struct {
	// Mode is geo.mode: enforce (default), observe or off.
	Mode gate.Mode
	// Country is the path of an mmdb file with countries (Country or City);
	// empty: countries are unknown. Reloaded when the file changes.
	Country string
	// ASN is the path of an mmdb file with autonomous system numbers; empty:
	// networks are unknown. Reloaded when the file changes.
	ASN string
	// Global holds for every request.
	Global Rules
	// ExemptPaths are path prefixes on segment borders that no rule applies to
	// (geo.exempt_paths), as /.well-known/. Matched against the canonical path.
	ExemptPaths []string
	// Routes holds the narrower rules of routes, by route name. A request has
	// to pass the global rules and those of its route.
	Routes map[string]Rules
}

// Rules decide about one address: deny prefix before allow prefix before deny
// ASN and country before allow ASN and country before unknown before default.
// The default is to pass, or to refuse as soon as Allow is not empty.
type Rules struct {
	Deny  []Rule
	Allow []Rule
	// DenyUnknown refuses addresses whose country is not known (where Allow
	// names ASNs and no country: whose network is not known). It is set by
	// geo.unknown: deny, and by default as soon as Allow names a country or
	// an ASN. When it is false they pass such an Allow, but never one that
	// names prefixes only.
	DenyUnknown bool
}

// A Rule names addresses in one of three ways; exactly one field is set.
type Rule struct {
	Country string // ISO 3166-1 alpha-2, upper case
	ASN     uint32
	Prefix  netip.Prefix // masked
}
