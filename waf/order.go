package waf

import (
	"fmt"
	"slices"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
)

// duplicates reports rules of operators without an id, with one that is
// taken, or with one of ours.
func duplicates(sources []source) gate.Diagnostics {
	var diags gate.Diagnostics
	type place struct {
		directive
		foreign bool
	}
	seen := map[int]place{}
	for _, s := range sources {
		chained := false
		for _, d := range s.directives {
			if d.name != "secrule" && d.name != "secaction" {
				continue
			}
			r := parseRule(d)
			head := !chained
			_, chained = r.action("chain")
			if !head {
				continue
			}
			id := r.id()
			first, taken := seen[id]
			switch {
			case id == 0:
				if s.foreign && !s.core {
					diags = append(diags, d.at("a rule without an id", "give it one below 100000, which are free for local use"))
				}
			case s.foreign && !s.core && id >= firstOwnID && id <= lastOwnID:
				diags = append(diags, d.at(fmt.Sprintf("id %d is in the range of the shipped rules", id), "use one below 100000"))
			case taken && s.foreign && !s.core:
				diags = append(diags, d.at(fmt.Sprintf("id %d is taken by %s:%d", id, first.file, first.line), "use one below 100000"))
			case taken && first.foreign:
				diags = append(diags, first.at(fmt.Sprintf("id %d is taken by %s:%d", id, d.file, d.line), "use one below 100000"))
			default:
				seen[id] = place{d, s.foreign && !s.core}
			}
		}
	}
	return diags
}

// idle warns of a directive that changes or removes no rule, because none above
// it is meant: the engine takes it without a word, and what somebody relies on
// is not there. It refuses what the engine reads otherwise than it is written.
func idle(sources []source, rules []*entry) gate.Diagnostics {
	var diags gate.Diagnostics
	n := -1
	warn := func(d directive, what, hint string) {
		w := d.at(what, hint)
		w.Warning = true
		diags = append(diags, w)
	}
	const below = "a rule can be %s only below it: those of the Core Rule Set in rules_after"
	for _, s := range sources {
		for _, d := range s.directives {
			n++
			if !s.foreign || s.core || !plain[d.name] || !strings.HasPrefix(d.name, "secruleremove") && !strings.HasPrefix(d.name, "secruleupdate") {
				continue
			}
			names := func(d directive) bool {
				return slices.ContainsFunc(rules, func(e *entry) bool { return e.at < n && (e.removed == nil || e.until >= n) && d.names(e) })
			}
			update := strings.HasPrefix(d.name, "secruleupdate")
			if update {
				diags = append(diags, changes(d)...)
			}
			if d.name == "secruleremovebyid" {
				for _, which := range strings.Fields(unquote(strings.TrimSpace(d.args))) {
					one := directive{name: d.name, args: which}
					if _, _, ok := idRange(which); ok && !names(one) {
						warn(d, "no rule above it has the id "+which, fmt.Sprintf(below, "removed"))
					}
				}
			} else if !names(d) {
				verb := "removed"
				if update {
					verb = "changed"
				}
				if _, args, _ := strings.Cut(d.name, "by"); args != "id" || strings.Contains(firstWord(strings.TrimSpace(d.args)), "-") {
					warn(d, "no rule above it is meant", fmt.Sprintf(below, verb))
				} // the engine refuses a single id that is not there
			}
			if !update && slices.ContainsFunc(rules, func(e *entry) bool { return e.id == inboundRule && e.removed != nil && e.until == n }) {
				warn(d, fmt.Sprintf("without rule %d nothing that the Core Rule Set finds in a request is refused", inboundRule), "set policies.NAME.mode: observe, or exclude the rules that matched")
			}
		}
	}
	return diags
}

// changes judges the form of a SecRuleUpdate…, of which the engine takes the
// last word for the change, and changes only the first id of several.
func changes(d directive) gate.Diagnostics {
	which, change, _ := strings.Cut(strings.TrimSpace(d.args), " ")
	change = strings.TrimSpace(change)
	if _, _, ok := idRange(firstWord(unquote(change))); ok {
		return gate.Diagnostics{d.at("the engine would change only rule "+which, "write one directive for each id, or a range")}
	}
	if strings.ContainsAny(change, " \t") {
		return gate.Diagnostics{d.at("the engine reads only what follows the last space", "write it without spaces")}
	}
	return nil
}

// misplaced finds what a rule of the operator cannot do where it stands.
func misplaced(sources []source, rules []*entry) gate.Diagnostics {
	var diags gate.Diagnostics
	markers := map[string]int{} // where the last one of a name stands
	n := -1
	for _, s := range sources {
		for _, d := range s.directives {
			if n++; d.name == "secmarker" {
				markers[unquote(strings.TrimSpace(d.args))] = n
			}
		}
	}
	for i, e := range rules {
		if !e.foreign && !e.core {
			continue
		}
		for _, l := range e.links {
			for _, a := range l.actions {
				switch {
				case a.name == "skipafter":
					if at, ok := markers[a.value]; !ok || at < e.at {
						diags = append(diags, l.at(fmt.Sprintf("no SecMarker %q below it: every rule that follows would be skipped", a.value), "write the marker, in this file or one that is loaded later"))
					}
				case a.name == "ctl" && e.foreign:
					diags = append(diags, late(rules, i, l, a.value)...)
				}
			}
		}
	}
	return diags
}

// late judges a ctl action that takes rules or their targets out: whether it
// names any, and comes before one of them.
func late(rules []*entry, i int, l link, value string) gate.Diagnostics {
	warn := func(what, hint string) gate.Diagnostics {
		d := l.at(what, hint)
		d.Warning = true
		return gate.Diagnostics{d}
	}
	name, rest, _ := strings.Cut(value, "=")
	lower := strings.ToLower(name)
	by, ok := strings.CutPrefix(lower, "ruleremovetarget")
	if !ok {
		if by, ok = strings.CutPrefix(lower, "ruleremove"); !ok {
			return nil
		}
	}
	which, target, aimed := strings.Cut(rest, ";")
	if _, _, number := idRange(which); by == "byid" && !number {
		return gate.Diagnostics{l.at(fmt.Sprintf("ctl:%s takes one id or a range, not %q", name, which), "write one ctl action for each")}
	}
	if aimed {
		variable, key, _ := strings.Cut(strings.TrimSpace(target), ":")
		if _, err := vars.Parse(variable); err != nil {
			return gate.Diagnostics{l.at(fmt.Sprintf("ctl:%s of the unknown variable %q", name, variable), "")}
		}
		if key = strings.TrimSpace(key); len(key) > 1 && key[0] == '/' && key != strings.ToLower(key) {
			return warn("the pattern of a ctl action is compared with names in lower case", "write it in lower case")
		}
	}
	d := directive{name: "secruleremove" + by, args: which}
	named, phase := false, rules[i].phase()
	for j, e := range rules {
		if !d.names(e) || e.removed != nil {
			continue
		}
		named = true
		if e.phase() > phase || e.phase() == phase && j > i {
			return nil
		}
	}
	if !named {
		return warn(fmt.Sprintf("ctl:%s=%s: there is no such rule", name, which), "")
	}
	return warn(fmt.Sprintf("ctl:%s=%s comes too late: the rules have run by then", name, which), "move it to a file of rules_before, and to the phase of the rules or an earlier one")
}
