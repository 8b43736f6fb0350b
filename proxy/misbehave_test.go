package proxy_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
)

// descriptors counts the open files of the process; 0 where that is not known.
func descriptors() int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(files)
}

// nothingLeft fails when there are more goroutines or descriptors at the end of
// the test than when it was called.
func nothingLeft(t *testing.T) func() {
	t.Helper()
	runtime.GC()
	goroutines, files := runtime.NumGoroutine(), descriptors()
	return func() {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if runtime.NumGoroutine() <= goroutines && descriptors() <= files {
				return
			}
			if time.Now().After(end) {
				break
			}
		}
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines and %d descriptors, %d and %d before:\n%s",
			runtime.NumGoroutine(), descriptors(), goroutines, files, stacks[:runtime.Stack(stacks, true)])
	}
}

// TestMisbehavingBackends: whatever a backend says, the client gets one answer
// of one meaning, or one that is visibly cut off, and nothing of it stays with
// the gateway or reaches the next client.
func TestMisbehavingBackends(t *testing.T) {
	left := nothingLeft(t)
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	endless := func(head, more string) func(*backend, net.Conn, *bufio.Reader) {
		return func(b *backend, c net.Conn, br *bufio.Reader) {
			if !b.take(br) {
				return
			}
			_, _ = io.WriteString(c, head)
			for range 100_000 {
				if _, err := io.WriteString(c, more); err != nil {
					return
				}
			}
		}
	}
	say := func(what string) func(*backend, net.Conn, *bufio.Reader) {
		return func(b *backend, c net.Conn, br *bufio.Reader) {
			for b.take(br) {
				_, _ = io.WriteString(c, what)
			}
		}
	}
	once := func(what string) func(*backend, net.Conn, *bufio.Reader) {
		return func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, what)
			}
		}
	}
	for _, tc := range []struct {
		rule   string
		play   func(*backend, net.Conn, *bufio.Reader)
		status int // 0: cut off
		reason gate.Reason
		body   string
	}{
		{"a plain one", say(ok), 200, "", "hi"},
		{"a slow head", func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				for _, part := range strings.SplitAfter(ok, "") {
					if _, err := io.WriteString(c, part); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
		}, 504, gate.PoolTimeout, ""},
		{"a slow body that moves", func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
				for range 10 {
					time.Sleep(50 * time.Millisecond)
					_, _ = io.WriteString(c, "x")
				}
			}
		}, 200, "", "xxxxxxxxxx"},
		{"reset before the head", func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
		}, 502, gate.PoolBadAnswer, ""},
		{"reset within the body", func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi")
				time.Sleep(20 * time.Millisecond)
				_ = c.(*net.TCPConn).SetLinger(0)
			}
		}, 0, gate.PoolBroken, ""},
		{"closed before it was asked", func(_ *backend, c net.Conn, _ *bufio.Reader) { _ = c.Close() }, 502, gate.PoolBadAnswer, ""},
		{"TLS, where HTTP was asked for", once("\x15\x03\x03\x00\x02\x02\x46"), 502, gate.PoolBadAnswer, ""},
		{"HTTP/2 frames", once("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 502, gate.PoolBadAnswer, ""},
		{"HTTP/0.9", once("<html>hi</html>\n"), 502, gate.PoolBadAnswer, ""},
		{"a status of words", say("HTTP/1.1 OK 200\r\n\r\n"), 502, gate.PoolBadAnswer, ""},
		{"a field without a colon", say("HTTP/1.1 200 OK\r\nOdd\r\nContent-Length: 2\r\n\r\nhi"), 502, gate.PoolBadAnswer, ""},
		{"too many fields", say("HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 1001) + "\r\n"), 502, gate.PoolBadAnswer, ""},
		{"many fields", say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + strings.Repeat("X-A: b\r\n", 500) + "\r\nhi"), 200, "", "hi"},
		{"an endless line", endless("HTTP/1.1 200 OK\r\nX-A: ", strings.Repeat("x", 1000)), 502, gate.PoolBadAnswer, ""},
		{"a length below zero", say("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), 502, gate.PoolBadAnswer, ""},
		{"a length with a sign", say("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi"), 502, gate.PoolBadAnswer, ""},
		{"a list of lengths", say("HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi"), 502, gate.PoolBadAnswer, ""},
		{"two lengths", say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!"), 502, gate.PoolBadAnswer, ""},
		{"the same length twice", say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi"), 200, "", "hi"},
		{"a length and chunks", say("HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), 502, gate.PoolBadAnswer, ""},
		{"a coding that is not asked for", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), 502, gate.PoolBadAnswer, ""},
		{"a chunk beyond all numbers", say(chunked + "fffffffffffffffff\r\nhi"), 0, gate.PoolBroken, ""},
		{"a chunk with an endless extension", endless(chunked+"2;", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 0, gate.PoolBroken, ""},
		{"no last chunk", func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, chunked+"2\r\nhi\r\n")
			}
		}, 0, gate.PoolBroken, ""},
		{"huge trailers", say(chunked + "2\r\nhi\r\n0\r\nX-Huge: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), 0, gate.PoolBroken, ""},
		{"endless trailers", endless(chunked+"2\r\nhi\r\n0\r\n", "X-More: x\r\n"), 0, gate.PoolBroken, ""},
		{"a body on 204", say("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi"), 204, "", ""},
		{"chunks on 304", say("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), 304, "", ""},
		{"a 100 and nothing else", say("HTTP/1.1 100 Continue\r\n\r\n"), 504, gate.PoolTimeout, ""},
		{"a 101 without a handshake", say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), 502, gate.PoolBadAnswer, ""},
		{"endless hints", endless("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), 502, gate.PoolBadAnswer, ""},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := newRig(script(t, tc.play).addr)
			g.pool().Retry.Attempts = 1
			g.pool().Timeout.Header, g.pool().Timeout.Idle = 300*time.Millisecond, 300*time.Millisecond
			g.start(t)
			raw := g.raw(t, getRaw)
			rec := g.records.last(t, 1)
			for strings.HasPrefix(raw, "HTTP/1.1 103") {
				_, raw, _ = strings.Cut(raw, "\r\n\r\n")
			}
			br := bufio.NewReader(strings.NewReader(raw))
			var a answer
			if raw != "" {
				a = read(t, br, "GET")
			}
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				t.Errorf("behind the answer comes %q", rest)
			}
			switch {
			case tc.status == 0 && raw != "" && a.err == nil:
				t.Errorf("the answer %d %q looks complete, want it cut off", a.status, a.body)
			case tc.status != 0 && a.status != tc.status, tc.status == 200 && a.body != tc.body:
				t.Errorf("answer %d %q, want %d %q", a.status, a.body, tc.status, tc.body)
			}
			if rec.Reason != tc.reason {
				t.Errorf("reason %q (%s), want %q", rec.Reason, rec.Detail, tc.reason)
			}
			if n := g.handler.Pools()[0].Backends[0].InFlight; n != 0 {
				t.Errorf("%d requests in flight", n)
			}
		})
	}
	left()
}

// TestAnswerToNothing: what comes before anything was asked may be taken for the
// answer, if a request is under way when it is read; there is no telling. It is
// never taken for two.
func TestAnswerToNothing(t *testing.T) {
	g := newRig(script(t, func(_ *backend, c net.Conn, _ *bufio.Reader) {
		_, _ = io.WriteString(c, ok+ok)
		_, _ = io.Copy(io.Discard, c)
	}).addr)
	g.pool().Retry.Attempts = 1
	g.start(t)
	for range 20 {
		if a := g.ask(t, get, ""); a.status != 502 && (a.status != 200 || a.body != "hi") {
			t.Errorf("answer %d %q", a.status, a.body)
		}
	}
}

// TestResponseSplitting: nothing that a backend puts into a field becomes a
// field or an answer of its own.
func TestResponseSplitting(t *testing.T) {
	left := nothingLeft(t)
	for _, line := range []string{
		"X-Odd: a\rSet-Cookie: stolen=1",
		"X-Odd: a\n Set-Cookie: stolen=1",
		"X-Odd: a\x00b\r\n\tSet-Cookie: stolen=1",
		"X-Odd: a\x0bSet-Cookie: stolen=1",
		"X-Odd\r: a",
		"X-Odd : Set-Cookie: stolen=1",
		"Location: /\rSet-Cookie: stolen=1",
		"Link: </a>\r\r\n: x",
	} {
		t.Run(line, func(t *testing.T) {
			g := newRig(saying(t, "HTTP/1.1 200 OK\r\n"+line+"\r\nContent-Length: 2\r\n\r\nhi").addr)
			g.pool().Retry.Attempts = 1
			g.start(t)
			raw := g.raw(t, getRaw)
			if strings.Count(raw, "HTTP/1.1 ") != 1 || strings.Contains(raw, "\nSet-Cookie") || strings.ContainsAny(strings.ReplaceAll(raw, "\r\n", ""), "\r\x00\x0b") {
				t.Errorf("the client gets %q", raw)
			}
		})
	}
	left()
}

// TestEndlessBody: a body without an end costs its client time and nobody
// memory, and ends with the client.
func TestEndlessBody(t *testing.T) {
	left := nothingLeft(t)
	t.Run("", func(t *testing.T) {
		ended := make(chan struct{})
		g := newRig(script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
			defer close(ended)
			if !b.take(br) {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			block := make([]byte, 64<<10)
			for {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}).addr).start(t)
		c := g.dial(t)
		_, _ = io.WriteString(c, getRaw)
		if n, err := io.CopyN(io.Discard, c, 64<<20); err != nil {
			t.Errorf("after %d bytes: %v", n, err)
		}
		_ = c.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the backend still writes")
		}
		if rec := g.records.last(t, 1); rec.Reason != gate.PoolClientGone {
			t.Errorf("reason %s", rec.Reason)
		}
	})
	left()
}
