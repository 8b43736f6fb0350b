package waf

import (
	"fmt"
	"testing"

	"github.com/corazawaf/coraza/v3/types"

	"sallyport/internal/gate"
	"sallyport/internal/traffic"
)

// TestSums: the rules that add up are left out where what may match is nothing to
// them, and run where it changes what they add up, or shows it before they do.
// Whichever, rules say and score what they do when all of them run.
func TestSums(t *testing.T) {
	const rules = `
SecRule ARGS:p "@streq logs" "id:1,phase:2,pass,log,msg:'it was %{MATCHED_VAR}'"
SecRule ARGS:q "@streq shows" "id:2,phase:2,pass,log,msg:'so far %{TX.own_total}'"
SecRule ARGS:q "@streq scores" "id:3,phase:2,pass,log,setvar:tx.inbound_anomaly_score_pl1=+3"
SecRule ARGS:q "@rx ^(?:half|whole)$" "id:4,phase:2,pass,log,setvar:tx.own_half=1,chain"
SecRule ARGS:r "@streq whole" "setvar:tx.inbound_anomaly_score_pl1=+3"
SecRule ARGS:q "@streq resets" "id:5,phase:2,pass,log,setvar:tx.own_total=7"
SecAction "id:9,phase:2,pass,nolog,setvar:tx.own_total=1"
SecRule TX:own_total "!@eq 1" "id:10,phase:5,pass,log,msg:'in the end %{TX.own_total}'"
`
	fast := engineWith(t, func(p *Policy) { p.Engine = FastEngine }, rules)
	stock := engineWith(t, func(p *Policy) { p.Engine = StockEngine }, rules)
	judge := func(e *Engine, query string) (says []string, clean bool, in gate.Inspection) {
		r := traffic.New(traffic.Tiny, traffic.Fresh, 1).Request(0)
		r.Target = "/?" + query
		tr := e.Begin(received(&r))
		tr.ended = func() {
			for _, m := range tr.run.tx.(types.Transaction).MatchedRules() {
				if m.Rule().ID() < 900000 && m.Message() != "" {
					says = append(says, fmt.Sprint(m.Rule().ID(), " ", m.Message()))
				}
			}
			for _, name := range []string{"own_total", "own_half", "inbound_anomaly_score_pl1", "blocking_inbound_anomaly_score"} {
				says = append(says, fmt.Sprint(name, "=", tr.run.tx.Variables().TX().Get(name)))
			}
		}
		tr.Request()
		clean = tr.run.judge != nil && tr.run.judge.Clean(phaseRequest)
		return says, clean, tr.Close()
	}
	for _, tc := range []struct {
		query string
		left  bool // the rules that add up are left out
	}{
		{"p=logs", true}, {"q=shows", false}, {"q=scores", false}, {"q=half&p=logs", true}, {"q=half&r=half&p=logs", true}, {"q=whole&r=whole", false}, {"q=resets", false},
	} {
		want, _, all := judge(stock, tc.query)
		got, left, in := judge(fast, tc.query)
		if fmt.Sprint(got) != fmt.Sprint(want) || in.Run == gate.RunProven || in.Score != all.Score {
			t.Errorf("%s, %s: %v, score %d, and all rules %v, score %d", tc.query, in.Run, got, in.Score, want, all.Score)
		}
		if left != tc.left {
			t.Errorf("%s: left out: %v, want %v", tc.query, left, tc.left)
		}
	}
}
