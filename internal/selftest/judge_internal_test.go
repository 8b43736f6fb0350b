package selftest

import (
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

func TestJudgement(t *testing.T) {
	t.Parallel()
	refused := &wire.Case{Answers: []wire.Answer{{Status: 400, Reason: gate.HTTPBareLF}}}
	accepted := &wire.Case{Answers: []wire.Answer{{Status: 200, Target: "/a", Body: "hello", HasBody: true}}}
	second := &wire.Case{Answers: []wire.Answer{{Status: 200, Target: "/1"}, {Status: 400, Reason: gate.HTTPBareLF}}}
	pair := &wire.Case{Answers: []wire.Answer{{Status: 200, Target: "/1"}, {Status: 200, Target: "/2"}}}
	whole := Message{Method: "POST", Target: "/a", Body: "hello"}
	got := func(m ...Message) []Stream { return []Stream{{Total: 1, Messages: m}} }
	is := func(all ...answered) []answered { return all }
	for _, tc := range []struct {
		rule   string
		j      judgement
		want   Outcome
		why    string // in what differs; empty: nothing does
		cutOff bool
	}{
		{"a refusal as expected", judgement{c: refused, bytes: true, closed: true, answers: is(answered{400, "", true})}, Refused, "", false},
		{"a refusal with its reason", judgement{c: refused, own: true, bytes: true, closed: true, answers: is(answered{400, gate.HTTPBareLF, true})}, Refused, "", false},
		{"another reason", judgement{c: refused, own: true, bytes: true, closed: true, answers: is(answered{400, gate.HTTPBareCR, true})}, Different, "http.bare_cr, want 400 http.bare_lf", false},
		{"another status", judgement{c: refused, bytes: true, closed: true, answers: is(answered{403, "", true})}, Different, "answer 1 is 403", false},
		{"an accepted request that should not be", judgement{c: refused, closed: true, answers: is(answered{200, "", true})}, Different, "answer 1 is 200", false},
		{"no answer", judgement{c: refused, closed: true}, Different, "answer 1 is missing, the connection was closed", false},
		{"no answer in time", judgement{c: refused}, Different, "stayed open", false},
		{"one answer more", judgement{c: refused, closed: true, answers: is(answered{400, "", true}, answered{200, "", true})}, Different, "answer 2 is 200, want none", false},
		{"open after a refusal", judgement{c: refused, answers: is(answered{400, "", true})}, Different, "stayed open", false},
		{"refused, but the backend got it", judgement{c: refused, bytes: true, closed: true, answers: is(answered{400, "", true}), seen: got(whole)}, Different, "1 whole requests reached the backend, want 0", false},
		{"refused, but the backend got bytes", judgement{c: refused, bytes: true, closed: true, answers: is(answered{400, "", true}), seen: []Stream{{Odd: "an LF without CR"}}}, Different, "an LF without CR", false},
		{"refused in the body and cut off", judgement{c: refused, bytes: true, closed: true, answers: is(answered{400, "", true}), seen: got(Message{Method: "POST", Cut: true})}, Refused, "", true},
		{"of which our own gateway may send nothing", judgement{c: refused, own: true, bytes: true, closed: true, answers: is(answered{400, gate.HTTPBareLF, true}), seen: got(Message{Method: "POST", Cut: true})}, Different, "without its end", false},
		{"cut off twice", judgement{c: refused, bytes: true, closed: true, answers: is(answered{400, "", true}), seen: got(Message{Method: "POST", Cut: true}, Message{Method: "POST", Cut: true})}, Different, "without its end", true},
		{"accepted and forwarded", judgement{c: accepted, bytes: true, closed: true, answers: is(answered{200, "", true}), seen: got(whole)}, Forwarded, "", false},
		{"accepted and not forwarded", judgement{c: accepted, bytes: true, closed: true, answers: is(answered{200, "", true})}, Different, "0 whole requests", false},
		{"accepted and forwarded twice", judgement{c: accepted, bytes: true, closed: true, answers: is(answered{200, "", true}), seen: got(whole, whole)}, Different, "2 whole requests", false},
		{"accepted and cut off", judgement{c: accepted, bytes: true, closed: true, answers: is(answered{200, "", true}), seen: got(whole, Message{Cut: true})}, Different, "without its end", false},
		{"another target", judgement{c: accepted, bytes: true, closed: true, answers: is(answered{200, "", true}), seen: got(Message{Target: "/b", Body: "hello"})}, Different, "target /b, want /a", false},
		{"another body", judgement{c: accepted, bytes: true, closed: true, answers: is(answered{200, "", true}), seen: got(Message{Target: "/a", Body: "hell"})}, Different, `body "hell"`, false},
		{"the backend's own answer counts as forwarded", judgement{c: accepted, closed: true, answers: is(answered{404, "", true})}, Forwarded, "", false},
		{"but not when the capture is the backend", judgement{c: accepted, bytes: true, closed: true, answers: is(answered{404, "", true}), seen: got(whole)}, Different, "answer 1 is 404", false},
		{"a strict stage that is too strict", judgement{c: accepted, closed: true, answers: is(answered{400, "", true})}, Different, "answer 1 is 400, want 200", false},
		{"a backend that refuses by itself", judgement{c: accepted, closed: true, answers: is(answered{400, "", false})}, NotJudged, "the backend refused it", false},
		{"another stage refused one of two", judgement{c: pair, bytes: true, answers: is(answered{403, "", false}, answered{200, "", false}), seen: got(Message{Target: "/2"})}, NotJudged, "another stage", false},
		{"another stage refused", judgement{c: accepted, bytes: true, answers: is(answered{429, "", true})}, NotJudged, "another stage", false},
		{"another stage refused, yet it was forwarded", judgement{c: accepted, bytes: true, answers: is(answered{429, "", true}), seen: got(whole, whole)}, Different, "2 whole requests", false},
		{"of our own gateway only the methods may", judgement{c: accepted, own: true, bytes: true, answers: is(answered{405, gate.HTTPMethodNotAllowed, true})}, NotJudged, "another stage", false},
		{"and no limit", judgement{c: accepted, own: true, bytes: true, closed: true, answers: is(answered{429, gate.LimitOverBudget, true})}, Different, "answer 1 is 429 limit.over_budget", false},
		{"the request before the refused one", judgement{c: second, bytes: true, closed: true, answers: is(answered{200, "", true}, answered{400, "", true}), seen: got(Message{Target: "/1"})}, Refused, "", false},
		{"the request before the refused one is lost", judgement{c: second, bytes: true, closed: true, answers: is(answered{200, "", true}, answered{400, "", true})}, Different, "0 whole requests", false},
	} {
		o, why, cutOff := tc.j.outcome()
		if text := strings.Join(why, "; "); o != tc.want || cutOff != tc.cutOff || !strings.Contains(text, tc.why) || (tc.why == "") != (text == "") {
			t.Errorf("%s: %s %q, cut off %v, want %s %q, %v", tc.rule, o, text, cutOff, tc.want, tc.why, tc.cutOff)
		}
	}
}

func TestEscape(t *testing.T) {
	t.Parallel()
	evil := "a\r\n\t\x00\\\x1b]0;x\x07\x7f\xff\u202e\u009b\u200b"
	if got, want := escape([]byte(evil)), `a\r\n\t\0\\\x1b]0;x\x07\x7f\xff\xe2\x80\xae\xc2\x9b\xe2\x80\x8b`; got != want {
		t.Errorf("escape = %s, want %s", got, want)
	}
	if got, want := escape([]byte(strings.Repeat("\x00", maxShown+3))), strings.Repeat(`\0`, maxShown)+"… (3 bytes more)"; got != want {
		t.Errorf("escape of much = %.40s…, want it cut at %d bytes", got, maxShown)
	}
}
