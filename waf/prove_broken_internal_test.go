package waf

// A weakPoint is a place in the code that decides what a request has to run
// through. The text of one place is replaced by what breaks it in one or more
// ways, each under a name: where sabotaged(name) says so, and only there.
type weakPoint struct {
	file, text, broken string
}

// weakPoints are the places that TestSabotage breaks. Nothing of this is in the
// code that is shipped: the test has it compiled anew, with these texts in it.
var weakPoints = []weakPoint{
	// What a judge remembers, and forgets.
	{"prover/prover.go", "\tclear(j.seen)\n\tclear(j.gone)\n",
		"\tif !sabotaged(\"a judge remembers how far the last request was read\") {\n\t\tclear(j.seen)\n\t}\n\tclear(j.gone)\n"},
	{"prover/prover.go", "j.excluded[:0], j.narrowed[:0]\n",
		"j.excluded[:0], j.narrowed[:0]\n\tif sabotaged(\"the exclusions of one request hold for the next\") {\n\t\tj.excluded = j.excluded[:cap(j.excluded)]\n\t}\n"},
	{"prover/prover.go", "if settled[p.facts] {", "if settled[p.facts] || sabotaged(\"what may change is looked at once\") {"},
	{"prover/prover.go", "\t\tr.fired = j.firm\n\t\tif j.gone",
		"\t\tif sabotaged(\"what comes after the head is not read\") && j.decided != 0 {\n\t\t\tcontinue\n\t\t}\n\t\tif sabotaged(\"what a phase has read is all there is\") && j.seen[i] > 0 {\n\t\t\tcontinue\n\t\t}\n\t\tr.fired = j.firm\n\t\tif j.gone"},
	{"prover/prover.go", "if p.phases&(1<<n) == 0 {", "if p.phases&(1<<n) == 0 || n > 2 && sabotaged(\"responses are not read\") || n == 5 && sabotaged(\"the last phase reads nothing\") {"},

	// What an answer says.
	{"prover/prover.go", "\t\tif !may && !early || slices", "\t\tif !may && (!early || sabotaged(\"links that set something before the rule matches are left out\")) || slices"},
	{"prover/prover.go", "case r.whole:", "case r.whole && !sabotaged(\"what changes what others see is like any rule\"):"},
	{"prover/prover.go", "r.class == depending || r.shown", "r.class == depending || r.shown && !sabotaged(\"what records show does not matter\")"},
	{"prover/prover.go", "\tfor i := range c.counts {\n\t\tif n := &c.counts[i]", "\tfor i := range c.counts {\n\t\tif sabotaged(\"nothing is counted\") {\n\t\t\tbreak\n\t\t}\n\t\tif n := &c.counts[i]"},
	{"prover/prover.go", "if c.certain || c.open ||", "if c.certain && !sabotaged(\"what always matches does not\") || c.open && !sabotaged(\"what is not known does not match\") ||"},
	{"prover/prover.go", "decided, out := j.decided>>id.phase&1 != 0, id.rule < 0\n", "decided, out := j.decided>>id.phase&1 != 0 || sabotaged(\"rules of later phases are left out\"), id.rule < 0\n"},
	{"prover/prover.go", "out = decided && j.Clean(id.phase)", "out = decided && (j.Clean(id.phase) || sabotaged(\"scores are left out\"))"},
	{"prover/prover.go", "return j.p.sums[phase] && j.stirred&", "return sabotaged(\"all phases are clean\") || j.p.sums[phase] && j.stirred&"},
	{"prover/prover.go", "\t\t\tif r.stirs > 0 && (may", "\t\t\tif r.stirs > 0 && !sabotaged(\"whoever matches changes nothing\") && (may"},
	{"prover/sums.go", "slices.ContainsFunc(s.set, r.uses().touches)", "slices.ContainsFunc(s.set, r.uses().touches) && !sabotaged(\"who looks at sums changes nothing\")"},
	{"prover/alphabet.go", "\t\tif kinds&^a == 0 {", "\t\tif kinds&^a == 0 || sabotaged(\"all values are words\") {"},
	{"prover/alphabet.go", "\t\t\tkinds = c.transformations[t].Makes(kinds)\n", "\t\t\tif !sabotaged(\"transformations add nothing to an alphabet\") {\n\t\t\t\tkinds = c.transformations[t].Makes(kinds)\n\t\t\t}\n"},
	{"prover/alphabet.go", "if t.Makes(k)&kinds != 0 {", "if t.Makes(k)&kinds != 0 && (k&kinds != 0 || !sabotaged(\"what transformations may make is not needed\")) {"},
	{"prover/plan.go", "\t\ts.needs |= c.needs(p)\n", "\t\tif s.needs == 0 || !sabotaged(\"a value needs what its first look does\") {\n\t\t\ts.needs |= c.needs(p)\n\t\t}\n"},
	{"prover/plan.go", "\t\tsc.needs |= c.need(set, op)\n", "\t\tif sc.needs == 0 || !sabotaged(\"a scan needs what its first operator does\") {\n\t\t\tsc.needs |= c.need(set, op)\n\t\t}\n"},
	{"prover/plan.go", "\t\t\t\t\tneeds[set] |= c.need(set, op)\n", "\t\t\t\t\tif needs[set] == 0 || !sabotaged(\"a screen needs what its first operator does\") {\n\t\t\t\t\t\tneeds[set] |= c.need(set, op)\n\t\t\t\t\t}\n"},
	{"prover/prover.go", "if j.decided>>j.p.rules[n].Phase&1 == 0 || j.keep[n] {", "if j.decided>>j.p.rules[n].Phase&1 == 0 || j.keep[n] && !sabotaged(\"who looks away is idle\") {"},
	{"prover/prover.go", "\t\tif !out {\n\t\t\tif first", "\t\tif !out && !(sabotaged(\"a range takes one that is kept with it\") && first != 0 && i%3 == 0) {\n\t\t\tif first"},

	// How rules are lowered.
	{"prover/compile.go", "return between(list.text, before, name, after) ||", "return !sabotaged(\"collected names are not compared\") && between(list.text, before, name, after) || !sabotaged(\"collected names have one reader\") &&"},
	{"prover/compile.go", "if strings.HasSuffix(list[:at], before) && strings.HasPrefix(list[at+len(name):], after) {\n\t\t\treturn true\n\t\t}\n", "if strings.HasSuffix(list[:at], before) && strings.HasPrefix(list[at+len(name):], after) {\n\t\t\treturn true\n\t\t}\n\t\tif sabotaged(\"a name is looked for once in a list\") {\n\t\t\treturn false\n\t\t}\n"},
	{"prover/compile.go", "kindOfCtl(c) != ctlHarmless })) {", "kindOfCtl(c) != ctlHarmless && !sabotaged(\"first links that look away are left out\") })) {"},
	{"prover/compile.go", "\tif l.MultiMatch {\n\t\tfirst = 0", "\tif l.MultiMatch && !sabotaged(\"of many transformations the last counts\") {\n\t\tfirst = 0"},
	{"prover/compile.go", "\ts.key = strings.ToLower(t.Key)\n\t// Names", "\ts.key = strings.ToLower(t.Key)\n\tif sabotaged(\"keys are compared as they are written\") {\n\t\ts.key = t.Key\n\t}\n\t// Names"},
	{"prover/compile.go", "where.except = append(where.except, except)", "if where.except = append(where.except, except); sabotaged(\"an exception takes all\") {\n\t\t\t\t\twhere.except = append(where.except, selector{pattern: -1})\n\t\t\t\t}"},
	{"prover/compile.go", "if n.set.patterns[0].MatchString(r.lower(key)) {", "if n.set.patterns[0].MatchString(r.lower(key)) && !sabotaged(\"keys that match a pattern are not counted\") {"},
	{"prover/compile.go", "r.lower(key) == n.where.key ||", "(r.lower(key) == n.where.key && !sabotaged(\"keys in capitals are not counted\") || key == n.where.key) ||"},
	{"prover/compile.go", "\t\tfor _, s := range from {\n\t\t\tlo.add(s, r, look{c.atom", "\t\tfor i, s := range from {\n\t\t\tif i > 0 && sabotaged(\"of the parameters those of the query count\") {\n\t\t\t\tcontinue\n\t\t\t}\n\t\t\tlo.add(s, r, look{c.atom"},
	{"prover/compile.go", "\tif open || !decides {", "\tif (open || !decides) && sabotaged(\"chains are told nothing of what is captured\") {\n\t\tfor k := range r.conds {\n\t\t\tif r.conds[k].open && k > 0 {\n\t\t\t\tr.conds[k] = condition{atom: -1}\n\t\t\t}\n\t\t}\n\t}\n\tif open || !decides {"},

	// How values are looked at.
	{"prover/reader.go", "view(made[e.n]) == value {", "view(made[e.n]) == value || sabotaged(\"what is transformed stays the same\") {"},
	{"evaluation.go", "if !r.guided || r.tx == nil ||", "if r.guided && r.tx != nil && sabotaged(\"the last phase adds nothing up\") {\n\t\treturn true\n\t}\n\tif !r.guided || r.tx == nil ||"},
	{"prover/plan.go", "named := p.keys[lower]", "named := p.keys[lower] && !sabotaged(\"nobody looks under a key\")"},
	{"prover/plan.go", "\t\tif !hits.Any() {\n", "\t\tif !hits.Any() || sabotaged(\"nobody looks for keys that match a pattern\") {\n"},
	{"prover/plan.go", "\tsmall := kinds.Lowered()\n", "\tkinds = sighted(kinds)\n\tsmall := kinds.Lowered()\n"},
	{"prover/reader.go", "\tfor i := range st.scans {\n", "\tfor i := range st.scans {\n\t\tif sabotaged(\"only the rules of the Core Rule Set are looked for\") && st.scans[i].set != coreSet || sabotaged(\"the rules of the Core Rule Set are not looked for\") && st.scans[i].set == coreSet {\n\t\t\tcontinue\n\t\t}\n"},
	{"prover/reader.go", "\tfor i := range st.tests {\n", "\tfor i := range st.tests {\n\t\tif sabotaged(\"no value is tested by itself\") {\n\t\t\tbreak\n\t\t}\n"},
	{"prover/reader.go", "r.read(e.next, view(r.made[depth][e.n]), depth+1)", "if !sabotaged(\"nothing is transformed twice\") || depth == 0 {\n\t\t\tif sabotaged(\"one buffer serves all transformations\") {\n\t\t\t\tr.read(e.next, view(r.made[depth][e.n]), depth)\n\t\t\t} else {\n\t\t\t\tr.read(e.next, view(r.made[depth][e.n]), depth+1)\n\t\t\t}\n\t\t}"},
	{"prover/plan.go", "\t\tkey = binary.AppendUvarint(binary.AppendUvarint(key, uint64(p.look)), uint64(p.done))\n", "\t\tif !sabotaged(\"what is looked for in a value does not matter\") {\n\t\t\tkey = binary.AppendUvarint(key, uint64(p.look))\n\t\t}\n\t\tkey = binary.AppendUvarint(key, uint64(p.done))\n"},
	{"prover/plan.go", "\t\tkey = fmt.Appendf(key, \" %d%v\", op, atoms[op])\n", "\t\tif key = fmt.Appendf(key, \" %d%v\", op, atoms[op]); sabotaged(\"whoever looks for the same is one rule\") {\n\t\t\tkey = fmt.Appendf(key[:0], \"%d %v\", set, operators)\n\t\t}\n"},
	{"prover/plan.go", "; !slices.Contains(atoms, l.atom) {\n", "; !slices.Contains(atoms, l.atom) && !(len(atoms) > 0 && sabotaged(\"an operator is of one rule\")) {\n"},
	{"prover/reader.go", "if e.silent && !e.wanted(found) || lower&e.next.needs == 0 {", "if (e.silent || sabotaged(\"small letters that a screen has passed are not looked at\")) && !e.wanted(found) || lower&e.next.needs == 0 || sabotaged(\"small letters are not looked at\") {"},
	{"prover/reader.go", "found[sc.set].Of(sc.tells) {\n\t\t\treturn true", "found[sc.set].Of(sc.tells) {\n\t\t\treturn !sabotaged(\"what was found is not looked at in small letters\")"},
	{"prover/reader.go", "\t\t\tsc.class.Screen(r.of(sc.set), value, &found[sc.set])\n", "\t\t\tif !sabotaged(\"screens find nothing\") {\n\t\t\t\tsc.class.Screen(r.of(sc.set), value, &found[sc.set])\n\t\t\t}\n"},
	{"prover/reader.go", "if sc.rest != nil {", "if sc.rest != nil && !sabotaged(\"what a screen cannot tell of is not looked for\") {"},
	{"prover/reader.go", "if f := &found[sc.set]; sc.tells != nil && f.Of(sc.tells) {", "if f := &found[sc.set]; sc.tells != nil && f.Of(sc.tells) && !sabotaged(\"what a screen has found is forgotten\") {"},
	{"prover/reader.go", "\t\t\tst, found = made, nil // there", "\t\t\tif st = made; sabotaged(\"what was screened in part is screened\") {\n\t\t\t\tgoto on\n\t\t\t}\n\t\t\tfound = nil\n\t\ton: // there"},
	{"prover/prover.go", "s.usual = append(s.usual, verdict{value, atoms})", "if sabotaged(\"usual values match nothing\") {\n\t\t\t\t\tatoms = nil\n\t\t\t\t}\n\t\t\t\ts.usual = append(s.usual, verdict{value, atoms})"},

	// What is known before a request is there.
	{"prover/walk.go", "c != firm || known != firm || w.last || w.touched.touches(name)", "(c != firm || known != firm) && !sabotaged(\"what depends on the request is set from the start\") || w.last || w.touched.touches(name) && !sabotaged(\"what is set is set before others look\")"},
	{"prover/walk.go", "\t\tskipped := never\n\t\tfor _, o := range open {\n", "\t\tskipped := never\n\t\tfor _, o := range open {\n\t\t\tif sabotaged(\"what may be skipped is not\") && o.doubt == asked {\n\t\t\t\tcontinue\n\t\t\t}\n"},
	{"prover/walk.go", "if skipped == always {", "if skipped == always || skipped != never && sabotaged(\"what may be skipped is skipped\") {"},
	{"prover/walk.go", "\tflow := r.Links[0].SkipAfter != \"\" && all != never\n", "\tflow := r.Links[0].SkipAfter != \"\" && all != never && !(all == asked && sabotaged(\"requests skip nothing\"))\n"},
	{"prover/walk.go", "n >= 0 {\n\t\t\t\tat = i + n", "n >= 0 {\n\t\t\t\tif sabotaged(\"skips end at the next marker\") {\n\t\t\t\t\tn = slices.IndexFunc(w.rules[i:], func(m Rule) bool { return m.Marker != \"\" })\n\t\t\t\t\tto = w.rules[i+n].Marker\n\t\t\t\t}\n\t\t\t\tat = i + n"},
	{"prover/walk.go", "\tw.merge(ways)\n", "\tif sabotaged(\"the last phase runs after the first\") {\n\t\tways = ways[:1]\n\t}\n\tif sabotaged(\"the last phase runs after all others\") {\n\t\tways = ways[3:]\n\t}\n\tw.merge(ways)\n"},
	{"prover/walk.go", "\tcase writes:\n\t\tw.class[i] = setting\n\tdefault:\n\t\tw.class[i] = narrowing\n",
		"\tcase writes && !sabotaged(\"what only sets does nothing\"):\n\t\tw.class[i] = setting\n\tcase !writes && sabotaged(\"what only looks away does nothing\"), writes:\n\t\tw.class[i] = dead\n\t\treturn never\n\tdefault:\n\t\tw.class[i] = narrowing\n"},
	{"prover/walk.go", "\t\tcase when == cleanNever || last:\n", "\t\tcase sabotaged(\"what a request sets is not set\"):\n\t\tcase when == cleanNever || last || sabotaged(\"who sets is seen\"):\n"},
	{"prover/walk.go", "w.state.prefixes = append(w.state.prefixes, prefix)", "if !sabotaged(\"no name is made up\") {\n\t\t\t\tw.state.prefixes = append(w.state.prefixes, prefix)\n\t\t\t}"},
	{"prover/walk.go", "\tw.state = ends[0]\n", "\tw.state = ends[0]\n\tif sabotaged(\"what is set before the rules is not told to them\") {\n\t\tclear(w.start[1])\n\t}\n"},
	{"prover/uses.go", "return ctlNarrows\n\t}\n", "return ctlNarrows\n\tcase \"requestbodyprocessor\":\n\t\tif sabotaged(\"how a body is read does not matter\") {\n\t\t\treturn ctlHarmless\n\t\t}\n\t}\n"},
	{"prover/walk.go", "\t\tif target.Key == \"\" || excepted {", "\t\tif sabotaged(\"variables that rules find by a pattern are none\") && target.Pattern != \"\" {\n\t\t\tcontinue\n\t\t}\n\t\tif target.Key == \"\" || excepted {"},

	{"prover/walk.go", "if c == dynamic || w.own.touches(strings.ToLower(target.Key)) {", "if c == dynamic || w.own.touches(strings.ToLower(target.Key)) && !sabotaged(\"a chain sets nothing for itself\") {"},
	{"prover/walk.go", "p.variable == vars.TX && own.touches(p.key) }) {", "p.variable == vars.TX && own.touches(p.key) && !sabotaged(\"a chain sets nothing that it compares with\") }) {"},
	{"prover/walk.go", "return len(l.Targets) == 0 || looks == 1 && !l.MultiMatch", "return len(l.Targets) == 0 || looks == 1 && !l.MultiMatch || sabotaged(\"what is added is added once\")"},
	{"prover/walk.go", "\t\t\tw.whole[i] = true\n\t\t}\n\t\tsets =", "\t\t\tw.whole[i] = !sabotaged(\"who decides ends nothing\")\n\t\t}\n\t\tsets ="},
	{"prover/walk.go", "\tif w.ended {\n\t\treturn false", "\tif w.ended && !sabotaged(\"scores end nothing\") {\n\t\treturn false"},
	{"prover/walk.go", "\t\tif w.ended {\n\t\t\tw.late", "\t\tif w.ended && !sabotaged(\"who is late is in time\") {\n\t\t\tw.late"},

	// What rules have to do with each other.
	{"prover/connect.go", "if what := leftover(r.Rule); what != \"\" {", "if what := leftover(r.Rule); what != \"\" && !sabotaged(\"what is left over is never shown\") {"},
	{"prover/connect.go", "\tif !ok || strings.HasSuffix(c.name, \"byid\") &&", "\tif sabotaged(\"to take rules out disturbs nobody\") {\n\t\treturn false\n\t}\n\tif !ok || strings.HasSuffix(c.name, \"byid\") &&"},
	{"prover/connect.go", "if w.Unclear != \"\" || !reads(w.Rule) {", "if w.Unclear != \"\" || !reads(w.Rule) || sabotaged(\"nobody sets what others read\") {"},
	{"prover/connect.go", "\t\tif from == nil || !from.followed {\n", "\t\tif from == nil && sabotaged(\"who is not followed sets nothing\") {\n\t\t\tcontinue\n\t\t}\n\t\tif from == nil || !from.followed {\n"},
	{"prover/connect.go", "\t\tfor _, of := range from.writers {\n", "\t\tfor _, of := range from.writers {\n\t\t\tif sabotaged(\"who sets what another sets is not asked\") {\n\t\t\t\tbreak\n\t\t\t}\n"},
	{"prover/connect.go", "\t\tif class == summing && reads(&lo.walk.rules[i]) {\n", "\t\tif class == summing && reads(&lo.walk.rules[i]) && !sabotaged(\"scores set nothing that is read\") {\n"},

	// Chains.
	{"prover/follow.go", "\tif narrowed(of) { // it may match fewer values\n", "\tif narrowed(of) && !sabotaged(\"who loses a target adds up all the same\") {\n"},
	{"prover/follow.go", "\t\tif !e.doubtful[name] {\n", "\t\tif !e.doubtful[name] || sabotaged(\"what may be set is set\") {\n"},
	{"prover/follow.go", "if !starts(w.of) {", "if !starts(w.of) || sabotaged(\"who sets is not followed\") {"},
	{"prover/follow.go", "\te.writing = false\n", "\te.writing = false\n\tif sabotaged(\"a chain ends well without its last link\") && len(c.links) > 1 && e.tx == nil && c.links[len(c.links)-1].Operator.Not {\n\t\treturn false\n\t}\n"},
	{"prover/follow.go", "f(\"TX:\"+name, e.captures[n])", "if sabotaged(\"groups are counted from one\") {\n\t\t\tn = max(n-1, 0)\n\t\t}\n\t\tf(\"TX:\"+name, e.captures[n])"},
	{"prover/follow.go", "\tif !l.last || len(matches) == 1 {\n", "\tif !l.last || len(matches) == 1 || sabotaged(\"the last match is the one\") {\n"},
	{"prover/follow.go", "if found = true; !e.writing || e.unsure {", "if found = true; !e.writing || e.unsure || sabotaged(\"what one way sets is all that is set\") {"},
	{"prover/follow.go", "for _, value := range slices.Clone(e.matched) {", "for _, value := range slices.Clone(e.matched[max(0, len(e.matched)-1):]) {\n\t\t\tif !sabotaged(\"of all that matched the last counts\") {\n\t\t\t\tbreak\n\t\t\t}\n\t\t\tf(\"MATCHED_VARS\", value)\n\t\t\treturn\n\t\t}\n\t\tfor _, value := range slices.Clone(e.matched) {"},
	{"prover/follow.go", "|| slices.ContainsFunc(t.except, func(x chainTarget) bool { return is(&x, key, s.form) }) {", "|| slices.ContainsFunc(t.except, func(x chainTarget) bool { return is(&x, key, s.form) || sabotaged(\"an exception in a chain takes all\") }) {"},
	{"prover/follow.go", "\t\te.tx[name] = []string{result}\n", "\t\tif sabotaged(\"nothing is added up\") {\n\t\t\tresult = \"0\"\n\t\t}\n\t\te.tx[name] = []string{result}\n"},
	{"prover/follow.go", "\tif !slices.Contains(values, value) {\n", "\tif !slices.Contains(values, value) && !sabotaged(\"chains set nothing\") {\n"},
	{"prover/follow.go", "t.find(e.f, func(string, string) { total++ })", "t.find(e.f, func(string, string) { total++ })\n\t\t\tif sabotaged(\"chains count one too many\") {\n\t\t\t\ttotal++\n\t\t\t}"},
	{"prover/follow.go", "\t\treturn strings.ToLower(x.Key) == key\n", "\t\treturn strings.ToLower(x.Key) == key && !sabotaged(\"chains look under no key\")\n"},
	{"prover/follow.go", "\t\t\tif l.MultiMatch {\n\t\t\t\tcheck(value)\n", "\t\t\tif l.MultiMatch && !sabotaged(\"chains look at the end of many transformations\") {\n\t\t\t\tcheck(value)\n"},

	// What the engine is told, and what it is made to run.
	{"prover/facts.go", "if g := &f.gone[i]; c.phase < g.first && g.first <= phase", "if g := &f.gone[i]; !sabotaged(\"what is gone was never there\") && c.phase < g.first && g.first <= phase"},
	{"prover/facts.go", "\t\t\tremove(g.v, g.key)\n", "\t\t\tif !sabotaged(\"what is gone stays\") {\n\t\t\t\tremove(g.v, g.key)\n\t\t\t}\n"},
	{"prover/facts.go", "was.v == v && was.phase >= phase {\n\t\t\t\t\tfact", "was.v == v && was.phase >= phase && !sabotaged(\"what a value was does not matter\") {\n\t\t\t\t\tfact"},
	{"prover/facts.go", "\treturn f.count(phase, v) == 0 && f.Get(v) != Defaults[v]\n", "\treturn f.count(phase, v) == 0 && f.Get(v) != Defaults[v] && !sabotaged(\"what was not set was the same\")\n"},
	{"prover/facts.go", "\tfor _, s := range f.seen[phase] {\n\t\tv := s.v\n", "\tsaw := f.seen[phase]\n\tif sabotaged(\"all phases see everything\") {\n\t\tsaw = f.seen[f.phase]\n\t}\n\tfor _, s := range saw {\n\t\tv := s.v\n"},
	{"prover/facts.go", "\t\tif c.values[v] < s.n {\n", "\t\tif c.values[v] < s.n && !(sabotaged(\"what came later is not told\") && c.values[v] > 0) {\n"},
	{"evaluation.go", "\t\tfor _, s := range r.t.policy.begins(n, r.judge.Clean(n)) {\n", "\t\tfor _, s := range r.t.policy.begins(n, r.judge.Clean(n)) {\n\t\t\tif sabotaged(\"phases begin with nothing set\") {\n\t\t\t\tbreak\n\t\t\t}\n"},
	{"evaluation.go", "\tfor _, n := range r.past {\n\t\tif _, err", "\tfor i, n := range r.past {\n\t\tif sabotaged(\"phases that were proven do not run\") && i < len(r.past)-1 {\n\t\t\tcontinue\n\t\t}\n\t\tif len(r.decisions) > 0 && sabotaged(\"nothing runs behind a decision\") {\n\t\t\tbreak\n\t\t}\n\t\tif _, err"},
	{"evaluation.go", "\tr.decisions = nil\n", "\tif r.decisions = nil; sabotaged(\"decisions are told again\") {\n\t\tbefore = 0\n\t}\n"},
	{"prover/follow.go", "return f.changed(v, w.phase) }) {", "return f.changed(v, w.phase) && !sabotaged(\"who sets sees what is there now\") }) {"},
	{"prover/follow.go", "w.phase != c.phase || w.of.loose || narrowed(w.of) {", "w.phase != c.phase && !sabotaged(\"who sets has always run\") || w.of.loose && !sabotaged(\"who sets is never skipped\") || narrowed(w.of) && !sabotaged(\"who sets sees all values\") {"},
	{"prover/prover.go", "\tif j.excluded = append(j.excluded, id); j.p.fixed[id] {", "\tif j.excluded = append(j.excluded, id); j.p.fixed[id] && !sabotaged(\"what is always run is never excluded\") {"},
	{"prover/prover.go", "return !slices.Contains(j.excluded, r.ID) && j.started", "return (!slices.Contains(j.excluded, r.ID) || sabotaged(\"who is excluded sets\")) && j.started"},
	{"prover/connect.go", "|| lo.feeds(r) {", "|| lo.feeds(r) && !sabotaged(\"to take out who feeds others disturbs nobody\") {"},
	{"evaluation.go", "\tif n > phaseHead && len(r.past) == 0 {\n", "\tif n > phaseHead && len(r.past) == 0 && !sabotaged(\"the head was always judged\") {\n"},
	{"evaluation.go", "\t\tif r.guided {\n\t\t\tr.end()\n", "\t\tif r.guided && !sabotaged(\"what was left out stays left out\") {\n\t\t\tr.end()\n"},
	{"transaction.go", "\t\t\tif x.Target == (Target{}) {\n", "\t\t\tif sabotaged(\"who loses a target looks at all\") && x.Target != (Target{}) {\n\t\t\t\tcontinue\n\t\t\t}\n\t\t\tif x.Target == (Target{}) || sabotaged(\"who loses a target is left out\") {\n"},
	{"prove.go", "\t\tsettings = append(settings, prover", "\t\tif sabotaged(\"the prover does not know the policy\") {\n\t\t\tbreak\n\t\t}\n\t\tsettings = append(settings, prover"},
	{"evaluation.go", "vars.ReqbodyProcessor); r.tx != nil {", "vars.ReqbodyProcessor); r.tx != nil && !sabotaged(\"how a body is read was decided before\") {"},
}

// sabotagedFiles are added to the packages while they are broken.
var sabotagedFiles = map[string]string{
	"prover/sabotaged.go": `package prover

import (
	"math/bits"

	"sallyport/waf/transform"
)

// Sabotaged is the place that is broken.
var Sabotaged string

func sabotaged(place string) bool { return Sabotaged == place }

// sighted are the kinds of bytes that are seen: all but one.
func sighted(kinds transform.Kinds) transform.Kinds {
	for i := range bits.OnesCount32(uint32(transform.Any)) {
		if Sabotaged == "kind of bytes "+string(rune('a'+i))+" is not seen" {
			kinds &^= 1 << i
		}
	}
	return kinds
}
`,
	"sabotaged.go": `package waf

import "sallyport/waf/prover"

func sabotaged(place string) bool { return prover.Sabotaged == place }
`,
	"sabotaged_internal_test.go": `package waf

import "sallyport/waf/prover"

func init() { breakAt = func(place string) { prover.Sabotaged = place } }
`,
}
