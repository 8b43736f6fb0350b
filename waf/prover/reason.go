package prover

import (
	"fmt"
	"strings"

	"sallyport/waf/transform"
)

// unknown tells what of a rule keeps it from being looked at before it runs: the
// first that there is of an operator, a transformation and a variable.
func (lo *lowering) unknown(r *Rule) string {
	for k := range r.Links {
		l := &r.Links[k]
		if len(l.Targets) == 0 {
			continue
		}
		o := l.Operator.Name
		if scanned[o] == 0 && plainTest(o, "") == nil {
			return fmt.Sprintf("what @%s looks for is not known", o)
		}
		for _, name := range l.Transformations {
			if _, ok := transform.Find(name); !ok {
				return fmt.Sprintf("what t:%s makes of a value is not known", name)
			}
		}
		for i := range l.Targets {
			if t := &l.Targets[i]; sources[t.Variable] == nil && !t.Except && !strings.EqualFold(t.Name, "TX") && !isMatched(t.Variable) {
				return fmt.Sprintf("what %s holds is not known before it runs", strings.ToUpper(t.Name))
			}
		}
		if expands[o] && lo.walk.args[l].c == dynamic {
			return fmt.Sprintf("what @%s compares with depends on the request", o)
		}
	}
	return "what it looks at is not known before it runs"
}

// A Reason tells why requests of a policy cannot be proven clean.
type Reason struct {
	Rule  int    // 0: none in particular, or one without an id
	Place string // of the rule or directive, as file:line
	Why   string
}

// String is the reason in one line.
func (r Reason) String() string {
	switch {
	case r.Rule != 0:
		return fmt.Sprintf("rule %d (%s): %s", r.Rule, r.Place, r.Why)
	case r.Place != "":
		return fmt.Sprintf("%s: %s", r.Place, r.Why)
	}
	return r.Why
}
