package prover

import (
	"regexp"
	"slices"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// A use is which TX variables a rule reads or sets.
type use struct {
	names    []string         // by name, in lower case
	patterns []*regexp.Regexp // all whose name matches
	prefixes []string         // names that are made up from the request begin so
	all      bool             // any
}

// touches reports whether the variable is one of them.
func (u *use) touches(name string) bool {
	return u.all || slices.Contains(u.names, name) || slices.ContainsFunc(u.patterns, func(p *regexp.Regexp) bool { return p.MatchString(name) }) ||
		slices.ContainsFunc(u.prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// meets reports whether a variable whose name begins so may be one of them.
func (u *use) meets(prefix string) bool {
	begins := func(s string) bool { return strings.HasPrefix(s, prefix) || strings.HasPrefix(prefix, s) }
	return u.all || slices.ContainsFunc(u.names, func(name string) bool { return strings.HasPrefix(name, prefix) }) || slices.ContainsFunc(u.prefixes, begins) ||
		slices.ContainsFunc(u.patterns, func(p *regexp.Regexp) bool { return begins(literalPrefix(p.String())) })
}

// add adds what another rule uses.
func (u *use) add(o *use) {
	u.names, u.patterns, u.prefixes, u.all = append(u.names, o.names...), append(u.patterns, o.patterns...), append(u.prefixes, o.prefixes...), u.all || o.all
}

// sets finds what the link sets.
func (l *Link) sets() *use {
	u := &use{}
	for _, text := range l.SetVars {
		a, _ := parseSetVar(text)
		if name, fixed := a.name.literal(); fixed {
			u.names = append(u.names, strings.ToLower(name))
		} else {
			u.prefixes = append(u.prefixes, strings.ToLower(a.name.prefix()))
		}
	}
	return u
}

// uses finds what the rule reads, shows or sets.
func (r *Rule) uses() *use {
	u := r.reads()
	for k := range r.Links {
		l := &r.Links[k]
		u.add(l.sets())
		for _, text := range l.Texts {
			u.expand(text)
		}
	}
	return u
}

// reads finds what the rule looks at, compares with, and makes other values of.
func (r *Rule) reads() *use {
	u := &use{}
	for k := range r.Links {
		l := &r.Links[k]
		for _, t := range l.Targets {
			switch {
			case t.Variable != vars.TX:
			case t.Pattern != "":
				p, err := regexp.Compile(strings.ToLower(t.Pattern))
				if err != nil {
					u.all = true
					continue
				}
				u.patterns = append(u.patterns, p)
			case t.Key != "":
				u.names = append(u.names, strings.ToLower(t.Key))
			default:
				u.all = true
			}
		}
		for _, text := range l.SetVars {
			name, value, _ := strings.Cut(text, "=")
			u.expand(name)
			u.expand(value)
		}
		if expands[l.Operator.Name] {
			u.expand(l.Operator.Argument)
		}
		u.names = append(u.names, inspects[l.Operator.Name]...)
	}
	return u
}

// expand adds what a text with macros is made of.
func (u *use) expand(text string) {
	m, ok := parseMacro(text)
	u.all = u.all || !ok
	for _, p := range m {
		if p.variable == vars.TX {
			u.names = append(u.names, p.key)
		}
	}
}

// literalPrefix returns what every text begins with that a pattern matches; empty
// when that is not known.
func literalPrefix(pattern string) string {
	rest, anchored := strings.CutPrefix(pattern, "^")
	if !anchored {
		return ""
	}
	end := strings.IndexFunc(rest, func(c rune) bool { return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') })
	if end < 0 {
		return rest
	}
	if end > 0 && strings.IndexByte("*?{", rest[end]) >= 0 {
		end--
	}
	if strings.IndexByte(rest, '|') >= 0 {
		return ""
	}
	return rest[:end]
}

// A ctlKind is what a ctl action does here.
type ctlKind uint8

const (
	ctlHarmless ctlKind = iota // neither what rules see nor which of them run
	ctlNarrows                 // fewer rules run, or look at less
	ctlChanges                 // anything else
)

func kindOfCtl(ctl string) ctlKind {
	name, _, _ := strings.Cut(ctl, "=")
	switch name = strings.ToLower(strings.TrimSpace(name)); name {
	case "forcerequestbodyvariable", "auditengine", "auditlogparts", "debugloglevel", "hashengine", "hashenforcement":
		return ctlHarmless // bodies are read by the gateway, which writes its own log
	case "ruleremovebyid", "ruleremovebytag", "ruleremovebymsg", "ruleremovetargetbyid", "ruleremovetargetbytag", "ruleremovetargetbymsg":
		return ctlNarrows
	}
	return ctlChanges
}
