package selftest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/selftest"
	"sallyport/internal/wire"
)

func listen(t *testing.T) *selftest.Capture {
	t.Helper()
	c, err := selftest.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// TestGatewayThatLeaks is the test that the self-test can fail: behind a relay
// the capture sees what no backend may see.
func TestGatewayThatLeaks(t *testing.T) {
	t.Parallel()
	c := listen(t)
	rep, err := selftest.Gateway(t.Context(), selftest.Options{
		To: selftest.Endpoint{Address: relay(t, c.Address())}, Capture: c, Timeout: time.Second,
		Cases: []wire.Case{
			find(t, "http.te_and_cl/length-first"), find(t, "http.obs_fold/space"), find(t, "http.path_dots/plain"),
			find(t, "http.body_cut/length"), find(t, "http.te_and_cl/ok-coding"), find(t, "connection/ok-pipelined-bodies"),
			find(t, "http.chunk_extension/ok-name"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		outcome selftest.Outcome
		backend string
		why     string
	}{
		"http.te_and_cl/length-first":    {selftest.Different, `Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled`, "1 Content-Length and 1 Transfer-Encoding"},
		"http.obs_fold/space":            {selftest.Different, `X: a\r\n b\r\n`, "a field line without a colon"},
		"http.path_dots/plain":           {selftest.Different, `GET /a/../b HTTP/1.1`, "1 whole requests reached the backend, want 0"},
		"http.body_cut/length":           {selftest.Different, `Content-Length: 10\r\n\r\nhello`, "answer 1 is missing"},
		"http.te_and_cl/ok-coding":       {selftest.Forwarded, `5\r\nhello\r\n0\r\n\r\n`, ""},
		"connection/ok-pipelined-bodies": {selftest.Forwarded, `onePOST /in`, ""},
		"http.chunk_extension/ok-name":   {selftest.Different, `5;a\r\nhello`, "chunk size that is not plain"},
	} {
		r := result(t, rep, name)
		if r.Outcome != want.outcome || !strings.Contains(strings.Join(r.Backend, "|"), want.backend) || !strings.Contains(strings.Join(r.Why, "; "), want.why) {
			t.Errorf("%s: %s, backend %q, why %q, want %s, %q, %q", name, r.Outcome, r.Backend, r.Why, want.outcome, want.backend, want.why)
		}
	}
	var b strings.Builder
	if err := rep.Print(&b, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"DIFFERENT  http.te_and_cl/length-first", `backend   POST /in HTTP/1.1\r\n`, "expected  400 http.te_and_cl", "answered  200",
		"differences: 5", "2 forwarded exactly", "of the class hygiene",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if rep.Held() {
		t.Error("Held = true of a gateway that leaks")
	}
}

// TestGatewayThatHolds puts a strict server in the gateway's place, which
// refuses all and forwards nothing: refused cases hold, and their twins tell
// that nothing comes through.
func TestGatewayThatHolds(t *testing.T) {
	t.Parallel()
	rep, err := selftest.Gateway(t.Context(), selftest.Options{
		To:    selftest.Endpoint{Address: serve(t, flaws{}.handle)},
		Cases: []wire.Case{find(t, "http.te_and_cl/length-first"), find(t, "http.bare_lf/every"), find(t, "http.te_and_cl/ok-length")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Held() || rep.Counts[selftest.Refused] != 2 || rep.Counts[selftest.Forwarded] != 1 || rep.Bytes {
		t.Errorf("%+v of %+v, want two refused and one forwarded, and no bytes judged", rep.Counts, rep.Results)
	}
	var b strings.Builder
	if err := rep.Print(&b, false); err != nil || !strings.Contains(b.String(), "Only its answers are judged") || !strings.Contains(b.String(), "differences: 0") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestGatewayCountsHTTP2ThatIsNotSent: where it is not spoken its cases are
// skipped, and the count says why.
func TestGatewayCountsHTTP2ThatIsNotSent(t *testing.T) {
	t.Parallel()
	rep, err := selftest.Gateway(t.Context(), selftest.Options{
		To: selftest.Endpoint{Address: serve(t, flaws{}.handle)}, NoHTTP2: "for a reason",
		Cases: []wire.Case{find(t, "http.path_dots/h2-plain"), find(t, "http.bare_lf/every")},
	})
	if err != nil || rep.Counts[selftest.Skipped] != 1 || rep.Counts[selftest.Refused] != 1 || rep.Protocols[wire.HTTP2][selftest.Skipped] != 1 {
		t.Fatalf("%v, %+v, want one skipped and one refused", err, rep)
	}
	var b strings.Builder
	if err := rep.Print(&b, false); err != nil || !strings.Contains(b.String(), "1 cases in HTTP/2 were not sent: for a reason\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestRecordsOfConnections: a record from before a connection was made is about
// another one.
func TestRecordsOfConnections(t *testing.T) {
	t.Parallel()
	r := selftest.NewRecords()
	began := time.Now()
	rec := gate.Record{ID: "a", Reason: gate.HTTPH2Frame}
	rec.Client.Peer = "127.0.0.1:1"
	r.Record(rec)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if got, known := r.Ended(ctx, "127.0.0.1:1", time.Now().Add(time.Hour)); known {
		t.Errorf("Ended = %s of an earlier connection", got)
	}
	if got, known := r.Ended(t.Context(), "127.0.0.1:1", began); got != gate.HTTPH2Frame || !known {
		t.Errorf("Ended = %s, %v", got, known)
	}
}

// TestOffersHTTP2 asks servers by ALPN.
func TestOffersHTTP2(t *testing.T) {
	t.Parallel()
	for _, offers := range []bool{true, false} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.EnableHTTP2 = offers
		s.StartTLS()
		defer s.Close()
		to, err := selftest.ParseURL(s.URL, "", true)
		if err != nil {
			t.Fatal(err)
		}
		if at, err := to.OffersHTTP2(t.Context()); err != nil || (at != nil) != offers {
			t.Errorf("OffersHTTP2 = %v, %v, want %v", at, err, offers)
		}
	}
}

// TestGatewayExplainsWhatIsInTheWay meets gateways that cannot be judged.
func TestGatewayExplainsWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{
		"421 Misdirected Request": "--host", "403 Forbidden": "policy", "429 Too Many Requests": "limits",
		"503 Service Unavailable": "backend", "400 Bad Request": "https", "404 Not Found": "",
	} {
		address := serve(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status)
		})
		_, err := selftest.Gateway(t.Context(), selftest.Options{To: selftest.Endpoint{Address: address}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", status, err, want)
		}
	}
}

// TestGatewayThatIsNotWiredToTheCapture answers from somewhere else.
func TestGatewayThatIsNotWiredToTheCapture(t *testing.T) {
	t.Parallel()
	c := listen(t)
	o := selftest.Options{To: selftest.Endpoint{Address: serve(t, flaws{}.handle)}, Capture: c, Timeout: time.Second}
	if _, err := selftest.Gateway(t.Context(), o); err == nil || !strings.Contains(err.Error(), "did not reach the capture backend at "+c.Address()) {
		t.Errorf("Gateway = %v, want an error that tells so", err)
	}
}

func TestGatewayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var probed atomic.Bool
	address := serve(t, func(c net.Conn) {
		if !probed.Swap(true) {
			flaws{}.handle(c)
			return
		}
		cancel()
		_, _ = io.Copy(io.Discard, c)
	})
	cases := []wire.Case{find(t, "http.bare_lf/every"), find(t, "http.bare_lf/field"), find(t, "http.bare_lf/first")}
	_, err := selftest.Gateway(ctx, selftest.Options{To: selftest.Endpoint{Address: address}, Cases: cases, Parallel: 1})
	if err == nil || !strings.Contains(err.Error(), "not finished: ") {
		t.Errorf("Gateway = %v, want an error that tells how far it came", err)
	}
}

func TestCapture(t *testing.T) {
	t.Parallel()
	c := listen(t)
	for _, tc := range []struct {
		rule, send string
		halfClose  bool
		messages   int
		cut        bool
		odd        string
	}{
		{"a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, 1, false, ""},
		{"two in one go", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true, 2, false, ""},
		{"a body that ends too early", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello", true, 1, true, ""},
		{"a head that ends too early", "GET / HTTP/1.1\r\nHost", true, 0, false, "a head that does not end"},
		{"a request that does not end", "GET / HTTP/1.1\r\nHost", false, 0, false, "still under way"},
		{"something behind the last request", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET", true, 1, false, "behind the last"},
		{"nonsense", "\x16\x03\x01\n", true, 0, false, "an LF without CR"},
	} {
		conn, err := net.Dial("tcp", c.Address())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, tc.send)
		if tc.halfClose {
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		var got []selftest.Stream
		for len(got) == 0 && ctx.Err() == nil {
			got = c.Take(ctx)
		}
		cancel()
		_ = conn.Close()
		if len(got) != 1 || string(got[0].Bytes) != tc.send || got[0].Total != len(tc.send) || len(got[0].Messages) != tc.messages || !strings.Contains(got[0].Odd, tc.odd) || tc.odd == "" && got[0].Odd != "" {
			t.Errorf("%s: %+v, want the bytes, %d messages, odd %q", tc.rule, got, tc.messages, tc.odd)
			continue
		}
		if tc.messages > 0 && got[0].Messages[0].Cut != tc.cut {
			t.Errorf("%s: cut is %v, want %v", tc.rule, got[0].Messages[0].Cut, tc.cut)
		}
		if tc.odd == "still under way" {
			c.Take(t.Context()) // its end
		}
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	r := selftest.NewRecords()
	r.Record(gate.Record{ID: "a", Reason: gate.HTTPBareLF})
	r.Record(gate.Record{ID: "b", Event: "closed", Reason: gate.HTTPBareLF})
	if got, known := r.Reason(t.Context(), "a"); got != gate.HTTPBareLF || !known {
		t.Errorf("Reason(a) = %s, %v", got, known)
	}
	late := make(chan gate.Reason)
	go func() { got, _ := r.Reason(t.Context(), "c"); late <- got }()
	r.Record(gate.Record{ID: "c", Reason: gate.HTTPBareCR})
	if got := <-late; got != gate.HTTPBareCR {
		t.Errorf("Reason(c) = %s of a record that came late", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if got, known := r.Reason(ctx, "b"); known {
		t.Errorf("Reason(b) = %s of a tunnel's end", got)
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"http://127.0.0.1:8080": "127.0.0.1:8080", "http://localhost/": "localhost:80", "https://[::1]": "[::1]:443",
		"127.0.0.1:8080": "", "ftp://a": "", "http://": "", "http://a/path": "", "http://u@a": "", "http://a?b": "",
	} {
		e, err := selftest.ParseURL(url, "", false)
		if e.Address != want && err == nil || (err == nil) != (want != "") || err == nil && (e.TLS != nil) != strings.HasPrefix(url, "https") {
			t.Errorf("ParseURL(%q) = %+v, %v, want %q", url, e, err, want)
		}
	}
	for host, want := range map[string]string{"": "127.0.0.1", "shop.example.org": "shop.example.org", "shop.example.org:8443": "shop.example.org"} {
		if e, err := selftest.ParseURL("https://127.0.0.1", host, true); err != nil || e.TLS.ServerName != want {
			t.Errorf("with the host %q the certificate of %q is asked for, want %q", host, e.TLS.ServerName, want)
		}
	}
	for address, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "192.0.2.1:1": false} {
		if near, err := (selftest.Endpoint{Address: address}).Loopback(t.Context()); err != nil || near != want {
			t.Errorf("Loopback of %s = %v, %v, want %v", address, near, err, want)
		}
	}
}
