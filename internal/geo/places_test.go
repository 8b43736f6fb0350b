package geo_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/internal/testkit"
)

// areas writes a country database that knows continents.
func areas(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "areas.mmdb")
	if err := testkit.WriteAreaDB(path, map[string]testkit.Area{
		"192.0.2.0/24": {Country: "NL", Continent: "EU"}, "198.51.100.0/24": {Country: "KP", Continent: "AS"},
		"203.0.113.0/24": {Continent: "EU"}, "10.9.0.0/16": {Country: "KP", Continent: "AS"}, "10.8.0.0/16": {Country: "DE", Continent: "EU"},
	}); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestContinentsAndClasses(t *testing.T) {
	const inEU = "203.0.113.1" // no country
	europe, asia := geo.Rule{Continent: "EU"}, geo.Rule{Continent: "AS"}
	class := func(c geo.Class) geo.Rule { return geo.Rule{Class: c} }
	prefix := func(p string) geo.Rule { return geo.Rule{Prefix: netip.MustParsePrefix(p)} }
	list := func(r ...geo.Rule) []geo.Rule { return r }
	for _, tc := range []struct {
		rule  string
		rules geo.Rules
		want  map[string]gate.Reason
	}{
		{"a denied continent", geo.Rules{Deny: list(asia)},
			map[string]gate.Reason{inKP: gate.GeoContinent, inNL: "", inEU: "", nowhere: "", private: ""}},
		{"the continent AS is not the country AS", geo.Rules{Deny: rules("AS")},
			map[string]gate.Reason{inKP: "", inNL: ""}},
		{"an allowed continent", geo.Rules{Allow: list(europe), DenyUnknown: true},
			map[string]gate.Reason{inNL: "", inEU: "", inKP: gate.GeoNotAllowed, nowhere: gate.GeoUnknown, private: "", "": gate.GeoUnknown}},
		{"a country is no exception to a denied continent", geo.Rules{Deny: list(asia), Allow: rules("KP")},
			map[string]gate.Reason{inKP: gate.GeoContinent}},
		{"a prefix is one", geo.Rules{Deny: list(asia), Allow: list(prefix("198.51.100.0/25"), europe)},
			map[string]gate.Reason{inKP: "", "198.51.100.200": gate.GeoContinent, inNL: ""}},
		{"private addresses pass where countries are allowed", geo.Rules{Allow: rules("NL"), DenyUnknown: true},
			map[string]gate.Reason{private: "", "192.168.1.1": "", "127.0.0.1": "", "::1": "", "fe80::1": "", "fd00::1": "", "169.254.1.1": "",
				"100.64.0.1": gate.GeoUnknown, nowhere: gate.GeoUnknown}},
		{"and where unknown ones are denied", geo.Rules{DenyUnknown: true},
			map[string]gate.Reason{private: "", nowhere: gate.GeoUnknown}},
		{"unless private is denied", geo.Rules{Deny: list(class(geo.Private)), Allow: rules("NL")},
			map[string]gate.Reason{private: gate.GeoPrivate, "::1": gate.GeoPrivate, inNL: ""}},
		{"or their prefix", geo.Rules{Deny: list(prefix("10.1.0.0/16"))},
			map[string]gate.Reason{private: gate.GeoPrefix, "10.2.0.1": ""}},
		{"a prefix is an exception to private", geo.Rules{Deny: list(class(geo.Private)), Allow: append(rules("NL"), prefix("10.1.2.0/24"))},
			map[string]gate.Reason{private: "", "10.1.3.1": gate.GeoPrivate, inNL: ""}},
		{"who allows prefixes only means them", geo.Rules{Allow: list(prefix("192.0.2.0/24"))},
			map[string]gate.Reason{inNL: "", private: gate.GeoNotAllowed, "::1": gate.GeoNotAllowed}},
		{"who names a private prefix means this one", geo.Rules{Allow: append(rules("NL"), prefix("10.1.2.0/24")), DenyUnknown: true},
			map[string]gate.Reason{inNL: "", private: "", "10.1.3.1": gate.GeoNotAllowed, "192.168.1.1": gate.GeoNotAllowed}},
		{"a public prefix says nothing of private ones", geo.Rules{Allow: append(rules("NL"), prefix("198.51.100.0/24")), DenyUnknown: true},
			map[string]gate.Reason{inNL: "", inKP: "", private: ""}},
		{"only private ones", geo.Rules{Allow: list(class(geo.Private))},
			map[string]gate.Reason{private: "", "::1": "", inNL: gate.GeoNotAllowed, nowhere: gate.GeoNotAllowed}},
		{"a private address that a database knows is denied with its country", geo.Rules{Deny: rules("KP"), Allow: rules("NL")},
			map[string]gate.Reason{"10.9.0.1": gate.GeoCountry, "10.8.0.1": ""}},
		{"unknown denied by name", geo.Rules{Deny: list(class(geo.Unknown))},
			map[string]gate.Reason{nowhere: gate.GeoUnknown, inEU: gate.GeoUnknown, inNL: "", private: ""}},
		{"unknown allowed by name", geo.Rules{Allow: append(rules("NL"), class(geo.Unknown))},
			map[string]gate.Reason{nowhere: "", inNL: "", inKP: gate.GeoNotAllowed}},
		{"unknown allowed by name beside prefixes", geo.Rules{Allow: list(class(geo.Unknown), prefix("192.0.2.0/24"))},
			map[string]gate.Reason{nowhere: "", inNL: "", inKP: gate.GeoNotAllowed}},
	} {
		f := open(t, geo.Config{Country: areas(t), Global: tc.rules})
		for addr, want := range tc.want {
			v := f.Check(from(addr))
			if v.Reason != want || v.Passed() != (want == "") || want != "" && v.Detail == "" {
				t.Errorf("%s: Check(%s) = %v %q %q, want %q", tc.rule, addr, v.Action, v.Reason, v.Detail, want)
			}
			if addr == "" {
				continue
			}
			if a := f.Explain(netip.MustParseAddr(addr), ""); a.Refused() != want || len(a.Findings) != 1 || want != "" && a.Findings[0].Why != v.Detail {
				t.Errorf("%s: Explain(%s) = %+v, and Check says %q", tc.rule, addr, a, v.Detail)
			}
		}
	}
}

func TestExemptPathsLeadNowhereElse(t *testing.T) {
	f := open(t, geo.Config{Global: geo.Rules{Deny: rules("198.51.100.0/24")}, ExemptPaths: []string{"/.well-known/", "/a%2Fb"}})
	for path, exempt := range map[string]bool{
		"/.well-known/x%20y": true, "/a%2Fb": true, "/a%2Fb/c": true, "/.well-known/%C3%A9": true,
		"/.well-known/..%2Fadmin": false, "/.well-known/x%2F..%2F..%2Fadmin": false, "/.well-known/..%5Cadmin": false, `/.well-known/..\admin`: false,
		"/.well-known/%252e%252e/admin": false, "/a%2Fb/..%2F..%2Fadmin": false, "/a%2Fb%2Fc": false,
	} {
		req := from(inKP)
		req.Path = path
		if got := f.Check(req).Passed(); got != exempt {
			t.Errorf("%q: passed %t, want %t", path, got, exempt)
		}
	}
}

// lists writes files into a directory and returns their paths.
func lists(tb testing.TB, texts ...string) []string {
	tb.Helper()
	dir := tb.TempDir()
	var paths []string
	for i, text := range texts {
		paths = append(paths, filepath.Join(dir, string(rune('a'+i))+".txt"))
		if err := os.WriteFile(paths[i], []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return paths
}

func TestLists(t *testing.T) {
	country, asn := files(t)
	p := lists(t, "# scanners\n198.51.100.0/24 # KP\nAS64501\n", "198.51.100.7\n192.0.2.0/25\n", "AS64502\n")
	f := open(t, geo.Config{Country: country, ASN: asn,
		Global: geo.Rules{Deny: rules("203.0.113.64/26"), DenyFiles: p[:1]},
		Routes: map[string]geo.Rules{
			"prefixes": {AllowFiles: p[1:2], DenyUnknown: true},
			"both":     {AllowFiles: p[1:3], DenyUnknown: true},
			"shut":     {DenyFiles: p[1:2], Allow: rules("NL", "SE"), DenyUnknown: true},
		}})
	for _, tc := range []struct {
		rule, addr, route string
		reason            gate.Reason
		detail            string
	}{
		{"a prefix in a list", inKP, "", gate.GeoPrefix, inKP + " is in 198.51.100.0/24, " + p[0] + ":2"},
		{"a network in a list", inDE, "", gate.GeoASN, inDE + " is in AS64501, " + p[0] + ":3"},
		{"a prefix in the key", "203.0.113.65", "", gate.GeoPrefix, "203.0.113.65 is in 203.0.113.64/26, geo.deny[0]"},
		{"neither", inNL, "", "", ""},
		{"a route cannot allow what is denied to all", "198.51.100.7", "prefixes", gate.GeoPrefix, "198.51.100.7 is in 198.51.100.0/24, " + p[0] + ":2"},
		{"a list of prefixes lets these pass", inNL, "prefixes", "", ""},
		{"and nobody else", inSE, "prefixes", gate.GeoNotAllowed, "neither 2001:db8:1::1 nor SE (AS64502) is in geo of route prefixes.allow"},
		{"not even private ones", private, "prefixes", gate.GeoNotAllowed, "neither 10.1.2.3 nor its unknown place is in geo of route prefixes.allow"},
		{"a network in one of two", inSE, "both", "", ""},
		{"a network makes unknown ones a matter", nowhere, "both", gate.GeoUnknown, nowhere + " is unknown to geo of route both"},
		{"a list of a route denies", inNL, "shut", gate.GeoPrefix, inNL + " is in 192.0.2.0/25, " + p[1] + ":2"},
		{"one address", "198.51.100.7", "shut", gate.GeoPrefix, "198.51.100.7 is in 198.51.100.0/24, " + p[0] + ":2"},
		{"what it does not name", "192.0.2.129", "shut", "", ""},
		{"another route", inSE, "other", "", ""},
	} {
		req := from(tc.addr)
		if tc.route != "" {
			req.Route = &gate.Route{Name: tc.route}
		}
		if v := f.Check(req); v.Reason != tc.reason || v.Detail != tc.detail || v.Passed() != (tc.reason == "") {
			t.Errorf("%s: %v %q %q, want %q %q", tc.rule, v.Action, v.Reason, v.Detail, tc.reason, tc.detail)
		}
		a := f.Explain(netip.MustParseAddr(tc.addr), tc.route)
		if a.Refused() != tc.reason {
			t.Errorf("%s: Explain = %+v, want %q", tc.rule, a, tc.reason)
		}
	}
	if got := f.Lists(); len(got) != 3 || got[0].Path != p[0] || got[0].Entries != 2 || got[0].Written != 2 || got[0].Loaded.IsZero() || got[0].Problem != "" {
		t.Errorf("Lists = %+v, want each file once", got)
	}
}

// An allow list that allows nobody is no open door.
func TestAnEmptyAllowListIsClosed(t *testing.T) {
	p := lists(t, "# nobody yet\n", "192.0.2.0/24 until 2001-01-01\n")
	for _, path := range p {
		f := open(t, geo.Config{Global: geo.Rules{AllowFiles: []string{path}, DenyUnknown: true}})
		for _, addr := range []string{inNL, private, ""} {
			if v := f.Check(from(addr)); v.Reason != gate.GeoNotAllowed {
				t.Errorf("%s: Check(%s) = %v %q, want %q", path, addr, v.Action, v.Reason, gate.GeoNotAllowed)
			}
		}
	}
}

func TestOpenTellsOfBadLists(t *testing.T) {
	p := lists(t, "10.0.0.1/8\n", "", "AS64496\n", "192.0.2.1\n")
	_, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: "none.mmdb", Global: geo.Rules{
		DenyFiles: append(p, filepath.Join(filepath.Dir(p[0]), "none"), filepath.Dir(p[0])),
	}}, zap.NewNop())
	want := []string{
		"none.mmdb: geo.country: cannot be opened", p[0] + ":1:1: geo.deny_files: prefix 10.0.0.1/8 has host bits", p[1] + ": geo.deny_files: is empty",
		p[2] + ":1:1: geo.deny_files: a network number, but no database", "none: geo.deny_files: cannot be opened: no such file", ": geo.deny_files: is not a regular file",
	}
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("Open says\n%v\nwithout %q", err, w)
		}
	}
	off, err := geo.Open(geo.Config{Mode: gate.Off, Global: geo.Rules{DenyFiles: p}}, zap.NewNop())
	if err != nil || len(off.Lists()) != 0 {
		t.Errorf("off: %v, %v", off.Lists(), err)
	}
}

func TestListsReload(t *testing.T) {
	country, asn := files(t)
	path := lists(t, "192.0.2.0/24\nAS64501\n")[0]
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, ASN: asn, Global: geo.Rules{DenyFiles: []string{path}}}, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		denied := func(addr string) bool { return !f.Check(from(addr)).Passed() }
		write := func(text string) {
			replace(t, path, func(p string) error { return os.WriteFile(p, []byte(text), 0o600) })
		}

		time.Sleep(65 * time.Second)
		if logs.Len() != 0 {
			t.Errorf("without a change: %v", logs.All())
		}
		write("198.51.100.0/24\n")
		time.Sleep(10 * time.Second)
		if !denied(inNL) || denied(inKP) {
			t.Error("a file was taken up before it had settled")
		}
		time.Sleep(10 * time.Second)
		if denied(inNL) || denied(inDE) || !denied(inKP) || logs.FilterMessage("network list reloaded").Len() != 1 {
			t.Errorf("after a change: NL %t, DE %t, KP %t; log %v", denied(inNL), denied(inDE), denied(inKP), logs.All())
		}
		for name, bad := range map[string]string{
			"empty": "", "cut": "192.0.2.0/24\n198.51.100.0/2", "binary": "\x00\x01", "page": "<html>not found</html>\nx\n",
		} {
			write(bad)
			logs.TakeAll()
			time.Sleep(time.Minute)
			if l := f.Lists()[0]; !denied(inKP) || denied(inNL) || l.Problem == "" || l.Entries != 1 || logs.Len() != 1 {
				t.Errorf("%s: KP denied %t, %+v, %d lines logged, want the old list, a problem, one line", name, denied(inKP), l, logs.Len())
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		logs.TakeAll()
		time.Sleep(time.Minute)
		if l := f.Lists()[0]; !denied(inKP) || !strings.Contains(l.Problem, "no such file") || logs.Len() != 1 {
			t.Errorf("without the file: KP denied %t, %+v, log %v", denied(inKP), l, logs.All())
		}
		write("192.0.2.0/24\n")
		time.Sleep(time.Minute)
		if l := f.Lists()[0]; !denied(inNL) || denied(inKP) || l.Problem != "" {
			t.Errorf("after its return: NL %t, KP %t, %+v", denied(inNL), denied(inKP), l)
		}
	})
}

// Entries end without anybody touching the file.
func TestListEntriesEnd(t *testing.T) {
	country, asn := files(t)
	path := lists(t, "192.0.2.0/24 until 2000-01-01\n192.0.2.1 until 2000-01-02\nAS64501 until 2000-01-02\n198.51.100.0/24\n")[0]
	synctest.Test(t, func(t *testing.T) { // which begins at midnight, 2000-01-01, in UTC
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, ASN: asn, Global: geo.Rules{DenyFiles: []string{path}}}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		judge := func(when string, want map[string]bool) {
			t.Helper()
			for addr, w := range want {
				if got := !f.Check(from(addr)).Passed(); got != w {
					t.Errorf("%s: %s denied %t, want %t", when, addr, got, w)
				}
			}
		}
		const other = "192.0.2.77"
		judge("at first", map[string]bool{inNL: true, other: true, inDE: true, inKP: true})
		time.Sleep(24*time.Hour - 20*time.Second)
		judge("late on the first day", map[string]bool{inNL: true, other: true, inDE: true, inKP: true})
		time.Sleep(40 * time.Second)
		judge("on the second day", map[string]bool{inNL: true, other: false, inDE: true, inKP: true})
		if l := f.Lists()[0]; l.Entries != 3 || l.Written != 4 {
			t.Errorf("on the second day: %+v", l)
		}
		time.Sleep(24 * time.Hour)
		judge("on the third day", map[string]bool{inNL: false, other: false, inDE: false, inKP: true})
	})
}

// A new version that does not know what rules ask for is not taken up.
func TestReloadKeepsContinents(t *testing.T) {
	country := areas(t)
	synctest.Test(t, func(t *testing.T) {
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, Global: geo.Rules{Deny: []geo.Rule{{Continent: "AS"}}}}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		replace(t, country, func(p string) error { return testkit.WriteCountryDB(p, map[string]string{"198.51.100.0/24": "KP"}) })
		time.Sleep(time.Minute)
		if p := f.Databases()[0].Problem; f.Check(from(inKP)).Reason != gate.GeoContinent || !strings.Contains(p, "knows no continents") {
			t.Errorf("after a version without continents: %q, problem %q", f.Check(from(inKP)).Reason, p)
		}
	})
	for rule, rules := range map[string]geo.Rules{"denied": {Deny: []geo.Rule{{Continent: "EU"}}}, "allowed": {Allow: []geo.Rule{{Continent: "EU"}}, DenyUnknown: true}} {
		plain, _ := files(t)
		if _, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: plain, Routes: map[string]geo.Rules{"a": rules}}, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "knows no continents") {
			t.Errorf("a continent %s on a route, a database without: Open says %v", rule, err)
		}
	}
}

func TestOldDatabases(t *testing.T) {
	country, asn := files(t) // built on 2026-01-01
	synctest.Test(t, func(t *testing.T) {
		// The clock begins in 2000, long before the databases were built.
		time.Sleep(time.Until(time.Date(2026, 2, 14, 23, 59, 30, 0, time.UTC)))
		core, logs := observer.New(zap.InfoLevel)
		for rule, tc := range map[string]struct {
			maxAge time.Duration
			old    bool
		}{"no limit": {0, false}, "a day more": {46 * 24 * time.Hour, false}, "a day less": {44 * 24 * time.Hour, true}} {
			f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, ASN: asn, MaxAge: tc.maxAge}, zap.New(core))
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Databases(); got[0].Old != tc.old || got[1].Old != tc.old || (logs.FilterMessage("geo database is old").Len() == 2) != tc.old {
				t.Errorf("%s: %+v, log %v", rule, got, logs.All())
			}
			logs.TakeAll()
			f.Close()
		}
		f, err := geo.Open(geo.Config{Mode: gate.Enforce, Country: country, MaxAge: 45 * 24 * time.Hour}, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if logs.Len() != 0 {
			t.Errorf("before its time: %v", logs.All())
		}
		time.Sleep(3 * 24 * time.Hour)
		if n := logs.FilterMessage("geo database is old").Len(); n != 3 || !f.Databases()[0].Old {
			t.Errorf("%d warnings in three days, want one a day: %v", n, logs.All())
		}
	})
}
