package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
	"sallyport/internal/testkit"
)

const placesConfig = `
listeners: [{address: "127.0.0.1:0"}]
clients: {trusted_proxies: [127.0.0.0/8]}
http: {waive: [http.path_dots]}
geo:
  country: country.mmdb
  asn: asn.mmdb
  deny: [KP, continent-OC]
  deny_files: [deny.txt]
  exempt_paths: [/.well-known/]
  headers: [country, continent, asn]
limits: []
policies: {default: {mode: off}}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}]}}
routes:
  - {name: staff, paths: [/staff], pool: app, geo: {allow: [private], allow_files: [staff.txt]}}
  - {name: eu, paths: [/eu], pool: app, geo: {allow: [continent-EU]}}
  - {name: site, pool: app}
audit: {path: audit.jsonl}
admin: {address: ""}
`

// openPlaces starts a gateway with databases and lists.
func openPlaces(t *testing.T) *edge {
	t.Helper()
	dir := t.TempDir()
	country, asn := filepath.Join(dir, "country"), filepath.Join(dir, "asn")
	if err := testkit.WriteAreaDB(country, map[string]testkit.Area{
		"192.0.2.0/24": {Country: "NL", Continent: "EU"}, "198.51.100.0/24": {Country: "KP", Continent: "AS"},
		"203.0.113.0/24": {Country: "US", Continent: "NA"}, "2001:db8:1::/48": {Country: "NZ", Continent: "OC"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := testkit.WriteASNDB(asn, map[string]uint32{"192.0.2.0/24": 64496, "203.0.113.0/24": 64501}); err != nil {
		t.Fatal(err)
	}
	content := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	return open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s geo=%s,%s,%s old=%s", r.RequestURI, r.Header["X-Geo-Country"], r.Header["X-Geo-Continent"], r.Header["X-Geo-Asn"], r.Header.Get("Cf-Ipcountry"))
		for name := range r.Header {
			if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-geo") && name != http.CanonicalHeaderKey(name) {
				fmt.Fprint(w, " and ", name)
			}
		}
	}), placesConfig, "country.mmdb", content(country), "asn.mmdb", content(asn),
		"deny.txt", "# scanners\n192.0.2.128/25 until 2999-12-31\nAS64501\n", "staff.txt", "192.0.2.7 # office\n")
}

func TestWhoMayComeIn(t *testing.T) {
	e := openPlaces(t)
	for _, tc := range []struct {
		rule, client, request string
		status                int
		reason                gate.Reason
		detail, body          string // contained
	}{
		{"nobody names it", "192.0.2.1", "GET /", 200, "", "", "/ geo=[NL],[EU],[64496]"},
		{"a denied country", "198.51.100.1", "GET /", 403, gate.GeoCountry, "198.51.100.1 is in KP, geo.deny[0]", ""},
		{"a denied continent", "2001:db8:1::1", "GET /", 403, gate.GeoContinent, "2001:db8:1::1 is in continent-OC, geo.deny[1]", ""},
		{"a denied prefix in a list", "192.0.2.200", "GET /", 403, gate.GeoPrefix, "192.0.2.200 is in 192.0.2.128/25, $DIR/deny.txt:2", ""},
		{"a denied network in a list", "203.0.113.1", "GET /", 403, gate.GeoASN, "203.0.113.1 is in AS64501, $DIR/deny.txt:3", ""},
		{"a private address", "10.1.2.3", "GET /", 200, "", "", "/ geo=[],[],[]"},
		{"on a route for private ones", "10.1.2.3", "GET /staff/a", 200, "", "", "/staff/a geo"},
		{"and for a list", "192.0.2.7", "GET /staff", 200, "", "", "/staff geo"},
		{"nobody else", "192.0.2.8", "GET /staff", 403, gate.GeoNotAllowed, "geo of route staff.allow", ""},
		{"a route does not widen", "198.51.100.1", "GET /eu", 403, gate.GeoCountry, "geo.deny[0]", ""},
		{"a route for a continent", "192.0.2.1", "GET /eu", 200, "", "", "/eu geo"},
		{"whom no database knows", "198.18.0.1", "GET /eu", 403, gate.GeoUnknown, "unknown to geo of route eu", ""},
		{"a private address passes a continent", "10.1.2.3", "GET /eu", 200, "", "", ""},
		{"an exempt path", "198.51.100.1", "GET /.well-known/acme-challenge/x", 200, "", "", "acme"},
		{"and what it leads to", "198.51.100.1", "GET /.well-known/../admin", 403, gate.GeoCountry, "", ""},
		{"and in another spelling", "198.51.100.1", "GET /.well-known/%2e%2e/admin", 403, gate.GeoCountry, "", ""},
		{"and with an encoded slash", "198.51.100.1", "GET /.well-known/..%2Fadmin", 403, gate.GeoCountry, "", ""},
		{"that from elsewhere", "192.0.2.1", "GET /.well-known/../admin", 200, "", "", "/.well-known/../admin geo"},
		{"a proxy's word on the place does not count beside ours", "192.0.2.1", "GET /\nX-Geo-Country: KP\nx-geo-continent: AS\nX-GEO-ASN: 1", 200, "", "", "/ geo=[NL],[EU],[64496] old="},
		{"nor where we do not know", "10.1.2.3", "GET /\nX-Geo-Country: KP\nx-geo-asn: 1", 200, "", "", "/ geo=[],[],[] old="},
		{"its other fields do", "192.0.2.1", "GET /\nCF-IPCountry: XX", 200, "", "", "old=XX"},
	} {
		a := e.send(t, tc.request+"\nX-Forwarded-For: "+tc.client)
		if a.status != tc.status || !strings.Contains(a.body, tc.body) || strings.Contains(a.body, " and ") {
			t.Errorf("%s: %d %q, want %d %q", tc.rule, a.status, a.body, tc.status, tc.body)
		}
		r := e.notes.find(t, a.header.Get("X-Request-Id"))
		if r.Reason != tc.reason || !strings.Contains(r.Detail, strings.ReplaceAll(tc.detail, "$DIR", e.dir)) || r.Client.IP != tc.client {
			t.Errorf("%s: recorded %q %q for %s, want %q %q", tc.rule, r.Reason, r.Detail, r.Client.IP, tc.reason, tc.detail)
		}
	}
	w := httptest.NewRecorder()
	e.gateway.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		fmt.Sprintf(`sallyport_geo_list_entries{list="%s/deny.txt"} 2`, e.dir), fmt.Sprintf(`sallyport_geo_list_problem{list="%s/staff.txt"} 0`, e.dir),
		`sallyport_geo_database_age_seconds{database="country"}`, "sallyport_geo_database_max_age_seconds 3.888e+06",
		`sallyport_requests_total{action="refuse",reason="geo.continent",stage="geo"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestListsOfTheNextGeneration(t *testing.T) {
	e := openPlaces(t)
	ask := func() int { return e.send(t, "GET /\nX-Forwarded-For: 192.0.2.1").status }
	list := filepath.Join(e.dir, "deny.txt")
	if err := os.WriteFile(list, []byte("192.0.2.0/24\n10.0.0.1/8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Reload(); err == nil || !strings.Contains(err.Error(), list+":2:1: geo.deny_files: prefix 10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?") {
		t.Errorf("Reload with a bad list = %v, want its line", err)
	}
	if got := ask(); got != 200 {
		t.Errorf("after a reload that was turned down: %d", got)
	}
	if err := os.WriteFile(list, []byte("192.0.2.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != 403 {
		t.Errorf("after a reload: %d", got)
	}
	gen, err := e.gateway.Build(7)
	if err != nil {
		t.Fatal(err)
	}
	defer gen.Close()
	text, err := json.Marshal(gen.Status())
	for _, want := range []string{`"geo_lists":[{"path":"` + list + `","entries":1,"written":1,`, `"kind":"country"`, `"old":true`} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("the status lacks %s: %s, %v", want, text, err)
		}
	}
}

// check says what serve would say, and warns of databases that are old.
func TestCheckJudgesPlaces(t *testing.T) {
	e := openPlaces(t)
	check := func() gate.Diagnostics {
		cfg, ds := config.Load(e.file)
		if cfg == nil {
			t.Fatal(ds)
		}
		found := gateway.Check(cfg).Problems
		found.Sort()
		return found
	}
	if ds := check(); len(ds) != 2 || ds.Fatal() || !strings.Contains(ds[0].String(), "sallyport.yaml:6:12: warning: geo.country: the database was built on 2026-01-01") {
		t.Errorf("check of old databases says %v", ds)
	}
	if err := os.WriteFile(filepath.Join(e.dir, "staff.txt"), []byte("#\nNL\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ds := check(); !ds.Fatal() || !strings.Contains(ds.Error(), "staff.txt:2:1: geo.allow_files of route staff: bad entry") {
		t.Errorf("check of a bad list says %v", ds)
	}
}
