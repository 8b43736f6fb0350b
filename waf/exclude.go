package waf

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	vars "github.com/corazawaf/coraza/v3/types/variables"
	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// maxExcluded bounds the ids of rules that a record lists as excluded.
const maxExcluded = 100

// exclusionsFile is the name of what is made of the exclusions.
const exclusionsFile = "exclusions.conf"

// An excluder is what the engine's transactions offer to the ctl actions
// ruleRemoveById and ruleRemoveTargetById. Exclusions that hold for some
// requests use it directly: nothing that an operator wrote into them is ever
// read as SecLang.
type excluder interface {
	RemoveRuleByID(id int)
	RemoveRuleTargetByID(id int, variable vars.RuleVariable, key string, pattern *regexp.Regexp)
}

// An exclusion is an Exclusion made ready for one set of rules.
type exclusion struct {
	*Exclusion
	always   bool  // it holds for every request of the policy, without end
	built    []int // rules that were changed when the set was built
	live     []int // rules that are changed for each request that it holds for
	variable vars.RuleVariable
	key      string // lower case
	pattern  *regexp.Regexp
	told     atomic.Bool // that it has ended
}

// exclude adds the exclusions to the plan: as directives at the end, below
// every rule, where one holds for all requests and the directive says all that
// the exclusion means; else as what is done for each request.
func (p *plan) exclude(pol Policy, rules []*entry, now time.Time) gate.Diagnostics {
	if len(pol.Exclusions) == 0 {
		return nil
	}
	var diags gate.Diagnostics
	s := source{name: "@sallyport/" + exclusionsFile, shown: exclusionsFile}
	for i := range pol.Exclusions {
		x := &exclusion{Exclusion: &pol.Exclusions[i]}
		ids, found := x.find(rules, now)
		diags = append(diags, found...)
		if found.Fatal() || len(ids) == 0 {
			continue
		}
		x.always = x.Ends.IsZero() && x.Path == "" && len(x.Methods) == 0 && (x.Route == "" || slices.Equal(pol.Routes, []string{x.Route}))
		for _, e := range ids {
			if text := x.directive(e); text != "" {
				name, args, _ := strings.Cut(text, " ")
				s.directives = append(s.directives, directive{file: s.shown, line: len(s.directives) + 1, name: strings.ToLower(name), args: args, raw: text})
				x.built = append(x.built, e.id)
			} else {
				x.live = append(x.live, e.id)
			}
		}
		p.exclusions = append(p.exclusions, x)
	}
	if len(s.directives) > 0 {
		p.sources = append(p.sources, s)
	}
	return diags
}

// find selects the rules that the exclusion changes, and reports what is wrong
// with it. It makes the target ready.
func (x *exclusion) find(rules []*entry, now time.Time) ([]*entry, gate.Diagnostics) {
	warning := func(field, what, hint string) gate.Diagnostics {
		d := x.at(field, what, hint)
		d.Warning = true
		return gate.Diagnostics{d}
	}
	field := "rule"
	if x.Tag != "" {
		field = "tag"
	}
	if err := x.validate(); err != nil {
		return nil, gate.Diagnostics{x.at(field, err.Error(), "")}
	}
	if !x.Ends.IsZero() && !now.Before(x.Ends) {
		return nil, warning("expires", "expired: it is not applied", "remove it, or set a later day")
	}
	var there, gone []*entry
	for _, e := range rules {
		switch {
		case !x.selects(e):
		case e.removed != nil:
			gone = append(gone, e)
		default:
			there = append(there, e)
		}
	}
	if len(there) == 0 && len(gone) > 0 {
		return nil, warning(field, fmt.Sprintf("without effect: %s:%d removes %s", gone[0].removed.file, gone[0].removed.line, x.rules()), "")
	}
	if len(there) == 0 {
		return nil, gate.Diagnostics{x.at(field, "no rule is meant by "+x.rules(), nearest(rules, x.Exclusion))}
	}
	if x.Target == (Target{}) || x.Tag == "" && x.First == x.Last {
		for _, e := range there {
			if what := machinery(e.id); what != "" {
				return nil, gate.Diagnostics{x.at(field, fmt.Sprintf("rule %d cannot be excluded: %s", e.id, what), "exclude the rules that matched")}
			}
		}
	}
	if x.Target == (Target{}) {
		return there, warning(field, fmt.Sprintf("%s will look at nothing at all", x.rules()), "name what it must not look at, as in target: ARGS:comment")
	}
	return x.aim(there, warning)
}

// aim keeps the rules that look at the target, and makes it ready.
func (x *exclusion) aim(rules []*entry, warning func(field, what, hint string) gate.Diagnostics) ([]*entry, gate.Diagnostics) {
	var out []*entry
	var seen []string
	counted := 0
	for _, e := range rules {
		sees, counts := false, false
		for _, l := range e.links {
			for _, look := range l.looks() {
				sees = sees || look.covers(x.Target)
				counts = counts || look.covers(x.Target) && look.count
				if !look.except && look.variable != "TX" {
					seen = append(seen, look.variable)
				}
			}
		}
		switch {
		case counts: // with fewer to count it might match everything
			counted = e.id
		case sees:
			out = append(out, e)
		}
	}
	if len(out) == 0 && counted != 0 {
		return nil, gate.Diagnostics{x.at("target", fmt.Sprintf("rule %d counts %s", counted, x.Target.Variable), "exclude the whole rule: remove the target")}
	}
	if len(out) == 0 {
		slices.Sort(seen)
		return nil, warning("target", fmt.Sprintf("without effect: %s does not look at %s", x.rules(), x.Target), "it looks at "+strings.Join(slices.Compact(seen), ", "))
	}
	var err error
	if x.variable, err = vars.Parse(x.Target.Variable); err != nil {
		return nil, gate.Diagnostics{x.at("target", err.Error(), "")}
	}
	x.key = strings.ToLower(x.Target.Key)
	if x.Target.Pattern != "" {
		if x.pattern, err = keyPattern(x.Target.Pattern); err != nil {
			return nil, gate.Diagnostics{x.at("target", err.Error(), "")}
		}
		if !strings.HasPrefix(x.Target.Pattern, "^") || !strings.HasSuffix(x.Target.Pattern, "$") {
			return out, warning("target", "the pattern finds any name that it matches a part of", "write it from ^ to $")
		}
	} else if x.Target.Key == "" && targets[x.Target.Variable] {
		return out, warning("target", "every value of "+x.Target.Variable+" is taken out", "name one, as in "+x.Target.Variable+":comment")
	}
	return out, nil
}

// plainKey is a key that stands for itself in a directive.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// directive is what the exclusion comes to for one rule when the set is built.
// Empty: it depends on the request, or the directive would not say it: the
// engine's directive changes only the head of a chain, and reads more into
// some keys.
func (x *exclusion) directive(e *entry) string {
	switch {
	case !x.always || x.pattern != nil || x.key != "" && !plainKey.MatchString(x.key):
		return ""
	case x.Target == (Target{}):
		return "SecRuleRemoveById " + strconv.Itoa(e.id)
	}
	for _, l := range e.links[1:] {
		if slices.ContainsFunc(l.looks(), func(l look) bool { return l.covers(x.Target) }) {
			return ""
		}
	}
	target := x.Target.Variable
	if x.key != "" {
		target += ":" + x.key
	}
	return fmt.Sprintf("SecRuleUpdateTargetById %d \"!%s\"", e.id, target)
}

// touches reports whether the rule is one that the exclusion changes.
func (x *exclusion) touches(id int) bool {
	return slices.Contains(x.built, id) || slices.Contains(x.live, id)
}

// String tells where the exclusion stands and what it does, for people.
func (x *exclusion) String() string {
	s := fmt.Sprintf("%s:%d: ", x.At[""].File, x.At[""].Line)
	if x.Target == (Target{}) {
		s += "the whole rule"
	} else {
		s += x.Target.String()
	}
	if x.Route != "" {
		s += ", route " + x.Route
	}
	if x.Path != "" {
		s += ", path " + x.Path
	}
	if len(x.Methods) > 0 {
		s += ", " + strings.Join(x.Methods, " and ")
	}
	if !x.Ends.IsZero() {
		s += ", to the end of " + x.Ends.Add(-time.Second).UTC().Format(time.DateOnly)
	}
	return s
}

// describe is all that the exclusion does, for the hash of the rules.
func (x *exclusion) describe() string {
	return fmt.Sprintf("%t %v %v %s %q %q %q %s", x.always, x.built, x.live, x.Target, x.Route, x.Path, x.Methods, x.Ends.UTC().Format(time.RFC3339))
}

// apply tells the engine's transaction what the exclusion keeps its rules from.
func (x *exclusion) apply(tx excluder) {
	for _, id := range x.live {
		if x.Target == (Target{}) {
			tx.RemoveRuleByID(id)
		} else {
			tx.RemoveRuleTargetByID(id, x.variable, x.key, x.pattern)
		}
	}
}

// ended reports whether the exclusion has come to its end while the gateway
// runs.
func (x *exclusion) ended(log *zap.Logger) bool {
	if x.Ends.IsZero() || time.Now().Before(x.Ends) {
		return false
	}
	if !x.told.Swap(true) {
		d := x.at("expires", "expired: it is not applied any more", "")
		log.Warn("exclusion", zap.String("problem", d.String()))
	}
	return true
}

// excluded lists the rules that were kept from judging the request: of those
// that run under the policy and lost a target, the ones whose target the
// request has.
func (t *Transaction) excluded() []int {
	var out []int
	level := max(t.policy.Paranoia, t.policy.DetectionParanoia)
	for _, x := range t.exclusions {
		if x.Target != (Target{}) && !t.has(x) {
			continue
		}
		out = append(append(out, x.built...), x.live...)
	}
	out = slices.DeleteFunc(out, func(id int) bool { return t.policy.rules.rules[id].paranoia > level })
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxExcluded)]
}

// has reports whether the target of the exclusion holds anything.
func (t *Transaction) has(x *exclusion) bool {
	found := false
	t.facts.Each(x.variable, func(key, value string) {
		switch {
		case found:
		case x.pattern != nil:
			found = x.pattern.MatchString(strings.ToLower(key))
		case x.key != "":
			found = strings.ToLower(key) == x.key
		default:
			found = value != ""
		}
	})
	return found
}

// machinery says what a rule does beside finding attacks; empty: nothing.
func machinery(id int) string {
	switch {
	case 949000 <= id && id <= 949999, 959000 <= id && id <= 959999, 980000 <= id && id <= 980999:
		return "it adds up the score, and without it nothing that the others find would count"
	case 900000 <= id && id <= 901999, firstOwnID+900 <= id && id <= lastOwnID:
		return "it sets up the Core Rule Set"
	case id == 200002 || id == 200003:
		return "the gateway refuses bodies that cannot be read, whatever the rules say"
	}
	return ""
}

// nearest names rules near the ids that do not exist.
func nearest(rules []*entry, x *Exclusion) string {
	if x.Tag != "" {
		return "sallyport rules list shows the tags"
	}
	var below, above int
	for _, e := range rules {
		if e.id < x.First {
			below = max(below, e.id)
		} else if above == 0 || e.id < above {
			above = e.id
		}
	}
	var near []string
	for _, id := range []int{below, above} {
		if id != 0 {
			near = append(near, strconv.Itoa(id))
		}
	}
	return "the nearest ids are " + strings.Join(near, " and ")
}
