package waf

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
	"sallyport/waf/prover"
)

// fuzzed are the policies that FuzzEnginesAgree judges by: ordinary ones of the
// lowest and the highest level, and with rule files and exclusions of their own.
var fuzzed = [...]string{"1", "4", "rules", "own", "exclusions", "everything", "rules excluded", "rules early"}

// The bits of how a fuzzed request is made, above the three that choose a policy.
const (
	fuzzChunked = 1 << (3 + iota)
	fuzzAnswer  // the backend answers with the body
	fuzzBrowser // with the fields that a browser sends
	fuzzPacked  // the body is compressed
	fuzzEarly   // the answer comes before the body was read
)

// maxFuzzed bounds each part of a request, so that many can be judged: a long
// text takes the stock engine a while.
const maxFuzzed = 600

// fuzzTrial makes a request of its parts: the method, the target, the field lines
// with their line ends, the type of the body and the body.
func fuzzTrial(t testing.TB, how uint8, method, target, fields, contentType, body string) *trial {
	t.Helper()
	tr := &trial{name: "fuzzed", call: call{method: method, target: target, body: body, chunked: how&fuzzChunked != 0}}
	c := &tr.call
	if how&fuzzBrowser != 0 {
		c.fields = browser()
	}
	for line := range strings.SplitSeq(fields, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			c.fields = append(c.fields, gate.Field{Name: name, Value: strings.Trim(value, " ")})
		}
	}
	if contentType != "" {
		c.fields = append(c.fields, gate.Field{Name: "Content-Type", Value: contentType})
	}
	if how&fuzzAnswer != 0 {
		tr.answer = reply{fields: fieldsOf("Content-Type", "text/html"), body: body}
	}
	if body != "" && !c.chunked {
		c.fields = append(c.fields, gate.Field{Name: "Content-Length", Value: strconv.Itoa(len(body))})
	}
	if body != "" && how&fuzzPacked != 0 {
		*c = c.in(t, coding.Gzip)
	}
	if how&fuzzEarly != 0 {
		tr.flow = earlyAnswer
	}
	return tr
}

// FuzzEnginesAgree does what TestEnginesAgree does with any request.
func FuzzEnginesAgree(f *testing.F) {
	e, all, err := contestsOf(f, fuzzed[:]...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	rules := map[string]map[int]*prover.Rule{} // of the policies; one input at a time is judged
	seeds := 0
	seed := func(list []*trial, step int) {
		for i := 0; i < len(list); i += step {
			tr := list[i]
			var fields strings.Builder
			contentType := ""
			for _, f := range tr.call.fields {
				switch {
				case f.Name == "Content-Type" && contentType == "":
					contentType = f.Value
				case f.Name != "Content-Length":
					fields.WriteString(f.Name + ": " + f.Value + "\n")
				}
			}
			f.Add(uint8(seeds), tr.call.method, tr.call.target, fields.String(), contentType, tr.call.body)
			seeds++
		}
	}
	seed(specialTrials(f), 6)
	seed(evasionTrials(f), 18)
	seed(coreTrials(f), 90)
	f.Fuzz(func(t *testing.T, how uint8, method, target, fields, contentType, body string) {
		if slices.ContainsFunc([]string{method, target, fields, contentType, body}, func(s string) bool { return len(s) > maxFuzzed }) {
			t.Skip("long")
		}
		tr := fuzzTrial(t, how, method, target, fields, contentType, body)
		name := fuzzed[int(how)%len(fuzzed)]
		c := *all[name]
		c.rules = func() map[int]*prover.Rule {
			if rules[name] == nil {
				rules[name] = contestRules(t, name)
			}
			return rules[name]
		}
		d, _, _ := c.compare(tr)
		for again := 0; d != nil && again < 3; again++ { // of two orders of two values one comes seldom
			d, _, _ = c.compare(tr)
		}
		if d != nil {
			t.Errorf("policy %s: the engines differ:%s\nof the request\n%s", c.name, d, tr)
		}
	})
}
