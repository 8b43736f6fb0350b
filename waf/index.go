package waf

import (
	"strconv"
	"strings"
)

// The rules of the Core Rule Set that compare a score with its threshold.
const (
	inboundRule       = 949110
	inboundEarlyRule  = 949111
	outboundRule      = 959100
	outboundEarlyRule = 959101
)

// A meta is what the gateway knows about a rule beyond what the engine tells:
// where it stands, and what its match amounts to.
type meta struct {
	file string
	line int
	// points is what one match adds to the anomaly score, and link the link of
	// the chain (0: the head) that adds it.
	points, link int
	// paranoia is the level of the score that it adds to.
	paranoia int
	// decision is deny, drop, redirect or allow; empty: the rule decides
	// nothing by itself.
	decision string
	status   int
	target   string // of a redirect; for allow: phase, request or empty
}

// An index finds rules by id.
type index map[int]meta

// indexOf reads what the index needs from the rules in load order.
func indexOf(sources []source) index {
	x := index{}
	for _, s := range sources {
		head, link, chained := 0, 0, false
		for _, d := range s.directives {
			if d.name == "secruleupdateactionbyid" {
				x.update(d)
				continue
			}
			if d.name != "secrule" && d.name != "secaction" {
				continue
			}
			r := parseRule(d)
			if chained {
				link++
			} else {
				head, link = r.id(), 0
			}
			_, chained = r.action("chain")
			if head == 0 {
				continue
			}
			m := x[head]
			if link == 0 {
				m = meta{file: d.file, line: d.line}
			}
			m.read(r, link)
			x[head] = m
		}
	}
	return x
}

// update applies a SecRuleUpdateActionById, which names an id or a range.
func (x index) update(d directive) {
	which, list, _ := strings.Cut(strings.TrimSpace(d.args), " ")
	first, end, ok := idRange(unquote(which))
	if !ok {
		return // the engine refuses what is not a number
	}
	r := rule{actions: parseActions(unquote(strings.TrimSpace(list)))}
	for id, m := range x {
		if first <= id && id <= end {
			m.read(r, 0)
			x[id] = m
		}
	}
}

// idRange reads an id, or two with a dash between them.
func idRange(s string) (first, end int, ok bool) {
	from, to, ranged := strings.Cut(s, "-")
	first, err := strconv.Atoi(from)
	end = first
	if ranged && err == nil {
		end, err = strconv.Atoi(to)
	}
	return first, end, err == nil
}

// read takes over what the actions of one link of a chain say.
func (m *meta) read(r rule, link int) {
	for _, a := range r.actions {
		switch a.name {
		case "setvar":
			if points, level := scoreOf(a.value); points > 0 {
				m.points, m.link = points, link
				m.paranoia = max(m.paranoia, level)
			}
		case "tag":
			if level, ok := strings.CutPrefix(a.value, "paranoia-level/"); ok {
				m.paranoia, _ = strconv.Atoi(level)
			}
		case "deny", "drop":
			m.decision, m.target = a.name, ""
		case "redirect", "allow":
			m.decision, m.target = a.name, a.value
		case "pass", "block":
			m.decision, m.target = "", ""
		case "status":
			m.status, _ = strconv.Atoi(a.value)
		}
	}
}

// scoreOf reads a setvar that adds to an anomaly score, as in
// tx.inbound_anomaly_score_pl1=+%{tx.critical_anomaly_score}.
func scoreOf(setvar string) (points, level int) {
	name, value, _ := strings.Cut(strings.ToLower(setvar), "=")
	name = strings.TrimPrefix(name, "tx.")
	number, ok := strings.CutPrefix(name, "inbound_anomaly_score_pl")
	if !ok {
		number, ok = strings.CutPrefix(name, "outbound_anomaly_score_pl")
	}
	value, adds := strings.CutPrefix(value, "+")
	if !ok || !adds {
		return 0, 0
	}
	level, _ = strconv.Atoi(number)
	switch value {
	case "%{tx.critical_anomaly_score}":
		return 5, level
	case "%{tx.error_anomaly_score}":
		return 4, level
	case "%{tx.warning_anomaly_score}":
		return 3, level
	case "%{tx.notice_anomaly_score}":
		return 2, level
	}
	points, _ = strconv.Atoi(value)
	return points, level
}
