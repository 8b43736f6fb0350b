package demo_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"sallyport/internal/demo"
	"sallyport/internal/gate"
)

// start starts the application and returns its two URLs.
func start(t *testing.T) []string {
	t.Helper()
	a, err := demo.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	if len(a.Backends()) != 2 {
		t.Fatalf("Backends = %v, want two", a.Backends())
	}
	return a.Backends()
}

// client does not follow redirects.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// send sends a request and returns the answer with its body.
func send(t *testing.T, method, target, contentType, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestPages(t *testing.T) {
	base := start(t)[0]
	form := "application/x-www-form-urlencoded"
	for _, tc := range []struct {
		rule, method, target, contentType, body string
		status                                  int
		want                                    string
	}{
		{"the home page shows forms", "GET", "/", "", "", 200, `<form action="/login"`},
		{"another path is not found", "GET", "/nothing", "", "", 404, "not found"},
		{"a search finds", "GET", "/search?q=iron", "", "", 200, "Portcullis, iron"},
		{"a search is injected", "GET", "/search?q=" + url.QueryEscape("' UNION SELECT name, password, email FROM users -- "), "", "", 200, "s3cr3t-of-the-keep"},
		{"a broken search shows the database's error", "GET", "/search?q='", "", "", 500, "You have an error in your SQL syntax"},
		{"a search is reflected as it is", "GET", "/search?q=" + url.QueryEscape("<script>alert(1)</script>"), "", "", 200, "<script>alert(1)</script>"},
		{"a login with the password", "POST", "/login", form, "user=bob&password=letmein", 200, "Welcome, bob"},
		{"a login with a wrong one", "POST", "/login", form, "user=bob&password=x", 401, "Wrong user or password"},
		{"a login is injected", "POST", "/login", form, "user=" + url.QueryEscape("admin' -- "), 200, "Welcome, admin"},
		{"a login by JSON is injected", "POST", "/login", "application/json", `{"user": "admin' OR '1'='1' -- ", "password": "x"}`, 200, "Welcome, alice"},
		{"a login by broken JSON", "POST", "/login", "application/json", `{`, 400, "unexpected EOF"},
		{"a comment is taken", "POST", "/comments", form, "text=" + url.QueryEscape("<b>hi</b>"), 303, ""},
		{"and shown as it is", "GET", "/comments", "", "", 200, "<b>hi</b>"},
		{"a crash shows its trace", "GET", "/boom", "", "", 500, "OrderService.java:118"},
		{"a crash can be quiet", "GET", "/boom?how=quiet", "", "", 500, "gave up waiting for db.shop.internal"},
		{"source is leaked", "GET", "/leak?kind=php", "", "", 200, "<?php"},
		{"a database error is leaked", "GET", "/leak?kind=sql", "", "", 500, "mysqli_query"},
		{"a page names its machine", "GET", "/about", "", "", 200, ".internal, 127.0.0.1:"},
		{"a slow page comes in the end", "GET", "/slow?seconds=0", "", "", 200, "took 0 seconds"},
		{"an echo tells what it got", "PUT", "/echo?a=%2e;b", "text/x", "12345", 200, "PUT /echo?a=%2e;b HTTP/1.1"},
		{"an upload that is no form is counted", "POST", "/upload", "text/plain", "12345", 200, "body: 5 bytes"},
		{"an upload that breaks off", "POST", "/upload", "multipart/form-data; boundary=b", "--b\r\n\r\nx", 400, "broke off"},
		{"an upload by GET", "GET", "/upload", "", "", 405, ""},
		{"a download without sense", "GET", "/download?size=1TiB", "", "", 400, "size"},
		{"health", "GET", "/healthz", "", "", 200, "ok"},
	} {
		resp, body := send(t, tc.method, base+tc.target, tc.contentType, tc.body)
		if resp.StatusCode != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s: %s %s = %d %q, want %d with %q", tc.rule, tc.method, tc.target, resp.StatusCode, body, tc.status, tc.want)
		}
	}
}

func TestInstancesGiveThemselvesAway(t *testing.T) {
	seen := map[string]bool{}
	for _, base := range start(t) {
		resp, _ := send(t, "GET", base+"/healthz", "", "")
		for _, name := range []string{"Server", "X-Powered-By", "X-Backend-Server"} {
			if v := resp.Header.Get(name); v == "" || seen[v] {
				t.Errorf("%s: %s = %q, want one of its own", base, name, v)
			} else {
				seen[v] = true
			}
		}
		if resp, body := send(t, "GET", base+"/redirect", "", ""); resp.StatusCode != 302 || resp.Header.Get("Location") != base+"/landing" || body != "" {
			t.Errorf("%s redirects with %d to %q and %q, want 302 to its own address and no body", base, resp.StatusCode, resp.Header.Get("Location"), body)
		}
		if _, body := send(t, "GET", base+"/boom", "", ""); !strings.Contains(body, strings.TrimPrefix(base, "http://")) {
			t.Errorf("%s: the trace does not name the address", base)
		}
		resp, _ = send(t, "POST", base+"/login", "application/x-www-form-urlencoded", "user=bob&password=letmein")
		if got := resp.Header.Get("Set-Cookie"); got != "SHOPSESSION=user-2; Path=/; Domain=127.0.0.1" {
			t.Errorf("%s sets the cookie %q, want one for its own address", base, got)
		}
	}
}

func TestUploadCountsAndKeepsNothing(t *testing.T) {
	base := start(t)[0]
	pr, pw := io.Pipe()
	form := multipart.NewWriter(pw)
	go func() {
		part, err := form.CreateFormFile("file", "moat.jpg")
		chunk := make([]byte, 1<<20)
		for i := 0; i < 64 && err == nil; i++ {
			_, err = part.Write(chunk)
		}
		pw.CloseWithError(errorsFirst(err, form.Close()))
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	resp, err := client.Post(base+"/upload", form.FormDataContentType(), pr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	runtime.ReadMemStats(&after)
	if want := fmt.Sprintf("%q %q: %d bytes\n", "file", "moat.jpg", 64<<20); string(body) != want {
		t.Errorf("upload = %q, want %q", body, want)
	}
	if after.HeapInuse > before.HeapInuse+32<<20 {
		t.Errorf("the heap grew by %d MiB during an upload of 64 MiB", (after.HeapInuse-before.HeapInuse)>>20)
	}
}

func errorsFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestDownload(t *testing.T) {
	base := start(t)[0]
	_, whole := send(t, "GET", base+"/download?size=1000", "", "")
	if len(whole) != 1000 {
		t.Fatalf("download = %d bytes, want 1000", len(whole))
	}
	get := func(size, want string) (int, string) {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", base+"/download?size="+size, nil)
		req.Header.Set("Range", want)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if status, part := get("1000", "bytes=100-199"); status != 206 || part != whole[100:200] {
		t.Errorf("bytes 100-199 = %d %q, want 206 %q", status, part, whole[100:200])
	}
	if status, part := get("1000", "bytes=-10"); status != 206 || part != whole[990:] {
		t.Errorf("the last 10 bytes = %d %q, want 206 %q", status, part, whole[990:])
	}
	if status, part := get("8GiB", "bytes=8589934582-"); status != 206 || len(part) != 10 {
		t.Errorf("the end of 8 GiB = %d, %d bytes, want 206 and 10", status, len(part))
	}
	if status, _ := get("1000", "bytes=1000-"); status != 416 {
		t.Errorf("a range behind the end = %d, want 416", status)
	}
}

func TestStreamBeginsAtOnce(t *testing.T) {
	base := start(t)[0]
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", base+"/stream", nil)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 64)
	n, err := resp.Body.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), "id: 1\ndata: ") {
		t.Errorf("the first event = %q, %v", b[:n], err)
	}
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type = %q, want text/event-stream", got)
	}
}

func TestWebSocketEcho(t *testing.T) {
	base := start(t)[0]
	c, err := websocket.Dial(strings.Replace(base, "http", "ws", 1)+"/ws", "", "http://other.example")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, message := range []string{"halt", strings.Repeat("x", 60<<10)} {
		var got string
		if err := websocket.Message.Send(c, message); err != nil {
			t.Fatal(err)
		}
		if err := websocket.Message.Receive(c, &got); err != nil || got != message {
			t.Errorf("echo of %d bytes = %d bytes, %v", len(message), len(got), err)
		}
	}
	if err := websocket.Message.Send(c, strings.Repeat("x", 65<<10)); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := websocket.Message.Receive(c, &got); err == nil {
		t.Errorf("a message over the bound was echoed with %d bytes", len(got))
	}
}

// Close ends what is open: streams, sockets and slow pages do not keep the
// demo alive.
func TestCloseEndsEverything(t *testing.T) {
	a, err := demo.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	base := a.Backends()[0]
	c, err := websocket.Dial(strings.Replace(base, "http", "ws", 1)+"/ws", "", "http://x")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := client.Get(base + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := a.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the WebSocket outlived Close")
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(base, "http://")); err == nil {
		t.Error("the listener outlived Close")
	}
	if events, _ := io.ReadAll(resp.Body); bytes.Count(events, []byte("data:")) > 2 {
		t.Errorf("the stream went on to %q", events)
	}
}

func TestWriteDatabases(t *testing.T) {
	country, asn, err := demo.WriteDatabases(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{country, asn} {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte("MaxMind.com")) {
			t.Errorf("%s holds %d bytes and no database, %v", name, len(b), err)
		}
	}
	if _, _, err := demo.WriteDatabases(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("WriteDatabases into a missing directory did not fail")
	}
}

func TestTries(t *testing.T) {
	tries := demo.Tries(demo.Addresses{Gateway: "http://localhost:8080", Admin: "http://localhost:9090", Backend: "http://127.0.0.1:4000"})
	placeholder := regexp.MustCompile(`GATEWAY|ADMIN|BACKEND|HOSTPORT`)
	reason := regexp.MustCompile(`\b(http|geo|limit|waf|pool|route|mask)\.[a-z0-9_]+`)
	named := 0
	for _, try := range tries {
		if placeholder.MatchString(try.Command+try.Expect) || try.Title == "" || try.Expect == "" || !strings.Contains(try.Command, "curl") {
			t.Errorf("%q: an address is missing in %q", try.Title, try.Command)
		}
		for _, r := range reason.FindAllString(try.Expect, -1) {
			named++
			if !slices.ContainsFunc(gate.Reasons(), func(i gate.ReasonInfo) bool { return string(i.Reason) == r }) {
				t.Errorf("%q expects %q, which is no reason", try.Title, r)
			}
		}
	}
	if len(tries) < 15 || named < 8 {
		t.Errorf("%d things to try with %d reasons named, want more", len(tries), named)
	}
}

func TestConfigQuotesWhatItIsGiven(t *testing.T) {
	text := demo.Config(demo.Settings{Listen: "127.0.0.1:8080", Admin: "127.0.0.1:9090", Backends: []string{"http://127.0.0.1:1", "http://127.0.0.1:2"},
		Country: `C:\tmp\a "b".mmdb`, ASN: "asn.mmdb", Audit: "audit.json", State: "state"})
	for _, want := range []string{`country: "C:\\tmp\\a \"b\".mmdb"`, `address: "127.0.0.1:9090"`, `{name: demo-2, url: "http://127.0.0.1:2"}`} {
		if !strings.Contains(text, want) {
			t.Errorf("Config lacks %s:\n%s", want, text)
		}
	}
}
