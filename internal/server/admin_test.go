package server_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/server"
)

// adminServer starts a server whose admin endpoint listens on address.
func adminServer(t *testing.T, change func(*server.Config)) (*house, server.Config) {
	t.Helper()
	cfg := config(t)
	cfg.Admin.Address = "unix:" + filepath.Join(t.TempDir(), "admin.sock")
	if change != nil {
		change(&cfg)
	}
	return start(t, cfg, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), cfg
}

// freePort is an address that nobody listens on right now.
func freePort(t *testing.T) string {
	t.Helper()
	h := start(t, config(t), nil)
	a := h.address(t)
	if err := h.Shutdown(); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAdmin(t *testing.T) {
	address := freePort(t)
	h, cfg := adminServer(t, func(c *server.Config) { c.Admin.Address, c.Admin.Hosts = address, []string{"gw.internal"} })
	token, err := os.ReadFile(cfg.Admin.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(cfg.Admin.TokenFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token file has mode %v, %v, want 0600", info.Mode(), err)
	}
	bearer := "Bearer " + strings.TrimSpace(string(token))
	const js = "application/json"
	for _, tc := range []struct {
		rule, method, path string
		header             map[string]string
		status             int
		body               string
	}{
		{"alive", "GET", "/healthz", nil, 200, "ok"},
		{"ready", "GET", "/readyz", nil, 200, "ready"},
		{"metrics on loopback need no token", "GET", "/metrics", nil, 200, "up 1"},
		{"status", "GET", "/status", nil, 200, `"generation": 1`},
		{"pools", "GET", "/pools", nil, 200, `"app"`},
		{"a listed name is ours", "GET", "/healthz", map[string]string{"Host": "gw.internal"}, 200, "ok"},
		{"localhost is ours", "GET", "/healthz", map[string]string{"Host": "localhost:9090"}, 200, "ok"},
		{"another name is not (DNS rebinding)", "GET", "/metrics", map[string]string{"Host": "evil.example"}, 421, ""},
		{"another origin is refused", "GET", "/status", map[string]string{"Origin": "http://evil.example"}, 403, ""},
		{"the same origin is not", "GET", "/status", map[string]string{"Origin": "http://" + address}, 200, ""},
		{"a cross-site request is refused", "GET", "/status", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, ""},
		{"a change needs the token", "POST", "/reload", map[string]string{"Content-Type": js}, 401, ""},
		{"a wrong token is none", "POST", "/reload", map[string]string{"Content-Type": js, "Authorization": "Bearer x"}, 401, ""},
		{"a change needs JSON", "POST", "/reload", map[string]string{"Content-Type": "text/plain", "Authorization": bearer}, 415, ""},
		{"a change is no GET", "GET", "/reload", map[string]string{"Content-Type": js, "Authorization": bearer}, 405, ""},
		{"a change", "POST", "/reload", map[string]string{"Content-Type": js, "Authorization": bearer}, 200, `"reloaded": true`},
		{"an unknown path", "GET", "/secret", nil, 404, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+address+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range tc.header {
			if k == "Host" {
				req.Host = v
			} else {
				req.Header.Set(k, v)
			}
		}
		status, body := do(t, http.DefaultClient, req)
		if status != tc.status || !strings.Contains(body, tc.body) {
			t.Errorf("%s: %s %s = %d %q, want %d %q", tc.rule, tc.method, tc.path, status, body, tc.status, tc.body)
		}
	}
	if got := h.Generation(); got != 2 {
		t.Errorf("after POST /reload the generation is %d, want 2", got)
	}
}

func TestAdminReloadTellsWhatIsWrong(t *testing.T) {
	address := freePort(t)
	h, cfg := adminServer(t, func(c *server.Config) { c.Admin.Address = address })
	h.next = func(*generation) error { return os.ErrNotExist }
	token, err := os.ReadFile(cfg.Admin.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/reload", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	status, body := do(t, http.DefaultClient, req)
	if status != http.StatusUnprocessableEntity || !strings.Contains(body, os.ErrNotExist.Error()) {
		t.Errorf("POST /reload = %d %q, want 422 and the problem", status, body)
	}
	if h.Generation() != 1 {
		t.Error("a failed reload changed the generation")
	}
}

func TestAdminOnUnixSocket(t *testing.T) {
	h, cfg := adminServer(t, nil)
	path := strings.TrimPrefix(cfg.Admin.Address, "unix:")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket has mode %v, %v, want 0600", info, err)
	}
	second := server.New(server.Options{
		Build: func(uint64) (server.Generation, error) { return &generation{cfg: cfg}, nil },
		Log:   zap.NewNop(),
	})
	if err := second.Start(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second gateway on the same socket: Start = %v, want an error", err)
		_ = second.Shutdown()
	}
	if err := h.Shutdown(); err != nil {
		t.Fatal(err)
	}
	// A socket that a dead process left behind does not keep us from starting.
	third, _ := adminServer(t, func(c *server.Config) { c.Admin = cfg.Admin })
	if third.Generation() != 1 {
		t.Error("the gateway did not start beside a stale socket")
	}
}

func TestAdminTokenThatOthersCanRead(t *testing.T) {
	cfg := config(t)
	if err := os.MkdirAll(filepath.Dir(cfg.Admin.TokenFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Admin.TokenFile, []byte(strings.Repeat("a", 48)), 0o644); err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{
		Build: func(uint64) (server.Generation, error) { return &generation{cfg: cfg}, nil },
		Log:   zap.NewNop(),
	})
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("Start = %v, want a refusal that tells the remedy", err)
	}
}

func TestAdminBans(t *testing.T) {
	_, cfg := adminServer(t, nil)
	c, err := server.NewAdminClient(cfg.Admin.Address, cfg.Admin.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := c.Get(t.Context(), "/bans", &list); err != nil || len(list) != 0 {
		t.Fatalf("nobody is banned yet: %v, %v", list, err)
	}
	type m = map[string]any
	for _, tc := range []struct {
		rule string
		body any
		want string // of the error; empty: none
	}{
		{"neither", m{}, "either add or remove"},
		{"both", m{"add": m{"client": "192.0.2.1"}, "remove": m{"client": "192.0.2.1"}}, "either add or remove"},
		{"no address", m{"add": m{"for": "1h"}}, "write an IP address"},
		{"what is no address", m{"add": m{"client": "example.org"}}, "203.0.113.7"},
		{"a key that is not known", m{"add": m{"client": "192.0.2.1", "until": "tomorrow"}}, "until"},
		{"no time", m{"add": m{"client": "192.0.2.1", "for": "soon"}}, "write a time"},
		{"too long a time", m{"add": m{"client": "192.0.2.1", "for": "2161h"}}, "write a time"},
		{"too long a reason", m{"add": m{"client": "192.0.2.1", "reason": strings.Repeat("x", 201)}}, "reason"},
		{"who is never banned", m{"add": m{"client": "10.0.0.1"}}, "never banned"},
		{"who is not banned", m{"remove": m{"client": "192.0.2.1"}}, "not banned"},
		{"a ban", m{"add": m{"client": "192.0.2.1", "for": "90m", "reason": "scans"}}, ""},
	} {
		var answer any
		err := c.Post(t.Context(), "/bans", tc.body, &answer)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.rule, err, tc.want)
		}
	}
	if err := c.Get(t.Context(), "/bans", &list); err != nil || len(list) != 1 || list[0] != "192.0.2.1 1h30m0s scans" {
		t.Errorf("list %q, %v", list, err)
	}
	var answer any
	if err := c.Post(t.Context(), "/bans", m{"remove": m{"client": "192.0.2.1"}}, &answer); err != nil {
		t.Error(err)
	}
	without, err := server.NewAdminClient(cfg.Admin.Address, filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	if err := without.Post(t.Context(), "/bans", m{"add": m{"client": "192.0.2.1"}}, &answer); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("without a token: %v", err)
	}
	if _, err := server.NewAdminClient("", ""); err == nil {
		t.Error("there is no endpoint to ask")
	}
}

// TestPoolChanges takes what POST /pools may be sent, and nothing else.
func TestPoolChanges(t *testing.T) {
	_, cfg := adminServer(t, nil)
	c, err := server.NewAdminClient(cfg.Admin.Address, cfg.Admin.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	type m = map[string]any
	one := func(more ...any) m {
		all := m{"pool": "app", "backend": "one"}
		for i := 0; i < len(more); i += 2 {
			all[more[i].(string)] = more[i+1]
		}
		return all
	}
	for _, tc := range []struct {
		rule string
		body any
		want string // of the state after it, or of the error
		ok   bool
	}{
		{"a weight", m{"set_weight": one("weight", 5)}, "app one weight 5", true},
		{"no weight at all", m{"set_weight": one("weight", 0)}, "app one weight 0", true},
		{"a drain", m{"drain": one()}, "app one drain true", true},
		{"its end", m{"undrain": one()}, "app one drain false", true},
		{"a weight that is missing", m{"set_weight": one()}, "write 0 to 1000", false},
		{"a weight below nothing", m{"set_weight": one("weight", -1)}, "write 0 to 1000", false},
		{"a weight beyond all", m{"set_weight": one("weight", 1001)}, "write 0 to 1000", false},
		{"half a weight", m{"set_weight": one("weight", 0.5)}, "send {", false},
		{"two things at once", m{"drain": one(), "undrain": one()}, "send one of", false},
		{"nothing", m{}, "send one of", false},
		{"an unknown key", m{"drain": one("for", "1h")}, `unknown field "for"`, false},
		{"no backend", m{"drain": m{"pool": "app"}}, "name both", false},
		{"a backend that there is not", m{"drain": m{"pool": "app", "backend": "two"}}, "no such backend", false},
	} {
		var answer struct{ Backend string }
		err := c.Post(t.Context(), "/pools", tc.body, &answer)
		said := answer.Backend
		if err != nil {
			said = err.Error()
		}
		if (err == nil) != tc.ok || !strings.Contains(said, tc.want) {
			t.Errorf("%s: %q, want %q", tc.rule, said, tc.want)
		}
	}
	without, err := server.NewAdminClient(cfg.Admin.Address, filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	var answer any
	if err := without.Post(t.Context(), "/pools", m{"drain": one()}, &answer); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("without the token: %v", err)
	}
}
