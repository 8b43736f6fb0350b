package strict_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/strict"
)

func TestAwait(t *testing.T) {
	for _, tc := range []struct {
		rule, sent string
		close      bool
		want       bool
		status     int // of the answer when it is then served
		noHead     int
	}{
		{"a head", plainGet, false, true, 200, 0},
		{"a head that is refused", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", false, true, 400, 0},
		{"a head that stops", "GET / HT", false, true, 408, 0},
		{"nothing in time", "", false, false, 0, 1},
		{"a client that leaves", "", true, false, 0, 1},
		{"a client that leaves within a head", "GET / HT", true, false, 0, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var l lost
			client, served := net.Pipe()
			defer client.Close()
			c := strict.NewConn(served, strict.Limits{}, l.hooks())
			got := make(chan bool, 1)
			go func() { got <- c.Await() }()
			send(t, client, tc.sent)
			if tc.close {
				client.Close()
			}
			if ok := <-got; ok != tc.want {
				t.Errorf("%s: Await = %t, want %t", tc.rule, ok, tc.want)
			}
			if n := len(l.all()); n != tc.noHead {
				t.Errorf("%s: NoHead was called %d times, want %d", tc.rule, n, tc.noHead)
			}
			if !tc.want {
				_ = c.Close()
				return
			}
			in := newPipeListener()
			srv := newServer(t, http.HandlerFunc(judge))
			done := make(chan error, 1)
			go func() { done <- srv.Serve(in) }()
			in.conns <- c
			if a := answer(t, bufio.NewReader(client)); a.StatusCode != tc.status {
				t.Errorf("%s: status %d, want %d", tc.rule, a.StatusCode, tc.status)
			}
			_ = client.Close()
			_ = srv.Close()
			<-done
		})
	}
}

func TestAwaitEndsWhenTheConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lost
		client, served := net.Pipe()
		defer client.Close()
		c := strict.NewConn(served, strict.Limits{}, l.hooks())
		got := make(chan bool, 1)
		go func() { got <- c.Await() }()
		send(t, client, "GET / HT")
		synctest.Wait()
		start := time.Now()
		_ = c.Close()
		if ok := <-got; ok || time.Since(start) != 0 {
			t.Errorf("Await = %t after %v, want false at once", ok, time.Since(start))
		}
		if _, err := c.Read(make([]byte, 10)); err == nil {
			t.Error("a Read after Close succeeds")
		}
	})
}

// TestPipelinedRequestsAreReadNoFurtherThanTheBuffer sends requests to a
// handler that never answers. What is read of them is the head that is served
// and one buffer behind it.
func TestPipelinedRequestsAreReadNoFurtherThanTheBuffer(t *testing.T) {
	const buffer = 4 << 10
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		release := make(chan struct{})
		c, stop := servePipe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			<-release
			judge(w, r)
		}), strict.Limits{}, strict.Hooks{})
		const many = 10_000
		written := make(chan int, 1)
		go func() {
			n := 0
			for range many {
				m, err := io.WriteString(c, plainGet)
				if n += m; err != nil {
					break
				}
			}
			written <- n
		}()
		synctest.Wait()
		_ = c.SetWriteDeadline(time.Now()) // everything that will be read has been
		n := <-written
		if most := len(plainGet) + buffer; n > most {
			t.Errorf("%d bytes of %d were read while one request was served, want at most %d", n, many*len(plainGet), most)
		}
		if calls.Load() != 1 {
			t.Errorf("%d requests are served at once, want 1", calls.Load())
		}
		close(release)
		r, whole := bufio.NewReader(c), n/len(plainGet)
		for i := range whole {
			if a := answer(t, r); a.StatusCode != 200 {
				t.Fatalf("answer %d of %d: status %d", i+1, whole, a.StatusCode)
			}
		}
		if int(calls.Load()) != whole {
			t.Errorf("%d requests were served, want the %d that were sent whole", calls.Load(), whole)
		}
		stop()
	})
}
