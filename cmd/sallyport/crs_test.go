package main

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"

	"sallyport/internal/ftw"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
)

// TestRefusedTargetsHideNoAttack holds that the strict reader takes nothing from
// the rules: every test of the Core Rule Set that it refuses for a byte of the
// target (raw quotes, brackets, backslashes, bytes beyond ASCII) passes when a
// client encodes that byte, as all but test runners do.
func TestRefusedTargetsHideNoAttack(t *testing.T) {
	all, ds := ftw.LoadFS(tests.FS)
	if ds.Fatal() {
		t.Fatal(ds)
	}
	all = slices.DeleteFunc(all, func(x *ftw.Test) bool {
		return !slices.ContainsFunc(x.Stages, func(s ftw.Stage) bool { return encodedTarget(s.Input.URI) != s.Input.URI })
	})
	target, err := gateway.RehearseCRS(ftw.CRSSetup, ftw.Backend())
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	runner := ftw.Runner{Target: target, Parallel: runtime.GOMAXPROCS(0)}
	refused := map[string]bool{}
	for _, r := range runner.Run(t.Context(), all).Results {
		refused[r.Test] = r.By == gate.HTTPTargetByte
	}
	all = slices.DeleteFunc(all, func(x *ftw.Test) bool { return !refused[x.ID()] })
	if len(all) < 50 {
		t.Errorf("%d tests are refused, want 50 at least", len(all))
	}
	for _, x := range all {
		for i := range x.Stages {
			in := &x.Stages[i].Input
			in.URI = encodedTarget(in.URI)
		}
	}
	if sum := runner.Run(t.Context(), all); sum.Passed != sum.Total {
		var b bytes.Buffer
		if err := sum.Print(&b, false); err != nil {
			t.Fatal(err)
		}
		t.Errorf("encoded, not all pass:\n%s", b.String())
	}
}

// encodedTarget percent-encodes what no target may hold.
func encodedTarget(target string) string {
	var b strings.Builder
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\#`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
