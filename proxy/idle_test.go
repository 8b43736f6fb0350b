package proxy

import (
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTunnelIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, us := net.Pipe()
		behind, backend := net.Pipe()
		ended := 0
		const tunnelIdle = 10 * time.Minute
		tn := &tunnel{limits: TunnelConfig{Idle: tunnelIdle}, client: us, read: us, backend: behind, opened: time.Now(), done: func() { ended++ }}
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
		if got := tn.reason(); got != "silent for longer than tunnel.idle" {
			t.Errorf("it was ended for %q", got)
		}
		if tn.received.Load() != 3 || ended != 1 {
			t.Errorf("%d bytes, ended %d times", tn.received.Load(), ended)
		}
	})
}

func TestTunnelMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, us := net.Pipe()
		behind, backend := net.Pipe()
		tn := &tunnel{limits: TunnelConfig{Max: time.Hour}, client: us, read: us, backend: behind, opened: time.Now(), done: func() {}}
		go func() { _, _ = io.Copy(io.Discard, backend) }()
		var talks sync.WaitGroup
		talks.Go(func() {
			for {
				if _, err := client.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		tn.run()
		if got := time.Since(tn.opened); got != time.Hour || tn.reason() != "longer than tunnel.max" {
			t.Errorf("ended after %v for %q", got, tn.reason())
		}
		talks.Wait()
	})
}

func TestTunnelNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, us := net.Pipe()
		behind, _ := net.Pipe()
		tn := &tunnel{client: us, read: us, backend: behind, opened: time.Now(), done: func() {}}
		tn.warn(time.Minute, "first")
		time.Sleep(50 * time.Second)
		tn.spare()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := tn.reason(); got != "" {
			t.Fatalf("ended for %q, though the notice was taken back", got)
		}
		tn.warn(time.Minute, "second")
		time.Sleep(50 * time.Second)
		tn.warn(time.Minute, "third")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got := tn.reason(); got != "second" {
			t.Errorf("ended for %q, want the second notice to count", got)
		}
	})
}
