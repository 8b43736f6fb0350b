package proxy_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// TestPlacesForBackend: what others say of a client's place goes, and what the
// gateway says is said once.
func TestPlacesForBackend(t *testing.T) {
	const host = "Host: shop.example.org"
	all := []string{proxy.GeoCountry, proxy.GeoContinent, proxy.GeoASN}
	known := gate.Place{Country: "NL", Continent: "EU", ASN: 64496}
	forged := []string{"X-Geo-Country: KP", "x-geo-continent: AS", "X-Geo-ASN: 1", "X-Geo-City: y", "X-Country-Code: KP", "CF-IPCountry: KP", "cf-ipcontinent: AS", "CF-Region: x",
		"GeoIP-Country-Code: KP", "X-GeoIP-Country: KP", "CloudFront-Viewer-Country: KP", "CloudFront-Viewer-ASN: 1", "X-AppEngine-Country: KP", "X-AppEngine-CityLatLong: 1,1",
		"X-Vercel-IP-Country: KP", "X-Akamai-Edgescape: country_code=KP", "X-NF-Geo: x", "X-Client-Geo-Location: KP", "X-Country-Name: x", "X-Continent-Code: AS", "X_Geo_Country: KP"}
	for _, tc := range []struct {
		rule    string
		trusted bool
		headers []string
		place   gate.Place
		in      []string
		want    []string // of what names a place
	}{
		{"nobody asks", false, nil, known, nil, nil},
		{"all of it", false, all, known, nil, []string{"X-Geo-Asn: 64496", "X-Geo-Continent: EU", "X-Geo-Country: NL"}},
		{"one of it", false, all[:1], known, nil, []string{"X-Geo-Country: NL"}},
		{"what is not known is not sent", false, all, gate.Place{ASN: 64496}, nil, []string{"X-Geo-Asn: 64496"}},
		{"a client is not believed", false, nil, known, forged, nil},
		{"nor beside what the gateway says", false, all, known, forged, []string{"X-Geo-Asn: 64496", "X-Geo-Continent: EU", "X-Geo-Country: NL"}},
		{"a trusted proxy is", true, nil, known, forged[:3], []string{"X-Geo-ASN: 1", "X-Geo-Country: KP", "x-geo-continent: AS"}},
		{"but for what the gateway says, in every spelling", true, all[:2], known, append(forged[:3:3], "x_geo_country: KP", "X-Geo-Countrycode: z"),
			[]string{"X-Geo-ASN: 1", "X-Geo-Continent: EU", "X-Geo-Country: NL", "X-Geo-Countrycode: z"}},
		{"and for what it does not know", true, all, gate.Place{}, forged[:3], nil},
		{"a field that only looks like one is the client's", false, all, gate.Place{}, []string{"X-Geometry: 1", "X-Country: KP"}, []string{"X-Country: KP", "X-Geometry: 1"}},
	} {
		got := sent(t, func(g *rig) {
			g.cfg.GeoHeaders = tc.headers
			g.stages.Geo = checker(func(req *gate.Request) gate.Verdict { req.Place = tc.place; return gate.Passes(gate.StageGeo) })
			g.stages.Client = checker(func(req *gate.Request) gate.Verdict {
				req.Trusted, req.Client = tc.trusted, netip.MustParseAddr("192.0.2.7")
				return gate.Passes(gate.StageClient)
			})
		}, append([]string{host}, tc.in...)...)
		got = slices.DeleteFunc(got, func(l string) bool {
			return l == host || strings.HasPrefix(l, "X-Forwarded-") || strings.HasPrefix(l, "X-Real-Ip")
		})
		if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
			t.Errorf("%s: the backend received\n%s\nwant\n%s", tc.rule, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
		}
	}
}
