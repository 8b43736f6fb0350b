package geo_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/internal/testkit"
)

const (
	inNL      = "192.0.2.1"     // AS64496
	inKP      = "198.51.100.1"  // AS64500
	inDE      = "203.0.113.1"   // AS64501
	inSE      = "2001:db8:1::1" // AS64502
	noASN     = "198.18.0.1"    // BE
	noCountry = "198.19.0.1"    // AS64510
	nowhere   = "198.18.77.1"
	private   = "10.1.2.3"
)

// files writes a country and an ASN database and returns their paths.
func files(tb testing.TB) (country, asn string) {
	tb.Helper()
	dir := tb.TempDir()
	country, asn = filepath.Join(dir, "country.mmdb"), filepath.Join(dir, "asn.mmdb")
	err := errors.Join(
		testkit.WriteCountryDB(country, map[string]string{
			"192.0.2.0/24": "NL", "198.51.100.0/24": "KP", "203.0.113.0/24": "DE", "2001:db8:1::/48": "SE", "198.18.0.0/24": "BE",
		}),
		testkit.WriteASNDB(asn, map[string]uint32{
			"192.0.2.0/24": 64496, "198.51.100.0/24": 64500, "203.0.113.0/24": 64501, "2001:db8:1::/48": 64502, "198.19.0.0/24": 64510,
		}))
	if err != nil {
		tb.Fatal(err)
	}
	return country, asn
}

func open(tb testing.TB, cfg geo.Config) *geo.Filter {
	tb.Helper()
	if cfg.Mode == "" {
		cfg.Mode = gate.Enforce
	}
	f, err := geo.Open(cfg, zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return f
}

// rules reads countries, ASNs (a number) and prefixes.
func rules(list ...any) []geo.Rule {
	var out []geo.Rule
	for _, r := range list {
		switch r := r.(type) {
		case int:
			out = append(out, geo.Rule{ASN: uint32(r)})
		case string:
			if p, err := netip.ParsePrefix(r); err == nil {
				out = append(out, geo.Rule{Prefix: p})
			} else {
				out = append(out, geo.Rule{Country: r})
			}
		}
	}
	return out
}

func from(addr string) *gate.Request {
	req := &gate.Request{Path: "/"}
	if addr != "" {
		req.Client = netip.MustParseAddr(addr)
	}
	return req
}

func TestRules(t *testing.T) {
	country, asn := files(t)
	for _, tc := range []struct {
		rule  string
		rules geo.Rules
		want  map[string]gate.Reason
	}{
		{"no rules: everybody passes", geo.Rules{},
			map[string]gate.Reason{inNL: "", inSE: "", nowhere: "", "": ""}},
		{"a denied country", geo.Rules{Deny: rules("KP")},
			map[string]gate.Reason{inKP: gate.GeoCountry, inNL: "", nowhere: ""}},
		{"a denied network", geo.Rules{Deny: rules(64502)},
			map[string]gate.Reason{inSE: gate.GeoASN, inNL: "", noASN: ""}},
		{"a denied prefix", geo.Rules{Deny: rules("192.0.2.0/25", "2001:db8:1::/64")},
			map[string]gate.Reason{inNL: gate.GeoPrefix, "192.0.2.128": "", inSE: gate.GeoPrefix, "2001:db8:1:1::1": ""}},
		{"deny prefix before allow prefix", geo.Rules{Deny: rules("192.0.2.0/24"), Allow: rules("192.0.2.1/32", "203.0.113.0/24")},
			map[string]gate.Reason{inNL: gate.GeoPrefix, inDE: ""}},
		{"allow prefix before deny network and country", geo.Rules{Deny: rules("KP", 64500), Allow: rules("198.51.100.0/25")},
			map[string]gate.Reason{inKP: "", "198.51.100.200": gate.GeoASN}},
		{"deny network before allow country", geo.Rules{Deny: rules(64496), Allow: rules("NL", "BE")},
			map[string]gate.Reason{inNL: gate.GeoASN, noASN: ""}},
		{"deny country before allow network", geo.Rules{Deny: rules("KP"), Allow: rules(64500, 64501)},
			map[string]gate.Reason{inKP: gate.GeoCountry, inDE: ""}},
		{"allow country: all others are refused", geo.Rules{Allow: rules("NL"), DenyUnknown: true},
			map[string]gate.Reason{inNL: "", inDE: gate.GeoNotAllowed, nowhere: gate.GeoUnknown, noCountry: gate.GeoUnknown, "": gate.GeoUnknown}},
		{"allow country, unknown allowed", geo.Rules{Allow: rules("NL")},
			map[string]gate.Reason{inNL: "", inDE: gate.GeoNotAllowed, nowhere: "", noCountry: ""}},
		{"allow network before unknown country", geo.Rules{Allow: rules("NL", 64510), DenyUnknown: true},
			map[string]gate.Reason{noCountry: "", nowhere: gate.GeoUnknown, inDE: gate.GeoNotAllowed}},
		{"allow networks only: unknown is who has no network", geo.Rules{Allow: rules(64496), DenyUnknown: true},
			map[string]gate.Reason{inNL: "", noCountry: gate.GeoNotAllowed, noASN: gate.GeoUnknown, nowhere: gate.GeoUnknown}},
		{"allow networks only, unknown allowed", geo.Rules{Allow: rules(64496)},
			map[string]gate.Reason{inNL: "", noCountry: gate.GeoNotAllowed, noASN: "", nowhere: ""}},
		{"allow prefixes only: all others are refused, unknown or not", geo.Rules{Allow: rules("192.0.2.0/24")},
			map[string]gate.Reason{inNL: "", inDE: gate.GeoNotAllowed, nowhere: gate.GeoNotAllowed, "": gate.GeoNotAllowed}},
		{"allow prefixes only, beside a denied country", geo.Rules{Deny: rules("KP"), Allow: rules("192.0.2.0/24")},
			map[string]gate.Reason{inNL: "", inKP: gate.GeoCountry, nowhere: gate.GeoNotAllowed}},
		{"unknown denied without an allow list", geo.Rules{Deny: rules("KP"), DenyUnknown: true},
			map[string]gate.Reason{inNL: "", inKP: gate.GeoCountry, nowhere: gate.GeoUnknown}},
	} {
		f := open(t, geo.Config{Country: country, ASN: asn, Global: tc.rules})
		g := open(t, geo.Config{Country: country, ASN: asn, Routes: map[string]geo.Rules{"shop": tc.rules}})
		for addr, want := range tc.want {
			v := f.Check(from(addr))
			if v.Reason != want || v.Passed() != (want == "") || v.Stage != gate.StageGeo {
				t.Errorf("%s: Check(%s) = %v %q, want %q", tc.rule, addr, v.Action, v.Reason, want)
			}
			if want != "" && (v.Status != 403 || v.Detail == "") {
				t.Errorf("%s: Check(%s) has status %d, detail %q", tc.rule, addr, v.Status, v.Detail)
			}
			req := from(addr)
			req.Route = &gate.Route{Name: "shop"}
			if v := g.Check(req); v.Reason != want {
				t.Errorf("%s: on the route, Check(%s) = %q, want %q", tc.rule, addr, v.Reason, want)
			}
			req.Route = &gate.Route{Name: "other"}
			if v := g.Check(req); !v.Passed() {
				t.Errorf("%s: on another route, Check(%s) = %q, want a pass", tc.rule, addr, v.Reason)
			}
		}
	}
}

func TestRouteNarrows(t *testing.T) {
	country, asn := files(t)
	f := open(t, geo.Config{Country: country, ASN: asn,
		Global: geo.Rules{Allow: rules("NL", "DE"), DenyUnknown: true},
		Routes: map[string]geo.Rules{"shop": {Allow: rules("NL", "SE"), DenyUnknown: true}},
	})
	for addr, want := range map[string]string{
		inNL: "", inSE: "neither 2001:db8:1::1 nor SE (AS64502) is in geo.allow", inDE: "neither 203.0.113.1 nor DE (AS64501) is in geo of route shop.allow",
	} {
		req := from(addr)
		req.Route = &gate.Route{Name: "shop"}
		if v := f.Check(req); v.Detail != want || v.Passed() != (want == "") {
			t.Errorf("Check(%s) = %v %q, want %q", addr, v.Action, v.Detail, want)
		}
	}
}

func TestPlace(t *testing.T) {
	country, asn := files(t)
	for _, tc := range []struct {
		rule, addr   string
		country, asn string
		want         gate.Place
	}{
		{"both databases", inNL, country, asn, gate.Place{Country: "NL", ASN: 64496}},
		{"IPv6", inSE, country, asn, gate.Place{Country: "SE", ASN: 64502}},
		{"a mapped address", "::ffff:192.0.2.9", country, asn, gate.Place{Country: "NL", ASN: 64496}},
		{"only countries", inNL, country, "", gate.Place{Country: "NL"}},
		{"only networks", inNL, "", asn, gate.Place{ASN: 64496}},
		{"no databases", inNL, "", "", gate.Place{}},
		{"nowhere", nowhere, country, asn, gate.Place{}},
		{"no address", "", country, asn, gate.Place{}},
	} {
		for _, mode := range []gate.Mode{gate.Enforce, gate.Watch} {
			f := open(t, geo.Config{Mode: mode, Country: tc.country, ASN: tc.asn, ExemptPaths: []string{"/"}})
			req := from(tc.addr)
			if f.Check(req); req.Place != tc.want || f.Lookup(req.Client) != tc.want {
				t.Errorf("%s, %s: Place = %v, want %v", tc.rule, mode, req.Place, tc.want)
			}
		}
	}
}

func TestModes(t *testing.T) {
	country, asn := files(t)
	cfg := geo.Config{Country: country, ASN: asn, Global: geo.Rules{Deny: rules("KP")}}
	for mode, want := range map[gate.Mode]gate.Action{gate.Enforce: gate.Refuse, gate.Watch: gate.Observe, gate.Off: gate.Pass} {
		cfg.Mode = mode
		req := from(inKP)
		if v := open(t, cfg).Check(req); v.Action != want {
			t.Errorf("%s: Check = %v, want %v", mode, v.Action, want)
		}
		if looked := req.Place != (gate.Place{}); looked == (mode == gate.Off) {
			t.Errorf("%s: Place = %v", mode, req.Place)
		}
	}
	off := open(t, geo.Config{Mode: gate.Off, Country: "missing.mmdb", Global: geo.Rules{Deny: rules("KP")}})
	if got := off.Databases(); len(got) != 0 {
		t.Errorf("off: Databases = %v, want none", got)
	}
}

func TestExemptPaths(t *testing.T) {
	country, asn := files(t)
	f := open(t, geo.Config{Country: country, ASN: asn, Global: geo.Rules{Deny: rules("KP")}, ExemptPaths: []string{"/.well-known/", "/open"}})
	for path, exempt := range map[string]bool{
		"/.well-known/acme-challenge/x": true, "/.well-known/": true, "/.well-known": false, "/.well-knownx": false,
		"/open": true, "/open/a": true, "/opener": false, "/x/open": false, "/": false, "": false,
	} {
		req := from(inKP)
		req.Path = path
		if got := f.Check(req).Passed(); got != exempt {
			t.Errorf("%q: passed %v, want %v", path, got, exempt)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	country, asn := files(t)
	dir := t.TempDir()
	sound, err := os.ReadFile(country)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	scribbled := bytes.Clone(sound)
	for i := range 512 {
		scribbled[i] = 0xff
	}
	empty := filepath.Join(dir, "nothing")
	if err := testkit.WriteASNDB(empty, nil); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		rule, country, asn string
		path, what         string
	}{
		{"a database without entries", "", empty, "geo.asn", "is empty"},
		{"a missing file", filepath.Join(dir, "missing"), "", "geo.country", "no such file"},
		{"a directory", dir, "", "geo.country", "not a regular file"},
		{"an empty file", write("empty", nil), "", "geo.country", "not a readable mmdb file"},
		{"text", write("text", []byte("hello")), "", "geo.country", "not a readable mmdb file"},
		{"a file cut short", write("cut", sound[:len(sound)/2]), "", "geo.country", "not a readable mmdb file"},
		{"a tree overwritten", write("scribbled", scribbled), "", "geo.country", "not sound"},
		{"networks in place of countries", asn, "", "geo.country", "database of the type GeoLite2-ASN"},
		{"countries in place of networks", "", country, "geo.asn", "database of the type GeoLite2-Country"},
		{"a type that is not known", write("type", bytes.ReplaceAll(sound, []byte("GeoLite2-Country"), []byte("GeoLite2-Kountry"))), "", "geo.country", `unknown type "GeoLite2-Kountry"`},
	} {
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: tc.country, ASN: tc.asn}, zap.NewNop())
		ds, ok := errors.AsType[gate.Diagnostics](err)
		if f != nil || !ok || len(ds) != 1 {
			t.Errorf("%s: Open = %v, %v, want one diagnostic", tc.rule, f, err)
			continue
		}
		if d := ds[0]; d.File != tc.country+tc.asn || d.Path != tc.path || !strings.Contains(d.What, tc.what) || d.Hint == "" {
			t.Errorf("%s: Open says %q, want %q of %s", tc.rule, d, tc.what, tc.path)
		}
	}
	_, err = geo.Open(geo.Config{Mode: gate.Enforce, Country: "a", ASN: "b"}, zap.NewNop())
	if ds, _ := errors.AsType[gate.Diagnostics](err); len(ds) != 2 {
		t.Errorf("two bad files: Open says %q, want two diagnostics", err)
	}
	for rule, cfg := range map[string]geo.Config{
		"a country without a database":               {Global: geo.Rules{Deny: rules("KP")}, ASN: asn},
		"a network without a database":               {Global: geo.Rules{Allow: rules(64496)}, Country: country},
		"unknown denied without a database":          {Global: geo.Rules{DenyUnknown: true}, ASN: asn},
		"a route's country without a database":       {Routes: map[string]geo.Rules{"shop": {Allow: rules("NL")}}},
		"an empty rule":                              {Global: geo.Rules{Deny: []geo.Rule{{}}}},
		"a rule of two kinds":                        {Global: geo.Rules{Deny: []geo.Rule{{Country: "NL", ASN: 1}}}, Country: country, ASN: asn},
		"a mapped prefix, which could never match":   {Global: geo.Rules{Deny: rules("::ffff:10.0.0.0/104")}},
		"an exempt path that begins without a slash": {ExemptPaths: []string{"open"}},
	} {
		cfg.Mode = gate.Enforce
		if f, err := geo.Open(cfg, zap.NewNop()); err == nil || f != nil {
			t.Errorf("%s: Open = %v, %v, want an error", rule, f, err)
		}
	}
}

// TestUnavailable overwrites the one record of KP, which no probe asks for.
func TestUnavailable(t *testing.T) {
	country, asn := files(t)
	data, err := os.ReadFile(country)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Replace(data, []byte("\x42KP"), []byte("\xc2KP"), 1) // a number where text should be
	if bytes.Equal(broken, data) {
		t.Fatal("the record was not found")
	}
	if err := os.WriteFile(country, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		rule  string
		rules geo.Rules
		addr  string
		want  gate.Reason
	}{
		{"rules that ask for the country refuse", geo.Rules{Deny: rules("SE")}, inKP, gate.GeoUnavailable},
		{"rules that ask for the network refuse too", geo.Rules{Allow: rules(64500)}, inKP, gate.GeoUnavailable},
		{"others can be answered", geo.Rules{Deny: rules("SE")}, inNL, ""},
		{"rules about prefixes do not depend on it", geo.Rules{Deny: rules("192.0.2.0/24")}, inKP, ""},
		{"an allowed prefix does not depend on it", geo.Rules{Deny: rules("SE"), Allow: rules("198.51.100.0/24")}, inKP, ""},
		{"a denied prefix does not depend on it", geo.Rules{Deny: rules("SE", "198.51.100.0/24")}, inKP, gate.GeoPrefix},
	} {
		v := open(t, geo.Config{Country: country, ASN: asn, Global: tc.rules}).Check(from(tc.addr))
		if v.Reason != tc.want || v.Passed() != (tc.want == "") {
			t.Errorf("%s: Check = %v %q, want %q", tc.rule, v.Action, v.Reason, tc.want)
		}
		if tc.want == gate.GeoUnavailable && (v.Err == nil || !strings.Contains(v.Detail, country)) {
			t.Errorf("%s: error %v, detail %q, want both to name the file", tc.rule, v.Err, v.Detail)
		}
	}
}

// replace puts other content in the place of a file, as careful tools do.
func replace(t *testing.T, path string, write func(path string) error) {
	t.Helper()
	if err := write(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestReload(t *testing.T) {
	country, asn := files(t)
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, ASN: asn}, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		place := func() string { return f.Lookup(netip.MustParseAddr(inNL)).Country }
		opened := f.Databases()

		time.Sleep(65 * time.Second) // and so on: between two polls
		if got := f.Databases(); got[0] != opened[0] || got[1] != opened[1] || logs.Len() != 0 {
			t.Errorf("without a change: %v became %v", opened, got)
		}

		replace(t, country, func(p string) error { return testkit.WriteCountryDB(p, map[string]string{"192.0.2.0/24": "BE"}) })
		time.Sleep(10 * time.Second)
		if place() != "NL" {
			t.Error("a file was taken up before it had settled")
		}
		time.Sleep(10 * time.Second)
		if place() != "BE" || logs.FilterMessage("geo database reloaded").Len() != 1 {
			t.Errorf("after a change the country is %q, want BE; log: %v", place(), logs.All())
		}
		if got := f.Databases(); !got[0].Loaded.After(opened[0].Loaded) || got[1] != opened[1] {
			t.Errorf("Databases = %v, want only the first loaded anew", got)
		}

		sound, err := os.ReadFile(country)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []func(p string) error{
			func(p string) error { return os.WriteFile(p, sound[:100], 0o600) },
			func(p string) error { return os.WriteFile(p, nil, 0o600) },
			func(p string) error { return testkit.WriteCountryDB(p, nil) },
			func(p string) error { return testkit.WriteASNDB(p, map[string]uint32{"192.0.2.0/24": 1}) },
		} {
			replace(t, country, bad)
			logs.TakeAll()
			time.Sleep(time.Minute)
			if place() != "BE" || f.Databases()[0].Problem == "" || logs.Len() != 1 {
				t.Errorf("after a bad file: country %q, problem %q, %d lines logged, want BE, a problem, one line", place(), f.Databases()[0].Problem, logs.Len())
			}
		}
		if err := os.Remove(country); err != nil {
			t.Fatal(err)
		}
		logs.TakeAll()
		time.Sleep(time.Minute)
		if place() != "BE" || !strings.Contains(f.Databases()[0].Problem, "no such file") || logs.Len() != 1 {
			t.Errorf("without the file: country %q, problem %q, log %v", place(), f.Databases()[0].Problem, logs.All())
		}
		if err := os.WriteFile(country, sound, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if place() != "BE" || f.Databases()[0].Problem != "" {
			t.Errorf("after its return: country %q, problem %q", place(), f.Databases()[0].Problem)
		}
	})
}

// TestClose ends the watch (synctest fails when a goroutine stays), and leaves
// late requests their answers.
func TestClose(t *testing.T) {
	country, asn := files(t)
	synctest.Test(t, func(t *testing.T) {
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, ASN: asn}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if got := f.Lookup(netip.MustParseAddr(inNL)).Country; got != "NL" {
			t.Errorf("after Close the country is %q, want NL", got)
		}
	})
}

// TestReloadUnderLoad swaps the database while many ask it.
func TestReloadUnderLoad(t *testing.T) {
	country, asn := files(t)
	synctest.Test(t, func(t *testing.T) {
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, ASN: asn}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 200 {
					for range 50 {
						if got := f.Lookup(netip.MustParseAddr(inNL)).Country; got != "NL" && got != "BE" {
							t.Errorf("country %q during a reload", got)
						}
					}
					f.Databases()
					time.Sleep(time.Second)
				}
			})
		}
		for _, c := range []string{"BE", "NL", "BE"} {
			replace(t, country, func(p string) error { return testkit.WriteCountryDB(p, map[string]string{"192.0.2.0/24": c}) })
			time.Sleep(25 * time.Second)
		}
		wg.Wait()
	})
}

func TestDatabases(t *testing.T) {
	country, asn := files(t)
	got := open(t, geo.Config{Country: country, ASN: asn}).Databases()
	if len(got) != 2 || got[0].Kind != "country" || got[0].Path != country || got[0].Type != "GeoLite2-Country" ||
		got[1].Kind != "asn" || got[1].Type != "GeoLite2-ASN" || got[0].Built.Year() != 2026 || got[0].Loaded.IsZero() {
		t.Errorf("Databases = %+v", got)
	}
}

func BenchmarkCheck(b *testing.B) {
	country, asn := files(b)
	var many []any
	for i := range 10_000 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0}), 24).String())
	}
	for name, cfg := range map[string]geo.Config{
		"prefixes":  {Global: geo.Rules{Deny: rules(many...)}},
		"databases": {Country: country, ASN: asn, Global: geo.Rules{Deny: rules("KP", 64500)}},
	} {
		b.Run(name, func(b *testing.B) {
			f, req := open(b, cfg), from(inNL)
			b.ReportAllocs()
			for b.Loop() {
				if !f.Check(req).Passed() {
					b.Fatal("refused")
				}
			}
		})
	}
}
