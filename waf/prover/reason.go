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
