package waf

import (
	"slices"
	"strconv"
	"strings"

	"sallyport/waf/prover"
)

// proverRules lists the rules and markers of the plan as the engine has them
// when it has read all sources: with default actions, changes and removals
// applied, in load order. What is set for each request is not among them. A
// directive or rule that is not understood stands in the list as one of which
// nothing is known.
func (p plan) proverRules() []prover.Rule {
	b := &ruleReader{files: p.data}
	for i, s := range withoutSkips(p.sources) {
		if s.set {
			continue
		}
		directives := s.directives
		if s.text != nil { // then that is what the engine reads
			directives = p.sources[i].directives
		}
		core := s.core || strings.HasPrefix(s.name, "@owasp_crs/")
		dir := "/"
		if strings.HasPrefix(s.name, "@owasp_crs/") {
			dir = "@owasp_crs"
		}
		for _, d := range directives {
			b.read(d, core, dir)
		}
	}
	return b.finish(indexOf(p.sources))
}

// A ruleReader collects rules as the engine does while it reads directives.
type ruleReader struct {
	files    virtualFS
	defaults map[int][]action // of each phase, from SecDefaultAction
	rules    []*readRule
}

// A readRule is a rule that may still be changed.
type readRule struct {
	prover.Rule
	links []*readLink // none: a marker
}

// A readLink is a link with what is only needed until all is read.
type readLink struct {
	prover.Link
	id, phase    int
	tags         []string
	log          bool
	chained      bool // a chain action asks for the next rule
	msg, logdata string
	unclear      string // why it is not understood
}

// defaultActions are those of phase 2 unless a SecDefaultAction says otherwise.
var defaultActions = engineActions("phase:2,log,auditlog,pass")

// id is that of the head, 0 for a marker.
func (r *readRule) id() int {
	if len(r.links) == 0 {
		return 0
	}
	return r.links[0].id
}

func (b *ruleReader) read(d directive, core bool, dir string) {
	switch options := d.options(); d.name {
	case "secrule", "secaction":
		b.add(d, b.link(d, dir), core)
	case "secmarker":
		b.rules = append(b.rules, &readRule{Rule: prover.Rule{Marker: options, Place: d.place(), Core: core}})
	case "secdefaultaction":
		b.setDefaults(d, options)
	case "secruleremovebyid":
		for _, which := range strings.Fields(options) {
			b.remove(d, which)
		}
	case "secruleremovebytag":
		b.rules = slices.DeleteFunc(b.rules, func(r *readRule) bool {
			return len(r.links) > 0 && slices.Contains(r.links[0].tags, options)
		})
	case "secruleupdatetargetbyid":
		ids, change := lastField(options)
		b.each(d, ids, func(r *readRule) { r.addTargets(change) })
	case "secruleupdatetargetbytag":
		tag, change := lastField(options)
		for _, r := range b.rules {
			if len(tag) == 1 && len(r.links) > 0 && slices.Contains(r.links[0].tags, strings.Trim(tag[0], `"`)) {
				r.addTargets(change)
			}
		}
	case "secruleupdateactionbyid":
		ids, change := lastField(options)
		list := engineActions(change)
		b.each(d, ids, func(r *readRule) {
			if len(r.links) == 0 { // the engine would carry it out where the marker stands
				b.doubt(d, "it gives actions to a marker")
				return
			}
			r.links[0].apply(list, nil)
		})
	case "secdataset", "seccomponentsignature":
	default:
		if _, ours := owned[d.name]; !ours && !ignored[d.name] {
			b.doubt(d, "the directive "+d.name+" is not known")
		}
	}
}

// doubt adds a rule of which nothing is known, for a directive that may do
// anything.
func (b *ruleReader) doubt(d directive, why string) {
	b.rules = append(b.rules, &readRule{Rule: prover.Rule{Phase: 1, Place: d.place(), Unclear: why}})
}

func (b *ruleReader) setDefaults(d directive, options string) {
	list := engineActions(options)
	phase := 0
	for _, a := range list {
		if a.name == "phase" {
			phase, _ = enginePhase(a.value)
		}
	}
	if phase == 0 {
		b.doubt(d, "default actions of no phase")
		return
	}
	if b.defaults == nil {
		b.defaults = map[int][]action{}
	}
	b.defaults[phase] = list
}

// defaultsOf returns the default actions of a phase; nil: it has none.
func (b *ruleReader) defaultsOf(phase int) []action {
	if list := b.defaults[phase]; list != nil || phase != 2 {
		return list
	}
	return defaultActions
}

// add puts a link behind the rule that waits for one, or starts a rule with it.
func (b *ruleReader) add(d directive, l *readLink, core bool) {
	if n := len(b.rules); n > 0 {
		if last := b.rules[n-1]; len(last.links) > 0 && last.links[len(last.links)-1].chained {
			last.links = append(last.links, l)
			return
		}
	}
	b.rules = append(b.rules, &readRule{Rule: prover.Rule{Place: d.place(), Core: core}, links: []*readLink{l}})
}

// remove takes rules out by an id, of which the engine removes the first, or by
// a range. Markers have the id 0.
func (b *ruleReader) remove(d directive, which string) {
	first, end, ok := idRange(which)
	switch {
	case !ok:
		b.doubt(d, "it names no rule: "+which)
	case strings.Contains(which, "-"):
		b.rules = slices.DeleteFunc(b.rules, func(r *readRule) bool { return first <= r.id() && r.id() <= end })
	default:
		if i := slices.IndexFunc(b.rules, func(r *readRule) bool { return r.id() == first }); i >= 0 {
			b.rules = slices.Delete(b.rules, i, i+1)
		}
	}
}

// each calls f with the rules that a SecRuleUpdate… by id changes: those of all
// ranges up to the first id, and that one.
func (b *ruleReader) each(d directive, ids []string, f func(*readRule)) {
	for _, which := range ids {
		first, end, ok := idRange(which)
		if !ok {
			b.doubt(d, "it names no rule: "+which)
			return
		}
		all := slices.Clone(b.rules)
		if first == end {
			if i := slices.IndexFunc(all, func(r *readRule) bool { return r.id() == first }); i >= 0 {
				f(all[i])
			}
			return
		}
		for _, r := range all {
			if first <= r.id() && r.id() <= end {
				f(r)
			}
		}
	}
}

// addTargets adds targets to the head, behind those that it has. A SecAction
// has no use for them.
func (r *readRule) addTargets(text string) {
	if len(r.links) == 0 || r.links[0].Operator.Name == "" {
		return
	}
	head := r.links[0]
	targets, err := engineTargets(text)
	if err != nil {
		head.unclear = err.Error()
	}
	head.Targets = append(head.Targets, targets...)
}

// finish makes rules of what was read.
func (b *ruleReader) finish(metas index) []prover.Rule {
	out := make([]prover.Rule, 0, len(b.rules))
	for _, r := range b.rules {
		if len(r.links) > 0 {
			r.settle(metas[r.id()])
		}
		out = append(out, r.Rule)
	}
	return out
}

// settle fills in the rule from its links. What only counts in the head is left
// out of the others. A record shows a rule that scores or decides, whether it
// logs or not; without an id the engine reports no match.
func (r *readRule) settle(m meta) {
	head := r.links[0]
	r.ID, r.Phase, r.Tags = head.id, head.phase, head.tags
	for i, l := range r.links {
		for _, text := range []string{l.msg, l.logdata} {
			if text != "" {
				l.Texts = append(l.Texts, text)
			}
		}
		if i > 0 {
			l.Decision, l.SkipAfter = "", ""
		}
		if r.Unclear == "" {
			r.Unclear = l.unclear
		}
		r.Links = append(r.Links, l.Link)
	}
	r.Links[0].Log = head.id != 0 && (head.log || m.points != 0 || m.decision != "")
	if head.id == 0 && len(r.links) > 1 {
		r.Unclear = "a chain without an id"
	}
}

// options are the arguments of a directive as the engine hands them on.
func (d directive) options() string {
	if len(d.args) >= 3 && d.args[0] == '"' && d.args[len(d.args)-1] == '"' {
		return strings.Trim(d.args, `"`)
	}
	return d.args
}

// place is where the directive stands, for people.
func (d directive) place() string { return d.file + ":" + strconv.Itoa(d.line) }

// lastField cuts options at spaces. The last word, which is the change that a
// SecRuleUpdate… makes, comes without its quotes.
func lastField(options string) (words []string, last string) {
	words = strings.Fields(options)
	if len(words) == 0 {
		return nil, ""
	}
	n := len(words) - 1
	return words[:n], strings.Trim(words[n], `"`)
}
