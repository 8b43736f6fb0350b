package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/server"
)

// told answers with what the handler is told about the connection.
func told(w http.ResponseWriter, r *http.Request) {
	in := gate.InboundOf(r.Context())
	head, o := in.Head(r), in.Origin()
	if head.Rejection != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, string(head.Rejection.Reason))
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"proto": r.Proto, "tls": r.TLS != nil, "target": head.Target,
		"peer": o.Peer.Addr().String(), "by": o.ChosenBy, "socket": o.SocketText()})
}

type toldOf struct {
	Proto, Target, Peer, By, Socket string
	TLS                             bool
}

// binaryHeader is a version 2 header that names an IPv4 source.
func binaryHeader(source string) string {
	a := netip.MustParseAddr(source).As4()
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), a[:]...)
	b = append(b, 10, 0, 0, 1)
	return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, 40000), 443))
}

// announce dials and sends a PROXY header first.
func announce(header string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_, err = io.WriteString(c, header)
		}
		return c, err
	}
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// The source of a PROXY header reaches the handler in every protocol, plain
// and behind TLS, and the socket is known beside it.
func TestProxyProtocol(t *testing.T) {
	plain := server.Listener{Address: "127.0.0.1:0", HTTP1: true, H2C: true, ProxyProtocol: loopback()}
	secured := server.Listener{Address: "127.0.0.1:0", HTTP1: true, HTTP2: true, MinVersion: tls.VersionTLS12, ProxyProtocol: loopback(),
		Certificates: []server.Certificate{certificate(t, "a.example")}}
	for _, tc := range []struct{ rule, header, peer, by string }{
		{"version 1", "PROXY TCP4 203.0.113.9 10.0.0.1 40000 443\r\n", "203.0.113.9", gate.ByPROXY},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::9 2001:db8::1 40000 443\r\n", "2001:db8::9", gate.ByPROXY},
		{"version 2", binaryHeader("203.0.113.9"), "203.0.113.9", gate.ByPROXY},
		{"a health check of the balancer, version 1", "PROXY UNKNOWN\r\n", "127.0.0.1", gate.ByPeer},
		{"a health check of the balancer, version 2", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "127.0.0.1", gate.ByPeer},
	} {
		for _, l := range []server.Listener{plain, secured} {
			cfg := config(t)
			cfg.Listeners = []server.Listener{l}
			h := start(t, cfg, told)
			for _, two := range []bool{false, true} {
				p := new(http.Protocols)
				p.SetHTTP1(!two)
				p.SetHTTP2(two)
				p.SetUnencryptedHTTP2(two)
				scheme := "http"
				if len(l.Certificates) > 0 {
					scheme = "https"
				}
				client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Protocols: p, DisableKeepAlives: true, DialContext: announce(tc.header),
					TLSClientConfig: &tls.Config{ServerName: "a.example", InsecureSkipVerify: true}}}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+h.address(t)+"/x", nil)
				if err != nil {
					t.Fatal(err)
				}
				status, body := do(t, client, req)
				var got toldOf
				if err := json.Unmarshal([]byte(body), &got); err != nil {
					t.Fatalf("%s: %d %q", tc.rule, status, body)
				}
				proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[two]
				if got.Proto != proto || got.TLS != (scheme == "https") || got.Target != "/x" || got.Peer != tc.peer || got.By != tc.by || !strings.HasPrefix(got.Socket, "127.0.0.1:") {
					t.Errorf("%s, %s, %s: the handler was told %+v", tc.rule, scheme, proto, got)
				}
			}
		}
	}
}

// Whoever has to send a header and does not is cut off before anything of it
// is read as TLS or HTTP; whoever need not may not.
func TestProxyProtocolRefusals(t *testing.T) {
	const http1 = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, tc := range []struct {
		rule, sent string
		listed     []netip.Prefix
		answer     string // "": the connection is closed without a byte
		recorded   gate.Reason
	}{
		{"a listed peer with a header", "PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n" + http1, loopback(), "HTTP/1.1 200", ""},
		{"a listed peer without one", http1, loopback(), "", gate.HTTPProxyProtocol},
		{"a listed peer with a broken one", "PROXY TCP4 203.0.113.9 10.0.0.1 1\r\n" + http1, loopback(), "", gate.HTTPProxyProtocol},
		{"a listed peer with a late one", "PROXY TCP4 203.0.113.9", loopback(), "", gate.HTTPProxyProtocol},
		{"a listed peer that says nothing", "", loopback(), "", gate.HTTPProxyProtocol},
		{"two headers: the second is the client's", "PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\nPROXY TCP4 198.51.100.66 10.0.0.1 1 2\r\n\r\n", loopback(), "HTTP/1.1 400", ""},
		{"a peer that is not listed, with a header", "PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n" + http1, elsewhere, "HTTP/1.1 400", ""},
		{"a peer that is not listed, with a binary one", binaryHeader("203.0.113.9") + http1, elsewhere, "HTTP/1.1 400", ""},
		{"a peer that is not listed, without one", http1, elsewhere, "HTTP/1.1 200", ""},
		{"nobody is listed", "PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n" + http1, nil, "HTTP/1.1 400", ""},
	} {
		cfg := config(t)
		cfg.Limits.HeaderTimeout = 300 * time.Millisecond
		cfg.Listeners[0].ProxyProtocol = tc.listed
		h := start(t, cfg, told)
		c, err := net.Dial("tcp", h.address(t))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, tc.sent)
		line, _ := bufio.NewReader(c).ReadString('\n')
		if tc.answer == "" && line != "" || !strings.HasPrefix(line, tc.answer) {
			t.Errorf("%s: answered %q, want %q", tc.rule, line, tc.answer)
		}
		want := 0
		if tc.recorded != "" {
			want = 1
			eventually(t, tc.rule+": recorded", func() bool { return h.recorded(tc.recorded) == 1 })
		}
		c.Close()
		eventually(t, tc.rule+": its place is given back", func() bool { return h.Connections() == 0 })
		if got := h.recorded(gate.HTTPProxyProtocol); got != want {
			t.Errorf("%s: %d records of http.proxy_protocol, want %d", tc.rule, got, want)
		}
	}
}

// A balancer that only looks whether the port is open is left in peace.
func TestProxyProtocolPortCheck(t *testing.T) {
	cfg := config(t)
	cfg.Listeners[0].ProxyProtocol = loopback()
	h := start(t, cfg, told)
	for _, header := range []string{"", "PROXY UNKNOWN\r\n", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
		c, err := net.Dial("tcp", h.address(t))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, header)
		c.Close()
	}
	eventually(t, "the connections are gone", func() bool { return h.Connections() == 0 })
	if n := h.recorded(gate.HTTPProxyProtocol) + h.recorded(gate.HTTPNoHead); n != 0 {
		t.Errorf("%d records of connections that said nothing", n)
	}
	// Its clients are another matter.
	c, err := net.Dial("tcp", h.address(t))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n")
	c.Close()
	eventually(t, "a client that says nothing is recorded", func() bool { return h.recorded(gate.HTTPNoHead) == 1 })
}

// Behind a balancer connections are counted for the source that it names, and
// never for the balancer.
func TestConnectionLimitsBehindABalancer(t *testing.T) {
	source := func(i int) string { return fmt.Sprintf("PROXY TCP4 203.0.113.%d 10.0.0.1 1 2\r\n", i) }
	for _, tc := range []struct {
		rule    string
		trusted string
		headers func(i int) string
		total   int
		served  int
	}{
		{"one source has its own limit", "192.0.2.0/24", func(int) string { return source(9) }, 100, 3},
		{"every source has its own", "192.0.2.0/24", source, 100, 8},
		{"a source that is a trusted proxy has none", "203.0.113.0/24", func(int) string { return source(9) }, 100, 8},
		{"nor has the balancer itself", "192.0.2.0/24", func(int) string { return "PROXY UNKNOWN\r\n" }, 100, 8},
		{"that the balancer is trusted says nothing of its clients", "127.0.0.0/8", func(int) string { return source(9) }, 100, 3},
		{"in total all are counted", "203.0.113.0/24", source, 5, 5},
	} {
		cfg := config(t)
		cfg.MaxConnections, cfg.MaxPerClient = tc.total, 3
		cfg.Listeners[0].ProxyProtocol = loopback()
		h := startTrusting(t, cfg, told, netip.MustParsePrefix(tc.trusted))
		served := 0
		var conns []net.Conn
		for i := range 8 {
			c, err := net.Dial("tcp", h.address(t))
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, tc.headers(i)+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if line, _ := bufio.NewReader(c).ReadString('\n'); strings.HasPrefix(line, "HTTP/1.1 200") {
				served++
			}
		}
		if served != tc.served {
			t.Errorf("%s: %d of 8 connections were served, want %d", tc.rule, served, tc.served)
		}
		eventually(t, tc.rule+": each refusal is recorded", func() bool { return h.recorded(gate.HTTPTooManyConnections) == 8-tc.served })
		for _, c := range conns {
			c.Close()
		}
		eventually(t, tc.rule+": places are given back", func() bool { return h.Connections() == 0 })
		// And with them the room for the same client.
		c, err := net.Dial("tcp", h.address(t))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, tc.headers(0)+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if line, _ := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 200") {
			t.Errorf("%s: afterwards a connection gets %q", tc.rule, line)
		}
		c.Close()
	}
}

// The record of a refused source shows both: who it was, and by whom.
func TestTheRecordNamesSourceAndBalancer(t *testing.T) {
	cfg := config(t)
	cfg.MaxPerClient = 1
	cfg.Listeners[0].ProxyProtocol = loopback()
	h := start(t, cfg, told)
	for range 2 {
		c, err := net.Dial("tcp", h.address(t))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "PROXY TCP6 2001:db8::9 2001:db8::1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
		_, _ = bufio.NewReader(c).ReadString('\n')
	}
	eventually(t, "the refusal is recorded", func() bool { return h.recorded(gate.HTTPTooManyConnections) == 1 })
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.records[len(h.records)-1].Client
	if got.IP != "2001:db8::9" || got.ChosenBy != gate.ByPROXY || !strings.HasPrefix(got.Peer, "127.0.0.1:") {
		t.Errorf("the record says %+v", got)
	}
}

// A reload changes who has to send a header on a socket that stays open.
func TestReloadChangesProxyProtocol(t *testing.T) {
	cfg := config(t)
	h := start(t, cfg, told)
	if status, _ := get(t, "http://"+h.address(t)); status != http.StatusOK {
		t.Fatalf("without a header: %d", status)
	}
	http.DefaultClient.CloseIdleConnections()
	h.next = func(g *generation) error {
		g.cfg.Listeners = []server.Listener{cfg.Listeners[0]}
		g.cfg.Listeners[0].ProxyProtocol = loopback()
		return nil
	}
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.Get("http://" + h.address(t)); err == nil {
		resp.Body.Close()
		t.Errorf("without a header after the reload: %d", resp.StatusCode)
	}
}

// unixClient speaks HTTP over a Unix socket.
func unixClient(path string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
}

func askUnix(t *testing.T, path string) toldOf {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.example/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, body := do(t, unixClient(path), req)
	var got toldOf
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return got
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.sock")
	cfg := config(t)
	cfg.Listeners = []server.Listener{{Address: "unix:" + path, HTTP1: true}}
	h := start(t, cfg, told)
	if got := askUnix(t, path); got.Socket != "unix" || got.By != gate.ByPeer || got.Peer != "invalid IP" || got.Target != "/x" {
		t.Errorf("the handler was told %+v", got)
	}
	if got := h.Addresses()["unix:"+path].String(); got != path {
		t.Errorf("Addresses = %q, want the path", got)
	}
	mode := func() os.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	if got := mode(); got.Perm() != 0o660 || got&os.ModeSocket == 0 {
		t.Errorf("the socket's mode is %s, want 0660", got)
	}

	before, _ := os.Stat(path)
	h.next = func(g *generation) error {
		g.cfg.Listeners = []server.Listener{{Address: "unix:" + path, HTTP1: true, Mode: 0o600}}
		return nil
	}
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("a reload opened another socket (%v)", err)
	}
	if got := mode(); got.Perm() != 0o600 {
		t.Errorf("after a reload the socket's mode is %s, want 0600", got)
	}
	askUnix(t, path)

	other := start(t, config(t), told)
	other.next = func(g *generation) error { g.cfg = cfg; return nil }
	if err := other.Reload(); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a socket on which somebody listens: Reload = %v, want a refusal that says so", err)
	}
	askUnix(t, path)

	if err := h.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Shutdown the socket is still there (%v)", err)
	}
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) > 0 {
		t.Errorf("Shutdown left %v", left)
	}
}

func TestUnixSocketPlaces(t *testing.T) {
	stale := func(t *testing.T, path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	for _, tc := range []struct {
		rule  string
		there func(t *testing.T, path string)
		taken bool // it is not ours to replace
	}{
		{"nothing is there", func(*testing.T, string) {}, false},
		{"a socket that nobody listens on", stale, false},
		{"a half-made one too", func(t *testing.T, path string) { stale(t, path); stale(t, path+".new") }, false},
		{"a file", func(t *testing.T, path string) { _ = os.WriteFile(path, []byte("precious"), 0o600) }, true},
		{"a directory", func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, true},
		{"a link to a file", func(t *testing.T, path string) {
			_ = os.WriteFile(path+".precious", nil, 0o600)
			_ = os.Symlink(path+".precious", path)
		}, true},
	} {
		path := filepath.Join(t.TempDir(), "web.sock")
		tc.there(t, path)
		h := start(t, config(t), told)
		h.next = func(g *generation) error {
			g.cfg.Listeners = append([]server.Listener{{Address: "unix:" + path, HTTP1: true}}, g.cfg.Listeners...)
			return nil
		}
		before, _ := os.Lstat(path)
		err := h.Reload()
		if tc.taken != (err != nil) {
			t.Errorf("%s: Reload = %v", tc.rule, err)
		}
		if tc.taken {
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("%s: it was replaced", tc.rule)
			}
			continue
		}
		askUnix(t, path)
		// Another process may replace the file in its turn; that one stays.
		_ = os.Remove(path)
		stale(t, path)
		h.next = nil
		if err := h.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s: the socket of another process was removed", tc.rule)
		}
	}
}

// Those who connect by a Unix socket are one to the limits, unless they are
// trusted or say who they are.
func TestConnectionLimitsOfAUnixSocket(t *testing.T) {
	for _, tc := range []struct {
		rule    string
		trusted bool
		proxied bool
		header  func(int) string
		served  int
	}{
		{"nobody is known", false, false, func(int) string { return "" }, 3},
		{"a trusted proxy", true, false, func(int) string { return "" }, 8},
		{"a balancer that names its clients", false, true, func(i int) string { return fmt.Sprintf("PROXY TCP4 203.0.113.%d 10.0.0.1 1 2\r\n", i) }, 8},
		{"one client of it", true, true, func(int) string { return "PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n" }, 3},
	} {
		path := filepath.Join(t.TempDir(), "web.sock")
		cfg := config(t)
		cfg.MaxPerClient = 3
		cfg.Listeners = []server.Listener{{Address: "unix:" + path, HTTP1: true, ProxyProtocolUnix: tc.proxied}}
		startUnix(t, cfg, told, tc.trusted)
		served := 0
		for i := range 8 {
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, tc.header(i)+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if line, _ := bufio.NewReader(c).ReadString('\n'); strings.HasPrefix(line, "HTTP/1.1 200") {
				served++
			}
		}
		if served != tc.served {
			t.Errorf("%s: %d of 8 connections were served, want %d", tc.rule, served, tc.served)
		}
	}
}
