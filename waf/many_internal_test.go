package waf

import (
	"fmt"
	"testing"

	"go.uber.org/zap"
)

// BenchmarkManyPolicies builds the rules of 20 policies that differ, as a start
// with 100 routes does.
func BenchmarkManyPolicies(b *testing.B) {
	cfg := Config{Memory: 1 << 20, Policies: map[string]Policy{}}
	for i := range 20 {
		p := standard()
		p.Paranoia, p.InboundThreshold = 1+i%4, 5+i
		for j := range 5 {
			route := fmt.Sprintf("r%d", i*5+j)
			p.Routes = append(p.Routes, route)
			p.Exclusions = append(p.Exclusions, exclude(b, "942100", fmt.Sprintf("ARGS:q%d", j), forRoute(route), forPath("/search")))
		}
		cfg.Policies[fmt.Sprintf("p%d", i)] = p
	}
	b.ReportAllocs()
	for b.Loop() {
		e, err := New(cfg, zap.NewNop())
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
