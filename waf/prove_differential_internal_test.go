package waf

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// Bounds of what a difference is looked into and told with.
const (
	shownDifferences = 5   // told of one corpus
	maxTold          = 25  // lines of one side
	maxLineTold      = 600 // bytes of a line
	maxShrinking     = 150 // attempts to make a request smaller
	// maxSamples is how often the stock engine is asked again after a
	// difference. It walks through parameters in an order of its own each time,
	// and a chain remembers the last that matched. Where that is all that is left
	// of a difference, it is asked up to moreSamples times.
	maxSamples  = 60
	moreSamples = 600
)

// A judge is one policy of one engine.
type judge struct {
	engine *Engine
	policy string
}

// A contest is a policy under the stock engine and under the fast one.
type contest struct {
	name        string
	stock, fast judge
	// otherRules says that the two were built from different rules, so that the
	// names of their rules differ and say nothing.
	otherRules bool

	rules func() map[int]*prover.Rule // of the policy, by id
}

// A seen is all that one judge made of a request, as lines without an order:
// verdicts, bodies, the inspection, and what the engine's rules matched.
type seen struct {
	lines []string
	run   string // how the rules were run
	said  []said
}

// A flow is a course that a request takes through the gateway.
type flow uint8

const (
	wholeFlow   flow = iota // the body is read, then the response comes
	earlyAnswer             // the response comes before the body was read
	noAnswer                // the backend failed
	abandoned               // nobody reads the body, and no response comes
	flows                   // how many there are
)

// see judges a request.
func (j judge) see(tr *trial) seen {
	req := tr.request(j.policy)
	t := j.engine.Begin(req)
	s := seen{}
	t.ended = func() { s.engine(t) }
	v := t.Request()
	s.add("the verdict: %s", verdictLine(v))
	if v.Passed() {
		switch tr.flow {
		case wholeFlow:
			s.body(req, tr.answer.respond(t, &s))
		case earlyAnswer:
			respond := tr.answer.respond(t, &s)
			respond()
			s.body(req, nil)
		case noAnswer:
			s.body(req, nil)
		}
	}
	in := t.Close()
	s.run = in.Run
	s.add("the inspection: score %d of %d, inspected %q, the response %q, without %v, rules %s", in.Score, in.Threshold, in.Inspected, in.ResponseInspected, in.Excluded, in.Ruleset)
	s.hits(in.Hits)
	slices.Sort(s.lines)
	return s
}

func (s *seen) add(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// body reads the body as a backend would, and goes on to the response where
// that came to an end.
func (s *seen) body(req *gate.Request, then func()) {
	h := fnv.New64a()
	n, err := io.Copy(h, req.HTTP.Body)
	s.add("the body: %d bytes, %x", n, h.Sum64())
	if ve, ok := err.(*gate.VerdictError); ok {
		s.add("the body's verdict: %s", verdictLine(ve.Verdict))
	} else if err != nil {
		s.add("the body's error: %v", err)
	} else if then != nil {
		then()
	}
}

// respond returns what hands the response to the transaction, and reads what
// passes of it.
func (a *reply) respond(t *Transaction, s *seen) func() {
	return func() {
		resp := a.response()
		v := t.Response(resp)
		s.add("the answer's verdict: %s", verdictLine(v))
		if v.Passed() {
			h := fnv.New64a()
			n, err := io.Copy(h, resp.Body)
			s.add("the answer: %d bytes, %x, %v", n, h.Sum64(), err)
		}
	}
}

// verdictLine is all of a verdict.
func verdictLine(v gate.Verdict) string {
	return fmt.Sprintf("%s %s %q, status %d, close %v, retry %s, location %q, at %d of %q, mark %d, detail %q, error %v",
		v.Action, v.Stage, v.Reason, v.Status, v.Close, v.RetryAfter, v.Location, v.Offset, v.Excerpt, v.Mark, v.Detail, v.Err)
}

// counted finds the names of the variables that rule 922150 numbers in the
// order in which the engine comes upon the part headers, which is random.
var counted = regexp.MustCompile(`(?i)(multipart_headers_content_types_)\d+`)

// hits adds the record's hits. Of a rule that matched more than once, the order
// of its hits is random, and with it which of them holds the score and the
// line of the log, and which of more than a record keeps are kept. The engine's
// own matches hold the rest.
func (s *seen) hits(hits []gate.RuleHit) {
	byRule := map[int][]gate.RuleHit{}
	for _, h := range hits {
		byRule[h.Rule] = append(byRule[h.Rule], h)
	}
	for id, list := range byRule {
		score, disruptive, logged := 0, 0, 0
		for _, h := range list {
			score += h.Score
			if h.Disruptive {
				disruptive++
			}
			if h.LogLine != "" {
				logged++
			}
		}
		h := list[0]
		s.add("hit %d: phase %d, %s, level %d, score %d, %s:%d, tags %v, disruptive %d, logged %d, %d times", id, h.Phase, h.Severity, h.Paranoia, score, h.File, h.Line, h.Tags, disruptive, logged, len(list))
		if len(list) == 1 {
			s.add("hit %d says %q, %q, %q", id, h.Message, counted.ReplaceAllString(h.Data, "${1}N"), counted.ReplaceAllString(h.LogLine, "${1}N"))
		}
		if len(list) < maxHitsPerRule && len(hits) < maxHits {
			for _, h := range list {
				s.add("hit %d at %s = %q", id, counted.ReplaceAllString(h.Variable, "${1}N"), h.Value)
			}
		}
	}
}

// engine adds what the engine holds when all rules have run: every match of a
// rule that has an effect, and the scores.
func (s *seen) engine(t *Transaction) {
	if t.run.tx == nil {
		return // no rule with an effect can match
	}
	for _, m := range t.run.tx.MatchedRules() {
		id := m.Rule().ID()
		r := t.policy.rules.rules[id]
		if r.points == 0 && r.decision == "" && !logs(m) {
			continue
		}
		s.add("rule %d matches, disruptive %v", id, m.Disruptive())
		for _, d := range m.MatchedDatas() {
			s.add("rule %d matches at %d: %s:%q = %q", id, d.ChainLevel(), d.Variable().Name(), counted.ReplaceAllString(d.Key(), "${1}N"), d.Value())
			// What a chain says stands with the match of its head that came
			// first, which is random.
			if d.Message() != "" || d.Data() != "" {
				s.add("rule %d says at %d: %q, %q", id, d.ChainLevel(), d.Message(), counted.ReplaceAllString(d.Data(), "${1}N"))
				s.said = append(s.said, said{line: s.lines[len(s.lines)-1], rule: id, level: d.ChainLevel(), message: d.Message(), data: d.Data(), matches: m.MatchedDatas()})
			}
		}
	}
	for _, m := range t.run.tx.Variables().TX().FindAll() {
		if n, _ := strconv.Atoi(m.Value()); n != 0 && scored(m.Key()) {
			s.add("score %s = %d", strings.ToLower(m.Key()), n)
		}
	}
}

// scored reports whether a TX variable holds a score, and not what one match
// adds to it, or what it is compared with.
func scored(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "critical_anomaly_score", "error_anomaly_score", "warning_anomaly_score", "notice_anomaly_score":
		return false
	}
	return strings.HasSuffix(name, "_score") || strings.Contains(name, "_score_pl")
}

// silent reports whether no rule had an effect.
func (s seen) silent() bool {
	return !slices.ContainsFunc(s.lines, func(l string) bool {
		return strings.HasPrefix(l, "hit ") || strings.HasPrefix(l, "rule ") || strings.HasPrefix(l, "score ") || strings.HasPrefix(l, "the inspection: score ") && !strings.HasPrefix(l, "the inspection: score 0 ")
	})
}

// ruleset finds the hash of the rules in an inspection.
var ruleset64 = regexp.MustCompile(`rules sha256:[0-9a-f]+$`)

// without are the lines of s that o lacks, counted.
func (s seen) without(o seen) []string {
	left := map[string]int{}
	for _, l := range o.lines {
		left[l]++
	}
	var out []string
	for _, l := range s.lines {
		if left[l]--; left[l] < 0 {
			out = append(out, l)
		}
	}
	return out
}

// A difference is what two judges did not agree on.
type difference struct{ stock, fast []string }

// compare judges a request by both and returns the difference, or nil. settled
// tells that the two differed in what the stock engine is not at one with
// itself about.
func (c *contest) compare(tr *trial) (d *difference, fast seen, settled bool) {
	return c.compareWith(tr, c.see(c.stock, tr))
}

// see judges a request by one of the two.
func (c *contest) see(j judge, tr *trial) seen {
	var s seen
	if j == c.stock {
		s = j.whole(tr)
	} else {
		s = j.see(tr)
	}
	if c.otherRules {
		for i, l := range s.lines {
			s.lines[i] = ruleset64.ReplaceAllString(l, "")
		}
	}
	return s
}

// compareWith compares with what the stock engine came to.
func (c *contest) compareWith(tr *trial, stock seen) (d *difference, fast seen, settled bool) {
	fast = c.see(c.fast, tr)
	switch {
	case stock.run != "" && stock.run != gate.RunFull:
		return &difference{stock: []string{"the stock engine was run " + stock.run}}, fast, false
	case fast.run == gate.RunProven && !fast.silent():
		return &difference{fast: append([]string{"proven, and yet:"}, fast.lines...)}, fast, false
	case fast.run == gate.RunProven && !stock.silent():
		return &difference{stock: stock.without(fast), fast: append([]string{"proven"}, fast.without(stock)...)}, fast, false
	case slices.Equal(stock.lines, fast.lines):
		return nil, fast, false
	}
	// What some run of the stock engine has may be there, and what all of them
	// have must be there.
	most, least, n := counts(stock), counts(stock), counts(fast)
	absent, found := stock.matched().without(fast.matched()), map[string]int{}
	for i := range moreSamples {
		again := c.see(c.stock, tr)
		if len(absent) == 0 && slices.Equal(again.lines, fast.lines) {
			return nil, fast, true
		}
		for _, l := range again.matched().lines {
			found[l]++
		}
		of := counts(again)
		for l := range of {
			most[l] = max(most[l], of[l])
		}
		for l := range least {
			least[l] = min(least[l], of[l])
		}
		if i+1 < maxSamples {
			continue
		}
		d = &difference{}
		for l := range n {
			if n[l] > most[l] && !c.composed(&fast, l, most, least) {
				d.fast = append(d.fast, l)
			}
		}
		for l := range least {
			if n[l] < least[l] {
				d.stock = append(d.stock, l)
			}
		}
		if len(d.fast) == 0 && len(d.stock) == 0 {
			if d.stock = c.missing(tr, absent, found); len(d.stock) == 0 {
				return nil, fast, true
			}
			break
		}
		if !c.random(d, most, least) {
			break
		}
	}
	slices.Sort(d.fast)
	slices.Sort(d.stock)
	return d, fast, false
}

// matched are the lines that say that a rule matches, and no more.
func (s seen) matched() seen {
	return seen{lines: slices.DeleteFunc(slices.Clone(s.lines), func(l string) bool { return !ruleMatches.MatchString(l) })}
}

var ruleMatches = regexp.MustCompile(`^rule \d+ matches, `)

// missing returns those of the rules that the fast engine has not found, that the
// stock engine finds in many runs, and the fast one in none of many more: what is
// random must be random in both. found holds in how many of maxSamples runs.
func (c *contest) missing(tr *trial, absent []string, found map[string]int) []string {
	absent = slices.DeleteFunc(absent, func(l string) bool { return found[l] < maxSamples/4 })
	for range maxSamples {
		if len(absent) == 0 {
			break
		}
		fast := c.see(c.fast, tr).lines
		absent = slices.DeleteFunc(absent, func(l string) bool { return slices.Contains(fast, l) })
	}
	return absent
}

// counts counts equal lines.
func counts(s seen) map[string]int {
	n := map[string]int{}
	for _, l := range s.lines {
		n[l]++
	}
	return n
}

// String tells the difference, bounded.
func (d *difference) String() string {
	var b strings.Builder
	for _, side := range []struct {
		name  string
		lines []string
	}{{"only stock", d.stock}, {"only fast", d.fast}} {
		for i, l := range side.lines {
			if i == maxTold {
				fmt.Fprintf(&b, "\n  %s: %d more", side.name, len(side.lines)-i)
				break
			}
			fmt.Fprintf(&b, "\n  %s: %.*s", side.name, maxLineTold, l)
		}
	}
	return b.String()
}

// shrink makes the request of a difference smaller, as long as there is one.
func (c *contest) shrink(tr *trial, d *difference) (*trial, *difference) {
	attempts := 0
	try := func(change func(*trial)) bool {
		if attempts++; attempts > maxShrinking {
			return false
		}
		smaller := tr.clone()
		change(smaller)
		found, _, _ := c.compare(smaller)
		if found != nil {
			tr, d = smaller, found
		}
		return found != nil
	}
	if tr.flow != wholeFlow {
		try(func(tr *trial) { tr.flow = wholeFlow })
	}
	try(func(tr *trial) { tr.answer = reply{} })
	for i := len(tr.call.fields) - 1; i >= 0; i-- {
		try(func(tr *trial) { tr.call.fields = slices.Delete(tr.call.fields, i, i+1) })
	}
	for _, text := range []func(*trial) *string{func(tr *trial) *string { return &tr.call.body }, func(tr *trial) *string { return &tr.call.target }} {
		for size := len(*text(tr)) / 2; size > 0; size /= 2 {
			for at := 0; at+size <= len(*text(tr)) && attempts < maxShrinking; {
				if !try(func(tr *trial) { s := text(tr); *s = (*s)[:at] + (*s)[at+size:]; tr.setLength() }) {
					at += size
				}
			}
		}
	}
	return tr, d
}

// A tally counts what became of the requests of a corpus.
type tally struct {
	mu          sync.Mutex
	corpus      string
	runs        map[string]int // by how the rules were run
	requests    int
	silent      int // that the stock engine finds nothing in
	settled     int
	differences int
}

func newTally(corpus string) *tally { return &tally{corpus: corpus, runs: map[string]int{}} }

// String tells the counts.
func (n *tally) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var runs []string
	for _, run := range slices.Sorted(maps.Keys(n.runs)) {
		runs = append(runs, fmt.Sprintf("%d %s", n.runs[run], cmp.Or(run, "untold")))
	}
	return fmt.Sprintf("%s: %d requests, %d of them silent, %s, %d settled, %d differences", n.corpus, n.requests, n.silent, strings.Join(runs, ", "), n.settled, n.differences)
}

// proven is the share of the requests that were proven.
func (n *tally) proven() float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return float64(n.runs[gate.RunProven]) / float64(max(n.requests, 1))
}

// compareEngines judges a request under both engines and fails where they do
// not come to the same: verdicts, inspections, bodies, matches and scores.
func compareEngines(t *testing.T, c *contest, tr *trial, n *tally) {
	t.Helper()
	d, fast, settled := c.compare(tr)
	n.mu.Lock()
	n.requests++
	n.runs[fast.run]++
	if d == nil && fast.silent() {
		n.silent++
	}
	if settled {
		n.settled++
	}
	if d != nil {
		n.differences++
	}
	told := d != nil && n.differences <= shownDifferences
	n.mu.Unlock()
	if told {
		small, less := c.shrink(tr, d)
		t.Errorf("%s, policy %s: the engines differ:%s\nof the request\n%s\nthat was made smaller to\n%s\nof which they differ:%s", tr.name, c.name, d, tr, small, less)
	}
}

// A reply is a response of the backend. The zero reply is an empty 200.
type reply struct {
	status int
	fields []gate.Field
	body   string
	cut    bool // the backend breaks off at the end of the body
}

// response makes the response that the gateway would have got.
func (a *reply) response() *http.Response {
	resp := &http.Response{StatusCode: cmp.Or(a.status, http.StatusOK), Proto: "HTTP/1.1", Header: http.Header{}, Body: http.NoBody}
	for _, f := range a.fields {
		resp.Header.Add(f.Name, f.Value)
	}
	if a.body != "" || a.cut {
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(a.body)), int64(len(a.body))
	}
	if a.cut {
		resp.Body, resp.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(a.body), failing{io.ErrUnexpectedEOF})), -1
	}
	return resp
}
