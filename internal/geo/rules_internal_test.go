package geo

import (
	"net/netip"
	"slices"
	"testing"

	"sallyport/internal/gate"
)

// entry is one way to name the addresses of TestEveryCombination.
type entry struct {
	rule  Rule
	file  string // the rule stands in this list instead
	named func(*subject) bool
}

func inPrefix(p string) func(*subject) bool {
	prefix := netip.MustParsePrefix(p)
	return func(x *subject) bool { return prefix.Contains(x.addr) }
}

func never(*subject) bool { return false }

// listOf makes the list that a file would give.
func listOf(tb testing.TB, text string) *list {
	tb.Helper()
	l := &list{hasASN: true, watched: watched{path: text}}
	if err := l.read([]byte(text), nil, clock); err != nil {
		tb.Fatal(err)
	}
	return l
}

// TestEveryCombination holds the rules to the order that the documentation
// gives, with every combination of what may be denied and allowed, in keys and
// in lists, of what is done with unknown addresses, and of addresses.
func TestEveryCombination(t *testing.T) {
	const (
		prefixList  = "192.0.2.0/25\n"
		networkList = "AS64496\n"
	)
	lists := map[string]*list{prefixList: listOf(t, prefixList), networkList: listOf(t, networkList)}
	network := func(x *subject) bool { return x.place.ASN == 64496 }
	prefixes := []entry{
		{rule: Rule{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, named: inPrefix("192.0.2.0/24")},
		{file: prefixList, named: inPrefix("192.0.2.0/25")},
		{rule: Rule{Prefix: netip.MustParsePrefix("10.1.0.0/16")}, named: inPrefix("10.1.0.0/16")},
	}
	places := []entry{
		{rule: Rule{ASN: 64496}, named: network},
		{file: networkList, named: network},
		{rule: Rule{Country: "NL"}, named: func(x *subject) bool { return x.place.Country == "NL" }},
		{rule: Rule{Continent: "EU"}, named: func(x *subject) bool { return x.place.Continent == "EU" }},
		{rule: Rule{Class: Private}, named: func(x *subject) bool { return x.private }},
	}
	unknown := entry{rule: Rule{Class: Unknown}, named: never}
	entries := append(slices.Concat(prefixes, places), unknown)

	var subjects []*subject
	for _, addr := range []string{"192.0.2.1", "192.0.2.200", "203.0.113.1", "2001:db8::1", "10.1.2.3", "10.2.0.1", "::1", "100.64.0.1", ""} {
		for _, place := range []gate.Place{
			{}, {Country: "NL", Continent: "EU", ASN: 64496}, {Country: "DE", Continent: "EU", ASN: 64497}, {Country: "KP", Continent: "AS"},
			{Continent: "EU"}, {Continent: "AS", ASN: 64498}, {ASN: 64496}, {Country: "NL"},
		} {
			x := &subject{place: place}
			if addr != "" {
				x.addr = netip.MustParseAddr(addr)
			}
			x.private = isPrivate(x.addr)
			subjects = append(subjects, x)
		}
	}

	pick := func(bits int) []entry {
		var out []entry
		for i, e := range entries {
			if bits>>i&1 == 1 {
				out = append(out, e)
			}
		}
		return out
	}
	judged, seen := 0, map[level]int{}
	for denyBits := range 1 << len(entries) {
		for allowBits := range 1 << len(entries) {
			// All pairs of sets are more than a test can wait for: one side is
			// anything while the other has one entry, and both have two at most.
			if ones(denyBits) > 1 && ones(allowBits) > 1 && ones(denyBits|allowBits<<len(entries)) > 4 {
				continue
			}
			deny, allow := pick(denyBits), pick(allowBits)
			for _, denyUnknown := range []bool{false, true} {
				r := Rules{DenyUnknown: denyUnknown}
				r.Deny, r.DenyFiles = split(deny)
				r.Allow, r.AllowFiles = split(allow)
				s, err := newRuleset("geo", r, lists)
				refusesBoth := contains(allow, unknown) && (denyUnknown || contains(deny, unknown))
				if (err != nil) != refusesBoth {
					t.Fatalf("%v, %v: newRuleset says %v", r.Deny, r.Allow, err)
				}
				if err != nil {
					continue
				}
				for _, x := range subjects {
					d := s.judge(x)
					judged++
					seen[d.level]++
					want := oracle(deny, allow, denyUnknown || contains(deny, unknown), prefixes, places, unknown, x)
					if d.reason() != want {
						t.Fatalf("deny %v %q, allow %v %q, unknown denied %t: %s at %+v: %q (level %d), want %q",
							r.Deny, r.DenyFiles, r.Allow, r.AllowFiles, denyUnknown, x.addr, x.place, d.reason(), d.level, want)
					}
				}
			}
		}
	}
	for l := range noRule + 1 {
		if seen[l] == 0 && l != unavailable {
			t.Errorf("level %d never decided", l)
		}
	}
	t.Logf("%d decisions", judged)
}

func ones(bits int) int {
	n := 0
	for ; bits > 0; bits &= bits - 1 {
		n++
	}
	return n
}

func split(es []entry) (rules []Rule, files []string) {
	for _, e := range es {
		if e.file != "" {
			files = append(files, e.file)
		} else {
			rules = append(rules, e.rule)
		}
	}
	return rules, files
}

func contains(es []entry, e entry) bool {
	return slices.ContainsFunc(es, func(x entry) bool { return x.rule == e.rule && x.file == e.file })
}

// oracle is the order of the documentation, one line for each step.
func oracle(deny, allow []entry, denyUnknown bool, prefixes, places []entry, unknown entry, x *subject) gate.Reason {
	first := func(of, among []entry) int {
		return slices.IndexFunc(among, func(e entry) bool { return contains(of, e) && e.named(x) })
	}
	any := func(of, among []entry) bool {
		return slices.ContainsFunc(among, func(e entry) bool { return contains(of, e) })
	}
	if first(deny, prefixes) >= 0 {
		return gate.GeoPrefix
	}
	if first(allow, prefixes) >= 0 {
		return ""
	}
	if i := first(deny, places); i >= 0 {
		return []gate.Reason{gate.GeoASN, gate.GeoASN, gate.GeoCountry, gate.GeoContinent, gate.GeoPrivate}[i]
	}
	if first(allow, places) >= 0 {
		return ""
	}
	if len(allow) == 0 {
		if !x.private && denyUnknown && x.place.Country == "" {
			return gate.GeoUnknown
		}
		return ""
	}
	// An allow list that does not name the address.
	areas := any(allow, places[:4]) || contains(allow, unknown) // it speaks of what databases tell
	if x.private {
		if areas && !contains(allow, prefixes[2]) {
			return ""
		}
		return gate.GeoNotAllowed
	}
	known := x.place.Country
	switch {
	case any(allow, places[2:3]):
	case any(allow, places[3:4]):
		known = x.place.Continent
	case any(allow, places[:2]) && x.place.ASN != 0:
		known = "some network"
	case any(allow, places[:2]):
		known = ""
	}
	switch {
	case !areas || known != "":
		return gate.GeoNotAllowed
	case denyUnknown:
		return gate.GeoUnknown
	}
	return ""
}

// The judgement is on the path of every request.
func TestJudgeAllocatesNothing(t *testing.T) {
	l := listOf(t, "192.0.2.0/24\nAS64500\n")
	s, err := newRuleset("geo", Rules{Deny: []Rule{{Country: "KP"}}, DenyFiles: []string{l.path}}, map[string]*list{l.path: l})
	if err != nil {
		t.Fatal(err)
	}
	x := &subject{addr: netip.MustParseAddr("203.0.113.1"), place: gate.Place{Country: "NL", ASN: 64496}}
	if n := testing.AllocsPerRun(100, func() { s.judge(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestIsPrivate(t *testing.T) {
	for addr, want := range map[string]bool{
		"10.0.0.1": true, "172.16.0.1": true, "172.32.0.1": false, "192.168.1.1": true, "127.9.9.9": true, "169.254.1.1": true,
		"::1": true, "fe80::1": true, "fc00::1": true, "fdff::1": true, "fec0::1": false,
		"100.64.0.1": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "ff02::1": false, "192.0.2.1": false, "2001:db8::1": false, "64:ff9b::a00:1": false,
	} {
		a := netip.MustParseAddr(addr)
		if got := isPrivate(a); got != want {
			t.Errorf("isPrivate(%s) = %t, want %t", addr, got, want)
		}
		in := slices.ContainsFunc(privatePrefixes[:], func(p netip.Prefix) bool { return p.Contains(a) })
		if in != want {
			t.Errorf("privatePrefixes has %s: %t, want %t", addr, in, want)
		}
	}
	if isPrivate(netip.Addr{}) {
		t.Error("no address is private")
	}
}
