package wire

import (
	"strings"
	"testing"

	"sallyport/internal/gate"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	want := []Outcome{{Target: "/1", Body: "a", HasBody: true, Fields: []gate.Field{{Name: "x", Value: "1"}}, Absent: []string{"te"}}, {Target: "/2"}}
	one, two := Arrival{"/1", "a", map[string]string{"x": "1"}}, Arrival{"/2", "", nil}
	for _, tc := range []struct {
		rule    string
		arrived []Arrival
		why     string // empty: nothing differs
	}{
		{"all, in any order", []Arrival{two, one}, ""},
		{"one is missing", []Arrival{one}, `no request for "/2"`},
		{"one too many", []Arrival{one, two, two}, "3 requests reached the backend, want 2"},
		{"another body", []Arrival{{"/1", "b", one.Fields}, two}, `the body "b" instead of "a"`},
		{"another value", []Arrival{{"/1", "a", map[string]string{"x": "2"}}, two}, `x: "2"`},
		{"a field that was to be dropped", []Arrival{{"/1", "a", map[string]string{"x": "1", "te": "y\u202e"}}, two}, `te: "y\u202e", which was to be dropped`},
	} {
		got := strings.Join(Compare(want, tc.arrived), "; ")
		if !strings.Contains(got, tc.why) || (got == "") != (tc.why == "") {
			t.Errorf("%s: %q, want %q", tc.rule, got, tc.why)
		}
	}
}

func TestStray(t *testing.T) {
	t.Parallel()
	ok := Outcome{Stream: 1, Any: []Ending{{Kind: Answered, Status: 200}}}
	end := Outcome{Any: []Ending{{Kind: GoneAway, Code: 1}}}
	answered := map[uint32]*Response{1: {Status: 200, Ended: true}, 3: {Status: 200, Ended: true}}
	for _, tc := range []struct {
		rule     string
		outcomes []Outcome
		x        Exchange
		why      string
	}{
		{"an answer that is expected", []Outcome{ok, {Stream: 3}}, Exchange{streams: answered}, ""},
		{"and one that is not", []Outcome{ok}, Exchange{streams: answered}, "stream 3 was answered 200"},
		{"an end that is expected", []Outcome{ok, end}, Exchange{goAway: []uint32{1}}, ""},
		{"and one that is not", []Outcome{ok}, Exchange{goAway: []uint32{1}}, "goaway PROTOCOL_ERROR"},
	} {
		got := strings.Join((&Case{Outcomes: tc.outcomes}).Stray(&tc.x), "; ")
		if !strings.Contains(got, tc.why) || (got == "") != (tc.why == "") {
			t.Errorf("%s: %q, want %q", tc.rule, got, tc.why)
		}
	}
}

const renamed = "protocol: h2\nexpect: 200\nfield: host: a.example:80\n--\nHEADERS 1 END_HEADERS\n  :authority: a.example:80\nDATA 1 \"a.example\"\nHEADERS 1 END_HEADERS END_STREAM\n  x: y\nHEADERS 3 END_HEADERS END_STREAM\n  x: y\n"

func TestRename(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte(renamed))
	if err != nil {
		t.Fatal(err)
	}
	got, changed, err := c.Rename("a.example", `shop\x.test`)
	if raw := string(got.Raw); err != nil || !changed || !strings.Contains(raw, `shop\x.test:80`) || !strings.Contains(raw, "\x00\x00\x00\x01a.example") {
		t.Errorf("Rename = %q, %v, %v", raw, changed, err)
	}
	if host := got.Outcomes[0].Fields[0].Value; host != `shop\x.test:80` || c.Outcomes[0].Fields[0].Value != "a.example:80" {
		t.Errorf("the backend is to get the host %q, and before %q", host, c.Outcomes[0].Fields[0].Value)
	}
	if _, changed, err := c.Rename("b.example", "x"); changed || err != nil {
		t.Errorf("Rename of what is not there = %v, %v", changed, err)
	}
}

func TestOpens(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte(renamed))
	if opened, bodies := c.Opens(); err != nil || opened != 2 || bodies != 1 {
		t.Errorf("Opens = %d, %d, %v, want 2 streams, one with a body", opened, bodies, err)
	}
}
