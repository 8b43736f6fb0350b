package ftw

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"sallyport/internal/gate"
)

// A Target is the gateway that tests are run against. Its methods are called
// from several goroutines at once.
type Target interface {
	// Dial opens a connection of its own for one request.
	Dial(ctx context.Context) (net.Conn, error)
	// Outcome returns what the gateway recorded of the request that it
	// answered with this X-Request-Id. It waits until the record is there, and
	// fails when ctx ends before.
	Outcome(ctx context.Context, id string) (Outcome, error)
}

// An Outcome is what the gateway recorded about one request.
type Outcome struct {
	Action string      `json:"action"` // pass, observe, refuse or fail
	Stage  gate.Stage  `json:"stage,omitempty"`
	Reason gate.Reason `json:"reason,omitempty"`
	Detail string      `json:"detail,omitempty"`
	// Rules are the rules that were logged, in order, each once.
	Rules []int `json:"rules"`
	// Lines are their lines in the form of ModSecurity's error log.
	Lines []string `json:"-"`
}

// OutcomeOf takes from a record, as the handler hands it out, what tests ask
// about. Rules without a log line were told not to log and do not count.
func OutcomeOf(rec *gate.Record) Outcome {
	o := Outcome{Action: rec.Action, Stage: rec.Stage, Reason: rec.Reason, Detail: rec.Detail}
	if rec.WAF == nil {
		return o
	}
	for i := range rec.WAF.Matches {
		if m := &rec.WAF.Matches[i]; m.LogLine != "" {
			o.add(m.Rule, m.LogLine)
		}
	}
	return o
}

// add notes one logged rule.
func (o *Outcome) add(rule int, line string) {
	if !slices.Contains(o.Rules, rule) {
		o.Rules = append(o.Rules, rule)
	}
	o.Lines = append(o.Lines, line)
}

// early reports whether the request was refused before the rules could judge
// it: by the HTTP grammar, by the limits of the stages, or by what keeps the
// rule engine from seeing the same request as the backend.
func (o *Outcome) early() bool {
	if o.Action != gate.Refuse.String() {
		return false
	}
	switch o.Reason {
	case gate.WAFDuplicateName, gate.WAFTooManyArguments, gate.WAFBodyTooLarge, gate.WAFBodyUnreadable, gate.WAFEncoding:
		return true
	}
	return o.Reason.Stage() == gate.StageHTTP
}

// maxKept bounds the records that a Collector holds for tests that have not
// asked for them yet.
const maxKept = 4096

var errBusy = errors.New("too many requests wait for their records")

// A Collector pairs records with the requests that wait for them: it is the
// recorder of a gateway that runs in the same process. The zero Collector is
// ready.
type Collector struct {
	mu      sync.Mutex
	order   []string                  // ids of kept, oldest first
	kept    map[string]Outcome        // recorded and not asked for
	waiting map[string]chan<- Outcome // asked for and not recorded
}

// Record takes one record. It never blocks. The second record of a tunnel is
// left out.
func (c *Collector) Record(rec gate.Record) {
	if rec.Event != "" {
		return
	}
	o := OutcomeOf(&rec)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.waiting[rec.ID]; ok {
		delete(c.waiting, rec.ID)
		ch <- o // has room: one record an id
		return
	}
	if c.kept == nil {
		c.kept = make(map[string]Outcome)
	}
	if len(c.order) == maxKept {
		delete(c.kept, c.order[0])
		c.order = c.order[1:]
	}
	c.kept[rec.ID] = o
	c.order = append(c.order, rec.ID)
}

// Outcome returns the outcome of the request with the id once it is recorded.
func (c *Collector) Outcome(ctx context.Context, id string) (Outcome, error) {
	c.mu.Lock()
	if o, ok := c.kept[id]; ok {
		delete(c.kept, id)
		c.order = slices.DeleteFunc(c.order, func(s string) bool { return s == id })
		c.mu.Unlock()
		return o, nil
	}
	if len(c.waiting) == maxKept {
		c.mu.Unlock()
		return Outcome{}, errBusy
	}
	if c.waiting == nil {
		c.waiting = make(map[string]chan<- Outcome)
	}
	ch := make(chan Outcome, 1)
	c.waiting[id] = ch
	c.mu.Unlock()
	select {
	case o := <-ch:
		return o, nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		return Outcome{}, ctx.Err()
	}
}
