package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/config"
	"sallyport/internal/gate"
)

const minimal = `pools: {app: {backends: [{url: "http://10.0.0.11:8080"}]}}
routes: [{name: all, pool: app}]
`

func noVariables(string) (string, bool) { return "", false }

// Parse opens no file, so that it can judge a text from anywhere.
func TestParseOpensNothing(t *testing.T) {
	src := "audit: {path: /nowhere/audit.log}\n" + minimal
	c, ds := config.Parse("/nowhere/gw.yaml", []byte(src), noVariables)
	if c == nil || len(ds) > 0 {
		t.Fatalf("said %v", ds)
	}
	if c.State.Dir != "/nowhere/state" || c.Server.Admin.TokenFile != "/nowhere/state/admin-token" {
		t.Errorf("state = %q, %q; want them beside the file", c.State.Dir, c.Server.Admin.TokenFile)
	}
	c, _ = config.Parse("/nowhere/gw.yaml", []byte(minimal), func(name string) (string, bool) {
		return "/var/lib/a:/var/lib/b", name == "STATE_DIRECTORY"
	})
	if c.State.Dir != "/var/lib/a" {
		t.Errorf("state.dir = %q, want the first of $STATE_DIRECTORY", c.State.Dir)
	}
}

func TestObserve(t *testing.T) {
	src := "mode: observe\ngeo: {mode: %}\npolicies: {default: {mode: enforce}, none: {mode: off}}\n" +
		strings.Replace(minimal, "pool: app}]", "pool: app}, {name: b, pool: app, policy: none}]", 1)
	c, _ := config.Parse("gw.yaml", []byte(strings.Replace(src, "%", "enforce", 1)), noVariables)
	if c == nil {
		t.Fatal("refused")
	}
	got := map[string]gate.Mode{"mode": c.Mode, "hygiene": c.Proxy.Hygiene, "handler": c.Proxy.Mode, "geo": c.Geo.Mode,
		"limiter": c.Limiter.Mode, "default": c.WAF.Policies["default"].Mode, "none": c.WAF.Policies["none"].Mode}
	want := map[string]gate.Mode{"mode": gate.Watch, "hygiene": gate.Watch, "handler": gate.Watch, "geo": gate.Watch,
		"limiter": gate.Watch, "default": gate.Watch, "none": gate.Off}
	if !maps.Equal(got, want) {
		t.Errorf("mode: observe gives %v, want %v", got, want)
	}
	c, _ = config.Parse("gw.yaml", []byte(strings.Replace(src, "%", "off", 1)), noVariables)
	if c == nil || c.Geo.Mode != gate.Off {
		t.Error("mode: observe switched on a stage that is off")
	}
	c, _ = config.Parse("gw.yaml", []byte(minimal), noVariables)
	c.Observe()
	if c.Mode != gate.Watch || c.WAF.Policies["default"].Mode != gate.Watch {
		t.Error("Observe left a stage enforcing")
	}
}

// A route's settings are joined with the global ones where the configuration
// is read, so that no stage has to.
func TestComposition(t *testing.T) {
	src := `
http: {waive: [http.path_dots], methods: [GET, POST], max_body: 1MiB}
geo: {country: c.mmdb}
limits: [{name: a, rate: 1/s}, {name: b, rate: 2/s}]
policies: {default: {paranoia: 2}, strict: {paranoia: 3}}
pools: {app: {backends: [{url: "http://10.0.0.11:8080"}]}}
mask: {errors: pass}
routes:
  - {name: dav, paths: [/dav], methods: [PROPFIND, GET], pool: app, policy: strict, waive: [http.body_unexpected], max_body: 2MiB, limits: [b], geo: {allow: [NL]}}
  - {name: none, paths: [/none], pool: app, limits: [], mask: {errors: uniform}}
  - {name: all, pool: app}
`
	c, ds := config.Parse("gw.yaml", []byte(src), noVariables)
	if c == nil || len(ds) > 0 {
		t.Fatalf("said %v", ds)
	}
	dav, none, all := c.Proxy.Routes[0].Route, c.Proxy.Routes[1].Route, c.Proxy.Routes[2].Route
	for _, tc := range []struct {
		rule string
		ok   bool
	}{
		{"waivers are joined", maps.Equal(dav.Waive, map[gate.Reason]bool{gate.HTTPPathDots: true, gate.HTTPBodyUnexpected: true})},
		{"a route without waivers has the global ones", maps.Equal(all.Waive, map[gate.Reason]bool{gate.HTTPPathDots: true})},
		{"the global waivers stay as they are", maps.Equal(c.Proxy.Waive, all.Waive)},
		{"a route's max_body wins", dav.MaxBody == 2<<20},
		{"max_body is http.max_body without one", all.MaxBody == 1<<20},
		{"limits default to all", slices.Equal(all.Limits, []string{"a", "b"})},
		{"limits are those named", slices.Equal(dav.Limits, []string{"b"})},
		{"no limits is not all limits", none.Limits != nil && len(none.Limits) == 0},
		{"mask.errors is inherited", all.MaskErrors == "pass" && none.MaskErrors == "uniform"},
		{"the rules allow what the policy's routes allow", slices.Equal(c.WAF.Policies["strict"].Methods, []string{"GET", "POST", "PROPFIND"})},
		{"and no more", slices.Equal(c.WAF.Policies["default"].Methods, []string{"GET", "POST"})},
		{"a policy inherits nothing", c.WAF.Policies["strict"].Paranoia == 3 && c.WAF.Policies["strict"].InboundThreshold == 5},
		{"a country list refuses unknown countries", c.Geo.Routes["dav"].DenyUnknown && !c.Geo.Global.DenyUnknown},
		{"geo rules are kept for routes that have some", len(c.Geo.Routes) == 1},
	} {
		if !tc.ok {
			t.Errorf("%s: not so in %+v", tc.rule, c)
		}
	}
}

// FuzzParse holds the reader to its promises on any input: no panic, every
// diagnostic on one line and inside the file, a configuration exactly when
// nothing is fatal, and one that prints to its equal.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"bad/*.yaml", "good/*.yaml"} {
		names, err := filepath.Glob(cases + pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("no seeds: %v", err)
		}
		for _, name := range names {
			src, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c, ds := config.Parse("/etc/gw.yaml", src, func(name string) (string, bool) { return "10", len(name) > 2 })
		judgePlaces(t, src, ds)
		if (c == nil) != ds.Fatal() {
			t.Fatalf("a configuration: %t, fatal diagnostics: %v", c != nil, ds)
		}
		if c == nil {
			return
		}
		var one, two strings.Builder
		if err := c.Print(&one); err != nil {
			t.Fatal(err)
		}
		again, ds := config.Parse("/elsewhere/gw.yaml", []byte(one.String()), noVariables)
		if again == nil {
			t.Fatalf("what was printed is refused:\n%v\n%s", ds, one.String())
		}
		if err := again.Print(&two); err != nil {
			t.Fatal(err)
		}
		if one.String() != two.String() {
			t.Errorf("printed:\n%s\nand again:\n%s", one.String(), two.String())
		}
	})
}
