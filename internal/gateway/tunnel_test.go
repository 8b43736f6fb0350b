package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sallyport/internal/gate"
)

// echoes is a WebSocket server that says everything back.
func echoes(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(2 << 20)
	for {
		kind, p, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, p) != nil {
			return
		}
	}
}

// A socket is a WebSocket through the gateway.
type socket struct{ *websocket.Conn }

// upgrade opens one for a path, as a client that a trusted proxy names.
func (e *edge) upgrade(t testing.TB, path, client string) (socket, string) {
	t.Helper()
	c, resp, err := websocket.Dial(t.Context(), "ws://"+e.address+path, &websocket.DialOptions{
		HTTPHeader: http.Header{"X-Forwarded-For": {client}}, Subprotocols: []string{"echo"},
	})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(2 << 20)
	return socket{c}, resp.Header.Get("X-Request-Id")
}

// says reports whether a message comes back.
func (s socket) says(t testing.TB, text string) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if s.Write(ctx, websocket.MessageText, []byte(text)) != nil {
		return false
	}
	_, p, err := s.Read(ctx)
	return err == nil && string(p) == text
}

// ended waits for the end of the connection and returns how long it took.
func (s socket) ended(t testing.TB) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, _, err := s.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the tunnel goes on: %v", err)
	}
	return time.Since(began)
}

// closed waits for the record of the end of a tunnel.
func (n *notes) closed(t testing.TB, id string) gate.Record {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		n.mu.Lock()
		for _, r := range n.list {
			if r.ID == id && r.Event == "closed" {
				n.mu.Unlock()
				return r
			}
		}
		n.mu.Unlock()
	}
	t.Fatalf("no second record for %q", id)
	return gate.Record{}
}

const sockets = `
listeners: [{address: "127.0.0.1:0"}]
clients: {trusted_proxies: [127.0.0.0/8]}
geo: {deny: [198.51.100.0/24]}
bans: {mode: enforce}
limits: []
pools:
  app: {backends: [{name: one, url: "http://$BACKEND"}]}
  other: {backends: [{name: two, url: "http://$BACKEND"}]}
routes:
  - {name: stays, pool: app, paths: [/stays]}
  - {name: changes, pool: app, paths: [/changes], max_body: 1MiB}
  - {name: goes, pool: app, paths: [/goes]}
  - {name: moves, pool: other, paths: [/moves]}
  - {name: silent, pool: app, paths: [/silent], tunnel: {idle: 200ms}}
  - {name: short, pool: app, paths: [/short], tunnel: {idle: 0s, max: 300ms}}
audit: {path: audit.jsonl}
admin: {address: "unix:admin.sock"}
state: {dir: state}
shutdown: {timeout: 600ms}
`

func TestWebSocket(t *testing.T) {
	e := open(t, http.HandlerFunc(echoes), sockets)
	c, id := e.upgrade(t, "/stays", "203.0.113.7")
	if c.Subprotocol() != "echo" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	for _, size := range []int{0, 1, 125, 126, 70000, 1 << 20} {
		if !c.says(t, strings.Repeat("x", size)) {
			t.Fatalf("%d bytes do not come back", size)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("the closing handshake: %v", err)
	}
	first, second := e.notes.find(t, id), e.notes.closed(t, id)
	if first.Status != 101 || first.Pool.Backend != "one" || second.Tunnel.Received < 1<<20 || second.Tunnel.Sent < 1<<20 || second.Detail != "" {
		t.Errorf("records %+v\n%+v %+v", first, second, second.Tunnel)
	}
	// What the rules and limits refuse never becomes one.
	for _, target := range []string{"/stays?id=1%27%20OR%20%271%27=%271%20UNION%20SELECT%20password%20FROM%20users--", "/unknown"} {
		_, resp, err := websocket.Dial(t.Context(), "ws://"+e.address+target, nil)
		if err == nil || resp == nil || resp.StatusCode < 400 {
			t.Errorf("%s: %v, %v", target, resp, err)
		}
	}
}

func TestTunnelLimits(t *testing.T) {
	e := open(t, http.HandlerFunc(echoes), sockets)
	for path, want := range map[string]string{"/silent": "tunnel.idle", "/short": "tunnel.max"} {
		c, id := e.upgrade(t, path, "203.0.113.7")
		c.ended(t)
		if r := e.notes.closed(t, id); !strings.Contains(r.Detail, want) {
			t.Errorf("%s: ended for %q, want %s", path, r.Detail, want)
		}
	}
}

// TestTunnelsOverAReload: tunnels of routes that stay the same live on; others
// have shutdown.timeout, and those of clients that are denied now have no time.
func TestTunnelsOverAReload(t *testing.T) {
	e := open(t, http.HandlerFunc(echoes), sockets)
	const friend, foe = "203.0.113.7", "203.0.114.9"
	stays, staysID := e.upgrade(t, "/stays", friend)
	changes, changesID := e.upgrade(t, "/changes", friend)
	goes, goesID := e.upgrade(t, "/goes", friend)
	moves, movesID := e.upgrade(t, "/moves", friend)
	denied, deniedID := e.upgrade(t, "/stays", foe)
	config := strings.ReplaceAll(sockets, "$BACKEND", e.backend.Listener.Addr().String())
	next := strings.NewReplacer(
		"max_body: 1MiB", "max_body: 2MiB",
		"  - {name: goes, pool: app, paths: [/goes]}\n", "",
		`other: {backends: [{name: two, url: "http://`+e.backend.Listener.Addr().String()+`"}]}`, `other: {backends: [{name: two, url: "http://127.0.0.1:9"}]}`,
		"deny: [198.51.100.0/24]", "deny: [203.0.114.0/24]",
	).Replace(config)
	if strings.Count(next, "127.0.0.1:9\"") != 1 || strings.Contains(next, "goes") {
		t.Fatal(next)
	}
	e.write(t, next)
	if err := e.Reload(); err != nil {
		t.Fatal(err)
	}
	denied.ended(t)
	if r := e.notes.closed(t, deniedID); !strings.Contains(r.Detail, string(gate.GeoPrefix)) {
		t.Errorf("the tunnel of a denied client ended for %q", r.Detail)
	}
	for name, c := range map[string]socket{"stays": stays, "changes": changes, "goes": goes, "moves": moves} {
		if !c.says(t, "still here") {
			t.Errorf("%s: ended at once", name)
		}
	}
	for name, c := range map[string]struct {
		socket
		id string
	}{"changes": {changes, changesID}, "goes": {goes, goesID}, "moves": {moves, movesID}} {
		c.ended(t)
		if r := e.notes.closed(t, c.id); r.Detail != "the route has changed, or is gone" {
			t.Errorf("%s: ended for %q", name, r.Detail)
		}
	}
	for i := range 3 { // it also outlives what happens later
		if !stays.says(t, fmt.Sprint("message ", i)) {
			t.Fatal("the tunnel of a route that has not changed has ended")
		}
		if err := e.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	var said any
	err := e.adminOf(t).Post(t.Context(), "/bans", map[string]any{"add": map[string]any{"client": friend}}, &said)
	stays.ended(t)
	if r := e.notes.closed(t, staysID); !strings.Contains(r.Detail, string(gate.BanActive)) || err != nil {
		t.Errorf("the tunnel of a banned client ended for %q (%v)", r.Detail, err)
	}
}

// TestTunnelThatIsOpenedDuringAReload: a handshake that began under the old
// configuration is judged by the new one.
func TestTunnelThatIsOpenedDuringAReload(t *testing.T) {
	arrived, reloaded := make(chan struct{}), make(chan struct{})
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-reloaded
		echoes(w, r)
	}), strings.Replace(sockets, "600ms", "100ms", 1))
	go func() {
		<-arrived
		defer close(reloaded)
		text := strings.Replace(strings.ReplaceAll(sockets, "$BACKEND", e.backend.Listener.Addr().String()), "max_body: 1MiB", "max_body: 2MiB", 1)
		e.write(t, strings.Replace(text, "600ms", "100ms", 1))
		if err := e.Reload(); err != nil {
			t.Error(err)
		}
	}()
	c, id := e.upgrade(t, "/changes", "203.0.113.7")
	c.ended(t)
	if r := e.notes.closed(t, id); r.Detail != "the route has changed, or is gone" {
		t.Errorf("ended for %q", r.Detail)
	}
}
