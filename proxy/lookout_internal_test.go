package proxy

import (
	"net"
	"net/url"
	"testing"
)

func TestLookoutLearns(t *testing.T) {
	l := newLookout([]*url.URL{{Scheme: "http", Host: "app.internal:80"}, {Scheme: "http", Host: "10.0.0.11:8080"}}, []string{"db.internal"})
	before := l.tokens()
	for _, at := range []net.Addr{&net.TCPAddr{IP: net.ParseIP("10.0.0.11"), Port: 8080}, &net.UnixAddr{Name: "/run/app.sock"}, &net.TCPAddr{}} {
		if l.learn(at); l.tokens() != before {
			t.Errorf("%v is no news", at)
		}
	}
	for i := range 2 * maxLearned {
		l.learn(&net.TCPAddr{IP: net.IPv4(10, 1, 0, byte(i)), Port: 80})
	}
	for text, want := range map[string]bool{
		"10.1.0.0": false, "10.1.0.63:80": false, "10.1.0.64:80": true, "10.1.0.127": true, "app.internal": true, "10.0.0.11": true, "db.internal": true,
	} {
		if got, _ := scanned(l.tokens(), []byte(text)); (got == tokenStandIn) != want {
			t.Errorf("%s: found %t, want %t", text, got == tokenStandIn, want)
		}
	}
	if len(l.learned) != maxLearned {
		t.Errorf("%d addresses are kept, want %d", len(l.learned), maxLearned)
	}
}
