package prover

import "slices"

// sums are what the rules that add up use, and what they set: where nothing touches
// that, they come to what they come to in a request that nothing matches.
type sums struct {
	use
	set []string
}

// sums finds what the rules that add up use.
func (w *walk) sums() *sums {
	s := &sums{}
	for i := range w.rules {
		if w.class[i] == summing {
			s.add(w.rules[i].uses())
		}
	}
	for phase, clean := range w.clean {
		for name, value := range clean {
			if early, set := w.start[phase][name]; !set || early != value {
				s.set = append(s.set, name)
			}
		}
	}
	return s
}

// stirredBy returns how many links of a rule have to match for it to change, or to
// look at, something of the sums; 0: it never does. What it logs is no part of them.
func (s *sums) stirredBy(r *Rule) int {
	if r.Unclear != "" || slices.ContainsFunc(s.set, r.uses().touches) {
		return 1
	}
	for k := range r.Links {
		l := &r.Links[k]
		if l.Unclear != "" || slices.ContainsFunc(l.Ctls, func(c string) bool { return kindOfCtl(c) != ctlHarmless }) {
			return k + 1
		}
		for _, text := range l.SetVars {
			if _, ok := parseSetVar(text); !ok {
				return k + 1
			}
		}
		if set := l.sets(); slices.ContainsFunc(set.names, s.touches) || slices.ContainsFunc(set.prefixes, s.meets) {
			return k + 1
		}
	}
	if slices.ContainsFunc(r.Links, func(l Link) bool { return l.SkipAfter != "" || l.Decision != "" }) {
		return len(r.Links)
	}
	return 0
}
