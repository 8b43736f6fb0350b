package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/http1"
)

// A wholeBody is held: its Reads never wait.
type wholeBody struct{ io.Reader }

func (wholeBody) Close() error { return nil }
func (wholeBody) Held() bool   { return true }

// hears reads exactly n bytes of a request, answers, and hands them on.
func hears(t *testing.T, n int) (*backend, chan string) {
	t.Helper()
	got := make(chan string, 1)
	return listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
		b := make([]byte, n)
		read, _ := io.ReadFull(br, b)
		got <- string(b[:read])
		_, _ = io.WriteString(c, ok)
		_, _ = br.ReadByte()
	}), got
}

func TestWritten(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 5<<10)
	for _, tc := range []struct {
		rule   string
		method string
		header http.Header
		body   io.Reader
		held   bool
		length int64
		change func(*http.Request)
		want   string
	}{
		{rule: "a GET", method: "GET", header: http.Header{"B": {"2", "3"}, "a": {"1"}}, want: "GET /a?b HTTP/1.1\r\nHost: site.example\r\nB: 2\r\nB: 3\r\na: 1\r\n\r\n"},
		{rule: "no User-Agent of ours", method: "GET", header: http.Header{"User-Agent": {""}}, want: "GET /a?b HTTP/1.1\r\nHost: site.example\r\n\r\n"},
		{rule: "that of the client", method: "GET", header: http.Header{"User-Agent": {"x"}}, want: "GET /a?b HTTP/1.1\r\nHost: site.example\r\nUser-Agent: x\r\n\r\n"},
		{rule: "the framing is ours", method: "GET", header: http.Header{"content-length": {"9"}, "Transfer-Encoding": {"chunked"}, "host": {"x"}, "Trailer": {"x"}}, want: "GET /a?b HTTP/1.1\r\nHost: site.example\r\n\r\n"},
		{rule: "a POST without a body", method: "POST", want: "POST /a?b HTTP/1.1\r\nHost: site.example\r\nContent-Length: 0\r\n\r\n"},
		{rule: "a DELETE without a body", method: "DELETE", want: "DELETE /a?b HTTP/1.1\r\nHost: site.example\r\n\r\n"},
		{rule: "a body", method: "POST", body: strings.NewReader("hello"), length: 5, want: "POST /a?b HTTP/1.1\r\nHost: site.example\r\nContent-Length: 5\r\n\r\nhello"},
		{rule: "a held body", method: "POST", body: strings.NewReader("hello"), held: true, length: 5, want: "POST /a?b HTTP/1.1\r\nHost: site.example\r\nContent-Length: 5\r\n\r\nhello"},
		{rule: "a large body", method: "PUT", body: strings.NewReader(large), length: int64(len(large)), want: "PUT /a?b HTTP/1.1\r\nHost: site.example\r\nContent-Length: 81920\r\n\r\n" + large},
		{rule: "a large held body", method: "PUT", body: strings.NewReader(large), held: true, length: int64(len(large)), want: "PUT /a?b HTTP/1.1\r\nHost: site.example\r\nContent-Length: 81920\r\n\r\n" + large},
		{rule: "a body that comes bytewise", method: "PUT", body: oneByOne{strings.NewReader(large[:5000])}, length: 5000, want: "PUT /a?b HTTP/1.1\r\nHost: site.example\r\nContent-Length: 5000\r\n\r\n" + large[:5000]},
		{rule: "chunks", method: "POST", body: strings.NewReader("hello"), length: -1, want: "POST /a?b HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{rule: "chunks with trailers", method: "POST", body: strings.NewReader("hello"), length: -1,
			change: func(r *http.Request) { r.Trailer = http.Header{"X-B": {"2"}, "X-A": {"1"}, "Host": {"x"}} },
			want:   "POST /a?b HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-A, X-B\r\n\r\n5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n"},
		{rule: "a target that begins with two slashes", method: "GET", change: func(r *http.Request) { r.URL.Opaque, r.URL.Path, r.URL.RawQuery = "", "//x", "y" }, want: "GET //x?y HTTP/1.1\r\nHost: site.example\r\n\r\n"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			b, got := hears(t, len(tc.want))
			r := request(t.Context(), tc.method, b.addr, tc.body, tc.length)
			if tc.held {
				r.Body = wholeBody{tc.body}
			}
			if tc.header != nil {
				r.Header = tc.header
			}
			if tc.change != nil {
				tc.change(r)
			}
			resp, err := transport(t).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if s := <-got; s != tc.want {
				t.Errorf("sent %.300q, want %.300q", s, tc.want)
			}
		})
	}
}

type oneByOne struct{ io.Reader }

func (r oneByOne) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

// Large chunks arrive as they were sent.
func TestChunksArrive(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	got := make(chan []byte, 1)
	b := listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		got <- body
		_, _ = io.WriteString(c, ok)
	})
	resp, err := transport(t).RoundTrip(request(t.Context(), "POST", b.addr, bytes.NewReader(content), -1))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if body := <-got; !bytes.Equal(body, content) {
		t.Errorf("%d bytes arrived, want %d", len(body), len(content))
	}
}

func TestNotSent(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		change func(*http.Request)
		fine   bool
	}{
		{"as it is", func(*http.Request) {}, true},
		{"a method that is no token", func(r *http.Request) { r.Method = "GE T" }, false},
		{"a space in the target", func(r *http.Request) { r.URL.Opaque = "/a b" }, false},
		{"a line end in the target", func(r *http.Request) { r.URL.Opaque = "/a\r\nX: y" }, false},
		{"no host", func(r *http.Request) { r.Host = "" }, false},
		{"a line end in the host", func(r *http.Request) { r.Host = "a\r\nX: y" }, false},
		{"a name that is no token", func(r *http.Request) { r.Header["A b"] = []string{"c"} }, false},
		{"a line end in a value", func(r *http.Request) { r.Header["A"] = []string{"b\r\nC: d"} }, false},
		{"a control in a value", func(r *http.Request) { r.Header["A"] = []string{"b\x7f"} }, false},
		{"a tab in a value", func(r *http.Request) { r.Header["A"] = []string{"b\tc"} }, true},
		{"another scheme", func(r *http.Request) { r.URL.Scheme = "ftp" }, false},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := says(t, ok)
			closed := false
			r := request(t.Context(), "GET", b.addr, nil, 0)
			r.Body = closing{strings.NewReader(""), &closed}
			tc.change(r)
			resp, err := transport(t).RoundTrip(r)
			if (err == nil) != tc.fine {
				t.Errorf("%v, %v", resp, err)
			}
			if err == nil {
				_, _ = io.ReadAll(resp.Body)
			}
			if !closed {
				t.Error("the body was not closed")
			}
		})
	}
}

type closing struct {
	io.Reader
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }

var errClient = errors.New("the client is gone")

// What is wrong with the body of a request is said as it is, and the
// connection is not used again.
func TestBodiesThatBreak(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		body   io.Reader
		length int64
		want   error // nil: any
	}{
		{"the client's error", io.MultiReader(strings.NewReader("abc"), failing{errClient}), 5, errClient},
		{"the client's error in chunks", io.MultiReader(strings.NewReader("abc"), failing{errClient}), -1, errClient},
		{"too short", strings.NewReader("abc"), 5, nil},
		{"too long", strings.NewReader("abcdef"), 5, nil},
	} {
		for _, whole := range []bool{false, true} {
			t.Run(tc.rule+" "+strconv.FormatBool(whole), func(t *testing.T) {
				if whole && tc.length < 0 {
					t.Skip("what is held has a length")
				}
				seen := make(chan error, 1)
				b := listen(t, func(_ net.Conn, br *bufio.Reader, nth int64) {
					if nth > 1 {
						return
					}
					r, err := http.ReadRequest(br)
					if err == nil {
						_, err = io.Copy(io.Discard, r.Body)
					}
					seen <- err
				})
				all, _ := io.ReadAll(io.LimitReader(tc.body, 100))
				body := io.Reader(bytes.NewReader(all))
				if tc.want != nil {
					body = io.MultiReader(strings.NewReader("abc"), failing{tc.want})
				}
				r := request(t.Context(), "POST", b.addr, body, tc.length)
				if whole {
					r.Body = wholeBody{body}
				}
				_, err := transport(t).RoundTrip(r)
				if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
					t.Errorf("error %v, want %v", err, tc.want)
				}
				if err := <-seen; err == nil {
					t.Error("the backend got a complete request")
				}
			})
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A backend that refuses a body while it comes is heard.
func TestEarlyAnswer(t *testing.T) {
	for _, tc := range []struct {
		rule string
		hang bool // the backend reads nothing more, but keeps the connection
	}{{"and closes", false}, {"and reads no more", true}} {
		t.Run(tc.rule, func(t *testing.T) {
			done := make(chan struct{})
			defer close(done)
			b := listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!")
				if tc.hang {
					<-done
				}
			})
			closed := make(chan struct{})
			r := request(t.Context(), "POST", b.addr, nil, 0)
			r.Body, r.ContentLength = endless{closed}, 1<<40
			resp, err := transport(t).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(body) != "no!" || err != nil {
				t.Errorf("answered %d %q, %v", resp.StatusCode, body, err)
			}
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Error("the request is still being sent")
			}
		})
	}
}

// An endless body never ends by itself.
type endless struct{ closed chan struct{} }

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (e endless) Close() error             { close(e.closed); return nil }

// The end of a request's context ends whatever is under way.
func TestCancelled(t *testing.T) {
	errEnough := errors.New("enough")
	hang := listen(t, func(_ net.Conn, br *bufio.Reader, _ int64) {
		if _, err := http.ReadRequest(br); err == nil {
			time.Sleep(10 * time.Second)
		}
	})
	half := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
	for _, tc := range []struct {
		rule   string
		b      *backend
		length int64
	}{{"no answer", hang, 0}, {"the body of the answer stops", half, 0}, {"the backend does not read", hang, 1 << 40}} {
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(50*time.Millisecond, func() { cancel(errEnough) })
			r := request(ctx, "POST", tc.b.addr, nil, 0)
			if tc.length > 0 {
				r.Body, r.ContentLength = endless{make(chan struct{})}, tc.length
			}
			resp, err := transport(t).RoundTrip(r)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
			}
			if !errors.Is(err, errEnough) {
				t.Errorf("error %v, want the context's cause", err)
			}
		})
	}
	t.Run("before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b := says(t, ok)
		if _, err := transport(t).RoundTrip(request(ctx, "GET", b.addr, nil, 0)); !errors.Is(err, context.Canceled) || b.conns.Load() > 0 {
			t.Errorf("error %v, %d connections", err, b.conns.Load())
		}
	})
}

func TestSwitched(t *testing.T) {
	b := listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
		r, err := http.ReadRequest(br)
		if err != nil || r.Header.Get("Upgrade") != "echo" {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly ")
		_, _ = io.Copy(c, br)
		_, _ = io.WriteString(c, " end")
	})
	ctx, cancel := context.WithCancel(t.Context())
	r := request(ctx, "GET", b.addr, nil, 0)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"echo"}}
	resp, err := transport(t).RoundTrip(r)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	cancel() // the request is over, the connection is not
	rw := resp.Body.(io.ReadWriteCloser)
	defer rw.Close()
	_, _ = io.WriteString(rw, "hello")
	if err := rw.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(rw); string(all) != "early hello end" || err != nil {
		t.Errorf("read %q, %v", all, err)
	}
}

func TestInterim(t *testing.T) {
	hint := "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	b := listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		for {
			if _, err := io.WriteString(c, hint); err != nil {
				return
			}
		}
	})
	errEnough := errors.New("enough")
	hints := 0
	ctx := context.WithValue(t.Context(), http1.WatcherKey{}, watcher{interim: func(status int, fields textproto.MIMEHeader) error {
		if hints++; status != 103 || fields["Link"][0] != "</a>" {
			t.Errorf("interim answer %d %v", status, fields)
		}
		if hints == 20 {
			return errEnough
		}
		return nil
	}})
	if _, err := transport(t).RoundTrip(request(ctx, "GET", b.addr, nil, 0)); !errors.Is(err, errEnough) || hints != 20 {
		t.Errorf("%v after %d hints", err, hints)
	}
}

// A watcher wants interim answers.
type watcher struct {
	http1.Watcher
	interim func(int, textproto.MIMEHeader) error
}

func (watcher) GetConn()               {}
func (watcher) GotConn(net.Conn, bool) {}
func (watcher) FirstByte()             {}

func (w watcher) Interim(status int, fields textproto.MIMEHeader) error {
	return w.interim(status, fields)
}

// A lister has its fields sent as they stand, but for those of the framing.
type lister struct{ watcher }

func (lister) Fields() []http1.Field {
	return []http1.Field{{Name: "x-b", Value: "1"}, {Name: "A", Value: "2"}, {Name: "content-length", Value: "9"}, {Name: "X-B", Value: ""}}
}

func TestListedFields(t *testing.T) {
	const want = "GET /a?b HTTP/1.1\r\nHost: site.example\r\nx-b: 1\r\nA: 2\r\nX-B: \r\n\r\n"
	b, got := hears(t, len(want))
	r := request(context.WithValue(t.Context(), http1.WatcherKey{}, lister{}), "GET", b.addr, nil, 0)
	r.Header = http.Header{"Not": {"sent"}}
	resp, err := transport(t).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if s := <-got; s != want {
		t.Errorf("sent %q, want %q", s, want)
	}
}
