package gateway_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3 asks for it
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
)

func gzipped(tb testing.TB, text string) string {
	tb.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

const judging = `
listeners: [{address: "127.0.0.1:0"}]
limits: []
policies: {default: {response_body: {inspect: all}}}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}], timeout: {idle: 20s}}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`

// TestCompressedRequests sends compressed forms through the whole gateway: what
// passes arrives as it was sent, and nothing of what is refused.
func TestCompressedRequests(t *testing.T) {
	var mu sync.Mutex
	var got []string
	e := open(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing shows
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Get("Content-Encoding")+" "+string(body))
	}), judging)
	form := "POST /\nUser-Agent: x\nAccept: */*\nContent-Type: application/x-www-form-urlencoded\n"
	fine, attack := gzipped(t, "q=a+blue+bicycle"), gzipped(t, "q=1'+UNION+SELECT+password+FROM+users--")
	for _, tc := range []struct {
		rule, request, arrives string
		status                 int
		reason                 gate.Reason
		inspected              string
	}{
		{"a compressed form", form + "Content-Encoding: gzip\n\n" + fine, "gzip " + fine, 200, "", "full"},
		{"an attack in one", form + "Content-Encoding: gzip\n\n" + attack, "", 403, gate.WAFInboundScore, "full"},
		{"two members", form + "Content-Encoding: gzip\n\n" + fine + fine, "", 415, gate.WAFEncoding, "none"},
		{"another coding", form + "Content-Encoding: compress\n\n" + fine, "", 415, gate.WAFEncoding, "none"},
		{"identity", form + "Content-Encoding: identity\n\nq=x", "identity q=x", 200, "", "full"},
	} {
		a := e.send(t, tc.request)
		r := e.notes.find(t, a.header.Get("X-Request-Id"))
		if a.status != tc.status || r.Reason != tc.reason || r.WAF == nil || r.WAF.Inspected != tc.inspected {
			t.Errorf("%s: %d, recorded as %q %q, %+v; want %d %q, inspected %q", tc.rule, a.status, r.Reason, r.Detail, r.WAF, tc.status, tc.reason, tc.inspected)
		}
		mu.Lock()
		if all := strings.Join(got, "|"); all != tc.arrives {
			t.Errorf("%s: the backend got %q, want %q", tc.rule, all, tc.arrives)
		}
		got = nil
		mu.Unlock()
	}
}

const sqlLeak = "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version near ''1''' at line 1"

// TestRefusedAnswersAreReplaced has answers refused in phase 4, compressed and
// not: the client gets ours, whole, and nothing of the backend's.
func TestRefusedAnswersAreReplaced(t *testing.T) {
	page := func(text string) string { return "<html>" + text + "</html>" }
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := page("all is well")
		if strings.HasPrefix(r.URL.Path, "/leak") {
			body = page(sqlLeak)
		}
		h := w.Header()
		h.Set("Content-Type", "text/html")
		h.Set("Etag", `"theirs"`)
		h.Set("Set-Cookie", "theirs=1")
		if strings.HasSuffix(r.URL.Path, "/gzip") {
			h.Set("Content-Encoding", "gzip")
			body = gzipped(t, body)
		}
		io.WriteString(w, body)
	}), judging)
	for _, path := range []string{"/plain", "/gzip"} {
		a := e.send(t, "GET /fine"+path+"\nAccept-Encoding: gzip")
		r := e.notes.find(t, a.header.Get("X-Request-Id"))
		want := page("all is well")
		if path == "/gzip" {
			want = gzipped(t, want)
		}
		if a.status != 200 || a.body != want || a.header.Get("Etag") == "" || r.Action != "pass" || r.WAF.ResponseInspected != "full" || r.Response.Cut {
			t.Errorf("/fine%s: %d %v %q, recorded as %s %+v", path, a.status, a.header, a.body, r.Action, r.WAF)
		}
		a = e.send(t, "GET /leak"+path+"\nAccept-Encoding: gzip")
		r = e.notes.find(t, a.header.Get("X-Request-Id"))
		if a.status != 403 || strings.Contains(fmt.Sprint(a.header, a.body), "theirs") || strings.Contains(a.body, "SQL") || a.header.Get("Content-Encoding") != "" {
			t.Errorf("/leak%s: %d %v %q, want our own answer", path, a.status, a.header, a.body)
		}
		if r.Action != "refuse" || r.Reason != gate.WAFOutboundScore || r.Status != 403 || r.Response.Status != 403 || r.Response.Cut || r.Pool.Status != 200 || r.WAF.ResponseInspected != "full" {
			t.Errorf("/leak%s: recorded as %s %q, %+v, %+v", path, r.Action, r.Reason, r.Response, r.WAF)
		}
	}
}

// TestAnswersThatAreNeverHeld reads the first part of an answer while the
// backend waits with the second until it was read, with every answer judged.
func TestAnswersThatAreNeverHeld(t *testing.T) {
	read := make(chan struct{}) // the client has the first part
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, value, _ := strings.Cut(r.URL.Query().Get("field"), ": ")
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set(name, value)
		if name == "Content-Range" {
			w.WriteHeader(http.StatusPartialContent)
		}
		io.WriteString(w, sqlLeak)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-read:
			io.WriteString(w, "second")
		case <-time.After(20 * time.Second):
		}
	}), judging)
	for _, field := range []string{
		"Content-Type: text/event-stream", "Content-Type: text/event-stream; charset=utf-8", "Content-Type: application/grpc", "Content-Type: application/grpc+json",
		"Content-Type: application/octet-stream", "Content-Range: bytes 0-99/200", "Content-Disposition: attachment; filename=a.txt", "Content-Disposition: ATTACHMENT",
		"Content-Encoding: compress",
	} {
		query := strings.NewReplacer(" ", "%20", ";", "%3B", "=", "%3D", "+", "%2B").Replace(field)
		resp, err := http.Get("http://" + e.address + "/?field=" + query)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, len(sqlLeak))
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != sqlLeak {
			t.Fatalf("%s: %d %q, %v", field, resp.StatusCode, first, err)
		}
		read <- struct{}{}
		if rest, err := io.ReadAll(resp.Body); string(rest) != "second" || err != nil {
			t.Errorf("%s: the rest is %q, %v", field, rest, err)
		}
		resp.Body.Close()
		if r := e.notes.find(t, resp.Header.Get("X-Request-Id")); r.Action != "pass" || r.WAF.ResponseInspected != "none" || r.Response.Cut {
			t.Errorf("%s: recorded as %s %q, %+v", field, r.Action, r.Reason, r.WAF)
		}
	}
}

// TestWebSocketIsNeverHeld switches protocols with every answer judged.
func TestWebSocketIsNeverHeld(t *testing.T) {
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\nContent-Type: text/html\r\n\r\n%s",
			base64.StdEncoding.EncodeToString(sum[:]), sqlLeak)
		rw.Flush()
		io.Copy(c, rw)
	}), judging)
	c, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	first := make([]byte, len(sqlLeak))
	if _, err := io.ReadFull(br, first); err != nil || string(first) != sqlLeak {
		t.Errorf("through the tunnel came %q, %v", first, err)
	}
	if r := e.notes.find(t, resp.Header.Get("X-Request-Id")); r.Action != "pass" || r.Response.Status != 101 || r.WAF.ResponseInspected != "" {
		t.Errorf("recorded as %s %q, %+v", r.Action, r.Reason, r.WAF)
	}
}

// TestRefusedWhileAnsweringIsReset has the rest of an upload refused when the
// answer is on its way: the client never gets a complete one, and the record
// says so.
func TestRefusedWhileAnsweringIsReset(t *testing.T) {
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		io.CopyN(io.Discard, r.Body, 16<<10)
		w.Header().Set("Content-Type", "application/octet-stream")
		io.WriteString(w, "begun")
		_ = control.Flush()
		if n, err := io.Copy(io.Discard, r.Body); err == nil {
			fmt.Fprintf(w, " and read %d more", n)
		}
	}), judging)
	for _, tc := range []struct {
		rule, rest string
		cut        bool
	}{
		{"only a file", "--b--\r\n", false},
		{"a field", "--b\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\n1' UNION SELECT password FROM users--\r\n--b--\r\n", true},
	} {
		c, err := net.Dial("tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		chunk := func(s string) { fmt.Fprintf(c, "%x\r\n%s\r\n", len(s), s) }
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x\r\nAccept: */*\r\nContent-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk("--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\n" + strings.Repeat("0123456789abcde\n", 16<<10))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", tc.rule, err)
		}
		begun := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, begun); err != nil || string(begun) != "begun" {
			t.Fatalf("%s: %q, %v", tc.rule, begun, err)
		}
		chunk("\r\n" + tc.rest)
		io.WriteString(c, "0\r\n\r\n")
		rest, err := io.ReadAll(resp.Body)
		if (err != nil) != tc.cut || tc.cut && len(rest) > 0 {
			t.Errorf("%s: %q, %v, want it cut off: %v", tc.rule, rest, err, tc.cut)
		}
		c.Close()
		r := e.notes.find(t, resp.Header.Get("X-Request-Id"))
		refused := r.Action == "refuse" && r.Reason == gate.WAFBodyUnreadable && r.Status == 400
		if r.Response.Cut != tc.cut || refused != tc.cut || r.Response.Status != 200 {
			t.Errorf("%s: recorded as %s %q %d, %+v", tc.rule, r.Action, r.Reason, r.Status, r.Response)
		}
	}
}
