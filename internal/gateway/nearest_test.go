package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/config"
	"sallyport/internal/gateway"
	"sallyport/internal/testkit"
)

const nearestConfig = `
listeners: [{address: "127.0.0.1:0"}]
clients: {trusted_proxies: [127.0.0.0/8]}
geo: {country: places.mmdb}
limits: []
policies: {default: {mode: off}}
pools:
  app:
    backends:
      - {name: frankfurt, url: "http://$BACKEND", zone: "50.1,8.7"}
      - {name: sydney, url: "http://$OTHER", zone: "-33.9,151.2"}
    balance: nearest
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`

// TestNearest sends clients to the backend that is nearest to where a City
// database has them.
func TestNearest(t *testing.T) {
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, name) })
	}
	other := httptest.NewServer(named("sydney"))
	t.Cleanup(other.Close)
	places := func(areas map[string]testkit.Area) string {
		path := filepath.Join(t.TempDir(), "places.mmdb")
		if err := testkit.WriteAreaDB(path, areas); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	text := strings.ReplaceAll(nearestConfig, "$OTHER", strings.TrimPrefix(other.URL, "http://"))
	e := open(t, named("frankfurt"), text, "places.mmdb", places(map[string]testkit.Area{
		"192.0.2.0/24":    {Country: "NL", Continent: "EU", Point: &[2]float64{52.4, 4.9}},
		"198.51.100.0/24": {Country: "NZ", Continent: "OC", Point: &[2]float64{-36.9, 174.8}},
	}))
	for client, want := range map[string]string{"192.0.2.7": "frankfurt", "198.51.100.7": "sydney"} {
		for range 3 {
			if a := e.send(t, "GET /\nX-Forwarded-For: "+client); a.body != want {
				t.Errorf("%s goes to %q, want %s", client, a.body, want)
			}
		}
	}
	seen := map[string]bool{}
	for range 4 {
		seen[e.send(t, "GET /\nX-Forwarded-For: 203.0.113.7").body] = true
	}
	if len(seen) != 2 {
		t.Errorf("a client from nowhere goes to %v only", seen)
	}

	// A database without coordinates cannot do it, and says so.
	if err := os.WriteFile(filepath.Join(e.dir, "places.mmdb"), []byte(places(map[string]testkit.Area{"192.0.2.0/24": {Country: "NL"}})), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, ds := config.Load(e.file)
	if ds.Fatal() {
		t.Fatal(ds)
	}
	if f := gateway.Check(cfg); !strings.Contains(fmt.Sprint(f.Problems), "knows no coordinates") {
		t.Errorf("check says %v", f.Problems)
	}
}
