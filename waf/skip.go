package waf

import (
	"fmt"
	"regexp"
	"strconv"
)

// skipForm is a skip action in the text of a rule.
var skipForm = regexp.MustCompile(`(?i)\bskip:'?(\d+)'?`)

// withoutSkips replaces skip:N by skipAfter and a marker behind the Nth rule of
// the same phase. The engine counts only rules that are not removed: where one
// of those to be skipped is excluded, by a directive or for one request, a rule
// behind them is skipped in its place, and nobody meant that one.
func withoutSkips(sources []source) []source {
	out := make([]source, len(sources))
	for i, s := range sources {
		out[i] = s
		out[i].directives = append([]directive(nil), s.directives...)
	}
	type place struct{ source, directive int }
	markers := map[place][]directive{}
	changed := map[int]bool{} // sources whose text is not what it was
	for i, s := range out {
		for j, d := range s.directives {
			r := parseRule(d)
			value, skips := r.action("skip")
			count, err := strconv.Atoi(value)
			if !skips || err != nil || count < 1 || len(skipForm.FindAllString(d.raw, -1)) != 1 {
				continue
			}
			name := fmt.Sprintf("SALLYPORT-SKIP-%d", r.id())
			d.raw = skipForm.ReplaceAllString(d.raw, "skipAfter:"+name)
			d.args = skipForm.ReplaceAllString(d.args, "skipAfter:"+name)
			d.rule = nil // as it was
			s.directives[j], changed[i] = d, true
			at, ok := nthAfter(out, i, j, count, r.phase())
			if !ok { // there are not as many; a marker that is missing would skip all phases behind, too
				for k := i; k < len(out); k++ {
					if n := len(out[k].directives); n > 0 {
						at = [2]int{k, n - 1}
					}
				}
			}
			to := place{at[0], at[1]}
			changed[to.source] = true
			markers[to] = append(markers[to], directive{file: d.file, line: d.line, name: "secmarker", args: name, raw: "SecMarker " + name})
		}
	}
	for i := range out {
		var with []directive
		for j, d := range out[i].directives {
			with = append(append(with, d), markers[place{i, j}]...)
		}
		if out[i].directives = with; changed[i] {
			out[i].text = nil
		}
	}
	return out
}

// nthAfter finds the last directive of the nth rule of a phase behind a rule. A
// chain is one rule.
func nthAfter(sources []source, i, j, n, phase int) (at [2]int, ok bool) {
	chained := false
	if _, c := parseRule(sources[i].directives[j]).action("chain"); c {
		chained = true // the rest of its own chain does not count
		n++
	}
	counts := chained
	for j++; i < len(sources); i, j = i+1, 0 {
		for ; j < len(sources[i].directives); j++ {
			d := sources[i].directives[j]
			if d.name != "secrule" && d.name != "secaction" {
				continue
			}
			r := parseRule(d)
			if !chained {
				counts = r.phase() == phase
			}
			if _, chained = r.action("chain"); chained || !counts {
				continue
			}
			if n--; n == 0 {
				return [2]int{i, j}, true
			}
		}
	}
	return at, false
}
