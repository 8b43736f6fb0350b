package proxy

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestTunnelIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, us := net.Pipe()
		behind, backend := net.Pipe()
		ended := 0
		tn := &tunnel{client: us, read: us, backend: behind, opened: time.Now(), done: func() { ended++ }}
		began := time.Now()
		finished := make(chan struct{})
		go func() { tn.run(); close(finished) }()
		go func() { _, _ = io.Copy(io.Discard, backend) }()
		for range 3 { // each byte counts for both directions
			time.Sleep(tunnelIdle - time.Second)
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		last := time.Since(began)
		<-finished
		if got := time.Since(began) - last; got != tunnelIdle {
			t.Errorf("ended %v after the last byte, want %v", got, tunnelIdle)
		}
		if tn.received.Load() != 3 || ended != 1 {
			t.Errorf("%d bytes, ended %d times", tn.received.Load(), ended)
		}
	})
}
