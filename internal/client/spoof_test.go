package client_test

import (
	"net/netip"
	"strings"
	"testing"

	"sallyport/internal/client"
	"sallyport/internal/gate"
)

// Every forged field that is worth a try, from a peer that is believed and
// from one that is not. The address that comes out is the one that a person
// who knows the network would name: never one that the caller made up.
func TestSpoofing(t *testing.T) {
	const (
		xff, fwd, cf = "X-Forwarded-For", "Forwarded", "CF-Connecting-IP"
		truth        = "203.0.113.9" // what the trusted proxy saw
		proxy        = "10.0.0.5"    // the trusted peer
		caller       = "203.0.113.200"
		unsure       = " (unreadable)"
	)
	many := func(hop string, n int) string { return strings.Repeat(hop+", ", n) }
	for _, tc := range []struct {
		rule, header string
		values       []string
		want, by     string // from a trusted peer; from any other it is always the caller
	}{
		// What a client writes before the proxy adds the truth.
		{"a forged client", xff, []string{"198.51.100.66, " + truth}, truth, xff},
		{"a forged client on a line of its own", xff, []string{"198.51.100.66", truth}, truth, xff},
		{"forged lines of every spelling", xff, []string{"198.51.100.66, 198.51.100.67", "198.51.100.68", truth}, truth, xff},
		{"a forged trusted hop", xff, []string{"10.9.9.9, " + truth}, truth, xff},
		{"a forged trusted hop before a forged client", xff, []string{"198.51.100.66, 10.9.9.9, " + truth}, truth, xff},
		{"loopback is no password", xff, []string{"127.0.0.1, " + truth}, truth, xff},
		{"nor is a private address", xff, []string{"192.168.0.1, " + truth}, truth, xff},
		{"a thousand forged hops", xff, []string{many("198.51.100.66", 1000) + truth}, truth, xff},
		{"a thousand forged trusted hops", xff, []string{many("10.9.9.9", 1000) + truth}, truth, xff},
		{"a thousand empty members", xff, []string{strings.Repeat(",", 1000) + truth}, truth, xff},
		{"a hundred forged lines", xff, append(strings.Split(many("198.51.100.66", 100), ", "), truth), truth, xff},
		{"garbage before the client", xff, []string{"\x00\xff'; DROP TABLE hops, " + truth}, truth, xff},
		{"an unknown hop before the client", xff, []string{"unknown, " + truth}, truth, xff},
		{"an obfuscated hop before the client", xff, []string{"_hidden, " + truth}, truth, xff},
		{"an open bracket before the client", xff, []string{"[2001:db8::1, " + truth}, truth, xff},
		{"a percent sign before the client", xff, []string{"fe80::1%, " + truth}, truth, xff},
		{"the grammar of the other field", xff, []string{"for=198.51.100.66, " + truth}, truth, xff},

		// The same behind two proxies of ours.
		{"a trusted hop is passed over", xff, []string{"198.51.100.66, " + truth + ", 10.1.1.1"}, truth, xff},
		{"a trusted hop with a port", xff, []string{truth + ", 10.1.1.1:443"}, truth, xff},
		{"a trusted hop that is mapped", xff, []string{truth + ", ::ffff:10.1.1.1"}, truth, xff},
		{"a trusted hop that is mapped, in brackets, with a port", xff, []string{truth + ", [::ffff:10.1.1.1]:443"}, truth, xff},
		{"a trusted hop of IPv6", xff, []string{truth + ", [2001:db8:ffff::7]:443"}, truth, xff},
		{"trusted hops on lines of their own", xff, []string{truth, "10.2.2.2", "10.1.1.1"}, truth, xff},
		{"all hops trusted: the left-most", xff, []string{"10.4.4.4, 10.3.3.3", "10.2.2.2"}, "10.4.4.4", xff},

		// How proxies write the one hop that decides.
		{"the client, mapped", xff, []string{"::ffff:203.0.113.9"}, truth, xff},
		{"the client, mapped, as hexadecimal", xff, []string{"::ffff:cb00:7109"}, truth, xff},
		{"the client with a port", xff, []string{"203.0.113.9:51000"}, truth, xff},
		{"the client with an obfuscated port", xff, []string{"203.0.113.9:_p"}, truth, xff},
		{"IPv6 with a port", xff, []string{"[2001:db8::9]:51000"}, "2001:db8::9", xff},
		{"IPv6 with a zone", xff, []string{"2001:db8::9%25eth0"}, "2001:db8::9", xff},
		{"IPv6 in capitals and full length", xff, []string{"2001:0DB8:0000:0000:0000:0000:0000:0009"}, "2001:db8::9", xff},
		{"bare IPv6 before what may be a port is an address of the same /64", xff, []string{"2001:db8::9:443"}, "2001:db8::9:443", xff},
		{"tabs and spaces around it", xff, []string{" \t203.0.113.9 \t"}, truth, xff},

		// A hop that decides and names nobody: the hop to its right, which we
		// know. Never the one to its left, which may be made up.
		{"unknown", xff, []string{"198.51.100.66, unknown"}, proxy, xff + unsure},
		{"unknown in capitals", xff, []string{"198.51.100.66, UNKNOWN"}, proxy, xff + unsure},
		{"obfuscated", xff, []string{"198.51.100.66, _hidden"}, proxy, xff + unsure},
		{"a Unix socket in front of the proxy", xff, []string{"198.51.100.66, unix:"}, proxy, xff + unsure},
		{"an empty last member", xff, []string{"198.51.100.66, "}, proxy, xff + unsure},
		{"an empty last line", xff, []string{"198.51.100.66", ""}, proxy, xff + unsure},
		{"nothing at all", xff, []string{""}, proxy, xff + unsure},
		{"a host name", xff, []string{"198.51.100.66, client.example.org"}, proxy, xff + unsure},
		{"quotes", xff, []string{`198.51.100.66, "203.0.113.9"`}, proxy, xff + unsure},
		{"two addresses without a comma", xff, []string{"198.51.100.66 203.0.113.9"}, proxy, xff + unsure},
		{"another separator", xff, []string{"198.51.100.66; 203.0.113.9"}, proxy, xff + unsure},
		{"octal", xff, []string{"198.51.100.66, 0313.0.0161.011"}, proxy, xff + unsure},
		{"one number", xff, []string{"198.51.100.66, 3405803785"}, proxy, xff + unsure},
		{"hexadecimal", xff, []string{"198.51.100.66, 0xcb007109"}, proxy, xff + unsure},
		{"three octets", xff, []string{"198.51.100.66, 203.0.113"}, proxy, xff + unsure},
		{"a prefix", xff, []string{"198.51.100.66, 203.0.113.0/24"}, proxy, xff + unsure},
		{"a negative port", xff, []string{"198.51.100.66, 203.0.113.9:-1"}, proxy, xff + unsure},
		{"an empty port", xff, []string{"198.51.100.66, 203.0.113.9:"}, proxy, xff + unsure},
		{"an empty port after brackets", xff, []string{"198.51.100.66, [2001:db8::9]:"}, proxy, xff + unsure},
		{"text after brackets", xff, []string{"198.51.100.66, [2001:db8::9]x"}, proxy, xff + unsure},
		{"the unspecified address", xff, []string{"198.51.100.66, 0.0.0.0"}, proxy, xff + unsure},
		{"the unspecified address of IPv6", xff, []string{"198.51.100.66, [::]:80"}, proxy, xff + unsure},
		{"full-width digits", xff, []string{"198.51.100.66, ２03.0.113.9"}, proxy, xff + unsure},
		{"a NUL at its end", xff, []string{"198.51.100.66, 203.0.113.9\x00"}, proxy, xff + unsure},
		{"a non-breaking space at its end", xff, []string{"198.51.100.66, 203.0.113.9\u00a0"}, proxy, xff + unsure},
		{"unknown left of a trusted hop", xff, []string{"198.51.100.66, unknown, 10.1.1.1"}, "10.1.1.1", xff + unsure},
		{"more trusted hops than anybody has", xff, []string{"198.51.100.66, " + strings.TrimSuffix(many("10.9.9.9", 1000), ", ")}, "10.9.9.9", xff + unsure},

		// Forwarded (RFC 7239).
		{"a forged element", fwd, []string{"for=198.51.100.66, for=" + truth}, truth, fwd},
		{"a forged element on a line of its own", fwd, []string{"for=198.51.100.66", "for=" + truth + ";proto=https"}, truth, fwd},
		{"an open quote before the element", fwd, []string{`for="198.51.100.66, for=` + truth}, truth, fwd},
		{"an escaped quote before the element", fwd, []string{`for="\", for=` + truth}, truth, fwd},
		{"a backslash at the end of the line before", fwd, []string{`for="\`, `for="203.0.113.9:80"`}, truth, fwd},
		{"the other field's grammar before the element", fwd, []string{"198.51.100.66, for=" + truth}, truth, fwd},
		{"for in another parameter's value", fwd, []string{`by="for=198.51.100.66";for=` + truth}, truth, fwd},
		{"a parameter that ends in for", fwd, []string{"xfor=198.51.100.66;for=" + truth}, truth, fwd},
		{"mapped and quoted", fwd, []string{`for="[::ffff:203.0.113.9]:443"`}, truth, fwd},
		{"trusted elements", fwd, []string{"for=" + truth + `, for="[2001:db8:ffff::1]"`, "for=10.1.1.1"}, truth, fwd},
		{"all elements trusted: the left-most", fwd, []string{"for=10.3.3.3, for=10.2.2.2"}, "10.3.3.3", fwd},
		{"for twice in the element that decides", fwd, []string{"for=198.51.100.66;for=" + truth}, proxy, fwd + unsure},
		{"an unknown element", fwd, []string{"for=198.51.100.66, for=unknown"}, proxy, fwd + unsure},
		{"an obfuscated element", fwd, []string{"for=198.51.100.66, for=_gazonk"}, proxy, fwd + unsure},
		{"an empty element", fwd, []string{"for=198.51.100.66, "}, proxy, fwd + unsure},
		{"an element without for", fwd, []string{"for=198.51.100.66, proto=https"}, proxy, fwd + unsure},
		{"IPv6 without brackets is still one address", fwd, []string{`for="2001:db8::9"`}, "2001:db8::9", fwd},
		{"a thousand forged elements", fwd, []string{many("for=10.9.9.9", 1000) + "for=" + truth}, truth, fwd},

		// A field with one address.
		{"one address", cf, []string{truth}, truth, cf},
		{"one address with a port", cf, []string{truth + ":51000"}, truth, cf},
		{"one address, mapped", cf, []string{"::ffff:" + truth}, truth, cf},
		{"two lines: one of them is not the proxy's", cf, []string{"198.51.100.66", truth}, proxy, cf + unsure},
		{"twice the same", cf, []string{truth, truth}, proxy, cf + unsure},
		{"a list", cf, []string{"198.51.100.66, " + truth}, proxy, cf + unsure},
		{"unknown instead of an address", cf, []string{"unknown"}, proxy, cf + unsure},
		{"an empty one", cf, []string{""}, proxy, cf + unsure},
	} {
		r := resolver(t, client.Config{Header: tc.header})
		for _, peer := range []struct{ from, want, by string }{
			{trustedPeer, tc.want, tc.by},
			{"[::ffff:10.0.0.5]:40122", tc.want, tc.by},
			{untrustedPeer, caller, gate.ByPeer},
			{"[::ffff:203.0.113.200]:40122", caller, gate.ByPeer},
		} {
			req := request(peer.from, each(tc.header, tc.values...)...)
			if v := r.Check(req); !v.Passed() {
				t.Errorf("%s from %s: refused (%s)", tc.rule, peer.from, v.Reason)
			}
			if req.Client.String() != peer.want || req.ChosenBy != peer.by {
				t.Errorf("%s from %s: client %s by %q, want %s by %q", tc.rule, peer.from, req.Client, req.ChosenBy, peer.want, peer.by)
			}
		}
		// The same words in fields that are not the configured one say nothing.
		other := resolver(t, client.Config{Header: "X-Client-Address"})
		req := request(trustedPeer, each(tc.header, tc.values...)...)
		if other.Check(req); req.Client.String() != proxy || req.ChosenBy != gate.ByPeer {
			t.Errorf("%s in a field that was not asked for: client %s by %q", tc.rule, req.Client, req.ChosenBy)
		}
	}
}

// Who connected may itself have been named by a PROXY header, or be a process
// of this machine without an address.
func TestOrigins(t *testing.T) {
	socket := netip.MustParseAddrPort("192.168.7.7:5555")
	source := func(s string) gate.Origin {
		return gate.Origin{Socket: socket, Peer: netip.MustParseAddrPort(s), ChosenBy: gate.ByPROXY}
	}
	direct := gate.Origin{Socket: socket, Peer: socket, ChosenBy: gate.ByPeer}
	unix := gate.Origin{Unix: true, ChosenBy: gate.ByPeer}
	const xff = "X-Forwarded-For"
	for _, tc := range []struct {
		rule      string
		origin    gate.Origin
		trustUnix bool
		values    []string
		want, by  string // "": not known
		trusted   bool
	}{
		{"the source of a PROXY header is the client", source("203.0.113.9:40000"), false, nil, "203.0.113.9", gate.ByPROXY, false},
		{"it is not believed more than any other", source("203.0.113.9:40000"), false, []string{"198.51.100.66"}, "203.0.113.9", gate.ByPROXY, false},
		{"a source that is a trusted proxy is believed", source("10.0.0.5:40000"), false, []string{"203.0.113.9"}, "203.0.113.9", xff, true},
		{"and is the client where it names nobody", source("10.0.0.5:40000"), false, nil, "10.0.0.5", gate.ByPROXY, true},
		{"a mapped source is unmapped", source("[::ffff:203.0.113.9]:40000"), false, nil, "203.0.113.9", gate.ByPROXY, false},
		{"the balancer itself", direct, false, nil, "192.168.7.7", gate.ByPeer, false},
		{"a Unix peer is not known", unix, false, nil, "", gate.ByPeer, false},
		{"and is not believed", unix, false, []string{"203.0.113.9"}, "", gate.ByPeer, false},
		{"unless the operator says so", unix, true, []string{"203.0.113.9"}, "203.0.113.9", xff, true},
		{"it names nobody: not known", unix, true, nil, "", gate.ByPeer, true},
		{"it cannot be read: not known", unix, true, []string{"198.51.100.66, unknown"}, "", xff + " (unreadable)", true},
		{"a source behind a trusted Unix peer is judged by its address", gate.Origin{Unix: true, Peer: netip.MustParseAddrPort("203.0.113.9:1"), ChosenBy: gate.ByPROXY}, true,
			[]string{"198.51.100.66"}, "203.0.113.9", gate.ByPROXY, false},
	} {
		req := request("", each(xff, tc.values...)...)
		req.Peer, req.Origin = tc.origin.Peer, tc.origin
		resolver(t, client.Config{TrustUnix: tc.trustUnix}).Check(req)
		got := ""
		if req.Client.IsValid() {
			got = req.Client.String()
		}
		if got != tc.want || req.ChosenBy != tc.by || req.Trusted != tc.trusted {
			t.Errorf("%s: client %q by %q, trusted %v, want %q by %q, %v", tc.rule, got, req.ChosenBy, req.Trusted, tc.want, tc.by, tc.trusted)
		}
	}
}
