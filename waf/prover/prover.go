package prover

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"sallyport/waf/rx"
)

// A Prover tells of requests which rules of one policy can match them. It may be
// used by several goroutines.
type Prover struct {
	*compiled
	ids      []ruleID // of all rules, in their order
	byID     map[int]int
	byPhase  [numPhases + 1][]int // indexes into rules
	start    [numPhases + 1][]Setting
	clean    [numPhases + 1][]Setting
	sums     [numPhases + 1]bool // what the phase sets in a clean request is known, and in clean
	end      *txState            // when the head of a request that nothing matches was judged
	reasons  []Reason
	declines bool      // it knows nothing of any request
	verdicts *Verdicts // nil: nothing is remembered
	judges   sync.Pool
}

// A ruleID is a rule as it can be taken out of a request.
type ruleID struct {
	id, phase int
	rule      int // index into rules; -1: see always
	always    bool
}

// A Setting is a TX variable and its value.
type Setting struct{ Name, Value string }

// New makes the prover of a set of rules, in load order. settings are the TX
// variables that are set before any rule runs, and shown are those that somebody
// looks at in the end: a rule that sets one of them has an effect. The prover of a
// set that has a rule which may do anything answers Full for every request; Reasons
// tells why. What was found in values is remembered in verdicts, unless that is nil.
func New(rules []Rule, settings []Setting, shown []string, verdicts *Verdicts) (*Prover, error) {
	before := make(map[string]string, len(settings))
	for _, s := range settings {
		before[strings.ToLower(s.Name)] = s.Value
	}
	w := walkRules(rules, before, shown)
	c, reasons, err := compileRules(w)
	if err != nil {
		return nil, err
	}
	p := &Prover{compiled: c, verdicts: verdicts, reasons: reasons, end: w.state, byID: map[int]int{}}
	if declines := w.declines(); len(declines) > 0 {
		p.declines, p.reasons = true, append(declines, reasons...)
	}
	p.reasons = slices.CompactFunc(p.reasons, func(a, b Reason) bool { return a == b })
	for phase := range w.start {
		p.start[phase], p.clean[phase], p.sums[phase] = settingsOf(w.start[phase]), settingsOf(w.clean[phase]), w.clean[phase] != nil
	}
	index := make(map[*Rule]int, len(c.rules))
	for i, r := range c.rules {
		index[r.Rule] = i
		p.byPhase[r.Phase] = append(p.byPhase[r.Phase], i)
		if r.Unclear == "" {
			r.showing(&use{names: shown})
		}
	}
	for i := range rules {
		r := &rules[i]
		if r.Marker != "" || r.ID == 0 {
			continue
		}
		id := ruleID{id: r.ID, phase: r.Phase, rule: -1, always: w.class[i] == summing}
		if n, ok := index[r]; ok {
			id.rule, p.byID[r.ID] = n, n
		}
		p.ids = append(p.ids, id)
	}
	slices.SortFunc(p.ids, func(a, b ruleID) int { return cmp.Compare(a.id, b.id) })
	p.judges.New = func() any { return p.newJudge() }
	p.learn()
	return p, nil
}

// usual are values that most requests have of the variables that hold one value.
var usual = [...]string{"", "0", "GET", "POST", "HTTP/1.1", "HTTP/2.0"}

// learn looks at the usual values before any request is there.
func (p *Prover) learn() {
	j := p.Judge(nil, nil)
	defer j.Close()
	defer j.reader.shut()
	for _, s := range p.plans {
		if !s.single {
			continue
		}
		for _, value := range usual {
			if atoms, sure := j.reader.apart(s.states.Load().any, value); sure {
				s.usual = append(s.usual, verdict{value, atoms})
			}
		}
	}
}

func settingsOf(values map[string]string) (out []Setting) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, Setting{name, values[name]})
	}
	return out
}

// Reasons tells which rules keep all or most requests of the policy from being
// proven.
func (p *Prover) Reasons() []Reason { return slices.Clone(p.reasons) }

// Learned returns of how many kinds of values, each where it is looked at, the prover
// has found out what is to be done with them.
func (p *Prover) Learned() int { return int(p.steps.Load()) }

// Declines reports whether every request has to run in full.
func (p *Prover) Declines() bool { return p.declines }

// Start returns the TX variables that are set when a phase of a guided run begins:
// what rules of the phase that are left out would have set. With clean these are
// all that would have set any, as Judge.Clean says.
func (p *Prover) Start(phase int, clean bool) []Setting {
	if clean {
		return p.clean[phase]
	}
	return p.start[phase]
}

// Value returns what a TX variable holds when the head of a request was judged
// and no rule with an effect has matched; false when nothing, or when it depends
// on the request.
func (p *Prover) Value(name string) (string, bool) {
	value, set, c := p.end.get(name)
	return value, set && c != dynamic
}

// An Answer is what is known of a request after some of its phases.
type Answer uint8

const (
	// Proven: no rule with an effect can match.
	Proven Answer = iota
	// Guided: rules with an effect may match, and Judge.Remove tells which ones
	// cannot.
	Guided
	// Full: nothing is known; all rules have to run, from the start.
	Full
)

// maxWork bounds what is looked at for one request, in bytes, each counted as
// often as it is looked at in another form. Beyond it the answer is Full.
const maxWork = 64 << 20

// maxExact bounds the bytes of one request of which is found out for certain what
// package rx has not decided at its bounded price. That is dear for so much text,
// and cheap beside a rule that the engine runs for nothing: after hostile requests
// some operators are undecided about harmless ones, too.
const maxExact = 16 << 10

// A Judge follows one request through its phases. It is for one goroutine at a
// time, and must be closed.
type Judge struct {
	p        *Prover
	f        *Facts
	firm     bitset // atoms of what does not change any more
	volatile bitset // of values that may
	seen     []int  // of each plan: facts that were read
	gone     []int  // of each plan: facts that were gone by then
	keep     []bool // of each rule
	started  []bool // of each rule: its first link may have matched in its phase
	excluded []int  // rules that are left out whatever happens
	narrowed []int  // rules that look at less than they say
	reader   reader
	decided  uint8 // bits of the phases that were judged
	removed  uint8 // and of those that Remove was called for
	dirty    uint8 // and of those of which a rule that sets or shows something may match
	stirred  uint8 // and of those of which one may match that what is added up depends on
	early    bool  // a rule may set something without matching as a whole
	answer   Answer
}

func (p *Prover) newJudge() *Judge {
	words := (p.atoms + 63) / 64
	return &Judge{p: p, firm: make(bitset, words), volatile: make(bitset, words), seen: make([]int, len(p.plans)), gone: make([]int, len(p.plans)),
		keep: make([]bool, len(p.rules)), started: make([]bool, len(p.rules)), reader: reader{alone: make(bitset, words), sets: p.sets, scratch: make([]*rx.Scratch, len(p.sets))}}
}

// Judge begins to judge a request. The facts may grow between its phases. heavy is
// asked once, when the request takes more than ordinary ones do; where it answers
// false, the judge goes no further, and the answer is Full. It may be nil.
func (p *Prover) Judge(f *Facts, heavy func() bool) *Judge {
	j := p.judges.Get().(*Judge)
	j.f, j.reader.budget, j.reader.exact, j.reader.turn, j.reader.heavy = f, maxWork, maxExact, heavyBytes, heavy
	if p.declines {
		j.answer = Full
	}
	return j
}

// Close ends the use of the judge.
func (j *Judge) Close() {
	clear(j.firm)
	clear(j.volatile)
	clear(j.seen)
	clear(j.gone)
	clear(j.keep)
	clear(j.started)
	j.reader.forget()
	j.f, j.decided, j.removed, j.dirty, j.stirred, j.early, j.answer, j.excluded, j.narrowed = nil, 0, 0, 0, 0, false, Proven, j.excluded[:0], j.narrowed[:0]
	j.p.judges.Put(j)
}

// Exclude tells that a rule is kept from judging the request. Without one that
// others take for run nothing is known.
func (j *Judge) Exclude(id int) {
	if j.excluded = append(j.excluded, id); j.p.fixed[id] {
		j.answer = Full
	}
}

// Narrow tells that a rule does not look at all that it says for the request.
func (j *Judge) Narrow(id int) { j.narrowed = append(j.narrowed, id) }

// Phase looks at what the facts hold now, decides about the rules of a phase, 1
// to 5, and answers for it and those before.
func (j *Judge) Phase(n int) Answer {
	if j.p.declines {
		return Full
	}
	j.read(n)
	for _, i := range j.p.byPhase[n] {
		r := j.p.rules[i]
		may, reached := j.may(r)
		j.started[i] = reached > 0 || len(r.conds) == 0
		early := r.early > 0 && reached >= r.early
		if !may && !early || slices.Contains(j.excluded, r.ID) {
			continue
		}
		j.keep[i] = true
		j.early = j.early || early
		if r.class != narrowing {
			j.dirty |= 1 << n
			if r.stirs > 0 && (may || reached >= r.stirs) {
				j.stirred |= 1 << n
			}
		}
		switch {
		case r.whole:
			j.answer = Full
		case may && (r.class == depending || r.shown), r.shownEarly > 0 && reached >= r.shownEarly:
			j.answer = max(j.answer, Guided)
		}
	}
	if j.reader.spent {
		j.answer = Full
	}
	j.decided |= 1 << n
	return j.answer
}

// Clean reports whether all that a phase, which was judged, sets is what it would
// set in a request that no rule with an effect matches. Then none of its rules has
// to run for what it sets: nothing may match, or only rules that log and do no more.
func (j *Judge) Clean(phase int) bool {
	return j.p.sums[phase] && j.stirred&(1<<(phase+1)-1) == 0
}

// Matched reports whether a rule that has matched has changed anything that later
// rules or people may look at.
func (j *Judge) Matched(id int) bool {
	n, known := j.p.byID[id]
	return known && j.p.rules[n].class != narrowing
}

// Work tells how many of the rules that were judged may match, and how many bytes of
// values there are to be looked at by them.
func (j *Judge) Work() (rules, bytes int) {
	for _, k := range j.keep {
		if k {
			rules++
		}
	}
	return rules, j.f.Bytes()
}

// Early reports whether a rule may have set something without matching as a whole.
func (j *Judge) Early() bool { return j.early }

// Dirty reports whether a rule of the phase that sets or shows something may match.
func (j *Judge) Dirty(phase int) bool { return j.dirty>>phase&1 != 0 }

// idle reports whether a rule that may match would take out nothing but what is out
// already.
func (j *Judge) idle(r *rule) bool {
	if !r.idle {
		return false
	}
	for _, n := range r.affects {
		if j.decided>>j.p.rules[n].Phase&1 == 0 || j.keep[n] {
			return false
		}
	}
	return true
}

// read looks at the values that rules of phase n look at.
func (j *Judge) read(n int) {
	r := &j.reader
	defer r.shut()
	clear(j.volatile)
	for i, p := range j.p.plans {
		if p.phases&(1<<n) == 0 {
			continue
		}
		if p.single {
			if settled[p.facts] {
				if j.seen[i] > 0 {
					continue
				}
				j.seen[i], r.fired = 1, j.firm
			} else {
				r.fired = j.volatile
			}
			j.single(p)
			continue
		}
		r.fired = j.firm
		if j.gone[i] != len(j.f.gone) {
			j.seen[i], j.gone[i] = 0, len(j.f.gone)
		}
		for _, fact := range j.f.of[p.facts][j.seen[i]:] {
			s := p.stateFor(r, fact.Key)
			value := fact.Value
			if p.form == ofName {
				value = fact.Key
			}
			r.look(j.p.verdicts, s, value)
			if r.spent {
				return
			}
		}
		j.seen[i] = len(j.f.of[p.facts])
	}
}

// single looks at the value of a variable that has one.
func (j *Judge) single(p *sourcePlan) {
	value := j.f.Get(p.facts)
	for i := range p.usual {
		if u := &p.usual[i]; u.value == value {
			j.reader.note(u.atoms)
			return
		}
	}
	j.reader.read(p.states.Load().any, value, 0)
}

// may reports whether a rule may match, and how many of its links may, from the
// first on.
func (j *Judge) may(r *rule) (may bool, reached int) {
	for k := range r.conds {
		if !j.holds(&r.conds[k]) {
			return false, k
		}
	}
	if r.Unclear != "" || r.chain == nil || r.chain.may(r, j.f, j.starts, j.isNarrowed) {
		return true, len(r.conds)
	}
	return false, len(r.conds) - 1 // if all links matched, the rule would
}

// starts reports whether the first link of a rule may have matched. The rule stands
// before the one that is asked about: what it saw in its phase may be gone.
func (j *Judge) starts(r *rule) bool {
	return !slices.Contains(j.excluded, r.ID) && j.started[r.n]
}

func (j *Judge) isNarrowed(r *rule) bool { return slices.Contains(j.narrowed, r.ID) }

// holds reports whether a condition does.
func (j *Judge) holds(c *condition) bool {
	if c.certain || c.open || c.atom >= 0 && (j.firm.has(c.atom) || j.volatile.has(c.atom)) {
		return true
	}
	for i := range c.counts {
		if n := &c.counts[i]; n.is(n.number(j.f, &j.reader)) {
			return true
		}
	}
	return false
}

// Remove calls yield with ranges of ids of rules that can be left out, of the
// phases that were decided since the last call. No rule that has to run is in
// them.
func (j *Judge) Remove(yield func(first, last int)) {
	first, last, fresh := 0, 0, false
	for i := range j.p.ids {
		id := &j.p.ids[i]
		decided, out := j.decided>>id.phase&1 != 0, id.rule < 0
		switch {
		case id.always:
			out = decided && j.Clean(id.phase)
		case id.rule >= 0:
			out = decided && (!j.keep[id.rule] || j.idle(j.p.rules[id.rule]))
		}
		if !out {
			if first != 0 && fresh {
				yield(first, last)
			}
			first, fresh = 0, false
			continue
		}
		if first == 0 {
			first = id.id
		}
		last = id.id
		if (id.rule >= 0 || id.always) && j.removed>>id.phase&1 == 0 || j.removed == 0 {
			fresh = true
		}
	}
	if first != 0 && fresh {
		yield(first, last)
	}
	j.removed = j.decided
}
