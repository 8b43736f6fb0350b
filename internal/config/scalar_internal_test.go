package config

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/proxy"
)

// outcome renders what a parser made of a text.
func outcome[T any](parse func(string) (T, error), text string) string {
	v, err := parse(text)
	if p, ok := errors.AsType[*problem](err); ok {
		return "refused: " + p.hint
	}
	if err != nil {
		return "refused: " + err.Error()
	}
	return fmt.Sprint(v)
}

func TestScalars(t *testing.T) {
	dur := func(s string) string { return outcome(duration(0, 24*time.Hour), s) }
	sz := func(s string) string { return outcome(parseSize, s) }
	rt := func(s string) string {
		return outcome(func(s string) (float64, error) { r, err := parseRate(s); return r.perSecond(), err }, s)
	}
	for _, tc := range []struct {
		rule string
		got  string
		want string
	}{
		{"a duration has a unit", dur("1m30s"), "1m30s"},
		{"zero needs none", dur("0"), "0s"},
		{"a bare number is refused", dur("30"), "refused: write a unit, as in 30s or 1m30s"},
		{"more than the limit is refused", dur("25h"), "refused: write 0s to 24h"},
		{"an overflow is refused", dur("9999999999h"), "refused: write a unit, as in 30s or 1m30s"},
		{"bytes", sz("500B"), "500"},
		{"binary units", sz("3GiB"), "3221225472"},
		{"zero bytes need no unit", sz("0"), "0"},
		{"decimal units are refused", sz("1GB"), "refused: write a number and B, KiB, MiB or GiB, as in 128KiB"},
		{"a sign is refused", sz("+1B"), "refused: write a number and B, KiB, MiB or GiB, as in 128KiB"},
		{"a fraction is refused", sz("1.5MiB"), "refused: write a number and B, KiB, MiB or GiB, as in 128KiB"},
		{"a space is refused", sz("1 MiB"), "refused: write a number and B, KiB, MiB or GiB, as in 128KiB"},
		{"an overflow of units is refused", sz("9007199254740993GiB"), "refused: write a number and B, KiB, MiB or GiB, as in 128KiB"},
		{"per minute", rt("30/m"), "0.5"},
		{"per hour", rt("36/h"), "0.01"},
		{"an exponent is refused", rt("1e3/s"), "refused: write a number per s, m or h, as in 100/s or 5/m"},
		{"no number is refused", rt("/s"), "refused: write a number per s, m or h, as in 100/s or 5/m"},
		{"a zone is a country", outcome(parseZone, "nl"), "NL"},
		{"or a continent", outcome(parseZone, "Continent-na"), "continent-NA"},
		{"or a code that is no country", outcome(parseZone, "eu"), "continent-EU"},
		{"or a country that shares its code", outcome(parseZone, "country-NA"), "country-NA"},
		{"or a country that says so without need", outcome(parseZone, "country-NL"), "NL"},
		{"or coordinates", outcome(parseZone, "-33.90, 151.2"), "-33.9,151.2"},
		{"or anywhere", outcome(parseZone, ""), ""},
		{"no country of that kind", outcome(parseZone, "country-EU"), `refused: write a country as NL, a continent as continent-EU, or latitude and longitude as "52.4,4.9"`},
		{"no number", outcome(parseZone, "NaN,0"), `refused: write degrees north (-90 to 90) and east (-180 to 180), as in "52.4,4.9"`},
		{"no longitude", outcome(parseZone, "0,180.1"), `refused: write degrees north (-90 to 90) and east (-180 to 180), as in "52.4,4.9"`},
		{"hash by a header", outcome(parseHashOn, "header:X-Tenant"), "header:X-Tenant"},
		{"hash by client, with a name", outcome(parseHashOn, "client:x"), "refused: did you mean client?"},
		{"hash by something else", outcome(parseHashOn, "ip"), "refused: write client, header:NAME, cookie:NAME, path"},
		{"a country is text", outcome(parseGeoRule, "no"), "NO"},
		{"American Samoa is a country", outcome(parseGeoRule, "AS"), "AS"},
		{"a network", outcome(parseGeoRule, "as64496"), "AS64496"},
		{"an address is a prefix", outcome(parseGeoRule, "192.0.2.7"), "192.0.2.7"},
		{"an IPv6 prefix", outcome(parseGeoRule, "2001:db8::/32"), "2001:db8::/32"},
		{"a continent has a word in front", outcome(parseGeoRule, "Continent-as"), "continent-AS"},
		{"a continent that there is not", outcome(parseGeoRule, "continent-AM"), "refused: write continent- and one of AF AN AS EU NA OC SA"},
		{"a continent without its word", outcome(parseGeoRule, "eu"), "refused: did you mean continent-EU?"},
		{"a continent with a colon", outcome(parseGeoRule, "continent:EU"), "refused: did you mean continent-EU?"},
		{"a continent that is a country too is the country", outcome(parseGeoRule, "na"), "NA"},
		{"a class", outcome(parseGeoRule, "Private"), "private"},
		{"a class misspelt", outcome(parseGeoRule, "unknwon"), `refused: did you mean "unknown"?`},
		{"days", outcome(days(0, 100), "45d"), "1080h0m0s"},
		{"no days", outcome(days(0, 100), "0"), "0s"},
		{"days without a unit", outcome(days(0, 100), "45"), "refused: write a whole number of days, as in 45d"},
		{"days in another unit", outcome(days(0, 100), "45h"), "refused: write a whole number of days, as in 45d"},
		{"too many days", outcome(days(0, 100), "101d"), "refused: write 0d to 100d"},
		{"host bits are refused", outcome(parseGeoRule, "2001:db8::1/32"), "refused: did you mean 2001:db8::/32?"},
		{"a zone is refused", outcome(parsePrefix, "fe80::1%eth0"), "refused: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"},
		{"a mapped address is refused", outcome(parsePrefix, "::ffff:10.0.0.0/104"), "refused: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"},
		{"one status", outcome(parseStatus, "204"), "{204 204}"},
		{"an empty range is refused", outcome(parseStatus, "399-200"), "refused: write 200 or 200-399, within 100 to 599"},
		{"a status without end is refused", outcome(parseStatus, "200-"), "refused: write 200 or 200-399, within 100 to 599"},
		{"a default port is filled in", outcome(parseBackend, "https://App.internal"), "https://app.internal:443"},
		{"an IPv6 backend", outcome(parseBackend, "http://[2001:db8::1]:80"), "http://[2001:db8::1]:80"},
		{"an empty port is refused", outcome(parseBackend, "http://app:"), "refused: write a port from 1 to 65535"},
		{"a wildcard host", outcome(parseRouteHost, "*.Example.org"), "*.example.org"},
		{"an underscore in a host", outcome(parseRouteHost, "my_app"), "my_app"},
		{"an IPv6 host has brackets", outcome(parseRouteHost, "2001:db8::1"), "refused: did you mean [2001:db8::1]?"},
		{"and with them is taken", outcome(parseRouteHost, "[2001:db8::1]"), "[2001:db8::1]"},
		{"an IPv4 host", outcome(parseRouteHost, "192.0.2.1"), "192.0.2.1"},
		{"no IPv4 host", outcome(parseRouteHost, "300.0.2.1"), "refused: write a host name as shop.example.org, or \"*.example.org\""},
		{"no IPv4 backend", outcome(parseBackend, "http://300.0.2.1:80"), "refused: write a host name or an address"},
		{"a wildcard inside is refused", outcome(parseRouteHost, "a.*.example"), "refused: write a host name as shop.example.org, or \"*.example.org\""},
		{"a dot at the end is refused", outcome(parseRouteHost, "example.org."), "refused: remove the dot at the end"},
		{"an encoded slash stays encoded", outcome(parseRoutePath, "=/a%2Fb"), "=/a%2Fb"},
		{"in upper case", outcome(parseRoutePath, "/a%2fb"), "refused: write %2F for %2f"},
		{"an escape cut short is refused", outcome(parseRoutePath, "/a%2"), "refused: write two hex digits after %"},
		{"parameters are not matched", outcome(parseRoutePath, "/a;b=c"), "refused: only paths are matched; remove what follows ;"},
		{"empty segments are not matched", outcome(parseRoutePath, "/a//b"), "refused: paths are matched without empty segments; write one / for //"},
		{"a method is a token", outcome(parseMethod, "GET IT"), "refused: "},
		{"CONNECT is never forwarded", outcome(parseMethod, "CONNECT"), "refused: remove it"},
		{"a wider method", outcome(parseMethod, "PROPFIND"), "PROPFIND"},
		{"an address with a name", outcome(parseAddress, "localhost:80"), "localhost:80"},
		{"an address without port is refused", outcome(parseAddress, "localhost"), `refused: write host:port, or ":8080" for all addresses`},
		{"a port with zeros in front is refused", outcome(parseAddress, ":0080"), "refused: write a port from 1 to 65535"},
		{"an admin host in lower case", outcome(parseAdminHost, "GW.internal:9090"), "gw.internal:9090"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.rule, tc.got, tc.want)
		}
	}
}

// What Print writes of a value is read back as the value.
func TestScalarsReadBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		if n := rng.Int64N(1 << rng.IntN(41)); outcome(parseSize, writeSize(n)) != fmt.Sprint(n) {
			t.Errorf("%d is written %s", n, writeSize(n))
		}
		d := time.Duration(rng.Int64N(int64(24*time.Hour))) / time.Millisecond * time.Millisecond
		if got, err := duration(0, 24*time.Hour)(writeDuration(d)); got != d || err != nil {
			t.Errorf("%s is written %s", d, writeDuration(d))
		}
		text := fmt.Sprintf("%d.%d%%", rng.IntN(100), rng.IntN(1000))
		share, _ := percent(text)
		if got, err := percent(writePercent(share)); got != share || err != nil {
			t.Errorf("%s is written %s", text, writePercent(share))
		}
		r := rate{float64(1+rng.IntN(5000)) / float64(1+rng.IntN(4)), []float64{1, 60, 3600}[rng.IntN(3)]}.perSecond()
		if got, err := parseRate(writeRate(r)); got.perSecond() != r || err != nil {
			t.Errorf("%v/s is written %s", r, writeRate(r))
		}
	}
	if got := writeDuration(90 * time.Minute); got != "1h30m" {
		t.Errorf("writeDuration = %s, want 1h30m", got)
	}
}

// Texts survive YAML and the replacement of variables, whatever is in them.
func TestTextsReadBack(t *testing.T) {
	for _, s := range []string{"", "a", "null", "Null", "~", "no", "1.20", "a b", "a: b", "a #b", "*x", "&x", "!x", "${X}", "$${X}", "$", "$$", "{", "[x]",
		`"`, `\`, "'", "-", "- a", "ü", "日本", "\u200b", "\U0001F600", "0x10", "-1", "@", "`", "%", "a,b", "x\u00a0y", "true", "2026-11-23", ".inf", "=", "<<", strings.Repeat("x", 70)} {
		r := newReader("x.yaml", func(string) (string, bool) { return "", false })
		root := r.parse([]byte("a: [" + text(s) + "]\nb: " + text(s) + "\n"))
		if root == nil {
			t.Errorf("%q is written %s, which is refused: %v", s, text(s), r.diags)
			continue
		}
		for _, n := range []*node{root.fields[0].value.items[0], root.fields[1].value} {
			if got, err := r.expand(n.text); n.kind != scalar || got != s || err != nil {
				t.Errorf("%q is written %s and read as %q (%v)", s, text(s), got, err)
			}
		}
	}
}

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "B_2": "${A}", "EMPTY": ""}
	r := newReader("x.yaml", func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	for _, tc := range []struct{ rule, text, want string }{
		{"a variable", "x${A}y", "x1y"},
		{"several", "${A}${A}", "11"},
		{"what a variable holds is not read again", "${B_2}", "${A}"},
		{"an empty variable is set", "a${EMPTY}b", "ab"},
		{"escaped", "$${A}", "${A}"},
		{"escaped before a variable", "$${${A}", "${1"},
		{"a dollar alone", "$A $ $$", "$A $ $$"},
		{"unset", "${C}", "refused: set it, or write the value"},
		{"a bad name", "${A-B}", "refused: write ${NAME} for an environment variable, $${ for the characters themselves"},
		{"no name", "${}", "refused: write ${NAME} for an environment variable, $${ for the characters themselves"},
	} {
		if got := outcome(r.expand, tc.text); got != tc.want {
			t.Errorf("%s: expand(%q) = %q, want %q", tc.rule, tc.text, got, tc.want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	keys := []string{"rate", "burst", "max_fields", "trusted_proxies"}
	for _, tc := range []struct{ rule, written, want string }{
		{"two letters swapped", "rtae", "rate"},
		{"a letter missing", "max_field", "max_fields"},
		{"letter case", "Rate", "rate"},
		{"cut short", "trusted", "trusted_proxies"},
		{"something else", "timeout", ""},
		{"far too long", strings.Repeat("rate", 100), ""},
		{"nothing", "", ""},
	} {
		want := tc.want
		if want != "" {
			want = fmt.Sprintf("did you mean %q?", want)
		}
		if got := didYouMean(tc.written, keys); got != want {
			t.Errorf("%s: didYouMean(%q) = %q, want %q", tc.rule, tc.written, got, want)
		}
	}
}

func TestCountries(t *testing.T) {
	seen := map[string]string{}
	for continent, list := range countries {
		codes := strings.Fields(list)
		for i, code := range codes {
			if len(code) != 2 || code != strings.ToUpper(code) || i > 0 && codes[i-1] >= code {
				t.Errorf("country %q is not a code of two letters in its place", code)
			}
			if other, twice := seen[code]; twice || !isContinent(continent) {
				t.Errorf("country %s is in %q and %q", code, other, continent)
			}
			seen[code] = continent
		}
	}
	if len(seen) != 250 {
		t.Errorf("%d countries, want the 249 of ISO 3166-1 and XK", len(seen))
	}
	for code, want := range map[string]string{"NL": "EU", "NA": "AF", "US": "NA", "AS": "OC", "SA": "AS", "XK": "EU", "ZZ": ""} {
		if got := continentOf(code); got != want {
			t.Errorf("continentOf(%s) = %q, want %q", code, got, want)
		}
	}
	for _, code := range []string{"", "N", " N", "NLD", "UK", "ZZ", "A "} {
		if isCountry(code) {
			t.Errorf("isCountry(%q) = true", code)
		}
	}
}

func TestCovers(t *testing.T) {
	route := func(hosts, paths string, methods ...string) proxy.RouteConfig {
		rc := proxy.RouteConfig{Hosts: strings.Fields(hosts), Paths: strings.Fields(paths)}
		rc.Route.Methods = methods
		return rc
	}
	for _, tc := range []struct {
		rule         string
		above, below proxy.RouteConfig
		want         bool
	}{
		{"a catch-all takes everything", route("", ""), route("a.example", "/a"), true},
		{"the root takes every path", route("", "/"), route("", ""), true},
		{"also of wider methods", route("", ""), route("", "", "PROPFIND"), true},
		{"methods leave others over", route("", "", "PROPFIND"), route("", ""), false},
		{"a host does not take all", route("a.example", ""), route("", ""), false},
		{"a wildcard takes names below", route("*.example", ""), route("a.b.example *.c.example", ""), true},
		{"not the name itself", route("*.example", ""), route("example", ""), false},
		{"nor one that only ends alike", route("*.example", ""), route("anexample", ""), false},
		{"a prefix takes what is below it", route("", "/a"), route("", "/a/b =/a"), true},
		{"on segment borders", route("", "/a"), route("", "/ab"), false},
		{"one path takes only itself", route("", "=/a"), route("", "/a"), false},
		{"every entry has to be taken", route("a b", ""), route("a c", ""), false},
	} {
		if got := covers(tc.above, tc.below); got != tc.want {
			t.Errorf("%s: covers = %t, want %t", tc.rule, got, tc.want)
		}
	}
}

// Addresses clash when a second socket could not be opened.
func TestOverlap(t *testing.T) {
	for _, tc := range []struct {
		rule, a, b string
		want       bool
	}{
		{"the same", "127.0.0.1:80", "127.0.0.1:80", true},
		{"another port", ":80", ":81", false},
		{"all and one", ":80", "192.0.2.1:80", true},
		{"all IPv4 and an IPv6", "0.0.0.0:80", "[::1]:80", false},
		{"all and all IPv4", ":80", "0.0.0.0:80", true},
		{"all IPv6 sockets take IPv4", "[::]:80", "192.0.2.1:80", true},
		{"two addresses", "192.0.2.1:80", "192.0.2.2:80", false},
		{"any free port", ":0", ":0", false},
		{"localhost", "localhost:80", "127.0.0.1:80", true},
		{"a socket file", "unix:/run/80", ":80", false},
	} {
		if got := overlap(tc.a, tc.b); got != tc.want {
			t.Errorf("%s: overlap(%s, %s) = %t, want %t", tc.rule, tc.a, tc.b, got, tc.want)
		}
		if got := overlap(tc.b, tc.a); got != tc.want {
			t.Errorf("%s: overlap(%s, %s) = %t, want %t", tc.rule, tc.b, tc.a, got, tc.want)
		}
	}
}

// A backend that is the gateway itself is found by whatever name.
func TestReaches(t *testing.T) {
	r := newReader("x.yaml", nil)
	r.local = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
	for _, tc := range []struct {
		rule, target, listener string
		want                   bool
	}{
		{"loopback reaches all addresses", "127.0.0.1:80", ":80", true},
		{"so does localhost", "localhost:80", "[::]:80", true},
		{"so does an address of this machine", "192.0.2.9:80", "0.0.0.0:80", true},
		{"another machine does not", "192.0.2.8:80", ":80", false},
		{"nor does another port", "127.0.0.1:81", ":80", false},
		{"the address itself", "[2001:db8::1]:80", "[2001:db8:0::1]:80", true},
		{"all addresses reach loopback", "0.0.0.0:80", "127.0.0.1:80", true},
		{"a name is not looked up", "app.internal:80", ":80", false},
		{"a socket file is out of reach", "127.0.0.1:80", "unix:/run/80", false},
	} {
		if got := r.reaches(tc.target, tc.listener); got != tc.want {
			t.Errorf("%s: reaches(%s, %s) = %t, want %t", tc.rule, tc.target, tc.listener, got, tc.want)
		}
	}
}
