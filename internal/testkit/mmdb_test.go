package testkit_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"

	"sallyport/internal/testkit"
)

var update = flag.Bool("update", false, "write the demo's databases instead of comparing them")

// What the demo believes about the documentation networks (RFC 5737, RFC 3849)
// and the autonomous systems reserved for documentation (RFC 5398).
var (
	demoCountries = map[string]string{
		"192.0.2.0/24":    "NL",
		"198.51.100.0/24": "KP",
		"203.0.113.0/24":  "DE",
		"2001:db8:1::/48": "SE",
	}
	demoASNs = map[string]uint32{
		"192.0.2.0/24":    64496,
		"198.51.100.0/24": 64500,
		"203.0.113.0/24":  64501,
		"2001:db8:1::/48": 64502,
	}
)

// TestDemoDatabases keeps the demo's databases equal to the tables above. With
// -update it writes them.
func TestDemoDatabases(t *testing.T) {
	data := filepath.Join("..", "demo", "data")
	made := data
	if !*update {
		made = t.TempDir()
	}
	if err := testkit.WriteCountryDB(filepath.Join(made, "country.mmdb"), demoCountries); err != nil {
		t.Fatal(err)
	}
	if err := testkit.WriteASNDB(filepath.Join(made, "asn.mmdb"), demoASNs); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"country.mmdb", "asn.mmdb"} {
		want, err := os.ReadFile(filepath.Join(made, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(data, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the tables give; see the README.md beside it", name)
		}
	}
}

func TestDatabasesHoldTheirEntries(t *testing.T) {
	dir := t.TempDir()
	country, asn := filepath.Join(dir, "country.mmdb"), filepath.Join(dir, "asn.mmdb")
	if err := testkit.WriteCountryDB(country, map[string]string{"10.0.0.0/8": "NL", "10.1.0.0/16": "BE", "2001:db8::/32": "SE"}); err != nil {
		t.Fatal(err)
	}
	if err := testkit.WriteASNDB(asn, map[string]uint32{"192.0.2.0/24": 64496}); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{"10.9.9.9": "NL", "10.1.2.3": "BE", "2001:db8::1": "SE", "192.0.2.1": ""} {
		var got string
		look(t, country, addr, &got, "country", "iso_code")
		if got != want {
			t.Errorf("country of %s = %q, want %q", addr, got, want)
		}
	}
	for addr, want := range map[string]uint32{"192.0.2.77": 64496, "192.0.3.1": 0} {
		var got uint32
		look(t, asn, addr, &got, "autonomous_system_number")
		if got != want {
			t.Errorf("network of %s = %d, want %d", addr, got, want)
		}
	}
}

func look(t *testing.T, path, addr string, into any, keys ...any) {
	t.Helper()
	db, err := maxminddb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := db.Verify(); err != nil {
		t.Errorf("%s is not sound: %v", path, err)
	}
	if err := db.Lookup(netip.MustParseAddr(addr)).DecodePath(into, keys...); err != nil {
		t.Errorf("look up %s in %s: %v", addr, path, err)
	}
}

func TestDatabaseRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.mmdb")
	if err := testkit.WriteCountryDB(path, map[string]string{"192.0.2.0": "NL"}); err == nil {
		t.Error("an entry that is no prefix was accepted")
	}
	if err := testkit.WriteASNDB(filepath.Join(path, "nowhere", "x.mmdb"), nil); err == nil {
		t.Error("a path that cannot be created was accepted")
	}
}
