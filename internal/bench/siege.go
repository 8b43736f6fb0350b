package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/traffic"
)

// The size of a siege.
const (
	visitors  = 16                    // connections of ordinary visitors
	pace      = 20 * time.Millisecond // between their requests
	besiegers = 200                   // connections that send the worst requests, one after the other
	calm      = 10 * time.Second
	storm     = 30 * time.Second
	templates = 180 // different requests of the besiegers
)

// A watch is how long ordinary visitors waited.
type watch struct {
	sync.Mutex
	waits  []time.Duration
	failed int
	first  string // what failed first
}

// at is the wait that a share of the visitors did not exceed.
func (w *watch) at(share float64) time.Duration {
	slices.Sort(w.waits)
	if len(w.waits) == 0 {
		return 0
	}
	return w.waits[min(int(share*float64(len(w.waits))), len(w.waits)-1)]
}

// besiege measures how long ordinary visitors of the gateway wait, alone and while
// others send the worst that is known.
func besiege(ctx context.Context, o options, out, progress io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "sallyport-siege-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintln(progress, "building the gateway and the stock proxy")
	for _, program := range []string{"sallyport/cmd/sallyport", "sallyport/internal/bench/stock"} {
		if err := o.compile(ctx, filepath.Join(dir, "bin", filepath.Base(program)), program, "build"); err != nil {
			return err
		}
	}
	backend, err := listenBackend()
	if err != nil {
		return err
	}
	defer backend.Close()
	fmt.Fprintf(out, "| server | visitors alone, p50 and p99 | besieged, p50 and p99 | p99 | failed | requests of the besiegers in %s | resident |\n| --- | --- | --- | --- | --- | --- | --- |\n", storm)
	for _, s := range candidates(dir, backend.Addr().String()) {
		if !s.judges || len(os.Args) > 2 && !slices.Contains(os.Args[2:], s.short) {
			continue
		}
		if err := s.endure(ctx, dir, out, progress); err != nil {
			return err
		}
	}
	return nil
}

// endure measures one server.
func (s *server) endure(ctx context.Context, dir string, out, progress io.Writer) error {
	if err := s.start(ctx, dir); err != nil {
		return err
	}
	defer s.stop()
	s.visit(ctx, time.Second) // so that everything has run once
	fmt.Fprintf(progress, "%s: visitors alone\n", s.name)
	alone := s.visit(ctx, calm)
	raw := make([][]byte, templates)
	g := traffic.New(traffic.Hostile, traffic.Fresh, 4)
	for i := range raw {
		r := g.Request(i)
		raw[i] = r.Raw()
	}
	fmt.Fprintf(progress, "%s: besieged\n", s.name)
	storming, over := context.WithCancel(ctx)
	var answers, next atomic.Int64
	var wait sync.WaitGroup
	for i := range besiegers {
		wait.Go(func() {
			// Each address has few connections, as an operator would allow.
			c := &client{address: s.address, from: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/4))}}
			defer c.close()
			for storming.Err() == nil {
				if _, err := c.ask(raw[int(next.Add(1))%len(raw)]); err == nil {
					answers.Add(1)
				}
			}
		})
	}
	time.Sleep(2 * time.Second) // until all of them are there
	amid := s.visit(ctx, storm)
	over()
	wait.Wait()
	resident, err := residentMemory(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if amid.failed > 0 {
		fmt.Fprintf(progress, "%s: first to fail: %s\n", s.name, amid.first)
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1000) }
	fmt.Fprintf(out, "| %s | %s and %s ms | %s and %s ms | %.1f times | %d of %d | %d | %d MiB |\n", s.name, ms(alone.at(0.5)), ms(alone.at(0.99)), ms(amid.at(0.5)), ms(amid.at(0.99)),
		amid.at(0.99).Seconds()/max(alone.at(0.99).Seconds(), 1e-9), amid.failed, amid.failed+len(amid.waits), answers.Load(), resident.now>>10)
	return ctx.Err()
}

// visit sends ordinary requests at a fixed pace, whatever becomes of those before,
// and measures each from when it was due.
func (s *server) visit(ctx context.Context, howLong time.Duration) *watch {
	w := &watch{}
	free := make(chan *client, visitors*8)
	for range cap(free) {
		free <- &client{address: s.address}
	}
	g := traffic.New(traffic.Browsing, traffic.Fresh, 5)
	var wait sync.WaitGroup
	began := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		due := began.Add(time.Duration(n) * pace)
		if due.Sub(began) > howLong {
			break
		}
		r := g.Request(n)
		raw := r.Raw()
		time.Sleep(time.Until(due))
		wait.Go(func() {
			c := <-free
			defer func() { free <- c }()
			a, err := c.ask(raw)
			w.Lock()
			defer w.Unlock()
			if err != nil || s.expects(&r, a) != "" {
				if w.failed++; w.failed == 1 {
					w.first = fmt.Sprintf("%s %.60s: %d, %v", r.Method, r.Target, a.status, err)
				}
				return
			}
			w.waits = append(w.waits, time.Since(due))
		})
	}
	wait.Wait()
	for range cap(free) {
		(<-free).close()
	}
	return w
}
