package http1_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/testkit"
	"sallyport/proxy/http1"
)

// What a backend says before it is asked is nobody's answer.
func TestUnasked(t *testing.T) {
	for _, secure := range []bool{false, true} {
		name := "plain"
		if secure {
			name = "TLS"
		}
		for _, tc := range []struct {
			rule, later string
			reused      bool
		}{
			{"silence", "", true},
			{"an answer", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", false},
			{"one byte", "H", false},
			{"the end", hangUp, false},
		} {
			t.Run(name+": "+tc.rule, func(t *testing.T) {
				t.Parallel()
				said := make(chan struct{}, 2)
				talk := func(c net.Conn, br *bufio.Reader, nth int64) {
					for {
						if _, err := http.ReadRequest(br); err != nil {
							return
						}
						_, _ = io.WriteString(c, ok)
						if nth > 1 {
							continue
						}
						if tc.later == hangUp {
							_ = c.Close()
						} else if tc.later != "" {
							time.Sleep(5 * time.Millisecond)
							_, _ = io.WriteString(c, tc.later)
						}
						said <- struct{}{}
					}
				}
				b := listen(t, talk)
				tr := transport(t)
				scheme := "http"
				if secure {
					scheme = "https"
					cert := testkit.Certificate(t, time.Now().Add(time.Hour), "site.example")
					b = listen(t, func(c net.Conn, _ *bufio.Reader, nth int64) {
						s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
						defer s.Close()
						talk(s, bufio.NewReader(s), nth)
					})
					tr = transport(t, func(cfg *http1.Config) {
						cfg.DialTLS = func(ctx context.Context, addr string) (net.Conn, error) {
							return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", addr)
						}
					})
				}
				for range 3 {
					r := request(t.Context(), "GET", b.addr, nil, 0)
					r.URL.Scheme = scheme
					resp, err := tr.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					if body, err := io.ReadAll(resp.Body); string(body) != "ok" || err != nil {
						t.Fatalf("answered %q, %v", body, err)
					}
					if len(said) == 0 && b.conns.Load() == 1 {
						<-said
					}
					time.Sleep(5 * time.Millisecond)
				}
				if got := b.conns.Load() == 1; got != tc.reused {
					t.Errorf("used again: %v, want %v", got, tc.reused)
				}
			})
		}
	}
}

// pipes are connections without a network, each served by talk.
func pipes(talk func(net.Conn), opened, closed *atomic.Int64) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		opened.Add(1)
		go func() {
			defer closed.Add(1)
			defer far.Close()
			talk(far)
		}()
		return near, nil
	}
}

func answering(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, ok)
	}
}

func TestIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened, closed atomic.Int64
		tr := http1.New(http1.Config{Dial: pipes(answering, &opened, &closed), MaxHead: 1 << 10, MaxIdle: 3, IdleTime: time.Minute})
		together := func(n int) {
			var all []*http.Response
			for range n {
				resp, err := tr.RoundTrip(request(t.Context(), "GET", "a:80", nil, 0))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, resp)
			}
			for _, resp := range all {
				_, _ = io.ReadAll(resp.Body)
			}
			synctest.Wait()
		}
		expect := func(what string, o, c int64) {
			t.Helper()
			if opened.Load() != o || closed.Load() != c {
				t.Errorf("%s: %d opened, %d closed; want %d, %d", what, opened.Load(), closed.Load(), o, c)
			}
		}
		together(5)
		expect("no more than three stay", 5, 2)
		time.Sleep(30 * time.Second)
		together(1)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		expect("those that were not used for a minute", 5, 4)
		together(1)
		expect("the one that was is used again", 5, 4)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		expect("none is left", 5, 5)
		together(2)
		tr.CloseIdleConnections()
		synctest.Wait()
		expect("closed when told so", 7, 7)
	})
}

// The time for the head counts from the end of the request, and does not cut a
// body that takes longer.
func TestHeaderTimeout(t *testing.T) {
	for _, tc := range []struct {
		rule       string
		wait, body time.Duration
		late       bool
	}{
		{"in time", 900 * time.Millisecond, 10 * time.Second, false},
		{"too late", 1100 * time.Millisecond, 0, true},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var opened, closed atomic.Int64
				tr := http1.New(http1.Config{HeaderTimeout: time.Second, MaxHead: 1 << 10, MaxIdle: 1, IdleTime: time.Minute,
					Dial: pipes(func(c net.Conn) {
						br := bufio.NewReader(c)
						r, err := http.ReadRequest(br)
						if err == nil {
							_, err = io.Copy(io.Discard, r.Body)
						}
						if err != nil {
							return
						}
						time.Sleep(tc.wait)
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
						time.Sleep(tc.body)
						_, _ = io.WriteString(c, "ok")
						_, _ = br.ReadByte()
					}, &opened, &closed)})
				defer func() {
					tr.CloseIdleConnections()
					time.Sleep(time.Minute) // the backend ends
				}()
				r, w := io.Pipe()
				go func() {
					time.Sleep(30 * time.Second) // the client's time is not the backend's
					_, _ = io.WriteString(w, "hello")
					_ = w.Close()
				}()
				resp, err := tr.RoundTrip(request(t.Context(), "POST", "a:80", r, 5))
				if tc.late {
					if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
						t.Errorf("%v, %v; want a timeout", resp, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(resp.Body); string(body) != "ok" || err != nil {
					t.Errorf("%q, %v", body, err)
				}
			})
		})
	}
}

// Many requests at once get their own answers, and leave nothing behind.
func TestManyAtOnce(t *testing.T) {
	b := listen(t, func(c net.Conn, br *bufio.Reader, _ int64) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n"+string(body)+"\r\n0\r\n\r\n"); err != nil {
				return
			}
		}
	})
	tr := transport(t, func(cfg *http1.Config) { cfg.MaxIdle = 8 })
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			want := string([]byte{byte('a' + i), 'x', 'y', 'z'})
			for n := range 200 {
				body := io.Reader(oneByOne{strings.NewReader(want)})
				r := request(t.Context(), "POST", b.addr, body, 4)
				if n%2 == 0 {
					r.Body = wholeBody{strings.NewReader(want)}
				}
				resp, err := tr.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(resp.Body); string(got) != want || err != nil {
					t.Errorf("got %q, %v; want %q", got, err, want)
				}
			}
		})
	}
	clients.Wait()
	if n := b.conns.Load(); n > 64 {
		t.Errorf("%d connections for 8 clients", n)
	}
}
