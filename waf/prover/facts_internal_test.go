package prover

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// A listener has what it was told of facts, as the engine keeps it.
type listener struct {
	cursor Cursor
	phase  int // the last that it was told of
	values map[Variable][]Fact
}

// listen tells it of the phases up to one, as an engine that begins late is told.
func (l *listener) listen(f *Facts, phase int) {
	f.News(&l.cursor, phase, func(v Variable, facts []Fact) {
		if singles[v] {
			l.values[v] = []Fact{facts[0]}
			return
		}
		l.values[v] = append(l.values[v], facts...)
	}, func(v Variable, key string) {
		l.values[v] = slices.DeleteFunc(l.values[v], func(fact Fact) bool { return SameKey(fact.Key, key) })
	})
	l.phase = phase
}

// picture is what some facts hold: values in no order, defaults left out.
func picture(values map[Variable][]Fact) string {
	var lines []string
	for v, facts := range values {
		for _, fact := range facts {
			if !singles[v] || fact.Value != Defaults[v] {
				lines = append(lines, fmt.Sprintf("%s %q=%q", v.Name(), fact.Key, fact.Value))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// TestNews has facts grow, change and shrink at random between phases, and tells
// listeners of them that begin in each phase and are told at any time: whenever they
// are told of a phase, they must have what the facts had when it was marked.
func TestNews(t *testing.T) {
	several := []Variable{vars.ArgsGet, vars.ArgsPost, vars.ResponseHeaders}
	keys := []string{"a", "B", "b", "c", "ſ", "S"}
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := &Facts{}
		now := map[Variable][]Fact{}
		marked := map[int]string{}
		var listeners []*listener
		check := func(l *listener, phase int) {
			t.Helper()
			if l.listen(f, phase); picture(l.values) != marked[phase] {
				t.Fatalf("seed %d: of phase %d, %d are listening, it was told\n%s\nwant\n%s", seed, phase, len(listeners), picture(l.values), marked[phase])
			}
		}
		var past []int
		for phase := 1; phase <= 5; phase++ {
			if r.IntN(6) == 0 {
				continue // it does not run
			}
			for range r.IntN(6) {
				switch r.IntN(5) {
				case 0, 1:
					v, key, value := several[r.IntN(len(several))], keys[r.IntN(len(keys))], fmt.Sprint(r.IntN(3))
					f.Add(v, key, value)
					now[v] = append(now[v], Fact{key, value})
				case 2, 3:
					v, value := []Variable{vars.RequestBody, vars.InboundDataError, vars.ResponseStatus}[r.IntN(3)], []string{"", "0", "1", "2"}[r.IntN(4)]
					f.Set(v, value)
					now[v] = []Fact{{"", value}}
				default:
					v, key := several[r.IntN(len(several))], strings.ToLower(keys[r.IntN(4)])
					f.Remove(v, key)
					now[v] = slices.DeleteFunc(slices.Clone(now[v]), func(fact Fact) bool { return SameKey(fact.Key, key) })
				}
			}
			f.Mark(phase)
			marked[phase] = picture(now)
			past = append(past, phase)
			// Those that listen are told at once, others begin now or later, with
			// all phases so far.
			for _, l := range listeners {
				check(l, phase)
			}
			if r.IntN(2) == 0 {
				l := &listener{values: map[Variable][]Fact{}}
				for _, phase := range past {
					check(l, phase)
				}
				listeners = append(listeners, l)
			}
		}
		if f.Reset(); len(f.Used()) > 0 || picture(map[Variable][]Fact{vars.ArgsGet: f.All(vars.ArgsGet)}) != "" {
			t.Fatalf("seed %d: something is left", seed)
		}
	}
}

// TestFacts holds what facts answer about themselves.
func TestFacts(t *testing.T) {
	f := facts(t, "ARGS_GET:a=1", "ARGS_GET:A=2", "ARGS_POST:b=3", "REQUEST_METHOD=GET")
	if got := f.Get(vars.InboundDataError); got != "" {
		t.Errorf("INBOUND_DATA_ERROR is %q, want nothing", got)
	}
	if got := f.Get(vars.RequestBodyLength); got != "0" {
		t.Errorf("REQUEST_BODY_LENGTH is %q, want its default", got)
	}
	seen := map[string]int{}
	if !f.Each(vars.ArgsNames, func(key, value string) { seen[key+" "+value]++ }) || !maps.Equal(seen, map[string]int{"a a": 1, "A A": 1, "b b": 1}) {
		t.Errorf("ARGS_NAMES are %v", seen)
	}
	if f.Each(vars.Time, func(string, string) {}) {
		t.Error("the time is made of facts")
	}
	f.Remove(vars.ArgsGet, "a")
	if len(f.All(vars.ArgsGet)) != 0 {
		t.Errorf("%v are left", f.All(vars.ArgsGet))
	}
	for _, tc := range []struct {
		key, lower string
		same       bool
	}{{"A", "a", true}, {"a", "a", true}, {"ab", "a", false}, {"K", "k", true}, {"ſ", "s", false}, {"İ", "i̇", false}, {"É", "é", true}} {
		if tc.same != (strings.ToLower(tc.key) == tc.lower) && tc.lower < "\x80" {
			t.Errorf("the test is wrong about %q and %q", tc.key, tc.lower)
		}
		if tc.lower < "\x80" && SameKey(tc.key, tc.lower) != tc.same {
			t.Errorf("SameKey(%q, %q) is %v, want %v", tc.key, tc.lower, !tc.same, tc.same)
		}
	}
}

// TestChanged tells what a phase saw from what is there later.
func TestChanged(t *testing.T) {
	f := facts(t, "RESPONSE_HEADERS:a=1", "REQBODY_PROCESSOR=JSON")
	f.Mark(2)
	for _, v := range []Variable{vars.ResponseHeaders, vars.ReqbodyProcessor, vars.InboundDataError} {
		if f.changed(v, 1) {
			t.Errorf("%s has changed, and nothing has", v.Name())
		}
	}
	f.Set(vars.ReqbodyProcessor, "XML")
	f.Set(vars.InboundDataError, "1")
	f.Add(vars.ResponseHeaders, "b", "2")
	if !f.changed(vars.ReqbodyProcessor, 1) || !f.changed(vars.ReqbodyProcessor, 2) || !f.changed(vars.InboundDataError, 2) {
		t.Error("what was set has not changed")
	}
	if f.changed(vars.ResponseHeaders, 2) {
		t.Error("what was added to has changed")
	}
	f.Mark(3)
	f.Remove(vars.ResponseHeaders, "a")
	f.Mark(4)
	if !f.changed(vars.ResponseHeaders, 3) || !f.changed(vars.ResponseHeaders, 1) || f.changed(vars.ResponseHeaders, 4) || f.changed(vars.ReqbodyProcessor, 3) {
		t.Error("who saw what was taken out, and who did not, is confused")
	}
}
