package gateway_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

const pooled = `
listeners: [{address: "127.0.0.1:0"}]
limits: []
policies: {default: {mode: "off"}}
pools:
  app:
    backends:
      - {name: one, url: "http://$BACKEND"}
      - {name: two, url: "http://$TWO"}
      - {name: three, url: "http://$THREE"}
    eject: {errors: 1, for: 1h, at_most: 40%}
    sticky: {cookie: sp}
routes: [{name: site, hosts: [localhost], pool: app}]
audit: {path: audit.jsonl}
admin: {address: "unix:admin.sock"}
state: {dir: state}
`

// TestPoolsOutliveReloads ejects a backend, drains another, and reloads: both
// stay as they are, and so do sessions, until the file says otherwise.
func TestPoolsOutliveReloads(t *testing.T) {
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, name) })
	}
	two := httptest.NewServer(named("two"))
	t.Cleanup(two.Close)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	text := strings.NewReplacer("$TWO", strings.TrimPrefix(two.URL, "http://"), "$THREE", nobody.Addr().String()).Replace(pooled)
	e := open(t, named("one"), text)
	admin := e.adminOf(t)
	type m = map[string]any
	pools := func() []proxy.BackendStatus {
		t.Helper()
		var all []proxy.PoolStatus
		if err := admin.Get(t.Context(), "/pools", &all); err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0].Backends
	}
	var cookie string
	for range 3 { // each gets one, and the third is found out
		a := e.send(t, "GET /")
		if a.status != 200 {
			t.Fatalf("status %d", a.status)
		}
		if a.body == "two" {
			cookie, _, _ = strings.Cut(a.header.Get("Set-Cookie"), ";")
		}
	}
	var said any
	if err := admin.Post(t.Context(), "/pools", m{"drain": m{"pool": "app", "backend": "two"}}, &said); err != nil {
		t.Fatal(err)
	}
	if err := admin.Post(t.Context(), "/pools", m{"set_weight": m{"pool": "app", "backend": "one", "weight": 5}}, &said); err != nil {
		t.Fatal(err)
	}
	check := func(when string, weight int) {
		t.Helper()
		if b := pools(); b[0].Weight != weight || !b[1].Draining || b[2].State != "ejected" || b[2].Failures == 0 {
			t.Errorf("%s: %+v", when, b)
		}
		for range 4 {
			if a := e.send(t, "GET /"); a.body != "one" {
				t.Errorf("%s a new client gets %q", when, a.body)
			}
		}
		if a := e.send(t, "GET /\nCookie: "+cookie); a.body != "two" || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s a client with a session gets %q, and the cookie %q", when, a.body, a.header.Get("Set-Cookie"))
		}
	}
	check("at first", 5)
	if err := e.Reload(); err != nil {
		t.Fatal(err)
	}
	check("after a reload", 5)
	file, err := os.ReadFile(e.file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(file), "name: one,", "name: one, weight: 3,", 1)
	e.write(t, strings.Replace(changed, "backends:", "nonsense: 1\n    backends:", 1))
	if e.Reload() == nil {
		t.Fatal("nonsense was taken")
	}
	check("after a reload that was turned down", 5)
	e.write(t, changed)
	if err := e.Reload(); err != nil {
		t.Fatal(err)
	}
	check("after the file has another weight", 3)
	e.notes.mu.Lock()
	defer e.notes.mu.Unlock()
	var changes []string
	for _, r := range e.notes.list {
		if r.Event == gate.EventBackend {
			changes = append(changes, r.Pool.Backend+" "+r.Pool.State)
			if r.Stage != gate.StagePool || r.Gateway.Host == "" || (r.Action == "fail") != (r.Pool.State == "ejected") {
				t.Errorf("record %+v", r)
			}
		}
	}
	if got := strings.Join(changes, ", "); got != "three ejected, two draining, one weight, one weight" {
		t.Errorf("changes that were recorded: %s", got)
	}
}
