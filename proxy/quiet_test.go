package proxy

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
)

func TestQuietConn(t *testing.T) {
	for _, tc := range []struct {
		rule  string
		sends bool // the gateway, after the connection was handed out
		want  error
	}{
		{"bytes that nobody asked for", false, errUnasked},
		{"an answer", true, nil},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				q := newQuietConn(near)
				defer q.Close()
				got := make(chan error)
				go func() {
					_, err := q.Read(make([]byte, 1))
					got <- err
				}()
				if !q.hush() {
					t.Error("the connection counts as closed")
				}
				if tc.sends {
					go func() { _, _ = q.Write([]byte("x")) }()
					_, _ = io.ReadFull(far, make([]byte, 1))
				}
				go func() { _, _ = far.Write([]byte("y")) }()
				if err := <-got; !errors.Is(err, tc.want) {
					t.Errorf("read %v, want %v", err, tc.want)
				}
			})
		})
	}
	t.Run("a connection that is closed instead of read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			q := newQuietConn(near)
			alive := make(chan bool)
			go func() { alive <- q.hush() }()
			synctest.Wait()
			select {
			case <-alive:
				t.Error("nobody has looked yet")
			default:
			}
			_ = q.Close()
			if <-alive {
				t.Error("the connection counts as open")
			}
		})
	})
}
