package gateway_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/server"
	"sallyport/limiter"
)

const banned = `
listeners: [{address: "127.0.0.1:0"}]
clients: {trusted_proxies: [127.0.0.1]}
limits: []
bans: {mode: enforce, after: {refusals: 3, within: 1h}, for: 1h}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}]}}
routes: [{name: site, hosts: [localhost], pool: app}]
audit: {path: audit.jsonl}
admin: {address: "unix:admin.sock"}
state: {dir: state}
`

const attackAs = "GET /?id=1%27%20OR%20%271%27=%271%20UNION%20SELECT%20password%20FROM%20users--\nX-Forwarded-For: "

// adminOf is a client of the gateway's admin endpoint.
func (e *edge) adminOf(t *testing.T) *server.AdminClient {
	t.Helper()
	c, err := server.NewAdminClient("unix:"+filepath.Join(e.dir, "admin.sock"), filepath.Join(e.dir, "state", "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBans bans one client of a proxy and no other, shows it to an operator,
// and lets it in again.
func TestBans(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), banned)
	ask := func(client string) answer { return e.send(t, "GET /\nX-Forwarded-For: "+client) }
	for range 5 { // what is not found never counts
		if a := e.exchangeOn(t, "tcp", e.address, "", "/", "X-Forwarded-For: 203.0.113.9"); a.status != 200 {
			t.Fatal(a.status)
		}
	}
	for i := range 3 {
		if a := e.send(t, attackAs+"203.0.113.9"); a.status != 403 {
			t.Fatalf("attack %d: %d", i+1, a.status)
		}
	}
	refused := ask("203.0.113.9")
	if refused.status != 429 || refused.header.Get("Retry-After") == "" || refused.header.Get("Connection") != "close" {
		t.Errorf("a banned client gets %d, %v", refused.status, refused.header)
	}
	if r := e.notes.find(t, refused.header.Get("X-Request-Id")); r.Reason != gate.BanActive || r.Stage != gate.StageBan || !strings.Contains(r.Detail, "203.0.113.9/32 after waf.inbound_score") {
		t.Errorf("record %+v", r)
	}
	if a := ask("203.0.113.10"); a.status != 200 {
		t.Errorf("another client behind the same proxy gets %d", a.status)
	}
	begun := 0
	e.notes.mu.Lock()
	for _, r := range e.notes.list {
		if r.Event == gate.EventBanned {
			begun++
			if r.Client.IP != "203.0.113.9" || r.ID == "" || r.Action != "refuse" {
				t.Errorf("the record of the ban is %+v", r)
			}
		}
	}
	e.notes.mu.Unlock()
	if begun != 1 {
		t.Errorf("%d records of a ban that begins", begun)
	}
	admin := e.adminOf(t)
	var bans []limiter.Ban
	if err := admin.Get(t.Context(), "/bans", &bans); err != nil || len(bans) != 1 || bans[0].Client.String() != "203.0.113.9/32" || bans[0].Reason != "waf.inbound_score" {
		t.Errorf("bans %+v, %v", bans, err)
	}
	type m = map[string]any
	var said any
	if err := admin.Post(t.Context(), "/bans", m{"remove": m{"client": "203.0.113.9"}}, &said); err != nil {
		t.Error(err)
	}
	if a := ask("203.0.113.9"); a.status != 200 {
		t.Errorf("after the ban was removed: %d", a.status)
	}
	if err := admin.Post(t.Context(), "/bans", m{"add": m{"client": "203.0.113.11", "reason": "scans"}}, &said); err != nil {
		t.Error(err)
	}
	if a := ask("203.0.113.11"); a.status != 429 {
		t.Errorf("banned by hand: %d", a.status)
	}
	if err := admin.Post(t.Context(), "/bans", m{"add": m{"client": "127.0.0.1"}}, &said); err == nil {
		t.Error("a trusted proxy was banned by hand")
	}
	e.close(t)()
	if text, err := os.ReadFile(filepath.Join(e.dir, "state", "bans.json")); err != nil || !strings.Contains(string(text), "203.0.113.11/32") {
		t.Errorf("the file of bans holds %q, %v", text, err)
	}
}

// TestBanClosesConnections turns the peer away when it connects.
func TestBanClosesConnections(t *testing.T) {
	text := strings.NewReplacer("trusted_proxies: [127.0.0.1]", "trusted_proxies: []", "for: 1h", "for: 1h, answer: close").Replace(banned)
	e := open(t, http.HandlerFunc(leaky), text)
	kept, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	for range 3 {
		if a := e.send(t, strings.Replace(attackAs, "X-Forwarded-For: ", "X: y", 1)); a.status != 403 {
			t.Fatalf("status %d", a.status)
		}
	}
	// A connection that was open before is answered; a new one is not.
	if a := e.exchange(t, kept, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "GET"); a.status != 429 {
		t.Errorf("on an open connection: %d", a.status)
	}
	for range 3 {
		c, err := net.Dial("tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("a banned client is answered")
		}
		_ = c.Close()
	}
	turned := 0
	e.notes.mu.Lock()
	for _, r := range e.notes.list {
		if r.Reason == gate.BanActive && r.Event == "" && r.Request.Method == "" {
			turned++
		}
	}
	e.notes.mu.Unlock()
	if turned != 1 {
		t.Errorf("%d records of three connections within a minute", turned)
	}
}
