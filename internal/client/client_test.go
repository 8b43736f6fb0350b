package client_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/client"
	"sallyport/internal/gate"
)

const (
	trustedPeer   = "10.0.0.5:40122"
	untrustedPeer = "203.0.113.200:40122"
)

func resolver(tb testing.TB, cfg client.Config) *client.Resolver {
	tb.Helper()
	if cfg.Trusted == nil {
		cfg.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
	}
	r, err := client.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func request(peer string, fields ...gate.Field) *gate.Request {
	req := &gate.Request{Head: &gate.Head{Fields: fields}, ID: "ours"}
	if peer != "" {
		req.Peer = netip.MustParseAddrPort(peer)
	}
	return req
}

func each(name string, values ...string) []gate.Field {
	fields := []gate.Field{{Name: "Host", Value: "example.org"}}
	for _, v := range values {
		fields = append(fields, gate.Field{Name: name, Value: v})
	}
	return fields
}

func TestClient(t *testing.T) {
	const xff, fwd, cf = "X-Forwarded-For", "Forwarded", "CF-Connecting-IP"
	const xffDoubt, fwdDoubt, cfDoubt = xff + " (unreadable)", fwd + " (unreadable)", cf + " (unreadable)"
	for _, tc := range []struct {
		rule, header, peer string
		fields             []gate.Field
		want, by           string
	}{
		{"an untrusted peer is the client", xff, untrustedPeer, nil, "203.0.113.200", "peer"},
		{"an untrusted peer's field is ignored", xff, untrustedPeer, each(xff, "192.0.2.1"), "203.0.113.200", "peer"},
		{"an untrusted peer's single-address field is ignored", cf, untrustedPeer, each(cf, "192.0.2.1"), "203.0.113.200", "peer"},
		{"a mapped peer is unmapped before it is compared", xff, "[::ffff:10.0.0.5]:1", each(xff, "192.0.2.1"), "192.0.2.1", xff},
		{"a mapped untrusted peer is unmapped", xff, "[::ffff:203.0.113.9]:1", nil, "203.0.113.9", "peer"},
		{"a peer's zone is dropped", xff, "[fe80::1%eth0]:1", nil, "fe80::1", "peer"},
		{"a trusted peer without the field is the client", xff, trustedPeer, nil, "10.0.0.5", "peer"},
		{"the other forwarding field is not read", xff, trustedPeer, each(fwd, "for=192.0.2.1"), "10.0.0.5", "peer"},

		{"one hop", xff, trustedPeer, each(xff, "192.0.2.1"), "192.0.2.1", xff},
		{"the field's name is compared without case", xff, trustedPeer, each("x-forwarded-for", "192.0.2.1"), "192.0.2.1", xff},
		{"the right-most untrusted hop, not the left-most", xff, trustedPeer, each(xff, "198.51.100.66, 192.0.2.1"), "192.0.2.1", xff},
		{"trusted hops are passed over", xff, trustedPeer, each(xff, "198.51.100.66, 192.0.2.1, 10.1.1.1, 2001:db8:ffff::7"), "192.0.2.1", xff},
		{"what a client says left of itself is no ground for anything", xff, trustedPeer, each(xff, "<script>, unknown,,%00, 192.0.2.1"), "192.0.2.1", xff},
		{"all hops trusted: the left-most", xff, trustedPeer, each(xff, "10.3.3.3, 10.2.2.2"), "10.3.3.3", xff},
		{"field lines are one list, in order", xff, trustedPeer, each(xff, "198.51.100.66", "192.0.2.1", "10.1.1.1"), "192.0.2.1", xff},
		{"ip:port", xff, trustedPeer, each(xff, "192.0.2.1:51000"), "192.0.2.1", xff},
		{"[v6]:port", xff, trustedPeer, each(xff, "[2001:db8::1]:51000"), "2001:db8::1", xff},
		{"[v6]", xff, trustedPeer, each(xff, "[2001:db8::1]"), "2001:db8::1", xff},
		{"bare v6", xff, trustedPeer, each(xff, "2001:db8::1"), "2001:db8::1", xff},
		{"a mapped hop is unmapped", xff, trustedPeer, each(xff, "::ffff:192.0.2.1"), "192.0.2.1", xff},
		{"a mapped trusted hop is trusted", xff, trustedPeer, each(xff, "192.0.2.1, ::ffff:10.9.9.9"), "192.0.2.1", xff},
		{"a hop's zone is dropped", xff, trustedPeer, each(xff, "fe80::1%eth0"), "fe80::1", xff},
		{"an unknown hop ends at the trusted hop to its right", xff, trustedPeer, each(xff, "192.0.2.1, unknown, 10.1.1.1"), "10.1.1.1", xffDoubt},
		{"an unknown right-most hop ends at the peer", xff, trustedPeer, each(xff, "192.0.2.1, unknown"), "10.0.0.5", xffDoubt},
		{"an empty hop names nobody", xff, trustedPeer, each(xff, "192.0.2.1, "), "10.0.0.5", xffDoubt},
		{"the unspecified address names nobody", xff, trustedPeer, each(xff, "192.0.2.1, 0.0.0.0"), "10.0.0.5", xffDoubt},
		{"the mapped unspecified address names nobody", xff, trustedPeer, each(xff, "192.0.2.1, ::ffff:0.0.0.0"), "10.0.0.5", xffDoubt},
		{"an octet with a leading zero names nobody", xff, trustedPeer, each(xff, "192.0.2.01"), "10.0.0.5", xffDoubt},
		{"a bad port names nobody", xff, trustedPeer, each(xff, "192.0.2.1:http"), "10.0.0.5", xffDoubt},
		{"a bracket left open names nobody", xff, trustedPeer, each(xff, "[2001:db8::1"), "10.0.0.5", xffDoubt},
		{"brackets around IPv4 name nobody", xff, trustedPeer, each(xff, "[192.0.2.1]"), "10.0.0.5", xffDoubt},
		{"at most 64 hops are read", xff, trustedPeer, each(xff, "192.0.2.1"+strings.Repeat(", 10.7.7.7", 64)), "10.7.7.7", xffDoubt},
		{"64 hops are read", xff, trustedPeer, each(xff, "192.0.2.1"+strings.Repeat(", 10.7.7.7", 63)), "192.0.2.1", xff},

		{"for", fwd, trustedPeer, each(fwd, "for=192.0.2.1"), "192.0.2.1", fwd},
		{"the parameter's name is compared without case", fwd, trustedPeer, each(fwd, "proto=https; For=192.0.2.1;by=10.0.0.1"), "192.0.2.1", fwd},
		{"quoted v6 with port", fwd, trustedPeer, each(fwd, `for="[2001:db8::1]:4711"`), "2001:db8::1", fwd},
		{"unquoted v6 is understood", fwd, trustedPeer, each(fwd, `for=[2001:db8::1]`), "2001:db8::1", fwd},
		{"an obfuscated port does not matter", fwd, trustedPeer, each(fwd, `for="192.0.2.1:_x7"`), "192.0.2.1", fwd},
		{"a comma inside quotes ends no element", fwd, trustedPeer, each(fwd, `for=192.0.2.1;host="a, for=198.51.100.6"`), "192.0.2.1", fwd},
		{"an escaped quote ends no string", fwd, trustedPeer, each(fwd, `for=192.0.2.1;host="a\", for=198.51.100.6;x=\"b"`), "192.0.2.1", fwd},
		{"a string that ends in an escaped backslash has ended", fwd, trustedPeer, each(fwd, `for=198.51.100.6, for=192.0.2.1;host="a\\"`), "192.0.2.1", fwd},
		{"a quote that the client left open swallows nothing", fwd, trustedPeer, each(fwd, `for=", for=192.0.2.1`), "192.0.2.1", fwd},
		{"a quote that the client left open swallows nothing quoted", fwd, trustedPeer, each(fwd, `for="x\, for="192.0.2.1:80", for=10.1.1.1`), "192.0.2.1", fwd},
		{"empty pairs are allowed", fwd, trustedPeer, each(fwd, `;for=192.0.2.1;;by=x;`), "192.0.2.1", fwd},
		{"trusted elements are passed over", fwd, trustedPeer, each(fwd, "for=192.0.2.1", `for="[2001:db8:ffff::1]", for=10.1.1.1`), "192.0.2.1", fwd},
		{"unknown ends at the trusted hop to its right", fwd, trustedPeer, each(fwd, "for=192.0.2.1, for=unknown, for=10.1.1.1"), "10.1.1.1", fwdDoubt},
		{"an obfuscated node names nobody", fwd, trustedPeer, each(fwd, "for=_hidden"), "10.0.0.5", fwdDoubt},
		{"an element without for names nobody", fwd, trustedPeer, each(fwd, "for=192.0.2.1, proto=https"), "10.0.0.5", fwdDoubt},
		{"two for in one element name nobody", fwd, trustedPeer, each(fwd, "for=192.0.2.1;for=198.51.100.6"), "10.0.0.5", fwdDoubt},
		{"a word without a value is malformed", fwd, trustedPeer, each(fwd, "for=192.0.2.1;secure"), "10.0.0.5", fwdDoubt},
		{"text after a closing quote is malformed", fwd, trustedPeer, each(fwd, `for="192.0.2.1"x`), "10.0.0.5", fwdDoubt},
		{"a space inside a value is malformed", fwd, trustedPeer, each(fwd, `for=192.0.2.1 x`), "10.0.0.5", fwdDoubt},

		{"a single-address field", cf, trustedPeer, each(cf, "192.0.2.1"), "192.0.2.1", cf},
		{"a single address that is itself trusted", cf, trustedPeer, each(cf, "10.8.8.8"), "10.8.8.8", cf},
		{"a list in a single-address field names nobody", cf, trustedPeer, each(cf, "192.0.2.1, 192.0.2.2"), "10.0.0.5", cfDoubt},
		{"two single-address lines name nobody", cf, trustedPeer, each(cf, "192.0.2.1", "192.0.2.2"), "10.0.0.5", cfDoubt},
		{"no single-address field", cf, trustedPeer, nil, "10.0.0.5", "peer"},
	} {
		req := request(tc.peer, tc.fields...)
		r := resolver(t, client.Config{Header: tc.header})
		if v := r.Check(req); !v.Passed() || v.Stage != gate.StageClient {
			t.Errorf("%s: Check = %v of stage %s, want a pass of the client stage", tc.rule, v.Action, v.Stage)
		}
		if req.Client.String() != tc.want || req.ChosenBy != tc.by {
			t.Errorf("%s: client %s by %q, want %s by %q", tc.rule, req.Client, req.ChosenBy, tc.want, tc.by)
		}
		if trusted := tc.by != gate.ByPeer || tc.want == "10.0.0.5"; req.Trusted != trusted {
			t.Errorf("%s: trusted %v, want %v", tc.rule, req.Trusted, trusted)
		}
	}
}

func TestDefaults(t *testing.T) {
	r, err := client.New(client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	req := request(trustedPeer, each("X-Forwarded-For", "192.0.2.1")...)
	if r.Check(req); req.Client != netip.MustParseAddr("10.0.0.5") || req.Trusted {
		t.Errorf("without trusted proxies: client %s, trusted %v, want the peer, untrusted", req.Client, req.Trusted)
	}
	req = request("")
	if r.Check(req); req.Client.IsValid() || req.Trusted || req.ChosenBy != gate.ByPeer {
		t.Errorf("without an address: client %s, trusted %v by %q, want none, untrusted", req.Client, req.Trusted, req.ChosenBy)
	}
}

func TestTrustedPeer(t *testing.T) {
	r := resolver(t, client.Config{Trusted: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("2001:db8::5/32")}})
	for addr, want := range map[string]bool{
		"10.255.0.1": true, "::ffff:10.0.0.1": true, "11.0.0.1": false,
		"2001:db8:77::1": true, "2001:db8:77::1%eth0": true, "2001:db9::1": false,
	} {
		if got := r.TrustedPeer(netip.MustParseAddr(addr), false); got != want {
			t.Errorf("TrustedPeer(%s) = %v, want %v", addr, got, want)
		}
	}
	for _, trust := range []bool{false, true} {
		r := resolver(t, client.Config{TrustUnix: trust})
		if got := r.TrustedPeer(netip.Addr{}, true); got != trust {
			t.Errorf("a Unix peer where unix is trusted %v: TrustedPeer = %v", trust, got)
		}
		if r.TrustedPeer(netip.Addr{}, false) {
			t.Error("a peer without an address that came by no Unix socket is trusted")
		}
		if r.TrustedPeer(netip.MustParseAddr("203.0.113.9"), true) {
			t.Error("an untrusted source behind a balancer on a Unix socket is trusted")
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for rule, cfg := range map[string]client.Config{
		"a header that is no field name": {Header: "X Forwarded"},
		"a prefix that is not valid":     {Trusted: []netip.Prefix{{}}},
	} {
		if r, err := client.New(cfg); err == nil || r != nil {
			t.Errorf("%s: New = %v, %v, want an error", rule, r, err)
		}
	}
}

func TestRequestID(t *testing.T) {
	long := strings.Repeat("a", 200)
	for _, tc := range []struct {
		rule, peer   string
		trust        bool
		ids          []string
		id, clientID string
	}{
		{"generated by default, the client's own is noted", trustedPeer, false, []string{"abc-1"}, "ours", "abc-1"},
		{"taken from a trusted proxy", trustedPeer, true, []string{"019a-7f.x_~+/=:@;"}, "019a-7f.x_~+/=:@;", ""},
		{"not taken from anybody else", untrustedPeer, true, []string{"abc-1"}, "ours", "abc-1"},
		{"128 bytes are taken", trustedPeer, true, []string{long[:128]}, long[:128], ""},
		{"longer ones are not taken, and cut", trustedPeer, true, []string{long}, "ours", long[:128]},
		{"markup is not taken", trustedPeer, true, []string{"<script>"}, "ours", "<script>"},
		{"white space is not taken", trustedPeer, true, []string{"a b"}, "ours", "a b"},
		{"bytes beyond ASCII are not taken", trustedPeer, true, []string{"é"}, "ours", "é"},
		{"an empty one is not taken", trustedPeer, true, []string{""}, "ours", ""},
		{"two are not taken", trustedPeer, true, []string{"a", "b"}, "ours", "a"},
		{"none", trustedPeer, true, nil, "ours", ""},
	} {
		req := request(tc.peer, each("x-request-id", tc.ids...)...)
		resolver(t, client.Config{TrustRequestID: tc.trust}).Check(req)
		if req.ID != tc.id || req.ClientID != tc.clientID {
			t.Errorf("%s: ID %q, ClientID %q, want %q, %q", tc.rule, req.ID, req.ClientID, tc.id, tc.clientID)
		}
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	for _, header := range []string{"X-Forwarded-For", "Forwarded"} {
		r := resolver(t, client.Config{Header: header})
		req := request(trustedPeer, each(header, `for="192.0.2.1:80", for=10.0.0.1`, "192.0.2.1, 10.0.0.1")...)
		if n := testing.AllocsPerRun(100, func() { r.Check(req) }); n != 0 {
			t.Errorf("%s: Check allocates %v times, want 0", header, n)
		}
	}
}

// FuzzForwarded gives a client any text to say. Whatever it is, the proxy that
// appends the client's address after it must win.
func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{
		"", ",", "192.0.2.1", "for=192.0.2.1", `for="`, `for="\`, `for="[2001:db8::1]:80";by=x, for=unknown`, `"a\\", "`,
		"unknown, _hidden", "::ffff:10.0.0.1", "fe80::1%\x00", strings.Repeat("10.0.0.1,", 70), `for=10.0.0.1;;;`, "[::]:1",
	} {
		f.Add(seed)
	}
	truth := netip.MustParseAddr("203.0.113.9")
	peer := netip.MustParseAddr("10.0.0.5")
	appended := map[string][]string{
		"X-Forwarded-For": {"203.0.113.9", "[::ffff:203.0.113.9]:4711", "203.0.113.9, 10.1.2.3"},
		"Forwarded":       {"for=203.0.113.9", `For="203.0.113.9:4711";host="a,\"b"`, `for=203.0.113.9, for="[2001:db8:ffff::1]"`},
	}
	resolvers := make(map[string]*client.Resolver)
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		resolvers[header] = resolver(f, client.Config{Header: header})
	}
	f.Fuzz(func(t *testing.T, talk string) {
		for header, r := range resolvers {
			req := request(trustedPeer, each(header, talk)...)
			r.Check(req)
			if c := req.Client; !c.IsValid() || c.Is4In6() || c.Zone() != "" {
				t.Errorf("%s: %q: client %v is not canonical", header, talk, c)
			}
			if req.ChosenBy == gate.ByPeer && req.Client != peer {
				t.Errorf("%s: %q: client %v is called the peer", header, talk, req.Client)
			}
			for _, own := range appended[header] {
				for _, fields := range [][]gate.Field{each(header, talk+", "+own), each(header, talk+","+own), each(header, talk, own)} {
					req := request(trustedPeer, fields...)
					if r.Check(req); req.Client != truth || req.ChosenBy != header {
						t.Errorf("%s: %q: client %v by %q, want %v", header, fields, req.Client, req.ChosenBy, truth)
					}
				}
			}
			lines := slices.Concat(each(header, talk), each("X-Request-Id", talk))
			req = request(trustedPeer, lines...)
			if r.Check(req); len(req.ClientID) > 128 || req.ID != "ours" {
				t.Errorf("%q: ID %q, ClientID of %d bytes", talk, req.ID, len(req.ClientID))
			}
		}
	})
}
