package waf

import (
	"slices"
	"testing"

	"sallyport/internal/gate"
)

// TestObservedDecisionsEndNothing has all rules run from the start in a later phase,
// after a rule has decided that an observing policy lets go on: the phases behind it
// run, too.
func TestObservedDecisionsEndNothing(t *testing.T) {
	e := engineWith(t, func(p *Policy) { p.CRS, p.Mode = crsOff, gate.Watch }, `
SecRule ARGS:a "@streq 1" "id:1,phase:1,deny,log"
SecRule ARGS:b "@streq 1" "id:2,phase:2,pass,log,msg:'what an earlier rule has captured: %{TX.1}'"
SecRule ARGS:c "@streq 1" "id:3,phase:2,deny,log"
`)
	for target, want := range map[string][]int{"/?a=1": {1}, "/?a=1&b=1": {1, 2}, "/?a=1&b=1&c=1": {1, 2, 3}, "/?b=1&c=1": {2, 3}, "/?a=1&c=1": {1, 3}} {
		o := run(e, get(target))
		o.expect(t, target, gate.Observe, gate.WAFRule)
		if !slices.Equal(o.rules(), want) {
			t.Errorf("%s, run %s: rules %v, want %v", target, o.result.Run, o.rules(), want)
		}
	}
}
