package waf

import (
	"slices"
	"strings"
)

// An entry is one rule of a plan, with the links of its chain.
type entry struct {
	id      int
	at      int    // how many directives stand above it
	links   []link // the first is the head
	removed *directive
	until   int         // where removed stands
	changed []directive // by SecRuleUpdate…
	foreign bool        // of the operator
	core    bool        // of a Core Rule Set of the operator's
}

// A link is one SecRule or SecAction of a chain.
type link struct {
	directive
	rule
}

// catalogue lists the rules of the sources in load order, with what directives
// below them did to them. Rules without an id are left out.
func catalogue(sources []source) []*entry {
	var out []*entry
	var last *entry
	n := -1
	for _, s := range sources {
		chained := false
		for _, d := range s.directives {
			n++
			switch {
			case d.name == "secrule" || d.name == "secaction":
				r := parseRule(d)
				if !chained {
					last = &entry{id: r.id(), at: n, foreign: s.foreign && !s.core, core: s.core}
					if last.id != 0 {
						out = append(out, last)
					}
				}
				last.links = append(last.links, link{d, r})
				_, chained = r.action("chain")
			case strings.HasPrefix(d.name, "secruleremove"):
				for _, e := range out {
					if e.removed == nil && d.names(e) {
						e.removed, e.until = &d, n
					}
				}
			case strings.HasPrefix(d.name, "secruleupdate"):
				for _, e := range out {
					if e.removed == nil && d.names(e) {
						e.changed = append(e.changed, d)
					}
				}
			}
		}
	}
	return out
}

// names reports whether a SecRuleRemove… or SecRuleUpdate… is about the rule.
func (d directive) names(e *entry) bool {
	args := unquote(strings.TrimSpace(d.args))
	update := strings.HasPrefix(d.name, "secruleupdate")
	switch {
	case strings.HasSuffix(d.name, "byid"):
		ids := strings.Fields(args)
		if update && len(ids) > 1 {
			ids = ids[:1] // the engine changes only the first
		}
		return slices.ContainsFunc(ids, func(which string) bool {
			first, end, ok := idRange(unquote(which))
			return ok && first <= e.id && e.id <= end
		})
	case strings.HasSuffix(d.name, "bytag"):
		if update {
			args = unquote(firstWord(args))
		}
		return slices.Contains(e.tags(), args)
	case strings.HasSuffix(d.name, "bymsg"): // of a ctl action
		msg, _ := e.links[0].action("msg")
		return msg == args
	}
	return false
}

// phase is when the rule runs, 1 to 5.
func (e *entry) phase() int { return e.links[0].phase() }

// phase is the one that the rule names, 2 where it names none.
func (r rule) phase() int {
	text, _ := r.action("phase")
	if n, ok := enginePhase(text); ok {
		return n
	}
	return phaseRequest
}

// tags are those of the rule's head, which are the ones that count.
func (e *entry) tags() []string {
	var out []string
	for _, a := range e.links[0].actions {
		if a.name == "tag" {
			out = append(out, a.value)
		}
	}
	return out
}

// A look is one thing that a rule looks at.
type look struct {
	variable, key string
	count, except bool // & and ! in front of it
}

// looks takes the variables of a rule apart.
func (r rule) looks() []look {
	var out []look
	start, pattern := 0, false
	add := func(end int) {
		s := r.variables[start:end]
		rest := strings.TrimLeft(s, "!&")
		name, key, _ := strings.Cut(rest, ":")
		if name != "" {
			marks := s[:len(s)-len(rest)]
			out = append(out, look{strings.ToUpper(name), unquote(key), strings.Contains(marks, "&"), strings.Contains(marks, "!")})
		}
		start = end + 1
	}
	for i := 0; i < len(r.variables); i++ {
		switch c := r.variables[i]; {
		case c == '\\':
			i++
		case c == '/' && (pattern || strings.HasSuffix(r.variables[start:i], ":") || strings.HasSuffix(r.variables[start:i], ":'")):
			pattern = !pattern && !strings.HasSuffix(strings.TrimLeft(r.variables[start:i], "!&"), "XML:") && !strings.HasSuffix(r.variables[start:i], "JSON:")
		case c == '|' && !pattern:
			add(i)
		}
	}
	add(len(r.variables))
	return out
}

// covers reports whether taking the target out changes what is looked at.
func (l look) covers(t Target) bool {
	name := l.variable
	if name == "REQUEST_XML" {
		name = "XML"
	}
	if l.except || name != t.Variable {
		return false
	}
	free := func(key string) bool { return key == "" || key[0] == '/' }
	return free(l.key) || t.Key == "" || strings.EqualFold(l.key, t.Key)
}
