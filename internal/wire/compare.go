package wire

import (
	"fmt"
	"slices"
)

// Stray tells what happened that no outcome of the case speaks of: an answer on
// another stream, or a GOAWAY where the connection is not to blame.
func (c *Case) Stray(x *Exchange) []string {
	var stray []string
	for _, id := range x.Streams() {
		expected := slices.ContainsFunc(c.Outcomes, func(o Outcome) bool { return o.Stream == id })
		if r := x.Stream(id); !expected && r.Status != 0 {
			stray = append(stray, fmt.Sprintf("stream %d was answered %d, and nothing is expected there", id, r.Status))
		}
	}
	if e := x.Ending(0); e.Kind == GoneAway && !c.mayEnd() {
		stray = append(stray, e.String()+", and the connection is not to blame")
	}
	return stray
}

// mayEnd reports whether the end of the connection is expected somewhere.
func (c *Case) mayEnd() bool {
	return slices.ContainsFunc(c.Outcomes, func(o Outcome) bool {
		return slices.ContainsFunc(o.Any, func(e Ending) bool { return e.Kind == GoneAway || e.Kind == Closed })
	})
}

// EndsConnection reports whether the ending is one of the connection for which
// the case writes a reason, so that the record of it has to be looked up.
func (o *Outcome) EndsConnection(seen Ending) bool {
	return seen.Kind != Answered && seen.Kind != Reset &&
		slices.ContainsFunc(o.Any, func(e Ending) bool { return e.Kind == seen.Kind && e.Reason != "" })
}

// An Arrival is one whole request as a backend got it.
type Arrival struct {
	Target, Body string
	Fields       map[string]string // by name in lower case, trailers too; several values joined
}

// Compare tells how what reached the backend differs from the requests that
// were accepted. Their order does not count: streams are served side by side.
func Compare(accepted []Outcome, arrived []Arrival) (differs []string) {
	if len(arrived) != len(accepted) {
		differs = append(differs, fmt.Sprintf("%d requests reached the backend, want %d", len(arrived), len(accepted)))
	}
	arrived = slices.Clone(arrived)
	for i := range accepted {
		o := &accepted[i]
		at := slices.IndexFunc(arrived, func(a Arrival) bool { return o.Target == "" || a.Target == o.Target })
		if at < 0 {
			differs = append(differs, fmt.Sprintf("no request for %+q reached the backend", o.Target))
			continue
		}
		for _, d := range o.compare(&arrived[at]) {
			differs = append(differs, fmt.Sprintf("%+q reached the backend with %s", o.Target, d))
		}
		arrived = slices.Delete(arrived, at, at+1)
	}
	return differs
}

// compare tells what an accepted request should not have arrived with.
func (o *Outcome) compare(a *Arrival) (differs []string) {
	if o.HasBody && a.Body != o.Body {
		differs = append(differs, fmt.Sprintf("the body %+.100q instead of %+.100q", a.Body, o.Body))
	}
	for _, f := range o.Fields {
		if got, ok := a.Fields[f.Name]; !ok || got != f.Value {
			differs = append(differs, fmt.Sprintf("%s: %+q (%t) instead of %+q", f.Name, got, ok, f.Value))
		}
	}
	for _, name := range o.Absent {
		if got, ok := a.Fields[name]; ok {
			differs = append(differs, fmt.Sprintf("%s: %+q, which was to be dropped", name, got))
		}
	}
	return differs
}
