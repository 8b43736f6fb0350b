package gateway_test

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
)

// exchangeOn opens a connection, sends a header if there is one, and one
// request with fields.
func (e *edge) exchangeOn(t *testing.T, network, address, header, target string, fields ...string) answer {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	request := header + "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
	for _, f := range fields {
		request += f + "\r\n"
	}
	return e.exchange(t, c, []byte(request+"\r\n"), http.MethodGet)
}

// Who a PROXY header names is who every stage judges: geo rules, budgets, the
// trust in forwarding fields, and the record of what was refused before.
func TestEveryStageJudgesTheSource(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), `
listeners: [{address: "127.0.0.1:0", proxy_protocol: [127.0.0.0/8]}]
clients: {trusted_proxies: [192.0.2.1]}
geo: {deny: [198.51.100.0/24]}
limits: [{name: per-client, rate: 1/h, burst: 2}]
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}]}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`)
	const xff = "X-Forwarded-For"
	for _, tc := range []struct {
		rule, source, target string
		fields               []string
		status               int
		reason               gate.Reason
		client, by           string
	}{
		{"a source passes", "203.0.113.1", "/", nil, 200, "", "203.0.113.1", gate.ByPROXY},
		{"it is not believed", "203.0.113.1", "/", []string{xff + ": 198.51.100.7"}, 200, "", "203.0.113.1", gate.ByPROXY},
		{"it has a budget", "203.0.113.1", "/", []string{xff + ": 203.0.113.99"}, 429, gate.LimitOverBudget, "203.0.113.1", gate.ByPROXY},
		{"another source has its own", "203.0.113.2", "/", nil, 200, "", "203.0.113.2", gate.ByPROXY},
		{"a source in a denied network", "198.51.100.7", "/", nil, 403, gate.GeoPrefix, "198.51.100.7", gate.ByPROXY},
		{"a trusted source is believed", "192.0.2.1", "/", []string{xff + ": 6.6.6.6, 198.51.100.7"}, 403, gate.GeoPrefix, "198.51.100.7", xff},
		{"what is refused as HTTP was somebody's too", "203.0.113.3", "/a b", nil, 400, gate.HTTPTargetByte, "203.0.113.3", gate.ByPROXY},
	} {
		a := e.exchangeOn(t, "tcp", e.address, fmt.Sprintf("PROXY TCP4 %s 10.0.0.1 40000 443\r\n", tc.source), tc.target, tc.fields...)
		r := e.notes.find(t, a.header.Get("X-Request-Id"))
		if a.status != tc.status || r.Reason != tc.reason {
			t.Errorf("%s: %d %q, want %d %q", tc.rule, a.status, r.Reason, tc.status, tc.reason)
		}
		if r.Client.IP != tc.client || r.Client.ChosenBy != tc.by || !strings.HasPrefix(r.Client.Peer, "127.0.0.1:") {
			t.Errorf("%s: the record says %+v, want %s by %s", tc.rule, r.Client, tc.client, tc.by)
		}
	}
}

// Clients that nobody can tell apart share one budget, whatever they say of
// themselves; behind a trusted socket each has its own.
func TestClientsOfAUnixSocket(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		list := ""
		if trusted {
			list = "unix"
		}
		e := open(t, http.HandlerFunc(leaky), strings.ReplaceAll(`
listeners: [{address: "unix:web.sock"}]
clients: {trusted_proxies: [$LIST]}
limits: [{name: per-client, rate: 1/h, burst: 2}]
geo: {deny: [198.51.100.0/24]}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}]}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`, "$LIST", list))
		path := filepath.Join(e.dir, "web.sock")
		passed := 0
		for i := range 6 {
			a := e.exchangeOn(t, "unix", path, "", "/", fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", i))
			if a.status == http.StatusOK {
				passed++
			} else if a.status != http.StatusTooManyRequests {
				t.Errorf("trusted %v: status %d", trusted, a.status)
			}
			r := e.notes.find(t, a.header.Get("X-Request-Id"))
			want := gate.RecordClient{Peer: "unix", ChosenBy: gate.ByPeer}
			if trusted {
				want.IP, want.ChosenBy = fmt.Sprintf("203.0.113.%d", i), "X-Forwarded-For"
			}
			if r.Client != want {
				t.Errorf("trusted %v: the record says %+v, want %+v", trusted, r.Client, want)
			}
		}
		if want := map[bool]int{false: 2, true: 6}[trusted]; passed != want {
			t.Errorf("trusted %v: %d of 6 requests passed, want %d", trusted, passed, want)
		}
	}
}
