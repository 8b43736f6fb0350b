package config_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/config"
)

func TestQuick(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	t.Chdir(t.TempDir())
	c, ds := config.Quick("http://127.0.0.1:3000/", "")
	if c == nil || len(ds) > 0 {
		t.Fatalf("refused: %v", ds)
	}
	if got := c.Server.Listeners[0].Address; got != ":8080" {
		t.Errorf("listener = %s, want :8080", got)
	}
	if got := c.Proxy.Pools[0].Backends[0].URL.String(); got != "http://127.0.0.1:3000" {
		t.Errorf("backend = %s, want http://127.0.0.1:3000", got)
	}
	rc := c.Proxy.Routes[0]
	if len(rc.Hosts) > 0 || len(rc.Paths) > 0 || rc.Route.Policy != "default" || !slices.Equal(rc.Route.Limits, []string{"per-client"}) {
		t.Errorf("route = %+v, want a catch-all with the default policy and limit", rc)
	}
	roundTrip(t, c)

	for _, tc := range []struct{ rule, upstream, listen, want string }{
		{"a scheme is needed", "127.0.0.1:3000", ":8080", `command line: --upstream: bad URL "127.0.0.1:3000"`},
		{"the gateway is not its own upstream", "http://127.0.0.1:8080", ":8080", "command line: --upstream: this is the gateway itself"},
		{"an address is judged", "http://127.0.0.1:3000", "8080", `command line: --listen: bad address "8080"; did you mean ":8080"?`},
		{"the admin endpoint keeps its port", "http://127.0.0.1:3000", ":9090", "command line: --listen: :9090 is taken by the admin endpoint"},
		{"a variable is not taken from a flag", "http://${HOME}:1", ":8080", "command line: --upstream: bad URL"},
		{"quotes stay inside", `http://a"}]}}` + "\nmode: observe", ":8080", "command line: --upstream: "},
	} {
		c, ds := config.Quick(tc.upstream, tc.listen)
		if c != nil || len(ds) != 1 || !strings.HasPrefix(ds[0].String(), tc.want) {
			t.Errorf("%s: Quick(%q, %q) said %v, want %s", tc.rule, tc.upstream, tc.listen, ds, tc.want)
		}
	}
}

func TestLoadWithoutFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none.yaml")
	c, ds := config.Load(name)
	if want := name + ": no such file or directory"; c != nil || len(ds) != 1 || ds[0].String() != want {
		t.Errorf("Load of nothing said %v, want %s", ds, want)
	}
	dir := t.TempDir()
	if c, ds := config.Load(dir); c != nil || !ds.Fatal() {
		t.Errorf("Load of a directory said %v", ds)
	}
}
