package http1_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/proxy/http1"
)

// A backend answers on its connections as a test says.
type backend struct {
	addr  string
	conns atomic.Int64
}

// listen starts a backend; talk has a connection, and which it is, from 1.
func listen(t testing.TB, talk func(c net.Conn, br *bufio.Reader, nth int64)) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			nth := b.conns.Add(1)
			go func() {
				defer c.Close()
				talk(c, bufio.NewReader(c), nth)
			}()
		}
	}()
	return b
}

// hangUp at the end of an answer stands for the end of the connection.
const hangUp = "\x00"

// says answers each request with the next of the answers, and the last again
// and again.
func says(t testing.TB, answers ...string) *backend {
	var asked atomic.Int64
	return listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			answer, end := strings.CutSuffix(answers[min(int(asked.Add(1)), len(answers))-1], hangUp)
			if _, err := io.WriteString(c, answer); err != nil || end {
				return
			}
		}
	})
}

func transport(t testing.TB, change ...func(*http1.Config)) *http1.Transport {
	cfg := http1.Config{
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		MaxHead: 32 << 10, MaxIdle: 4, IdleTime: time.Minute, HeaderTimeout: 10 * time.Second,
	}
	for _, f := range change {
		f(&cfg)
	}
	tr := http1.New(cfg)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func request(ctx context.Context, method, addr string, body io.Reader, length int64) *http.Request {
	r := &http.Request{Method: method, URL: &url.URL{Scheme: "http", Host: addr, Opaque: "/a?b"}, Host: "site.example", Header: http.Header{}}
	if body != nil {
		r.Body, r.ContentLength = io.NopCloser(body), length
	}
	return r.WithContext(ctx)
}

// ask sends a GET and reads the answer to its end.
func ask(t testing.TB, tr *http1.Transport, addr string) (*http.Response, string, error) {
	t.Helper()
	resp, err := tr.RoundTrip(request(t.Context(), "GET", addr, nil, 0))
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), errors.Join(err, resp.Body.Close())
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// answers are what a backend may say to a GET, what becomes of it, and whether
// the connection may be used again.
var answers = []struct {
	rule, answer string
	status       int // 0: refused
	body         string
	reused       bool
}{
	{"a length", ok, 200, "ok", true},
	{"no body", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
	{"an empty body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true},
	{"no reason phrase", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"an empty reason phrase", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"not modified, with the length of what was not sent", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, "", true},
	{"HTTP/1.0 ends with the connection", "HTTP/1.0 200 OK\r\n\r\nok" + hangUp, 200, "ok", false},
	{"HTTP/1.0 that stays", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
	{"close in a list", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
	{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", 200, "ok", true},
	{"chunks with extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 ;a=\"b\"\r\nok\r\n000;c\r\n\r\n", 200, "ok", true},
	{"chunks with trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\nC: d\r\n\r\n", 200, "ok", true},
	{"interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok, 200, "ok", true},
	{"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2, 2\r\n\r\nok", 200, "ok", false},
	{"line ends without CR", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok", false},
	{"a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", 200, "ok", false},
	{"a folded line", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
	{"more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", 200, "ok", false},
	{"more after the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200, "ok", false},
	{"a body after 204", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nPOISON", 204, "", false},

	{"nothing", hangUp, 0, "", false},
	{"another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, "", false},
	{"HTTP/2 as a version", "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"HTTP/1.2 as a version", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"two spaces before the status", "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"a status that is no number", "HTTP/1.1 20O OK\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"an empty line first", "\r\n" + ok, 0, "", false},
	{"a line without a colon", "HTTP/1.1 200 OK\r\nContent-Length 2\r\n\r\nok", 0, "", false},
	{"a name that is no token", "HTTP/1.1 200 OK\r\nA(b): c\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"a control in a value", "HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"a CR in a value", "HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"a tab in a value", "HTTP/1.1 200 OK\r\nA: b\tc\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"a line folded onto nothing", "HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 2\r\n\r\nok", 0, "", false},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", 0, "", false},
	{"two lengths in a list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nokk", 0, "", false},
	{"a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", 0, "", false},
	{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -0\r\n\r\n", 0, "", false},
	{"an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", 0, "", false},
	{"a length beyond counting", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n", 0, "", false},
	{"two framings", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0, "", false},
	{"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0, "", false},
	{"chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0, "", false},
	{"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0, "", false},
	{"a protocol that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 0, "", false},
	{"a chunk without a size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;\r\nok\r\n0\r\n\r\n", 0, "", false},
	{"a size with a prefix", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", 0, "", false},
	{"a size beyond counting", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000002\r\nok\r\n0\r\n\r\n", 0, "", false},
	{"a size that ends without CR", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", 0, "", false},
	{"an extension with a line end without CR", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nok\r\n0\r\n\r\n", 0, "", false},
	{"a chunk that is longer than its size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n", 0, "", false},
	{"a trailer that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA b\r\n\r\n", 0, "", false},
	{"a trailer that ends without CR", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\n\r\n", 0, "", false},
	{"extensions without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("a", 8<<10) + "\r\nok\r\n0\r\n\r\n", 0, "", false},
	{"trailers without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + strings.Repeat("a", 80<<10) + "\r\n\r\n", 0, "", false},
	{"a head without end", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 40<<10) + "\r\n\r\n", 0, "", false},
	{"a large head", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 30<<10) + "\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"too many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1100) + "Content-Length: 2\r\n\r\nok", 0, "", false},
	{"many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 900) + "Content-Length: 2\r\n\r\nok", 200, "ok", true},
}

func TestAnswers(t *testing.T) {
	for _, tc := range answers {
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			b := says(t, tc.answer, ok)
			tr := transport(t)
			resp, body, err := ask(t, tr, b.addr)
			switch {
			case tc.status == 0 && err == nil:
				t.Fatalf("answered %d %q, want an error", resp.StatusCode, body)
			case tc.status != 0 && (err != nil || resp.StatusCode != tc.status || body != tc.body):
				t.Fatalf("answered %v %q, %v; want %d %q", resp, body, err, tc.status, tc.body)
			}
			time.Sleep(5 * time.Millisecond) // what comes late comes before the next request
			if resp, body, err := ask(t, tr, b.addr); err != nil || body != "ok" {
				t.Fatalf("the next request was answered %v %q, %v", resp, body, err)
			}
			if got := b.conns.Load() == 1; got != tc.reused {
				t.Errorf("the connection was used again: %v, want %v", got, tc.reused)
			}
		})
	}
}

// An answer that comes in pieces is the same answer.
func TestAnswersByteByByte(t *testing.T) {
	for _, tc := range answers {
		if len(tc.answer) > 1<<10 || strings.HasSuffix(tc.answer, hangUp) {
			continue
		}
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			b := listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				for i := range len(tc.answer) {
					if _, err := io.WriteString(c, tc.answer[i:i+1]); err != nil {
						return
					}
					if i%8 == 0 {
						time.Sleep(50 * time.Microsecond)
					}
				}
				_, _ = br.ReadByte()
			})
			resp, body, err := ask(t, transport(t), b.addr)
			if tc.status == 0 && err == nil || tc.status != 0 && (err != nil || resp.StatusCode != tc.status || body != tc.body) {
				t.Errorf("answered %v %q, %v; want %d %q", resp, body, err, tc.status, tc.body)
			}
		})
	}
}

// An answer that is cut off is never taken for a whole one.
func TestAnswersCutOff(t *testing.T) {
	for _, answer := range []string{ok, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nA: b\r\n\r\n"} {
		for cut := range len(answer) {
			b := listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
				if _, err := http.ReadRequest(br); err == nil {
					_, _ = io.WriteString(c, answer[:cut])
				}
			})
			if resp, body, err := ask(t, transport(t), b.addr); err == nil {
				t.Errorf("%q is answered %d %q", answer[:cut], resp.StatusCode, body)
			}
		}
	}
}

func TestTrailers(t *testing.T) {
	b := says(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A, Content-Length\r\n\r\n0\r\nX-A: 1\r\nX-A: 2\r\nX-B: 3\r\nContent-Length: 7\r\n\r\n")
	tr := transport(t)
	resp, err := tr.RoundTrip(request(t.Context(), "GET", b.addr, nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Trailer) != 1 || resp.Trailer["X-A"] != nil {
		t.Errorf("announced %v, want X-A", resp.Trailer)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if len(resp.Trailer) != 2 || strings.Join(resp.Trailer["X-A"], ",") != "1,2" || resp.Trailer.Get("X-B") != "3" {
		t.Errorf("trailers %v", resp.Trailer)
	}
}

// A HEAD has no body, whatever its answer says.
func TestHead(t *testing.T) {
	for _, tc := range []struct {
		fields string
		length int64
	}{{"Content-Length: 99\r\n", 99}, {"Transfer-Encoding: chunked\r\n", -1}, {"", -1}} {
		b := says(t, "HTTP/1.1 200 OK\r\n"+tc.fields+"\r\n")
		tr := transport(t)
		for range 2 {
			resp, err := tr.RoundTrip(request(t.Context(), "HEAD", b.addr, nil, 0))
			if err != nil || resp.ContentLength != tc.length || resp.Body != http.NoBody {
				t.Fatalf("%q: %+v, %v", tc.fields, resp, err)
			}
		}
		if n := b.conns.Load(); n != 1 {
			t.Errorf("%q: %d connections, want 1", tc.fields, n)
		}
	}
}

// A body can be aborted while a Read waits for it, with a cause of its own. Once
// it has come to its end that changes nothing: the connection is another one's.
func TestAbort(t *testing.T) {
	const part = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok"
	b := listen(t, func(c net.Conn, br *bufio.Reader, n int64) {
		answers := []string{part, ok, ok}[n-1:]
		for _, answer := range answers {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	tr := transport(t)
	resp, err := tr.RoundTrip(request(t.Context(), "GET", b.addr, nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	body := resp.Body.(interface {
		io.ReadCloser
		Held() bool
		Abort(error)
	})
	defer body.Close()
	if !body.Held() {
		t.Error("what came with the head is waited for")
	}
	if n, err := io.ReadFull(body, make([]byte, 2)); n != 2 || err != nil || body.Held() {
		t.Fatalf("%d bytes, %v, held: %v", n, err, body.Held())
	}
	why := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { body.Abort(why) })
	if n, err := body.Read(make([]byte, 2)); n != 0 || !errors.Is(err, why) {
		t.Errorf("%d bytes, %v", n, err)
	}

	if resp, err = tr.RoundTrip(request(t.Context(), "GET", b.addr, nil, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	resp.Body.(interface{ Abort(error) }).Abort(why)
	if _, text, err := ask(t, tr, b.addr); text != "ok" || err != nil || b.conns.Load() != 2 {
		t.Errorf("after the end: %q, %v, %d connections", text, err, b.conns.Load())
	}
}
