package waf

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime/debug"
	"sync"

	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"
	vars "github.com/corazawaf/coraza/v3/types/variables"
	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
	"sallyport/waf/prover"
)

// state is what the engine's transactions can do: what their interface says,
// and access to the variables, which only the interface of plugins offers.
type state interface {
	types.Transaction
	plugintypes.TransactionState
	excluder
	RemoveRuleByIDRange(first, last int)
}

// A Transaction judges one request and its response. It is used by the
// goroutine that serves the request; the body that it leaves in the request
// may be read by another one. It must be closed.
type Transaction struct {
	engine *Engine
	policy *policy
	req    *gate.Request
	rules  *ruleset // nil: fixed decides
	// fixed is the verdict of a transaction without rules: a pass where the
	// policy is off, a failure where there is none.
	fixed gate.Verdict

	mu     sync.Mutex
	facts  *prover.Facts // nil: the head has not been read, or the transaction is closed
	run    evaluation
	shadow *evaluation // runs every rule, to compare; nil: nothing is compared
	chosen bool        // the verdict is not that of the shadow, which refused less
	lease  lease
	broken bool // the engine panicked; it is not touched again
	closed bool
	result gate.Inspection

	contentType string // of the first Content-Type field
	typeClash   bool   // another Content-Type field says something else
	query       sink   // what the query holds beyond its parameters
	cookies     int
	kind        kind
	coding      coding.Coding // of a body that is judged; empty: it has none
	undecoded   []byte        // a held body in its coding, where somebody may read it as it is
	ahead       *ahead        // of the body, read before the engine began; nil: nothing was
	judged      bool          // phase 2 has run
	places      xmlPlaces     // of the values of an XML body; nil: it is none

	exclusions []*exclusion // that hold for the request

	verdict gate.Verdict // the first that was not a plain pass
	// ended is called when all rules have run, before the engine's transaction is
	// given back. Nil but in tests, which look at what the rules have left there.
	ended func()

	told bool // Request returned the verdict, and it was not a plain pass
	// warming says that only the prover looks at the request: no rule runs.
	warming bool

	inTurn, inEngine  bool    // it holds one of the turns
	shed              bool    // it did not get one
	upload            *upload // the body streams and is judged at its end
	inspected         string
	responseInspected string
}

// Request judges the head and, as far as it can be held, the body (phases 1
// and 2). It replaces the body of the request by one that reads the same
// bytes. When the body holds files that stream, the verdict on the rest of the
// body is not known yet: reading the body then ends in a *gate.VerdictError
// instead of its last bytes, should it be refused.
func (t *Transaction) Request() gate.Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rules == nil {
		return t.fixed
	}
	defer t.endTurn()
	t.protect(t.request)
	if t.broken && t.upload != nil {
		t.upload.settleBroken(t.upload.end)
	}
	t.told = t.verdict.Action != gate.Pass
	return t.verdict
}

func (t *Transaction) request() {
	if !t.readAhead() {
		return
	}
	t.readHead()
	t.prepare()
	if t.facts.Get(vars.ArgumentsLimitReached) == "1" || t.cookies > t.policy.Arguments {
		if t.find(gate.WAFTooManyArguments, fmt.Sprintf("more than %d parameters in the query, or cookies", t.policy.Arguments)) {
			return
		}
	}
	if !t.turn(int64(t.req.Head.Bytes)) {
		return
	}
	if t.phase(phaseHead) {
		return
	}
	if t.exceeds(&t.query, "arguments in the query") || t.query.flaw != nil && t.unreadable(reasonOf(t.query.flaw), t.query.flaw.Error()) {
		return
	}
	if !t.settleKind() {
		return
	}
	switch t.kind {
	case kindNone, kindOpaque:
	case kindMultipart:
		t.multipart()
		return
	default:
		t.hold()
		return
	}
	t.judge(nil)
}

// settleKind decides how the body is judged, now that the rules of phase 1
// had their say. It reports whether the request goes on.
func (t *Transaction) settleKind() bool {
	processor := t.run.processor(t.facts)
	if t.shadow != nil {
		processor = t.shadow.processor(t.facts)
	}
	if processor != t.facts.Get(vars.ReqbodyProcessor) {
		t.facts.Set(vars.ReqbodyProcessor, processor)
	}
	if t.kind == kindNone {
		return true
	}
	kind, known := kinds[processor]
	if !known {
		return !t.fail(fmt.Errorf("a rule chose the body processor %.40q, which does not exist", processor))
	}
	if kind != kindNone {
		t.kind = kind
	}
	t.inspected = "none" // until it is
	if t.kind == kindOpaque {
		return true
	}
	if what := typeCharset(t.contentType); what != "" && t.unreadable(gate.WAFCharset, what) {
		return false
	}
	if t.typeClash {
		return !t.find(gate.WAFBodyUnreadable, "Content-Type fields that disagree")
	}
	var err error
	if t.coding, err = codingOf(valuesOf(t.req.Head.Fields, "Content-Encoding"), t.policy.Decode); err != nil {
		t.kind = kindOpaque // goes on only where nothing is refused
		return !t.find(gate.WAFEncoding, err.Error())
	}
	return true
}

// judge runs phase 2 over what was taken out of the body. parse is why the
// body could not be read to its end; nil when it could.
func (t *Transaction) judge(parse error) {
	t.judged = true
	if parse != nil {
		t.noteUnreadable(parse)
	}
	if t.phase(phaseRequest) || parse == nil {
		return
	}
	t.unreadable(reasonOf(parse), parse.Error())
}

// noteUnreadable adds to the facts that the body could not be read to its end.
func (t *Transaction) noteUnreadable(parse error) {
	t.facts.Set(vars.ReqbodyError, "1")
	t.facts.Set(vars.ReqbodyErrorMsg, t.facts.Get(vars.ReqbodyProcessor)+": "+parse.Error())
	t.facts.Set(vars.ReqbodyProcessorError, "1")
	t.facts.Set(vars.ReqbodyProcessorErrorMsg, parse.Error())
	if t.kind == kindMultipart {
		t.facts.Set(vars.MultipartStrictError, "1")
	}
}

// reasonOf is the reason to refuse what could not be read.
func reasonOf(parse error) gate.Reason {
	if f, ok := errors.AsType[*finding](parse); ok {
		return f.reason
	}
	return gate.WAFBodyUnreadable
}

// unreadable takes the refusal of a body that the rules cannot read as the
// application does. By policy it passes, recorded. It reports whether the
// request ends here.
func (t *Transaction) unreadable(r gate.Reason, detail string) bool {
	v := gate.Refusal(r, t.mode(), detail)
	if t.policy.PassOnError {
		v.Action = gate.Observe
	}
	return t.take(v)
}

// prepare decides how the rules are run, now that the head was read.
func (t *Transaction) prepare() {
	t.run.t = t
	for _, x := range t.policy.exclusions {
		if x.always || x.holdsFor(t.req) && !x.ended(t.engine.log) {
			t.exclusions = append(t.exclusions, x)
		}
	}
	if t.policy.prover == nil {
		return
	}
	t.run.judge = t.policy.prover.Judge(t.facts, t.heavyTurn)
	t.run.lent = t.run.judge
	for _, x := range t.exclusions {
		for _, id := range x.live {
			if x.Target == (Target{}) {
				t.run.judge.Exclude(id)
			} else {
				t.run.judge.Narrow(id)
			}
		}
	}
	if t.policy.compares() && !t.warming {
		t.shadow = &evaluation{t: t}
	}
}

// phase runs one phase over the facts so far and takes its verdict. It reports
// whether the request ends here.
//
// The room that verdicts take on the stack is for those phases that have one:
// the rules need a deep stack, which stays as large as it has been for as long
// as a slow client is served.
func (t *Transaction) phase(n int) bool {
	t.facts.Mark(n)
	d, err := t.run.phase(n)
	beside := t.accompanied(n)
	if d == nil && err == nil && !beside {
		return false // it passes
	}
	return t.weigh(n, d, err, beside)
}

// weigh takes the verdict of a phase that was run. beside tells that all rules
// are to run it too.
func (t *Transaction) weigh(n int, d *decision, err error, beside bool) bool {
	v := t.settle(&t.run, n, d, err)
	if beside {
		d, err := t.shadow.phase(n)
		all := t.settle(t.shadow, n, d, err)
		if stricter(v, all) {
			t.chosen = true
		} else {
			v = all
		}
	}
	return t.take(v)
}

// settle is the verdict of a phase that one of the runs has run.
func (t *Transaction) settle(r *evaluation, n int, d *decision, err error) gate.Verdict {
	switch {
	case errors.Is(err, errShed):
		return busy()
	case errors.Is(err, errCostly):
		return t.verdict
	case err != nil:
		return t.failure(fmt.Errorf("phase %d: %w", n, err))
	case d != nil:
		return r.interrupted(*d)
	}
	return gate.Passes(gate.StageWAF)
}

// A decision is what a disruptive action decided.
type decision struct {
	rule   int
	action string
	status int
	target string
}

// interrupted is the verdict that a decision amounts to.
func (r *evaluation) interrupted(d decision) gate.Verdict {
	mode := r.t.mode()
	detail := fmt.Sprintf("rule %d", d.rule)
	switch d.rule {
	case inboundRule, inboundEarlyRule:
		return gate.Refusal(gate.WAFInboundScore, mode, fmt.Sprintf("score %d, threshold %d", r.score("inbound"), r.threshold("inbound")))
	case outboundRule, outboundEarlyRule:
		return gate.Refusal(gate.WAFOutboundScore, mode, fmt.Sprintf("score %d, threshold %d", r.score("outbound"), r.threshold("outbound")))
	}
	if d.action == "redirect" {
		v := gate.Refusal(gate.WAFRedirect, mode, detail)
		v.Location = d.target
		switch d.status {
		case http.StatusMovedPermanently, http.StatusSeeOther, http.StatusTemporaryRedirect:
			v.Status = d.status
		}
		return v
	}
	v := gate.Refusal(gate.WAFRule, mode, detail)
	switch {
	case d.action == "drop":
		v.Close = true
	case d.status >= 200 && d.status <= 599 && d.status/100 != 3:
		v.Status = d.status
	}
	return v
}

// mode is that of the policy.
func (t *Transaction) mode() gate.Mode { return t.policy.Mode }

// find takes a refusal of the gateway's own and reports whether the request
// ends here.
func (t *Transaction) find(r gate.Reason, detail string) bool {
	return t.take(gate.Refusal(r, t.mode(), detail))
}

// fail takes a failure of the engine.
func (t *Transaction) fail(err error) bool { return t.take(t.failure(err)) }

// failure is the verdict of a failure of the engine. By policy it passes,
// recorded.
func (t *Transaction) failure(err error) gate.Verdict {
	v := gate.Failure(gate.WAFEngine, err)
	if t.policy.PassOnError {
		v.Action = gate.Observe
	}
	t.engine.log.Error("rule engine failed", zap.String("request", t.req.ID), zap.String("policy", t.policy.name), zap.Error(err))
	return v
}

// take keeps the first verdict that is not a plain pass, and replaces an
// observed one by one that ends the request. It reports whether v ends it.
func (t *Transaction) take(v gate.Verdict) bool {
	if t.verdict.Action == gate.Pass || t.verdict.Passed() && !v.Passed() {
		t.verdict = v
	}
	return !v.Passed()
}

// protect runs f and turns a panic of the engine into a failure. The engine's
// transaction is in an unknown state then and is not used again, nor given
// back to the pool that it came from.
func (t *Transaction) protect(f func()) {
	if t.broken {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			t.broken = true
			t.engine.log.Error("rule engine panicked", zap.String("request", t.req.ID), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			t.fail(fmt.Errorf("panic: %v", p))
		}
	}()
	f()
}

// unread is the verdict on a body that could not be read to its end.
func (t *Transaction) unread(err error) {
	if ve, ok := errors.AsType[*gate.VerdictError](err); ok {
		t.take(ve.Verdict)
		return
	}
	if errors.Is(err, errMemory) {
		v := gate.Failure(gate.WAFMemory, nil)
		v.Detail = err.Error()
		t.take(v)
		return
	}
	v := gate.Refusal(gate.HTTPBodyCut, gate.Enforce, "the body could not be read")
	v.Err = err
	t.take(v)
}

// liftAllow takes back what an allow action ended, so that phase 5 runs: SecLang
// keeps it from every phase but that of logging, the engine from all. It
// reports whether the engine lets it.
func liftAllow(tx state) bool {
	v := reflect.ValueOf(tx)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return false
	}
	f := v.Elem().FieldByName("AllowType")
	if !f.IsValid() || !f.CanSet() {
		return false
	}
	f.SetZero()
	return true
}

// Close ends the transaction: phase 5 runs, memory is given back, and what was
// seen and found is summed up. It may be called more than once and always
// returns the same.
func (t *Transaction) Close() gate.Inspection {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return t.result
	}
	t.closed = true
	defer t.lease.release()
	defer t.dropFacts()
	if t.rules == nil {
		return t.result
	}
	if t.upload != nil {
		t.upload.abandon()
	}
	if t.broken && t.inspected != "" {
		t.inspected = "none"
	}
	t.result.Inspected, t.result.ResponseInspected = t.inspected, t.responseInspected
	t.protect(t.finish)
	if t.broken {
		t.result.Run = gate.RunFull
	}
	return t.result
}

// finish runs phase 5 and sums up.
func (t *Transaction) finish() {
	if t.facts == nil { // the body broke before anything was judged
		t.readHead()
		t.prepare()
	}
	t.phase(phaseLogging)
	t.summarise()
	if t.shadow != nil {
		t.compare()
	}
	if t.ended != nil {
		t.ended()
	}
	if t.shadow != nil {
		t.shadow.close()
	}
	t.run.close()
}
