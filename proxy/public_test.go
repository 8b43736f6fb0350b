package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// trust makes the peer of a rig a trusted proxy that names a client.
func trust(g *rig) {
	g.in.peer = netip.MustParseAddrPort("10.0.0.5:1")
	g.stages.Client = checker(func(req *gate.Request) gate.Verdict {
		req.Trusted, req.Client, req.ChosenBy = true, netip.MustParseAddr("203.0.113.9"), "X-Forwarded-For"
		return gate.Passes(gate.StageClient)
	})
}

// redirecting starts a backend that sends everybody to itself.
func redirecting(t *testing.T) *backend {
	t.Helper()
	return script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			if _, err := io.WriteString(c, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://"+b.addr+"/a\r\n\r\n"); err != nil {
				return
			}
		}
	})
}

// What a trusted proxy says about scheme, name and port is what backends are
// told, and what redirects to a backend are turned into. What it says
// malformed, and what anybody else says, is as good as nothing.
func TestThePublicSideOfATrustedProxy(t *testing.T) {
	const proto, host, port = "X-Forwarded-Proto: ", "X-Forwarded-Host: ", "X-Forwarded-Port: "
	for _, tc := range []struct {
		rule     string
		fields   []string
		proto    string // at the backend
		host     string
		port     string
		location string // of a redirect to http://BACKEND/a
	}{
		{"nothing", nil, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"the scheme", []string{proto + "https"}, "https", "shop.example.org", "443", "https://shop.example.org/a"},
		{"in capitals", []string{proto + "HTTPS"}, "https", "shop.example.org", "443", "https://shop.example.org/a"},
		{"as a WebSocket's", []string{proto + "wss"}, "https", "shop.example.org", "443", "https://shop.example.org/a"},
		{"the name", []string{host + "www.example.org"}, "http", "www.example.org", "80", "http://www.example.org/a"},
		{"the name with a port", []string{proto + "https", host + "www.example.org:8443"}, "https", "www.example.org:8443", "8443", "https://www.example.org:8443/a"},
		{"an IPv6 literal", []string{host + "[2001:db8::1]:8080"}, "http", "[2001:db8::1]:8080", "8080", "http://[2001:db8::1]:8080/a"},
		{"all three", []string{proto + "https", host + "www.example.org", port + "8443"}, "https", "www.example.org", "8443", "https://www.example.org:8443/a"},
		{"a port that the name lacks", []string{port + "8443"}, "http", "shop.example.org", "8443", "http://shop.example.org:8443/a"},
		{"a port that goes without saying", []string{proto + "https", port + "443"}, "https", "shop.example.org", "443", "https://shop.example.org/a"},
		{"the port of the proxy's own socket says nothing about the scheme", []string{proto + "https", port + "80"}, "https", "shop.example.org", "80", "https://shop.example.org/a"},

		{"another scheme", []string{proto + "javascript"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a list of schemes", []string{proto + "https, http"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a scheme with more to it", []string{proto + "https://x"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"two lines, one of which is somebody else's", []string{proto + "https", proto + "http"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a list of names", []string{host + "a.example, b.example"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a name with a space", []string{host + "a.example b"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a name with a path", []string{host + "a.example/b"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a name with a user", []string{host + "u@a.example"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a scheme for a name", []string{host + "javascript:"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a name with a bad port", []string{host + "a.example:99999"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a name with two ports", []string{host + "a.example:80:81"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"an open bracket", []string{host + "[2001:db8::1"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a bracket around no address", []string{host + "[a.example]"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"an empty label", []string{host + "a..example"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a name longer than any", []string{host + strings.Repeat("a", 256)}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"two names on two lines", []string{host + "a.example", host + "b.example"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"no number", []string{port + "https"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a number that is no port", []string{port + "65536"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"port 0", []string{port + "0"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a port with zeroes in front", []string{port + "0443"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
		{"a list of ports", []string{port + "443, 80"}, "http", "shop.example.org", "80", "http://shop.example.org/a"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			for _, trusted := range []bool{true, false} {
				b := redirecting(t)
				g := newRig(b.addr)
				want := tc
				if trusted {
					trust(g)
				} else {
					want.proto, want.host, want.port, want.location = "http", "shop.example.org", "80", "http://shop.example.org/a"
				}
				g.start(t)
				a := g.ask(t, get+"\n"+strings.Join(tc.fields, "\n"), "")
				if got := a.header.Get("Location"); got != want.location {
					t.Errorf("trusted %v: Location %q, want %q", trusted, got, want.location)
				}
				raw := b.got(t)
				for _, line := range []string{proto + want.proto, host + want.host, port + want.port, "Host: shop.example.org"} {
					if !strings.Contains(raw, "\r\n"+line+"\r\n") {
						t.Errorf("trusted %v: the backend did not receive %q in %q", trusted, line, raw)
					}
				}
			}
		})
	}
}
