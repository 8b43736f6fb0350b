// Package waf decides whether the rules let a request and its response pass:
// the OWASP Core Rule Set and the rule files around it, run by Coraza. It
// drives the engine's transactions by itself, fills them from the raw head
// that was received, takes bodies apart in its own strict readers, and holds
// only what must be held to be judged: files stream.
//
// It never writes to a client, never lets an error, a panic or an unreadable
// body pass in silence, and never stores anything on a disk. Requests are read
// by RFC 9110, bodies by RFC 8259 (JSON), RFC 7578 and RFC 2046 (multipart) and
// the GraphQL specification of October 2021; cookies as RFC 6265 section 5.4
// sends them, and as applications read them.
package waf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	vars "github.com/corazawaf/coraza/v3/types/variables"
	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// An Engine holds the policies of one generation. It may be used by several
// goroutines. It must be closed when its last transaction has ended.
type Engine struct {
	log      *zap.Logger
	logLines bool
	memory   *budget
	decoders decoders
	turns    *turns
	verdicts *prover.Verdicts // nil: what was found in values is not remembered
	policies map[string]*policy
	rulesets []*ruleset
	warnings gate.Diagnostics
}

// A policy is a Policy with its compiled rules.
type policy struct {
	Policy
	name  string
	rules *ruleset // nil when the mode is off
	// hash names the rules and what is set for them, and settings are set at
	// the beginning of each transaction.
	hash     string
	settings []setting
	// prover tells which rules can match a request, and starts are what a run
	// with some of the rules begins each phase with. Nil: all rules run.
	prover *prover.Prover
	starts [phaseLogging + 1][2][]setting
	// exclusions are all of them, those that the rules were built with too.
	exclusions []*exclusion
}

// PolicyInfo names what a policy consists of.
type PolicyInfo struct {
	// Ruleset is "sha256:…" of everything that its rules were built from;
	// empty when the mode is off.
	Ruleset string
	Rules   int // how many rules it has
	// CRS is the version of its Core Rule Set, as "OWASP_CRS/4.25.0"; empty
	// without one.
	CRS string
	// Engine is how the rules are run, and CompareShare how many requests are
	// compared.
	Engine       EngineKind
	CompareShare float64
	// Full says that all rules run for every request, as with StockEngine, and
	// Unproven which rules keep all or most requests from being proven, each with
	// the reason.
	Full     bool
	Unproven []string
}

// New compiles the policies. Policies that come to the same rules share one
// set. Where a file of an operator is to blame, the error is gate.Diagnostics
// with all that is wrong with the files of all policies.
func New(cfg Config, log *zap.Logger) (*Engine, error) {
	verdicts, err := sharedVerdicts()
	if err != nil {
		return nil, err
	}
	return newEngine(cfg, log, verdicts)
}

// sharedVerdicts are those of the process: they outlive reloads.
var sharedVerdicts = sync.OnceValues(prover.NewVerdicts)

// newEngine is New with another memory of verdicts; nil: without one.
func newEngine(cfg Config, log *zap.Logger, verdicts *prover.Verdicts) (*Engine, error) {
	if cfg.Memory <= 0 {
		return nil, fmt.Errorf("waf memory of %d bytes", cfg.Memory)
	}
	e := &Engine{log: log, logLines: cfg.LogLines, verdicts: verdicts, memory: newBudget(cfg.Memory), decoders: newDecoders(cfg.Memory), turns: newTurns(), policies: make(map[string]*policy, len(cfg.Policies))}
	if err := e.build(cfg.Policies); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	for _, w := range e.warnings {
		log.Warn("rules", zap.String("problem", w.String()))
	}
	infos := e.Policies()
	for _, name := range slices.Sorted(maps.Keys(infos)) {
		if info := infos[name]; len(info.Unproven) > 0 {
			log.Warn("rules", zap.String("problem", "policy "+name+": "+info.Runs()+": "+strings.Join(info.First(), "; ")))
		}
	}
	return e, nil
}

func (e *Engine) build(policies map[string]Policy) error {
	names := make([]string, 0, len(policies))
	for name := range policies {
		names = append(names, name)
	}
	slices.Sort(names)

	plans := make(map[string]plan, len(names))
	var diags gate.Diagnostics
	for _, name := range names {
		p := policies[name].bounded()
		if err := p.validate(); err != nil {
			return fmt.Errorf("policy %s: %w", name, err)
		}
		e.policies[name] = &policy{Policy: p, name: name}
		if p.Mode == gate.Off {
			continue
		}
		plan, found, err := planFor(name, p)
		if err != nil {
			return fmt.Errorf("policy %s: %w", name, err)
		}
		diags, plans[name] = append(diags, found...), plan
	}
	if diags.Sort(); diags.Fatal() {
		return diags
	}
	e.warnings = diags
	built := map[string]*ruleset{}
	var broken gate.Diagnostics
	for _, name := range names {
		plan, on := plans[name]
		if !on {
			continue
		}
		key := plan.key()
		if built[key] == nil {
			set, err := plan.build()
			if found, ok := errors.AsType[gate.Diagnostics](err); ok {
				broken = append(broken, found...)
				continue
			}
			if err != nil {
				return fmt.Errorf("policy %s: %w", name, err)
			}
			built[key] = set
			e.rulesets = append(e.rulesets, set)
		}
		p := e.policies[name]
		p.rules, p.hash, p.settings = built[key], plan.sum(), plan.settings()
		p.exclusions = plan.exclusions
		if err := p.prove(plan, e.verdicts); err != nil {
			return fmt.Errorf("policy %s: %w", name, err)
		}
	}
	if broken.Sort(); len(broken) > 0 {
		return broken
	}
	return nil
}

// validate refuses what the configuration never lets through.
func (p *Policy) validate() error {
	switch {
	case p.Mode == gate.Off:
		return nil
	case p.Mode != gate.Enforce && p.Mode != gate.Watch:
		return fmt.Errorf("mode %q", p.Mode)
	case p.Paranoia < 1 || p.Paranoia > 4:
		return fmt.Errorf("paranoia level %d", p.Paranoia)
	case p.DetectionParanoia != 0 && p.DetectionParanoia < p.Paranoia || p.DetectionParanoia > 4:
		return fmt.Errorf("detection paranoia level %d at level %d", p.DetectionParanoia, p.Paranoia)
	case p.Engine != "" && p.Engine != FastEngine && p.Engine != StockEngine && p.Engine != CompareEngine:
		return fmt.Errorf("engine %q", p.Engine)
	case p.CPUBudget < 0:
		return fmt.Errorf("CPU budget %s", p.CPUBudget)
	case p.CompareShare < 0 || p.CompareShare > 1:
		return fmt.Errorf("compare share %v", p.CompareShare)
	case p.CRS == crsOff && len(p.RulesBefore)+len(p.RulesAfter) == 0:
		return errors.New("no Core Rule Set and no rule files: nothing would be judged")
	case p.InboundThreshold < 1 || p.OutboundThreshold < 1:
		return fmt.Errorf("thresholds %d and %d", p.InboundThreshold, p.OutboundThreshold)
	case p.Inspect < 1 || p.ResponseLimit < 1:
		return fmt.Errorf("limits of %d and %d bytes", p.Inspect, p.ResponseLimit)
	case p.Arguments < 1 || p.JSONDepth < 1 || p.GraphQL.Depth < 1 || p.GraphQL.Aliases < 1 || p.GraphQL.Batch < 1:
		return fmt.Errorf("bounds of %d arguments, %d levels of JSON, GraphQL %+v", p.Arguments, p.JSONDepth, p.GraphQL)
	case !slices.Contains([]string{"off", "errors", "all"}, p.ResponseBody):
		return fmt.Errorf("response body %q", p.ResponseBody)
	}
	return nil
}

// Warnings are what should be known about the rule files but does not keep
// the gateway from starting.
func (e *Engine) Warnings() gate.Diagnostics { return slices.Clone(e.warnings) }

// Held returns how many bytes of bodies are held right now.
func (e *Engine) Held() int64 { return e.memory.held.Load() }

// Policies tells what each policy consists of.
func (e *Engine) Policies() map[string]PolicyInfo {
	infos := make(map[string]PolicyInfo, len(e.policies))
	for name, p := range e.policies {
		if p.rules == nil {
			infos[name] = PolicyInfo{}
			continue
		}
		info := PolicyInfo{Ruleset: p.hash, Rules: len(p.rules.rules), CRS: p.rules.crs, Engine: p.Engine, CompareShare: p.CompareShare, Full: true}
		if p.prover != nil {
			info.Full = p.prover.Declines()
			for _, r := range unproven(p.prover) {
				info.Unproven = append(info.Unproven, r.String())
			}
		}
		infos[name] = info
	}
	return infos
}

// Begin starts the transaction of a request, under the policy of its route. It
// never returns nil: without a policy, or with one that is off, the
// transaction passes everything; with one that does not exist, it fails.
func (e *Engine) Begin(req *gate.Request) *Transaction {
	t := &Transaction{engine: e, req: req, lease: lease{from: e.memory}}
	t.verdict = gate.Passes(gate.StageWAF)
	t.fixed = t.verdict
	if req.Route == nil {
		t.fixed = gate.Failure(gate.WAFEngine, errors.New("a request without a route"))
		return t
	}
	name := req.Route.Policy
	if name == "" {
		return t
	}
	t.result.Policy = name
	p := e.policies[name]
	if p == nil {
		t.fixed = gate.Failure(gate.WAFEngine, fmt.Errorf("no policy %q", name))
		return t
	}
	t.policy = p
	if p.rules == nil {
		if hasBody(req) {
			t.result.Inspected = "none"
		}
		return t
	}
	t.result.Ruleset = p.hash
	t.rules = p.rules
	return t
}

// Close gives back what the engine remembers for the rules.
func (e *Engine) Close() error {
	var errs []error
	for _, r := range e.rulesets {
		errs = append(errs, r.close())
	}
	e.rulesets = nil
	return errors.Join(errs...)
}

// probe makes sure that the engine's transactions offer what the gateway needs
// beyond the engine's interfaces, so that a change in the engine is an error
// at the start and not a variable that stays empty.
func probe(w coraza.WAF) error {
	tx, ok := w.NewTransaction().(state)
	if !ok {
		return errors.New("the engine's transactions lack their variables")
	}
	facts := new(prover.Facts)
	facts.Set(vars.RequestBody, "probe")
	facts.Add(vars.ArgsGet, "name", "value")
	facts.Mark(phaseHead)
	r := evaluation{t: &Transaction{facts: facts}, tx: tx, told: new(prover.Cursor)}
	r.tell(phaseHead)
	if tx.Variables().RequestBody().Get() != "probe" || len(tx.Variables().ArgsGet().Get("NAME")) != 1 {
		return errors.New("the engine's variables cannot be set")
	}
	if !liftAllow(tx) {
		return errors.New("what the engine's allow action ended cannot be taken back")
	}
	if _, ok := w.(experimental.WAFCloser); !ok {
		return errors.New("the engine cannot be closed")
	}
	return tx.Close()
}
