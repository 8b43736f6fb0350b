package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/traffic"
)

// grows is how much more memory the last third of a soak may take than the second,
// at their largest: the first is for what is learned and pooled.
const grows = 1.15

// soak sends the gateway all mixes, benign, attacks and hostile, from eight
// connections, every value a new one, and looks at its memory. SOAK_MINUTES says
// how long; ten, if it says nothing.
func soak(ctx context.Context, o options, out, progress io.Writer) (err error) {
	minutes, err := strconv.ParseFloat(cmp.Or(os.Getenv("SOAK_MINUTES"), "10"), 64)
	if err != nil || minutes <= 0 {
		return fmt.Errorf("SOAK_MINUTES is %q, want a number of minutes", os.Getenv("SOAK_MINUTES"))
	}
	dir, err := os.MkdirTemp("", "sallyport-soak-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := o.compile(ctx, filepath.Join(dir, "bin", "sallyport"), "sallyport/cmd/sallyport", "build"); err != nil {
		return err
	}
	backend, err := listenBackend()
	if err != nil {
		return err
	}
	defer backend.Close()
	s := gateway(dir, backend.Addr().String(), "Sallyport", "soak", "mode: enforce, engine: compare, compare_share: 0.1%")
	if err := s.start(ctx, dir); err != nil {
		return err
	}
	defer s.stop()

	long := time.Duration(minutes * float64(time.Minute))
	soaking, over := context.WithTimeout(ctx, long)
	defer over()
	var next, answers atomic.Int64
	var wrong others
	var wait sync.WaitGroup
	mixes := traffic.Mixes()
	for range connections {
		wait.Go(func() {
			c := &client{address: s.address}
			defer c.close()
			for soaking.Err() == nil {
				n := int(next.Add(1))
				r := traffic.New(mixes[n%len(mixes)].Name, traffic.Fresh, 9).Request(n)
				a, err := c.ask(r.Raw())
				answers.Add(1)
				if err != nil {
					wrong.add("%v for %.60q", err, r.Target)
				} else if want := s.expects(&r, a); want != "" {
					wrong.add("%d instead of %s for %.60q", a.status, want, r.Target)
				}
			}
		})
	}
	var second, last int
	const looks = 30
	fmt.Fprintf(out, "| after | answers | resident, MiB |\n| --- | --- | --- |\n")
	for i := range looks {
		select {
		case <-soaking.Done():
		case <-time.After(long / looks):
		}
		m, err := residentMemory(s.cmd.Process.Pid)
		if err != nil {
			return err
		}
		switch {
		case i >= 2*looks/3:
			last = max(last, m.now)
		case i >= looks/3:
			second = max(second, m.now)
		}
		fmt.Fprintf(out, "| %s | %d | %.0f |\n", (long * time.Duration(i+1) / looks).Round(time.Second), answers.Load(), float64(m.now)/1024)
		fmt.Fprintf(progress, "%d answers, %.0f MiB resident\n", answers.Load(), float64(m.now)/1024)
	}
	wait.Wait()
	total := int(answers.Load())
	fmt.Fprintf(out, "\n%d answers, %d of them not as expected; %.0f MiB at most in the second third, %.0f in the last.\n", total, wrong.count, float64(second)/1024, float64(last)/1024)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case float64(last) > grows*float64(second):
		return errors.New("memory grows")
	case float64(wrong.count) > max(2, 2*aFewInThousands*float64(total)):
		return fmt.Errorf("%d answers were not as expected; the first: %s", wrong.count, wrong.first)
	}
	return nil
}
