package waf

import (
	"context"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sallyport/internal/gate"
	"sallyport/internal/traffic"
)

// TestWarm: after it, ordinary requests hold few kinds of values that the prover has
// not met. No rule runs meanwhile, and nobody hears of anything.
func TestWarm(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	deny := standard()
	deny.RulesAfter = []string{writeFile(t, filepath.Join(t.TempDir(), "deny.conf"), `SecRule REQUEST_METHOD "@rx ." "id:1,phase:1,deny,log"`)}
	e, err := newEngine(Config{Memory: 64 << 20, LogLines: true, Policies: map[string]Policy{"default": standard(), "deny": deny, "off": {Mode: gate.Off}}}, zap.New(core), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	before := logs.Len()
	cold := e.policies["default"].prover.Learned()
	e.Warm(t.Context())
	warm := e.policies["default"].prover.Learned()
	if warm < cold+300 {
		t.Errorf("%d kinds of values were known before, and %d after it", cold, warm)
	}
	if logs.Len() != before {
		t.Errorf("it was told: %v", logs.All()[before:])
	}
	if e.Held() != 0 {
		t.Errorf("%d bytes are held", e.Held())
	}
	requests := traffic.New(traffic.Browsing, traffic.Fresh, 1)
	for i := range 50 {
		r := requests.Request(i)
		tx := e.Begin(received(&r))
		if v := tx.Request(); !v.Passed() {
			t.Fatalf("%+v", v)
		}
		if in := tx.Close(); in.Run != gate.RunProven {
			t.Fatalf("the run of a request was %s", in.Run)
		}
	}
	if after := e.policies["default"].prover.Learned(); after-warm > (warm-cold)/2 {
		t.Errorf("%d kinds of values were known, and %d more came in 50 requests", warm, after-warm)
	}

	// With rules that match everything, what only warms up still runs none.
	in := e.Begin(warmRequests()[0].gate("deny"))
	if v := in.Request(); v.Passed() {
		t.Fatal("the rule passes requests")
	}
	if hits := in.Close().Hits; len(hits) != 1 {
		t.Fatalf("hits: %v", hits)
	}
}

// TestWarmEnds: it ends with its context.
func TestWarmEnds(t *testing.T) {
	e := engineWith(t, nil)
	cold := e.policies["default"].prover.Learned()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	e.Warm(ctx)
	if warm := e.policies["default"].prover.Learned(); warm != cold {
		t.Errorf("%d kinds of values were learned after the end", warm-cold)
	}
}

// TestWarmRequests: all of them are harmless, and are read to their ends.
func TestWarmRequests(t *testing.T) {
	e := engineWith(t, nil)
	requests := warmRequests()
	if len(requests) != 4*len(warmTexts) {
		t.Errorf("%d requests of %d texts", len(requests), len(warmTexts))
	}
	for i := range requests {
		r := &requests[i]
		tx := e.Begin(r.gate("default"))
		tx.warming = true
		if v := tx.Request(); v.Action != gate.Pass {
			t.Errorf("%s %s %q: %s", r.method, r.target, r.body, v.Reason)
		}
		tx.Close()
	}
}
