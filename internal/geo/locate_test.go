package geo_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/internal/testkit"
)

// TestLocate asks for coordinates where they are wanted, and refuses a database
// that has none.
func TestLocate(t *testing.T) {
	dir := t.TempDir()
	city, country := filepath.Join(dir, "city.mmdb"), filepath.Join(dir, "country.mmdb")
	areas := map[string]testkit.Area{
		"192.0.2.0/24":  {Country: "NL", Continent: "EU", Point: &[2]float64{52.4, 4.9}},
		"2001:db8::/32": {Country: "AU", Continent: "OC", Point: &[2]float64{-33.9, 151.2}},
		"203.0.113.0/8": {Country: "US", Continent: "NA"},
	}
	if err := testkit.WriteAreaDB(city, areas); err != nil {
		t.Fatal(err)
	}
	if err := testkit.WriteCountryDB(country, map[string]string{"192.0.2.0/24": "NL"}); err != nil {
		t.Fatal(err)
	}
	amsterdam := gate.Place{Country: "NL", Continent: "EU", Located: true, Latitude: 52.4, Longitude: 4.9}
	sydney := gate.Place{Country: "AU", Continent: "OC", Located: true, Latitude: -33.9, Longitude: 151.2}
	for _, tc := range []struct {
		rule   string
		locate bool
		addr   string
		want   gate.Place
	}{
		{"IPv4", true, "192.0.2.9", amsterdam},
		{"IPv6", true, "2001:db8::1", sydney},
		{"no coordinates", true, "203.0.113.1", gate.Place{Country: "US", Continent: "NA"}},
		{"nowhere", true, "198.51.100.1", gate.Place{}},
		{"not asked for", false, "192.0.2.9", gate.Place{Country: "NL", Continent: "EU"}},
	} {
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: city, Locate: tc.locate}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Lookup(netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("%s: Lookup(%s) = %+v, want %+v", tc.rule, tc.addr, got, tc.want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, Locate: true}, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "knows no coordinates") {
		t.Errorf("a database without coordinates is taken: %v", err)
	}
}
