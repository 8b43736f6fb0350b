package waf

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"sallyport/internal/traffic"
	"sallyport/waf/prover"
)

// TestVerdictsRememberedAreTheSame judges requests without a memory and with one,
// again and again and at the same time: what is remembered, and by whom it was
// first seen, must make no difference.
func TestVerdictsRememberedAreTheSame(t *testing.T) {
	verdicts, err := prover.NewVerdicts()
	if err != nil {
		t.Fatal(err)
	}
	p := standard()
	p.Paranoia = 2
	without, with := engineOf(t, p, nil), engineOf(t, p, verdicts)
	var requests []traffic.Request
	for _, mix := range []string{traffic.Browser, traffic.Form, traffic.JSON1K, traffic.Attack} {
		for i := range 25 {
			requests = append(requests, traffic.New(mix, traffic.Fresh, 11).Request(i))
		}
	}
	see := func(e *Engine, r *traffic.Request) string {
		tx := e.Begin(received(r))
		v := tx.Request()
		in := tx.Close()
		found := map[string]int{}
		for _, h := range in.Hits {
			found[fmt.Sprintf("%d %s", h.Rule, h.Variable)]++
		}
		if len(in.Hits) >= maxHits-maxHitsPerRule { // which of more are kept is random
			found = nil
		}
		return fmt.Sprintln(v.Action, v.Reason, in.Score, found) // how it was run depends on what the dfas have learned
	}
	want := make([]string, len(requests))
	for i := range requests {
		want[i] = see(without, &requests[i])
	}
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for pass := range 3 {
				for n := range requests {
					i := (n*7 + worker*31 + pass) % len(requests)
					if got := see(with, &requests[i]); got != want[i] {
						t.Errorf("pass %d of %d: %s, without a memory %s\n%.500s", pass, worker, got, want[i], requests[i].Raw())
						return
					}
				}
			}
		})
	}
	wait.Wait()
	if n := verdicts.Len(); n < 100 {
		t.Errorf("%d verdicts are remembered", n)
	}
}

// TestVerdictsAreBounded fills a memory with values that come twice, and looks at
// what it keeps.
func TestVerdictsAreBounded(t *testing.T) {
	verdicts, err := prover.NewVerdicts()
	if err != nil {
		t.Fatal(err)
	}
	e := engineOf(t, standard(), verdicts)
	judge := func(c call) { tx := e.Begin(c.request()); tx.Request(); tx.Close() }
	judge(get("/?a=this-comes-once"))
	if n := verdicts.Len(); n != 0 {
		t.Errorf("%d verdicts after one request", n)
	}
	for i := range 700 {
		c := get("/")
		for n := range 200 {
			c.target += fmt.Sprintf("%c%d=value-%d-%d", "?&"[min(n, 1)], n, i, n)
		}
		judge(c)
		judge(c)
	}
	if n := verdicts.Len(); n > 1<<16 || n < 1<<14 {
		t.Errorf("%d verdicts are remembered", n)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[prover.Verdicts]()) {
		if f.Type.Kind() == reflect.String {
			t.Errorf("the memory has a text: %s", f.Name)
		}
	}
}
