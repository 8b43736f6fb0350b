package waf

import (
	"fmt"
	"strings"

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

// idle warns of a SecRuleRemoveById that removes nothing, because no rule above
// it has such an id: the engine takes it without a word, and the exclusion that
// somebody relies on is none.
func idle(sources []source) gate.Diagnostics {
	var diags gate.Diagnostics
	loaded := map[int]bool{}
	for _, s := range sources {
		for _, d := range s.directives {
			switch {
			case d.name == "secrule" || d.name == "secaction":
				loaded[parseRule(d).id()] = true
			case d.name == "secruleremovebyid" && s.foreign:
				for _, which := range strings.Fields(unquote(strings.TrimSpace(d.args))) {
					first, end, ok := idRange(which)
					if !ok || removes(loaded, first, end) {
						continue
					}
					w := d.at("no rule above it has the id "+which, "a rule can be removed only below it: those of the Core Rule Set in rules_after")
					w.Warning = true
					diags = append(diags, w)
				}
			}
		}
	}
	return diags
}

// removes reports whether one of the ids lies in the range.
func removes(loaded map[int]bool, first, end int) bool {
	for id := range loaded {
		if id > 0 && first <= id && id <= end {
			return true
		}
	}
	return false
}
