package ftw

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"sallyport/internal/gate"
)

// A Kind is how a test came out.
type Kind string

// The kinds.
const (
	Passed  Kind = "pass"
	Refused Kind = "refused_earlier" // refused by a named reason before the rules judged it
	Failed  Kind = "fail"
	Skipped Kind = "skip" // disabled in its file
)

// A Result is how one test came out, and why.
type Result struct {
	Test string `json:"test"`
	Desc string `json:"desc,omitempty"`
	File string `json:"file"`
	Line int    `json:"line"`
	Kind Kind   `json:"kind"`
	// By is the reason that refused the request; only with Refused.
	By gate.Reason `json:"by,omitempty"`
	// Stage is the stage that decided, from 1; 0 when the test was skipped.
	Stage int `json:"stage,omitempty"`
	// Details say what was expected and what was found. They hold what the test
	// sent: quoted before they are printed.
	Details []string `json:"details,omitempty"`
	// Status and Outcome are those of the deciding stage.
	Status  int           `json:"status,omitempty"`
	Outcome *Outcome      `json:"outcome,omitempty"`
	Took    time.Duration `json:"took_ns"`
}

// judge compares what came back with what was expected, and returns one line
// for each thing that does not hold. The outcome is nil when the gateway has
// no record of the request.
func (o *Output) judge(r *reply, found *Outcome) (kind Kind, details []string) {
	if found == nil {
		found = &Outcome{}
	}
	if o.Error {
		if r.err != nil || r.status == http.StatusBadRequest || found.early() {
			return Passed, nil
		}
		return Failed, []string{fmt.Sprintf("expected an error, got status %d", r.status)}
	}
	if r.err != nil {
		return Failed, []string{"no answer: " + r.err.Error()}
	}
	bad := func(format string, args ...any) { details = append(details, fmt.Sprintf(format, args...)) }

	if len(o.Status) > 0 && !slices.Contains(o.Status, r.status) {
		bad("expected status %s, got %d", numbers(o.Status), r.status)
	}
	if o.Response != nil && !o.Response.Match(r.raw) {
		bad("the answer does not match %q", o.Response)
	}
	if missing := without(o.Expect, found.Rules); len(missing) > 0 {
		bad("expected rule %s, logged %s", numbers(missing), numbers(found.Rules))
	}
	if unwanted := without(o.Forbid, without(o.Forbid, found.Rules)); len(unwanted) > 0 {
		bad("rule %s must not be logged", numbers(unwanted))
	}
	if o.Match != nil && !matchesAny(o.Match, found.Lines) {
		bad("no log line matches %q; logged %s", o.Match, numbers(found.Rules))
	}
	if o.NoMatch != nil && matchesAny(o.NoMatch, found.Lines) {
		bad("a log line matches %q", o.NoMatch)
	}
	if o.Isolated && len(found.Rules) != 1 {
		bad("expected one rule alone, logged %s", numbers(found.Rules))
	}
	switch {
	case found.early() && (len(details) > 0 || o.negative()):
		// Where only silence was expected, the silence of rules that never ran
		// proves nothing.
		return Refused, append(details, fmt.Sprintf("refused by %s: %s", found.Reason, found.Detail))
	case len(details) > 0:
		if found.Action == gate.Refuse.String() || found.Action == gate.Fail.String() {
			bad("the gateway answered by itself: %s %s", found.Reason, found.Detail)
		}
		return Failed, details
	}
	return Passed, nil
}

// without returns the numbers of a that are not in b.
func without(a, b []int) []int {
	var rest []int
	for _, v := range a {
		if !slices.Contains(b, v) {
			rest = append(rest, v)
		}
	}
	return rest
}

func matchesAny(re *regexp.Regexp, lines []string) bool {
	return slices.ContainsFunc(lines, re.MatchString)
}

// numbers prints a list of numbers as a person would write it.
func numbers(vs []int) string {
	if len(vs) == 0 {
		return "none"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(vs), " ", ", "), "[]")
}
