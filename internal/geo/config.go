package geo

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"sallyport/internal/gate"
)

// Config says where requests may come from.
type Config struct {
	// Mode is geo.mode: enforce (default), observe or off.
	Mode gate.Mode
	// Country is the path of an mmdb file with countries (Country or City);
	// empty: countries and continents are unknown. Reloaded when the file
	// changes.
	Country string
	// ASN is the path of an mmdb file with autonomous system numbers; empty:
	// networks are unknown. Reloaded when the file changes.
	ASN string
	// MaxAge is how old a database may grow before it is warned of, once a day
	// (geo.max_age). Default 45 days; 0: never.
	MaxAge time.Duration
	// Locate asks for the coordinates of clients too, which City databases
	// have; one without them is refused.
	Locate bool
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
// network, country, continent and class before allow network, country,
// continent and class before unknown before default. The default is to pass,
// or to refuse as soon as there is an allow list.
//
// A private address passes an allow list without being named there, where the
// list names countries, continents, networks or unknown (which no database
// could tell of it) and no private prefix.
type Rules struct {
	Deny  []Rule
	Allow []Rule
	// DenyFiles and AllowFiles are paths of lists of prefixes and networks
	// (geo.deny_files, geo.allow_files), which count as if they stood in Deny
	// and Allow. Reloaded when a file changes. An allow list without a living
	// entry is one all the same: it allows nobody.
	DenyFiles  []string
	AllowFiles []string
	// DenyUnknown refuses addresses whose country is not known (whose
	// continent, where Allow names continents and no country; whose network,
	// where it names networks only). It is set by geo.unknown: deny or unknown
	// in Deny, and by default as soon as Allow names a country, a continent or
	// a network, or there is a list to allow. When it is false they pass such
	// an Allow, but never one that names prefixes only.
	DenyUnknown bool
}

// A Class names addresses by what they are.
type Class string

// The classes.
const (
	// Private is what is never routed on the public Internet because it belongs
	// to a site, a link or a host: RFC 1918, RFC 4193, loopback and link-local.
	// The space that providers share between their customers (RFC 6598) is not
	// among them: its addresses are other people's.
	Private Class = "private"
	// Unknown is what DenyUnknown is about.
	Unknown Class = "unknown"
)

// A Rule names addresses in one of several ways; exactly one field is set.
type Rule struct {
	Country   string // ISO 3166-1 alpha-2, upper case
	Continent string // AF, AN, AS, EU, NA, OC or SA
	ASN       uint32
	Prefix    netip.Prefix // masked
	Class     Class
}

// String writes the rule as it stands in a configuration: NL, continent-EU,
// AS64496, 192.0.2.0/24, private.
func (r Rule) String() string {
	switch {
	case r.Country != "":
		return r.Country
	case r.Continent != "":
		return "continent-" + r.Continent
	case r.ASN != 0:
		return asnText(r.ASN)
	case r.Class != "":
		return string(r.Class)
	}
	return prefixText(r.Prefix)
}

func asnText(n uint32) string { return "AS" + strconv.FormatUint(uint64(n), 10) }

// prefixText writes a single address without a length.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// valid reports whether the rule names addresses in exactly one way, and in
// one that can match.
func (r Rule) valid() error {
	ways := 0
	for _, named := range [...]bool{r.Country != "", r.Continent != "", r.ASN != 0, r.Prefix != netip.Prefix{}, r.Class != ""} {
		if named {
			ways++
		}
	}
	switch {
	case ways != 1:
		return fmt.Errorf("names addresses in %d ways, not in one", ways)
	case r.Prefix != netip.Prefix{} && (!r.Prefix.IsValid() || r.Prefix.Addr().Is4In6()):
		return fmt.Errorf("%s could never match", r.Prefix)
	case r.Class != "" && r.Class != Private && r.Class != Unknown:
		return fmt.Errorf("there is no class %q", r.Class)
	}
	return nil
}

// privatePrefixes are what Private names.
var privatePrefixes = [...]netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10"),
}

// isPrivate reports whether the address, unmapped, is of the class Private.
func isPrivate(addr netip.Addr) bool {
	return addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()
}
