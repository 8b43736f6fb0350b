package geo

import (
	"fmt"
	"net/netip"

	"sallyport/internal/gate"
)

// words says why rules decided as they did, for the operator: which entry of
// which list, where one did.
func (s *ruleset) words(d decision, x *subject) string {
	switch d.level {
	case deniedPrefix, allowedPrefix:
		if p, at, ok := d.by.prefixes.LookupPrefixLPM(netip.PrefixFrom(x.addr, x.addr.BitLen())); ok {
			if p.IsSingleIP() {
				return fmt.Sprintf("%s stands in %s", x.addr, d.by.place(at))
			}
			return fmt.Sprintf("%s is in %s, %s", x.addr, p, d.by.place(at))
		}
	case deniedNetwork, allowedNetwork:
		return fmt.Sprintf("%s is in %s, %s", x.addr, asnText(x.place.ASN), d.by.place(d.by.asns[x.place.ASN]))
	case deniedCountry, allowedCountry:
		return fmt.Sprintf("%s is in %s, %s", x.addr, x.place.Country, d.by.place(d.by.countries[x.place.Country]))
	case deniedContinent, allowedContinent:
		return fmt.Sprintf("%s is in continent-%s, %s", x.addr, x.place.Continent, d.by.place(d.by.continents[x.place.Continent]))
	case deniedPrivate, allowedPrivate:
		return fmt.Sprintf("%s is private, which %s names", x.addr, d.by.name)
	case unavailable:
		return x.err.Error()
	case privatePasses:
		return fmt.Sprintf("%s is private, and no list of countries or networks speaks of such addresses", x.addr)
	case deniedUnknown:
		return fmt.Sprintf("%s is unknown to %s", addrText(x.addr), s.name)
	case allowedUnknown:
		return fmt.Sprintf("%s is unknown to %s, which lets unknown addresses pass", addrText(x.addr), s.name)
	case notAllowed:
		return fmt.Sprintf("neither %s nor %s is in %s", addrText(x.addr), placeText(x.place), s.allow.name)
	case noRule:
	}
	return fmt.Sprintf("no rule of %s names %s", s.name, addrText(x.addr))
}

func addrText(addr netip.Addr) string {
	if !addr.IsValid() {
		return "the client's missing address"
	}
	return addr.String()
}

// placeText says where a place is.
func placeText(at gate.Place) string {
	switch {
	case at.Country == "" && at.ASN == 0:
		return "its unknown place"
	case at.Country == "":
		return asnText(at.ASN)
	case at.ASN == 0:
		return at.Country
	}
	return fmt.Sprintf("%s (%s)", at.Country, asnText(at.ASN))
}

// An Answer is what the databases and the rules say about one address.
type Answer struct {
	Address netip.Addr
	Place   gate.Place
	Private bool
	// Problem is why the place may be incomplete; empty: it is not.
	Problem string
	// Findings are what each set of rules says, the global one first. The
	// first that refuses decides.
	Findings []Finding
}

// A Finding is what one set of rules says about an address, and why.
type Finding struct {
	Rules  string      // geo, or geo of route NAME
	Reason gate.Reason // why it refuses; empty: it lets pass
	Why    string
}

// Refused is why the rules together refuse the address; empty: they let it
// pass.
func (a Answer) Refused() gate.Reason {
	for _, f := range a.Findings {
		if f.Reason != "" {
			return f.Reason
		}
	}
	return ""
}

// Explain tells what Check would decide about an address, on a route or (with
// an empty name) on none that has rules of its own, and why. It looks at no
// path and no mode.
func (f *Filter) Explain(addr netip.Addr, route string) Answer {
	x := f.subject(addr)
	a := Answer{Address: x.addr, Place: x.place, Private: x.private}
	if x.err != nil {
		a.Problem = x.err.Error()
	}
	for _, s := range [...]*ruleset{f.global, f.routes[route]} {
		if s == nil {
			continue
		}
		d := s.judge(&x)
		a.Findings = append(a.Findings, Finding{Rules: s.name, Reason: d.reason(), Why: s.words(d, &x)})
	}
	return a
}
