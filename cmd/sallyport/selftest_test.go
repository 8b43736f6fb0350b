package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/selftest"
	"sallyport/internal/wire"
)

// TestSelftestOfTheBinary runs the whole corpus through the real gateway.
func TestSelftestOfTheBinary(t *testing.T) {
	code, out, stderr := sallyport(t, "selftest", "smuggling")
	if code != 0 || !strings.Contains(out, "differences: 0\n") {
		t.Errorf("selftest smuggling = %d\n%s%s", code, out, stderr)
	}
	for _, protocol := range []string{wire.HTTP1, wire.HTTP2} {
		cases, err := wire.In(protocol)
		if err != nil || !strings.Contains(out, fmt.Sprintf("%d cases in HTTP/1, ", len(cases))) && !strings.Contains(out, fmt.Sprintf(", %d in HTTP/2\n", len(cases))) {
			t.Errorf("%v, or not all %d cases in %s were counted:\n%s", err, len(cases), protocol, out)
		}
	}
	if strings.Contains(out, "were not sent") {
		t.Errorf("cases in HTTP/2 were left out:\n%s", out)
	}
	// Its progress is for terminals, and an accepted twin is not refused.
	if stderr != "" || !strings.Contains(out, "http.te_and_cl") || strings.Contains(out, " 0 forwarded exactly") {
		t.Errorf("standard error %q, output\n%s", stderr, out)
	}
}

func TestSelftestAsJSON(t *testing.T) {
	code, out, _ := sallyport(t, "selftest", "smuggling", "--json", "--run", "^http.te_and_cl/", "--skip", "/get$")
	var rep selftest.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil || code != 0 {
		t.Fatalf("--json = %d, %v\n%s", code, err, out)
	}
	if rep.V != 1 || rep.Mode != "own" || !rep.Bytes || rep.Cases != len(rep.Results) || rep.Counts[selftest.Forwarded] != 2 || len(rep.Groups) != 1 {
		t.Errorf("--json = %+v", rep)
	}
	for _, r := range rep.Results {
		if r.Name == "http.te_and_cl/get" {
			t.Error("--skip leaves out nothing")
		}
		if r.Outcome == selftest.Refused && (len(r.Answered) != 1 || r.Answered[0] != "400 http.te_and_cl") {
			t.Errorf("%s was answered %v, want the reason of the record", r.Name, r.Answered)
		}
	}
}

// passOn is a forwarder that judges nothing.
func passOn(t *testing.T, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer b.Close()
				var up sync.WaitGroup
				up.Go(func() { _, _ = io.Copy(b, c); _ = b.(*net.TCPConn).CloseWrite() })
				_, _ = io.Copy(c, b)
				_ = c.Close()
				up.Wait()
			}()
		}
	}()
	return l.Addr().String()
}

// refusedOf counts the cases that are refused in the groups that begin so.
func refusedOf(t *testing.T, prefixes ...string) int {
	t.Helper()
	cases, err := wire.All()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range cases {
		if c.Protocol == wire.HTTP1 && c.Refused() && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(c.Name, p+"/") }) {
			n++
		}
	}
	return n
}

// TestSelftestCanFail puts a leaky forwarder in the gateway's place.
func TestSelftestCanFail(t *testing.T) {
	capture := freePort(t)
	code, out, stderr := sallyport(t, "selftest", "smuggling", "--target", "http://"+passOn(t, capture), "--listen", capture,
		"--run", "^http.te_and_cl/", "--timeout", "1s")
	for _, want := range []string{
		"DIFFERENT  http.te_and_cl/length-first: the classic",
		`backend   POST /in HTTP/1.1\r\nHost: a.example\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n`,
		"because   answer 1 is 200, want 400 http.te_and_cl",
		fmt.Sprintf("differences: %d\n", refusedOf(t, "http.te_and_cl")),
	} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("selftest of a leaky forwarder = %d, without %q\n%s%s", code, want, out, stderr)
		}
	}
}

// TestSelftestCanFailInHTTP2 puts the server and the proxy of the standard
// library in the gateway's place.
func TestSelftestCanFailInHTTP2(t *testing.T) {
	capture := freePort(t)
	leaky := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: capture}))
	leaky.Config.Protocols = new(http.Protocols)
	leaky.Config.Protocols.SetHTTP1(true)
	leaky.Config.Protocols.SetUnencryptedHTTP2(true)
	leaky.Start()
	defer leaky.Close()
	args := []string{"selftest", "smuggling", "--target", leaky.URL, "--listen", capture, "--run", "^http.(path_dots|te_and_cl)/.*h2", "--timeout", "1s"}
	code, out, stderr := sallyport(t, append(args, "--h2c")...)
	for _, want := range []string{
		"DIFFERENT  http.path_dots/h2-plain: ", "              :authority: a.example\n", "backend   GET /a/../b HTTP/1.1",
		"because   stream 1 ends with 200, want 400 http.path_dots", "because   1 requests reached the backend, want 0",
	} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("selftest of a leaky server = %d, without %q\n%s%s", code, want, out, stderr)
		}
	}
	if code, out, stderr = sallyport(t, args...); code != 0 || !strings.Contains(out, "in HTTP/2 were not sent: without TLS it takes --h2c\n") {
		t.Errorf("without --h2c: %d\n%s%s", code, out, stderr)
	}
}

// TestSelftestNegotiatesHTTP2: over TLS the cases in HTTP/2 are sent where the
// target chooses that.
func TestSelftestNegotiatesHTTP2(t *testing.T) {
	for _, offers := range []bool{true, false} {
		capture := freePort(t)
		leaky := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: capture}))
		leaky.EnableHTTP2 = offers
		leaky.StartTLS()
		defer leaky.Close()
		code, out, stderr := sallyport(t, "selftest", "smuggling", "--target", leaky.URL, "--insecure", "--listen", capture,
			"--run", "^http.path_dots/(ok-)?h2", "--timeout", "1s")
		want, exit := "because   stream 1 ends with 200, want 400 http.path_dots", 1
		if !offers {
			want, exit = "6 cases in HTTP/2 were not sent: the target does not offer h2 by ALPN\n", 0
		}
		if code != exit || !strings.Contains(out, want) {
			t.Errorf("a target that offers HTTP/2 (%v): %d, without %q\n%s%s", offers, code, want, out, stderr)
		}
	}
}

// TestSelftestOfATarget runs the corpus against a gateway as it is served, with
// hosts of its own, and sees what reached its pool.
func TestSelftestOfATarget(t *testing.T) {
	capture := freePort(t)
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	text := "listeners: [{address: \"127.0.0.1:0\", protocols: [http1, h2c]}]\npools: {app: {backends: [{url: \"http://" + capture + "\"}]}}\n" +
		"routes: [{name: site, hosts: [shop.example.org], pool: app}]\nlimits: []\npolicies: {default: {mode: off}}\n" +
		"audit: {path: audit.jsonl}\nadmin: {address: \"\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startServe(t, file)
	defer g.stop(t)
	groups := "^(http.te_|http.chunk_|http.host_|http.body_cut|connection)"
	code, out, stderr := sallyport(t, "selftest", "smuggling", "--target", g.base, "--listen", capture, "--host", "shop.example.org", "--run", groups)
	if code != 0 || !strings.Contains(out, "differences: 0\n") || !strings.Contains(stderr, "http://"+capture) {
		t.Errorf("with --listen: %d\n%s%s", code, out, stderr)
	}
	if strings.Contains(out, " 0 skipped") || strings.Contains(out, " 0 forwarded exactly") {
		t.Errorf("twins about the host are skipped, others forwarded:\n%s", out)
	}
	groups = "^(http.path_|http.h2_|http.length_|http.preface|h2.preface|connection).*"
	code, out, stderr = sallyport(t, "selftest", "smuggling", "--target", g.base, "--h2c", "--listen", capture, "--host", "shop.example.org", "--run", groups, "--skip", "^http.path_(double|empty|param|slash)")
	if code != 0 || !strings.Contains(out, "differences: 0\n") || !strings.Contains(out, "HTTP/2 is spoken at ") || strings.Contains(out, "were not sent") {
		t.Errorf("with --h2c: %d\n%s%s", code, out, stderr)
	}
	code, _, stderr = sallyport(t, "selftest", "smuggling", "--target", g.base, "--run", groups)
	if code != 1 || !strings.Contains(stderr, "421") || !strings.Contains(stderr, "--host") {
		t.Errorf("without --host: %d %s, want the remedy", code, stderr)
	}
}

func TestSelftestOfABackend(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer backend.Close()
	code, out, stderr := sallyport(t, "selftest", "smuggling", "--backend", backend.URL, "--run", "^http.(te_and_cl|host_mismatch|host_missing)/")
	n := refusedOf(t, "http.te_and_cl", "http.host_mismatch", "http.host_missing")
	if code != 0 || !strings.Contains(out, fmt.Sprintf("the gateway of this binary, sent the same, refuses %d of %[1]d", n)) || !strings.Contains(out, "accepted   ") {
		t.Errorf("--backend = %d\n%s%s", code, out, stderr)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if code, _, stderr := sallyport(t, "selftest", "smuggling", "--backend", gone.URL); code != 1 || !strings.Contains(stderr, "harmless request") {
		t.Errorf("a backend that is not there = %d %s", code, stderr)
	}
}

func TestSelftestRefusesToBegin(t *testing.T) {
	for rule, tc := range map[string]struct {
		args []string
		err  string
	}{
		"a target elsewhere":      {[]string{"--target", "http://192.0.2.1"}, "say --yes"},
		"a backend elsewhere":     {[]string{"--backend", "http://192.0.2.1"}, "say --yes"},
		"both":                    {[]string{"--target", "http://127.0.0.1:1", "--backend", "http://127.0.0.1:1"}, "exclude each other"},
		"a capture for nobody":    {[]string{"--listen", "127.0.0.1:0"}, "needs --target"},
		"a host for nobody":       {[]string{"--host", "a.test"}, "needs --target or --backend"},
		"h2c over TLS":            {[]string{"--target", "https://127.0.0.1:1", "--h2c"}, "negotiated"},
		"a target with a path":    {[]string{"--target", "http://127.0.0.1/x"}, "their own targets"},
		"a name that nothing has": {[]string{"--run", "no-such-case"}, "no case"},
		"a pattern that is none":  {[]string{"--run", "("}, "--run"},
		"a host that is none":     {[]string{"--target", "http://127.0.0.1:1", "--host", "a b\r\nX: y"}, "--host"},
		"an argument":             {[]string{"x"}, "takes no arguments"},
	} {
		if code, _, stderr := sallyport(t, append([]string{"selftest", "smuggling"}, tc.args...)...); code != 2 || !strings.Contains(stderr, tc.err) {
			t.Errorf("%s: %d %s, want 2 and %q", rule, code, stderr, tc.err)
		}
	}
}
