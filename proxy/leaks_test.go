package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// leaky is a backend at 127.0.0.1 that says what it is told, with @ for its
// own address and port.
func leaky(t testing.TB, answer string) *backend {
	t.Helper()
	return script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			if _, err := io.WriteString(c, strings.ReplaceAll(answer, "@", b.addr)); err != nil {
				return
			}
		}
	})
}

// sized is an answer with the right length, whatever the port is.
func sized(head, text string) func(addr string) string {
	return func(addr string) string {
		text := strings.ReplaceAll(text, "@", addr)
		return fmt.Sprintf("%s\r\nContent-Length: %d\r\n\r\n%s", strings.ReplaceAll(head, "@", addr), len(text), text)
	}
}

// telling is a backend whose answer depends on its own address.
func telling(t testing.TB, answer func(addr string) string) *backend {
	t.Helper()
	return script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			if _, err := io.WriteString(c, answer(b.addr)); err != nil {
				return
			}
		}
	})
}

func leaks(headers, bodies string) func(*rig) {
	return func(g *rig) { g.route().Mask.Leaks = proxy.LeakConfig{Headers: headers, Bodies: bodies} }
}

func TestLeaksInHeaders(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nX-Where: node @ of 127.0.0.1\r\nX-Plain: a\r\nEtag: \"@\"\r\nContent-Length: 2\r\n\r\nhi"
	for _, tc := range []struct {
		rule, action string
		status       int
		where, plain string
		tagged       bool
		record       string
	}{
		{"by default the address is redacted, and a tag that held it goes", "", 200, "node redacted.invalid of redacted.invalid", "a", false, "observe mask.leak"},
		{"redact", proxy.LeakRedact, 200, "node redacted.invalid of redacted.invalid", "a", false, "observe mask.leak"},
		{"block", proxy.LeakBlock, 502, "", "", false, "refuse mask.leak"},
		{"observe", proxy.LeakObserve, 200, "node @ of 127.0.0.1", "a", true, "observe mask.leak"},
		{"off", proxy.LeakOff, 200, "node @ of 127.0.0.1", "a", true, "pass "},
	} {
		b := leaky(t, head)
		g := newRig(b.addr)
		leaks(tc.action, "")(g)
		a := g.start(t).ask(t, get, "")
		if a.status != tc.status || a.header.Get("X-Where") != strings.ReplaceAll(tc.where, "@", b.addr) || a.header.Get("X-Plain") != tc.plain || (a.header.Get("Etag") != "") != tc.tagged {
			t.Errorf("%s: %d %v", tc.rule, a.status, a.header)
		}
		rec := g.records.last(t, 1)
		if got := rec.Action + " " + string(rec.Reason); got != tc.record {
			t.Errorf("%s: recorded as %q, want %q", tc.rule, got, tc.record)
		}
		if leaked := rec.Mask != nil && len(rec.Mask.Leaks) > 0; leaked != (tc.action != proxy.LeakOff) {
			t.Errorf("%s: the record's mask is %+v", tc.rule, rec.Mask)
		}
	}
}

// The gateway's own head, 103s, trailers and the names of fields are no ways
// around the detector.
func TestLeaksInInterimAnswersAndTrailers(t *testing.T) {
	t.Parallel()
	b := leaky(t, "HTTP/1.1 103 Early Hints\r\nLink: <http://@/a.css>; rel=preload\r\nX-Hint: at @\r\n\r\n"+
		"HTTP/1.1 200 OK\r\nX-127.0.0.1: name\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-127.0.0.1\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: by @\r\nX-127.0.0.1: a\r\nX-Late: @\r\nX-Fine: yes\r\n\r\n")
	g := newRig(b.addr).start(t)
	answer := g.raw(t, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
	for _, want := range []string{"103 Early Hints", "Link: <http://shop.example.org/a.css>; rel=preload\r\n", "X-Hint: at redacted.invalid\r\n", "X-Sum: by redacted.invalid\r\n", "X-Late: redacted.invalid\r\n", "X-Fine: yes\r\n"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer lacks %q:\n%s", want, answer)
		}
	}
	for _, token := range []string{"127.0.0.1", b.addr} {
		if strings.Contains(answer, token) {
			t.Errorf("%s survives in\n%s", token, answer)
		}
	}
	rec := g.records.last(t, 1)
	places := map[string]bool{}
	for _, l := range rec.Mask.Leaks {
		places[l.Where] = true
	}
	if rec.Reason != gate.MaskLeak || !places["interim"] || !places["header"] || !places["trailer"] {
		t.Errorf("recorded %s with %+v", rec.Reason, rec.Mask)
	}
}

func TestLeaksInBodies(t *testing.T) {
	t.Parallel()
	const text = "<p>made by @ for you</p>"
	const clean = "<p>made for you</p>"
	const validators = "HTTP/1.1 200 OK\r\nEtag: \"1\"\r\nContent-Digest: sha-256=:x:\r\nDigest: x\r\nAccept-Ranges: bytes\r\nLast-Modified: x\r\n"
	const gone = "<p>made by redacted.invalid for you</p>"
	for _, tc := range []struct {
		rule, action, kind, text string
		status                   int
		want                     string
		validated                bool
		record                   string
	}{
		{"observe, the default", "", "text/html", text, 200, text, true, "observe mask.leak"},
		{"observe without a find", "", "text/html", clean, 200, clean, true, "pass "},
		{"redact", proxy.LeakRedact, "text/html", text, 200, gone, false, "observe mask.leak"},
		{"redact without a find leaves all as it is", proxy.LeakRedact, "application/json", clean, 200, clean, true, "pass "},
		{"redact in a body that does not say what it is", proxy.LeakRedact, "", text, 200, gone, false, "observe mask.leak"},
		{"redact leaves what is not text", proxy.LeakRedact, "image/png", text, 200, text, true, "pass "},
		{"block", proxy.LeakBlock, "application/problem+json", text, 502, "", false, "refuse mask.leak"},
		{"block without a find", proxy.LeakBlock, "text/plain; charset=utf-8", clean, 200, clean, true, "pass "},
		{"off", proxy.LeakOff, "text/html", text, 200, text, true, "pass "},
	} {
		b := telling(t, sized(validators+"Content-Type: "+tc.kind, tc.text))
		g := newRig(b.addr)
		leaks("", tc.action)(g)
		a := g.start(t).ask(t, get, "")
		if want := strings.ReplaceAll(tc.want, "@", b.addr); a.status != tc.status || want != "" && a.body != want || strings.Contains(a.body, b.addr) && !strings.Contains(tc.want, "@") {
			t.Errorf("%s: %d %q", tc.rule, a.status, a.body)
		}
		for _, name := range []string{"Etag", "Content-Digest", "Digest", "Accept-Ranges"} {
			if (a.header.Get(name) != "") != tc.validated {
				t.Errorf("%s: %s is %q", tc.rule, name, a.header.Get(name))
			}
		}
		if got := a.header.Get("Content-Length"); got != fmt.Sprint(len(a.body)) {
			t.Errorf("%s: Content-Length is %q of a body of %d", tc.rule, got, len(a.body))
		}
		rec := g.records.last(t, 1)
		if got := rec.Action + " " + string(rec.Reason); got != tc.record {
			t.Errorf("%s: recorded as %q, want %q", tc.rule, got, tc.record)
		}
	}
}

// A long body is searched to its end, and what is found late cuts it off where
// it is blocked.
func TestLeaksLateInLongBodies(t *testing.T) {
	t.Parallel()
	filler := strings.Repeat("0123456789abcde\n", 40<<10)
	for _, action := range []string{proxy.LeakRedact, proxy.LeakBlock} {
		b := telling(t, sized("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nEtag: \"1\"", filler+"at @."))
		g := newRig(b.addr)
		leaks("", action)(g)
		a := g.start(t).ask(t, get, "")
		if strings.Contains(a.body, b.addr) || a.header.Get("Etag") != "" || a.header.Get("Content-Length") != "" {
			t.Errorf("%s: the address is told, or the head promises what is not so: %v", action, a.header)
		}
		rec := g.records.last(t, 1)
		switch action {
		case proxy.LeakRedact:
			if a.err != nil || a.body != filler+"at redacted.invalid." {
				t.Errorf("redact: %v, a body of %d", a.err, len(a.body))
			}
		case proxy.LeakBlock:
			if a.err == nil || rec.Action != "refuse" || rec.Reason != gate.MaskLeak {
				t.Errorf("block: %v, recorded as %s %s", a.err, rec.Action, rec.Reason)
			}
		}
	}
}

func TestLeaksInCompressedBodies(t *testing.T) {
	t.Parallel()
	packed := func(addr string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, "made by "+addr) // a buffer takes everything
		_ = w.Close()
		return b.String()
	}
	answer := func(coding string) func(string) string {
		return func(addr string) string {
			text := packed(addr)
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: %s\r\nEtag: \"1\"\r\nContent-Length: %d\r\n\r\n%s", coding, len(text), text)
		}
	}
	const encoding = get + "\nAccept-Encoding: gzip, br"
	for _, tc := range []struct {
		rule, action, coding string
		status               int
		asks                 string
		plain                bool
		reason               gate.Reason
	}{
		{"observed as it is", proxy.LeakObserve, "gzip", 200, "gzip, br", false, gate.MaskLeak},
		{"redacted, decoded", proxy.LeakRedact, "gzip", 200, "identity", true, gate.MaskLeak},
		{"blocked", proxy.LeakBlock, "gzip", 502, "identity", false, gate.MaskLeak},
		{"not readable, not shown", proxy.LeakRedact, "br", 502, "identity", false, gate.MaskUnreadable},
		{"not readable, observed", proxy.LeakObserve, "br", 200, "gzip, br", false, ""},
	} {
		b := telling(t, answer(tc.coding))
		g := newRig(b.addr)
		leaks("", tc.action)(g)
		a := g.start(t).ask(t, encoding, "")
		switch {
		case a.status != tc.status:
			t.Errorf("%s: %d", tc.rule, a.status)
		case tc.status == 200 && tc.plain && (a.body != "made by redacted.invalid" || a.header.Get("Content-Encoding") != "" || a.header.Get("Etag") != ""):
			t.Errorf("%s: %q, %v", tc.rule, a.body, a.header)
		case tc.status == 200 && !tc.plain && (a.body != packed(b.addr) || a.header.Get("Etag") == ""):
			t.Errorf("%s: the body has changed: %q", tc.rule, a.body)
		}
		if seen := b.got(t); !strings.Contains(seen, "Accept-Encoding: "+tc.asks+"\r\n") {
			t.Errorf("%s: the backend was asked\n%s", tc.rule, seen)
		}
		if rec := g.records.last(t, 1); rec.Reason != tc.reason {
			t.Errorf("%s: recorded as %s", tc.rule, rec.Reason)
		}
	}
}

// Half a token is no token: a part of a text is not sent where it is searched.
func TestRangesOfSearchedBodies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule, action, kind string
		status             int
		reason             gate.Reason
	}{
		{"of a text that is redacted", proxy.LeakRedact, "text/plain", 416, gate.MaskRange},
		{"of a text that is blocked", proxy.LeakBlock, "text/plain", 416, gate.MaskRange},
		{"of a text that is observed", proxy.LeakObserve, "text/plain", 206, ""},
		{"of a film", proxy.LeakRedact, "video/mp4", 206, ""},
	} {
		g := newRig(saying(t, "HTTP/1.1 206 Partial Content\r\nContent-Type: "+tc.kind+"\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nhi").addr)
		leaks("", tc.action)(g)
		a := g.start(t).ask(t, get+"\nRange: bytes=0-1", "")
		if rec := g.records.last(t, 1); a.status != tc.status || rec.Reason != tc.reason {
			t.Errorf("%s: %d, recorded as %q", tc.rule, a.status, rec.Reason)
		}
	}
}

// What the client has named itself is no secret, and to hide it would tell
// that the guess was right.
func TestLeaksThatTheClientNamed(t *testing.T) {
	t.Parallel()
	b := telling(t, sized("HTTP/1.1 200 OK\r\nX-Echo: @\r\nContent-Type: text/plain", "you asked for @"))
	g := newRig(b.addr)
	leaks(proxy.LeakRedact, proxy.LeakRedact)(g)
	g.start(t)
	for i, target := range []string{"/?q=" + b.addr, "/?q=" + strings.ReplaceAll(strings.ReplaceAll(b.addr, ".", "%2e"), ":", "%3A")} {
		a := g.ask(t, strings.Replace(get, "/ ", target+" ", 1), "")
		if a.body != "you asked for "+b.addr || a.header.Get("X-Echo") != b.addr {
			t.Errorf("%s: %q, %v", target, a.body, a.header)
		}
		g.records.last(t, i+1)
	}
	if a := g.ask(t, get, ""); a.body != "you asked for redacted.invalid" || a.header.Get("X-Echo") != "redacted.invalid" {
		t.Errorf("without: %q, %v", a.body, a.header)
	}
}

// Events reach the client as they come, redacted or not.
func TestLeaksInEventStreams(t *testing.T) {
	t.Parallel()
	for _, action := range []string{proxy.LeakObserve, proxy.LeakRedact, proxy.LeakBlock} {
		step := make(chan struct{})
		b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
			if !b.take(br) {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
			for i := range 3 {
				_, _ = fmt.Fprintf(c, "data: event %d\n\n", i)
				<-step
			}
		})
		g := newRig(b.addr)
		leaks("", action)(g)
		c := g.start(t).dial(t)
		_, _ = io.WriteString(c, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		for i := range 3 {
			want := fmt.Sprintf("data: event %d\n\n", i)
			if _, err := io.ReadFull(resp.Body, buf[:len(want)]); err != nil || string(buf[:len(want)]) != want {
				t.Fatalf("%s: event %d is %q, %v", action, i, buf[:len(want)], err)
			}
			step <- struct{}{}
		}
		_ = resp.Body.Close()
	}
}

// In observe mode nothing is refused, and what would have been is recorded.
func TestLeaksWhenTheGatewayObserves(t *testing.T) {
	t.Parallel()
	b := telling(t, sized("HTTP/1.1 200 OK\r\nX-Where: @\r\nContent-Type: text/plain", "at @"))
	g := newRig(b.addr)
	g.cfg.Mode = gate.Watch
	leaks(proxy.LeakBlock, proxy.LeakBlock)(g)
	a := g.start(t).ask(t, get, "")
	if a.status != 200 || a.body != "at "+b.addr || a.header.Get("X-Where") != b.addr {
		t.Errorf("%d %q %v", a.status, a.body, a.header)
	}
	if rec := g.records.last(t, 1); rec.Action != "observe" || rec.Reason != gate.MaskLeak {
		t.Errorf("recorded as %s %s", rec.Action, rec.Reason)
	}
}

// A 5xx that is replaced tells nothing by its Retry-After either.
func TestRetryAfterIsOneOrGoes(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"120": "120", "Fri, 31 Dec 1999 23:59:59 GMT": "Fri, 31 Dec 1999 23:59:59 GMT", "10.0.0.11": "", "node app-1": "", "-1": "", "007": "",
	} {
		g := newRig(saying(t, "HTTP/1.1 503 No\r\nRetry-After: "+value+"\r\nContent-Length: 0\r\n\r\n").addr).start(t)
		if a := g.ask(t, get, ""); a.header.Get("Retry-After") != want {
			t.Errorf("Retry-After %q becomes %q, want %q", value, a.header.Get("Retry-After"), want)
		}
	}
}

// FuzzAnswers: whatever a backend answers, cut wherever it is, no byte of the
// head, of a trailer or of a body that is redacted tells its address.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{"@", "http://@/", "x@", "@@", "[@]", "%2F@", "\\n@:", "@.", "a.@", "127.0.0.1", "127.0.0.1:1", "\"@\"; @", "@%3A@"} {
		f.Add(s, s, uint8(3))
	}
	var value, text string
	var size int
	b := script(f, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			head := "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n"
			for _, name := range []string{"X-Any", "Location", "Link", "Set-Cookie", "Content-Security-Policy", "Access-Control-Allow-Origin", "Etag", "Refresh"} {
				head += name + ": " + value + "\r\n"
			}
			_, _ = io.WriteString(c, head+"\r\n")
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			_, _ = io.WriteString(c, "0\r\nX-Trailer: "+value+"\r\n\r\n")
		}
	})
	g := newRig(b.addr)
	leaks(proxy.LeakRedact, proxy.LeakRedact)(g)
	g.start(f)
	f.Fuzz(func(t *testing.T, v, s string, n uint8) {
		clean := strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f {
				return 'x'
			}
			return r
		}, strings.ReplaceAll(v, "@", b.addr))
		value, text, size = strings.Trim(clean, " "), strings.ReplaceAll(s, "@", b.addr), 1+int(n)
		answer := g.raw(t, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		if err != nil {
			t.Fatalf("%q: %v", answer, err)
		}
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%q: %v", answer, err)
		}
		for _, seen := range []string{fmt.Sprint(resp.Header), fmt.Sprint(resp.Trailer), string(page)} {
			if i := strings.Index(seen, b.addr); i >= 0 && proxy.LeakAlone(seen, i, i+len(b.addr)) {
				t.Fatalf("value %q, text %q, in pieces of %d: %q tells the address", value, text, size, seen)
			}
		}
	})
}

// Names that no pool has are looked for where the configuration says so.
func TestLeaksOfFurtherNames(t *testing.T) {
	t.Parallel()
	g := newRig(saying(t, "HTTP/1.1 200 OK\r\nX-Db: db.internal:5432 10.9.8.7 db\r\nContent-Length: 2\r\n\r\nhi").addr)
	g.cfg.MaskAlso = []string{"DB.internal", "10.9.8.7"}
	if a := g.start(t).ask(t, get, ""); a.header.Get("X-Db") != "redacted.invalid:5432 redacted.invalid db" {
		t.Errorf("X-Db is %q", a.header.Get("X-Db"))
	}
}

// The head of a 101 is an answer like any other.
func TestLeaksInUpgrades(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ action, want string }{
		{proxy.LeakRedact, "X-Where: redacted.invalid\r\n"}, {proxy.LeakBlock, "HTTP/1.1 502 "}, {proxy.LeakObserve, "X-Where: @\r\n"},
	} {
		b := leaky(t, switching+"X-Where: @\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
		g := newRig(b.addr)
		g.route().Mask.Leaks.Headers = tc.action
		c := g.start(t).dial(t)
		_, _ = io.WriteString(c, handshake)
		buf := make([]byte, 4096)
		n, err := io.ReadAtLeast(c, buf, 64)
		if got, want := string(buf[:n]), strings.ReplaceAll(tc.want, "@", b.addr); err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %q, %v", tc.action, got, err)
		}
		if rec := g.records.last(t, 1); rec.Reason != gate.MaskLeak {
			t.Errorf("%s: recorded as %s %s", tc.action, rec.Action, rec.Reason)
		}
		_ = c.Close()
		if tc.action != proxy.LeakBlock {
			g.records.last(t, 2)
		}
	}
}

// A backend that is configured by a name knows its own address.
func TestLeaksOfAddressesBehindNames(t *testing.T) {
	t.Parallel()
	b := leaky(t, "HTTP/1.1 200 OK\r\nX-Where: @ 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi")
	_, port, err := net.SplitHostPort(b.addr)
	if err != nil {
		t.Fatal(err)
	}
	g := newRig("localhost:" + port)
	if a := g.start(t).ask(t, get, ""); a.header.Get("X-Where") != "redacted.invalid redacted.invalid" {
		t.Errorf("X-Where is %q", a.header.Get("X-Where"))
	}
}

// What a route removes is no leak.
func TestRemovedFieldsAreNoLeaks(t *testing.T) {
	t.Parallel()
	g := newRig(leaky(t, "HTTP/1.1 103 Early Hints\r\nX-Node: @\r\n\r\nHTTP/1.1 200 OK\r\nX-Node: @\r\nContent-Length: 2\r\n\r\nhi").addr)
	g.route().Mask.Leaks.Headers = proxy.LeakBlock
	g.route().Headers.Response.Remove = []string{"x-node"}
	a := g.start(t).raw(t, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
	if rec := g.records.last(t, 1); strings.Contains(a, "X-Node") || rec.Action != "pass" || rec.Mask != nil {
		t.Errorf("recorded as %s %s, answered\n%s", rec.Action, rec.Reason, a)
	}
}
