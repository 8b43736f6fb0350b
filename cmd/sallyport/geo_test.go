package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/testkit"
)

// geoFile writes a configuration with databases and a list, and returns its
// path.
func geoFile(t *testing.T, rules string) string {
	t.Helper()
	dir := t.TempDir()
	if err := testkit.WriteAreaDB(filepath.Join(dir, "country.mmdb"), map[string]testkit.Area{
		"192.0.2.0/24": {Country: "NL", Continent: "EU"}, "203.0.113.0/24": {Country: "DE", Continent: "EU"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := testkit.WriteASNDB(filepath.Join(dir, "asn.mmdb"), map[string]uint32{"192.0.2.0/24": 64496}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"deny.txt": "# one\n192.0.2.128/25\n",
		"sallyport.yaml": "geo: {country: country.mmdb, asn: asn.mmdb, " + rules + "}\npools: {app: {backends: [{url: \"http://127.0.0.1:3000\"}]}}\n" +
			"routes:\n  - {name: staff, paths: [/staff], pool: app, geo: {allow: [NL]}}\n  - {name: site, pool: app}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "sallyport.yaml")
}

func TestGeoLookup(t *testing.T) {
	file := geoFile(t, "deny_files: [deny.txt]")
	off := geoFile(t, "mode: off")
	bad := geoFile(t, "deny_files: [deny.txt]")
	if err := os.WriteFile(filepath.Join(filepath.Dir(bad), "deny.txt"), []byte("10.0.0.1/8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		rule string
		args []string
		code int
		out  []string // in standard output
		err  string
	}{
		{"an address that passes", []string{"192.0.2.1", "-c", file}, 0,
			[]string{"192.0.2.1\n", "class      known\n", "country    NL\n", "continent  EU\n", "network    AS64496\n", "GeoLite2-Country of 2026-01-01, which is old\n",
				"pass       by geo: no rule of geo names 192.0.2.1\n", "verdict    pass\n"}, ""},
		{"a denied one, and where it says so", []string{"192.0.2.200", "-c", file}, 0,
			[]string{"refuse     by geo: 192.0.2.200 is in 192.0.2.128/25, " + filepath.Dir(file) + "/deny.txt:2 (geo.prefix)\n", "verdict    refuse (geo.prefix)\n"}, ""},
		{"the rules of a route", []string{"203.0.113.1", "-c", file, "--route", "staff"}, 0,
			[]string{"pass       by geo: ", "refuse     by geo of route staff: neither 203.0.113.1 nor DE is in geo of route staff.allow (geo.not_allowed)\n"}, ""},
		{"a route without rules", []string{"203.0.113.1", "-c", file, "--route", "site"}, 0, []string{"verdict    pass\n"}, ""},
		{"several, mapped and private", []string{"::ffff:192.0.2.1", "::1", "198.18.0.1", "-c", file}, 0, []string{"192.0.2.1\n  class      known", "::1\n  class      private", "198.18.0.1\n  class      unknown"}, ""},
		{"in observe mode", []string{"192.0.2.200", "-c", file, "--observe"}, 0, []string{"verdict    observe (geo.prefix)\n"}, ""},
		{"no address", []string{"-c", file}, 2, nil, "needs an address"},
		{"a prefix", []string{"192.0.2.0/24", "-c", file}, 2, nil, `"192.0.2.0/24" is not an address`},
		{"no configuration", []string{"192.0.2.1"}, 2, nil, "-c FILE"},
		{"a route that is not there", []string{"192.0.2.1", "-c", file, "--route", "stuff"}, 2, nil, `there is no route "stuff", only staff, site`},
		{"a bad list", []string{"192.0.2.1", "-c", bad}, 1, nil, "deny.txt:1:1: geo.deny_files: prefix 10.0.0.1/8 has host bits set"},
		{"switched off", []string{"192.0.2.1", "-c", off}, 2, nil, "geo.mode is off"},
	} {
		code, out, err := sallyport(t, append([]string{"geo", "lookup"}, tc.args...)...)
		if code != tc.code || !strings.Contains(err, tc.err) {
			t.Errorf("%s: %d %q, want %d %q", tc.rule, code, err, tc.code, tc.err)
		}
		for _, want := range tc.out {
			if !strings.Contains(out, want) {
				t.Errorf("%s: printed\n%swithout %q", tc.rule, out, want)
			}
		}
	}
}

func TestGeoLookupAsJSON(t *testing.T) {
	file := geoFile(t, "deny_files: [deny.txt]")
	code, out, stderr := sallyport(t, "geo", "lookup", "--json", "192.0.2.200", "10.0.0.1", "-c", file, "--route", "staff")
	var got []located
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || len(got) != 2 {
		t.Fatalf("%d %s%s: %v", code, out, stderr, err)
	}
	if l := got[0]; l.Address != "192.0.2.200" || l.Class != "known" || l.Country != "NL" || l.Continent != "EU" || l.ASN != 64496 || l.Mode != "enforce" ||
		l.Action != "refuse" || l.Reason != "geo.prefix" || len(l.Rules) != 2 || l.Rules[0].Action != "refuse" || l.Rules[0].Reason != "geo.prefix" || l.Rules[1].Action != "pass" {
		t.Errorf("the first is %+v", l)
	}
	if l := got[1]; l.Class != "private" || l.Action != "pass" || l.Reason != "" || !strings.Contains(l.Rules[1].Why, "10.0.0.1 is private") {
		t.Errorf("the second is %+v", l)
	}
}
