package waf

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/corazawaf/coraza/v3/collection"
	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/prover"
)

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

// begin has the engine make a transaction, under the settings of the policy and
// without what is excluded for the request, and tells it all facts so far. The
// head has been read. It reports whether the request goes on.
func (t *Transaction) begin() bool {
	tx, ok := t.rules.waf.NewTransactionWithID(t.req.ID).(state)
	if !ok {
		return !t.fail(errors.New("the engine's transactions lack their variables"))
	}
	t.tx = tx
	for _, s := range t.policy.settings {
		tx.Variables().TX().Set(s.name, s.value)
	}
	t.exclude()
	tx.ProcessConnection(t.facts.Get(vars.RemoteAddr), int(t.req.Peer.Port()), "", 0)
	tx.SetServerName(t.facts.Get(vars.ServerName))
	tx.ProcessURI(t.facts.Get(vars.RequestURIRaw), t.facts.Get(vars.RequestMethod), t.facts.Get(vars.RequestProtocol))
	// The engine lets parameters without a name share one string; see own. The
	// same parameters are among the facts.
	if !t.clear(vars.ArgsGet) {
		return !t.fail(errors.New("the engine's arguments cannot be replaced"))
	}
	t.tell()
	return true
}

// tell fills the engine's variables from the facts that it does not know yet.
func (t *Transaction) tell() {
	for v, facts := range t.facts.News() {
		switch c := t.tx.Collection(v).(type) {
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
	}
}

// forget removes a key from a variable, from the facts and where the engine
// knows of it. The key is in lower case.
func (t *Transaction) forget(v prover.Variable, key string) {
	t.facts.Remove(v, key)
	if t.tx == nil {
		return
	}
	if c, ok := t.tx.Collection(v).(collection.Map); ok {
		c.Remove(key)
	}
}

// clear empties one of the engine's variables, and reports whether that can be
// done.
func (t *Transaction) clear(v prover.Variable) bool {
	c, ok := t.tx.Collection(v).(interface{ Reset() })
	if ok {
		c.Reset()
	}
	return ok
}
