package waf

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/corazawaf/coraza/v3/collection"
	"github.com/corazawaf/coraza/v3/types"
	vars "github.com/corazawaf/coraza/v3/types/variables"
	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// The phases of SecLang.
const (
	phaseHead         = 1
	phaseRequest      = 2
	phaseResponseHead = 3
	phaseResponse     = 4
	phaseLogging      = 5
)

// An evaluation has the rules judge one request. With a judge, the engine begins only
// once a rule with an effect may match, catches up on the phases that it has
// missed, and is kept from running rules that cannot match. Without one, it
// begins with the first phase and runs them all.
type evaluation struct {
	t     *Transaction
	judge *prover.Judge // nil: every rule runs
	lent  *prover.Judge // the judge to be closed, where there was one
	// guided says that the engine began with what the judge's rules would have
	// set, and without them.
	guided    bool
	past      []int             // the phases that have run, or were proven to have no effect
	phases    [phaseLogging]int // where past lies
	decisions []decision        // of the rules, in their order
	reads     string            // how they have the body read, where there is one

	tx      state // nil: the engine has not begun, or is done
	told    *prover.Cursor
	seen    int    // matched rules that watch has looked at
	allowed string // watch: what an allow action still covers
	covers  int    // watch: the phase of an allow:phase
}

// how tells how the rules were run, for records.
func (r *evaluation) how() string {
	switch {
	case r.tx == nil && r.judge != nil:
		return gate.RunProven
	case r.guided:
		return gate.RunGuided
	}
	return gate.RunFull
}

// phase runs one phase, unless no rule of it that has an effect can match, and
// returns what its rules decided. The facts are marked for it.
func (r *evaluation) phase(n int) (*decision, error) {
	if n > phaseHead && len(r.past) == 0 {
		r.judge = nil // its rules have not set what the judge takes for set
	}
	if r.past == nil {
		r.past = r.phases[:0]
	}
	r.past = append(r.past, n)
	answer := r.ask(n)
	if r.t.shed {
		return nil, errShed
	}
	if r.t.warming {
		return nil, nil
	}
	switch answer {
	case prover.Proven:
		return nil, nil
	case prover.Full:
		if r.guided {
			r.end()
			r.guided = false
		}
		r.judge = nil // it has no more to say
	}
	if n == phaseLogging && r.quiet() {
		return nil, nil
	}
	if n != phaseLogging {
		if n <= phaseRequest && r.tooCostly(answer) {
			return nil, errCostly
		}
		if !r.turn() {
			return nil, errShed
		}
	}
	if r.tx != nil {
		return r.eval(n)
	}
	before := len(r.decisions) // of phases that are run again
	if err := r.begin(); err != nil {
		return nil, err
	}
	r.decisions = nil
	// All of them run, even behind a decision: after one that is only observed the
	// others have their say, and after any the last phase runs.
	for _, n := range r.past {
		if _, err := r.eval(n); err != nil {
			return nil, err
		}
	}
	if len(r.decisions) > before {
		return &r.decisions[before], nil
	}
	return nil, nil
}

// perByte is what a rule that may match takes for a byte of a value, about: as
// much as Coraza takes for a long text.
const perByte = 50 * time.Nanosecond

// tooCostly refuses a request over which the rules that may match would take more
// than the policy allows. It reports whether the request ends here.
func (r *evaluation) tooCostly(answer prover.Answer) bool {
	if r.judge == nil || answer != prover.Guided || r.t.policy.CPUBudget == 0 {
		return false
	}
	rules, bytes := r.judge.Work()
	cost := time.Duration(rules*bytes) * perByte
	return cost > r.t.policy.CPUBudget && r.t.find(gate.WAFTooCostly, fmt.Sprintf("%d rules may match %d bytes: about %s", rules, bytes, cost.Round(time.Millisecond)))
}

// turn waits for a turn of the engine where there is much to run.
func (r *evaluation) turn() bool {
	switch {
	case r.lent != nil && r.judge != nil:
		return r.t.engineTurn(r.judge.Work())
	case r.lent != nil || r == r.t.shadow:
		return r.t.engineTurn(len(r.t.policy.rules.rules), r.t.facts.Bytes())
	}
	return true // the policy runs all rules of all requests
}

// quiet reports whether nothing has come of what the engine has run so far, so that
// the rules of phase 5 have nothing to add up.
func (r *evaluation) quiet() bool {
	if !r.guided || r.tx == nil || r.judge == nil || r.judge.Early() || r.judge.Dirty(phaseLogging) {
		return false
	}
	return !slices.ContainsFunc(r.tx.MatchedRules(), func(m types.MatchedRule) bool { return r.judge.Matched(m.Rule().ID()) })
}

// ask has the judge look at what a phase sees. What the judge does not survive
// is judged without it.
func (r *evaluation) ask(n int) (answer prover.Answer) {
	if r.judge == nil {
		return prover.Full
	}
	defer func() {
		if p := recover(); p != nil {
			r.lent = nil // nobody knows what became of it
			r.t.engine.log.Error("the prover panicked; all rules run", zap.String("request", r.t.req.ID), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			answer = prover.Full
		}
	}()
	return r.judge.Phase(n)
}

// begin has the engine make a transaction, under the settings of the policy and
// without what is excluded for the request. The engine knows no facts yet.
func (r *evaluation) begin() error {
	t := r.t
	tx, ok := t.rules.waf.NewTransactionWithID(t.req.ID).(state)
	if !ok {
		return errors.New("the engine's transactions lack their variables")
	}
	r.tx, r.told = tx, new(prover.Cursor)
	r.guided = r.judge != nil
	for _, s := range t.policy.settings {
		tx.Variables().TX().Set(s.name, s.value)
	}
	for _, x := range t.exclusions {
		x.apply(tx)
	}
	return nil
}

// eval tells the engine what a phase sees, and has it run the phase.
func (r *evaluation) eval(n int) (*decision, error) {
	if r.guided {
		r.judge.Remove(r.tx.RemoveRuleByIDRange)
		for _, s := range r.t.policy.begins(n, r.judge.Clean(n)) {
			r.tx.Variables().TX().Set(s.name, s.value)
		}
	}
	r.tell(n)
	switch n {
	case phaseHead:
		r.tx.ProcessRequestHeaders()
	case phaseRequest:
		if _, err := r.tx.ProcessRequestBody(); err != nil {
			return nil, err
		}
	case phaseResponseHead:
		status, _ := strconv.Atoi(r.t.facts.Get(vars.ResponseStatus))
		r.tx.ProcessResponseHeaders(status, r.t.facts.Get(vars.ResponseProtocol))
	case phaseResponse:
		if _, err := r.tx.ProcessResponseBody(); err != nil {
			return nil, err
		}
	case phaseLogging:
		liftAllow(r.tx)
		r.tx.ProcessLogging()
		return nil, nil
	}
	var d *decision
	if it := r.tx.Interruption(); it != nil {
		d = &decision{rule: it.RuleID, action: it.Action, status: it.Status, target: it.Data}
	} else if r.t.mode() == gate.Watch {
		d = r.watch()
	}
	if d != nil && (len(r.decisions) == 0 || r.decisions[len(r.decisions)-1] != *d) {
		r.decisions = append(r.decisions, *d)
	}
	return d, nil
}

// processor is how the rules of phase 1 have the body read: as the facts say, or
// in another way.
func (r *evaluation) processor(facts *prover.Facts) string {
	if r.reads = facts.Get(vars.ReqbodyProcessor); r.tx != nil {
		r.reads = r.tx.Variables().RequestBodyProcessor().Get()
	}
	return r.reads
}

// tell fills the engine's variables from the facts that a phase sees and that it
// does not know yet.
func (r *evaluation) tell(n int) {
	r.t.facts.News(r.told, n, func(v prover.Variable, facts []prover.Fact) {
		switch c := r.tx.Collection(v).(type) {
		case collection.Map:
			for _, f := range facts {
				if v == vars.TX { // a rule may have set it
					c.Set(own(f.Key), []string{f.Value})
				} else {
					c.Add(own(f.Key), f.Value)
				}
			}
		case interface{ Set(string) }: // which the engine's interfaces do not offer; probe makes sure
			c.Set(facts[0].Value)
		default:
			panic(fmt.Sprintf("the engine's variable %s cannot be set", v.Name())) // protect makes a failure of it
		}
	}, func(v prover.Variable, key string) {
		if c, ok := r.tx.Collection(v).(collection.Map); ok {
			c.Remove(key)
		}
	})
}

// The engine remembers a transformed value under the address of the value's
// name and its place among the values found, and the place changes with the
// random order of Go's maps. Two values whose names share one string are
// therefore confused: a rule may get to see the same value twice and the other
// one never. All names that are handed to the engine are strings of their own.

// own returns a copy of a name that shares its memory with no other string,
// not even when it is empty.
func own(name string) string {
	if name == "" {
		return strings.Clone("=")[:0]
	}
	return strings.Clone(name)
}

// watch finds the decision that the rules of the last phase would have come
// to had the engine been allowed to stop: the first deny, drop or redirect
// that no allow came before. The engine runs on after all of them when it only
// detects.
func (r *evaluation) watch() *decision {
	matched := r.tx.MatchedRules()
	defer func() { r.seen = len(matched) }()
	for _, m := range matched[r.seen:] {
		rule := r.t.policy.rules.rules[m.Rule().ID()]
		phase := int(m.Rule().Phase())
		switch {
		case r.allowed == "all", r.allowed == "request" && phase < 3, r.allowed == "phase" && phase == r.covers:
			continue
		}
		switch rule.decision {
		case "allow":
			r.allowed, r.covers = rule.target, phase
			if r.allowed == "" {
				r.allowed = "all"
			}
		case "deny", "drop", "redirect":
			return &decision{rule: m.Rule().ID(), action: rule.decision, status: rule.status, target: rule.target}
		}
	}
	return nil
}

// number reads a numeric TX variable; 0 when it is not there. Where the engine
// has not begun, it holds what no rule changes.
func (r *evaluation) number(name string) int {
	if r.tx == nil {
		if r.judge == nil {
			return 0
		}
		value, _ := r.t.policy.prover.Value(name)
		n, _ := strconv.Atoi(value)
		return n
	}
	if values := r.tx.Variables().TX().Get(name); len(values) > 0 {
		n, _ := strconv.Atoi(values[0])
		return n
	}
	return 0
}

// The TX variables in which the Core Rule Set keeps its scores, by direction,
// those of the levels of paranoia from 1 on.
var (
	scoreNames = map[string][]string{
		"inbound":  {"inbound_anomaly_score_pl1", "inbound_anomaly_score_pl2", "inbound_anomaly_score_pl3", "inbound_anomaly_score_pl4"},
		"outbound": {"outbound_anomaly_score_pl1", "outbound_anomaly_score_pl2", "outbound_anomaly_score_pl3", "outbound_anomaly_score_pl4"},
	}
	thresholdNames = map[string]string{"inbound": "inbound_anomaly_score_threshold", "outbound": "outbound_anomaly_score_threshold"}
)

// score adds up what the matches of one direction came to, at the levels of
// paranoia that the policy blocks at. The total that the Core Rule Set keeps
// is not there yet when a rule decides before its scoring.
func (r *evaluation) score(direction string) int {
	sum := 0
	for _, name := range scoreNames[direction][:r.t.policy.Paranoia] {
		sum += r.number(name)
	}
	return sum
}

// threshold is the one that applies, which a rule may have changed.
func (r *evaluation) threshold(direction string) int {
	if n := r.number(thresholdNames[direction]); n > 0 {
		return n
	}
	if direction == "outbound" {
		return r.t.policy.OutboundThreshold
	}
	return r.t.policy.InboundThreshold
}

// close ends the run.
func (r *evaluation) close() {
	r.end()
	if r.lent != nil {
		r.lent.Close()
		r.lent, r.judge = nil, nil
	}
}

// end gives back what the engine has made for the request.
func (r *evaluation) end() {
	if r.tx == nil {
		return
	}
	if err := r.tx.Close(); err != nil {
		r.t.engine.log.Warn("closing a rule transaction failed", zap.String("request", r.t.req.ID), zap.Error(err))
	}
	r.tx, r.seen, r.allowed, r.covers = nil, 0, "", 0
}

// factsPool holds facts whose memory was used before.
var factsPool = sync.Pool{New: func() any { return new(prover.Facts) }}

// dropFacts ends the use of the facts. After a panic nobody knows who still
// holds them.
func (t *Transaction) dropFacts() {
	if t.facts != nil && !t.broken {
		t.facts.Reset()
		factsPool.Put(t.facts)
	}
	t.facts, t.query.facts = nil, nil
}
