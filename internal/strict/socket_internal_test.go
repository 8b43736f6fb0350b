//go:build unix

package strict

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// sockets are the two ends of a TCP connection.
func sockets(t *testing.T) (client net.Conn, served *Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	served = NewConn(c, Limits{}, Hooks{})
	t.Cleanup(func() { _ = served.Close() })
	return client, served
}

// held is how much memory a connection holds for what it reads.
func held(c *Conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.raw.b)
}

// Who says nothing takes nothing, before the first head and after it.
func TestSilenceTakesNoMemory(t *testing.T) {
	client, served := sockets(t)
	const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, which := range []string{"first", "next"} {
		read := make(chan string, 1)
		go func() {
			b := make([]byte, 4<<10)
			n, err := served.Read(b)
			if err != nil {
				t.Error(err)
			}
			read <- string(b[:n])
		}()
		time.Sleep(20 * time.Millisecond) // it waits, or has not begun to
		if n := held(served); n != 0 {
			t.Errorf("before the %s head %d bytes are held", which, n)
		}
		if _, err := io.WriteString(client, head[:10]); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(5 * time.Second); held(served) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the %s head is not read", which)
			}
		}
		if _, err := io.WriteString(client, head[10:]); err != nil {
			t.Fatal(err)
		}
		if s := <-read; !strings.HasPrefix(s, "GET ") {
			t.Fatalf("the %s head was read as %q", which, s)
		}
	}
}

// A Read that waits for a socket ends as net/http asks it to.
func TestWaitingEndsByDeadline(t *testing.T) {
	_, served := sockets(t)
	done := make(chan error, 1)
	go func() {
		_, err := served.Read(make([]byte, 1))
		done <- err
	}()
	time.Sleep(5 * time.Millisecond)
	_ = served.SetReadDeadline(time.Unix(1, 0))
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error %v, want a deadline", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the Read goes on")
	}
}

func TestCongested(t *testing.T) {
	client, served := sockets(t)
	if served.Congested() {
		t.Error("congested before anything was written")
	}
	written := make(chan error, 1)
	go func() {
		_, err := served.Write(make([]byte, 32<<20))
		written <- err
	}()
	wait := func(want bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); served.Congested() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("congested: %v", !want)
			}
		}
	}
	wait(true)
	go func() { _, _ = io.Copy(io.Discard, client) }()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	wait(false)
}
