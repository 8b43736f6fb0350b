package prover

import (
	"slices"
	"strconv"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/transform"
)

// A follower is where a chain has got to.
type follower struct {
	f        *Facts
	captures []string // nil: not known
	matched  []string
	last     string
	lastName string
	// tx are the variables that were set, with the values that they may have,
	// and doubtful those of them that may not have been set after all.
	tx       map[string][]string
	doubtful map[string]bool
	writing  bool // all ways are gone, for what they set
	choices  int  // that are open
	unsure   bool
	values   int // that were looked at
	bytes    int
}

// may reports whether the rule, which the chain is of, may match. starts tells of
// another one whether its first link may, and narrowed whether a rule looks at less
// than it says.
func (c *chain) may(of *rule, f *Facts, starts, narrowed func(*rule) bool) bool {
	if !c.followed {
		return true
	}
	e := &follower{f: f}
	e.writing = true
	for _, w := range c.writers {
		if w.phase != c.phase && slices.ContainsFunc(w.facts, func(v Variable) bool { return f.changed(v, w.phase) }) {
			return true // it may have seen what is not there any more
		}
		if w.phase != c.phase && slices.ContainsFunc(w.grows, func(v Variable) bool { return f.grown(v, w.phase) }) {
			return true // or have counted less
		}
		if !starts(w.of) {
			continue
		}
		e.begin()
		e.choices = 0
		if w.phase != c.phase || w.of.loose || narrowed(w.of) { // it may not have run, or not have matched
			e.choices = 1
		}
		w.follow(0, e)
		if e.unsure {
			return true
		}
	}
	e.choices = 0
	if narrowed(of) { // it may match fewer values
		e.choices = 1
	}
	e.writing = false
	e.begin()
	return c.follow(0, e) || e.unsure
}

// begin is what the start of a rule does: the variables stay.
func (e *follower) begin() {
	e.captures, e.matched, e.last, e.lastName = nil, nil, "", ""
}

// A match is one value that a link matches.
type match struct {
	value, name string
	captures    []string
}

// follow reports whether the links from k on may match.
func (c *chain) follow(k int, e *follower) bool {
	l := &c.links[k]
	matches := c.matches(l, e)
	if e.unsure {
		return true
	}
	if len(matches) == 0 {
		return false
	}
	for i := range matches {
		m := &matches[i]
		e.matched = append(e.matched, m.value)
		e.take(m)
		for _, a := range l.sets {
			c.set(a, e)
		}
	}
	if k == len(c.links)-1 || e.unsure {
		return true
	}
	if !l.last || len(matches) == 1 {
		return c.follow(k+1, e)
	}
	if len(matches) > maxChoices {
		e.unsure = true
		return true
	}
	matched, found := len(e.matched), false
	e.choices++
	for i := range matches {
		e.take(&matches[i])
		if c.follow(k+1, e) {
			if found = true; !e.writing || e.unsure {
				break
			}
		}
		e.matched = e.matched[:matched]
	}
	e.choices--
	return found
}

func (e *follower) take(m *match) {
	e.last, e.lastName = m.value, m.name
	if m.captures != nil {
		e.captures = m.captures
	}
}

// matches returns the values that a link matches.
func (c *chain) matches(l *chainLink, e *follower) []match {
	if len(l.targets) == 0 {
		return []match{{name: "UNKNOWN"}}
	}
	t := l.test
	if t == nil {
		argument, ok := c.expand(l.argument, e)
		if !ok {
			e.unsure = true
			return nil
		}
		t, _ = testOf(l.Operator.Name, argument, l.Operator.Not)
	}
	var out []match
	try := func(name, value string) {
		e.values++
		if e.bytes += len(value); e.values > maxFollowed || e.bytes > maxBytes {
			e.unsure = true
		}
		if e.unsure {
			return
		}
		check := func(value string) {
			if !t(value) {
				return
			}
			m := match{value: value, name: name}
			if l.captures != nil {
				m.captures = l.captures().FindStringSubmatch(value)
			}
			out = append(out, m)
		}
		for _, by := range l.by {
			if l.MultiMatch {
				check(value)
			}
			if !by.Keeps(transform.KindsOf(value)) {
				value = string(by.Append(nil, value))
			}
		}
		check(value)
	}
	for i := range l.targets {
		if l.targets[i].Variable == vars.MatchedVarsNames {
			if len(e.matched) == 0 {
				continue
			}
			if l == &c.links[len(c.links)-1] && !e.writing {
				return []match{{}} // it may
			}
			e.unsure = true
			return nil
		}
		c.each(&l.targets[i], e, try)
	}
	return out
}

// each calls f with what a target finds.
func (c *chain) each(t *chainTarget, e *follower, f func(name, value string)) {
	switch t.Variable {
	case vars.MatchedVar:
		f("MATCHED_VAR", e.last)
	case vars.MatchedVars:
		for _, value := range slices.Clone(e.matched) {
			f("MATCHED_VARS", value)
		}
	case vars.TX:
		c.eachTX(t, e, f)
	default:
		if t.Count {
			total := 0
			t.find(e.f, func(string, string) { total++ })
			f(t.Name, strconv.Itoa(total))
			return
		}
		t.find(e.f, f)
	}
}

func (c *chain) eachTX(t *chainTarget, e *follower, f func(name, value string)) {
	if t.pattern != nil {
		for name, values := range e.tx {
			if t.pattern.MatchString(name) {
				for _, value := range slices.Clone(values) {
					f("TX:"+name, value)
				}
			}
		}
		for _, fact := range e.f.of[vars.TX] {
			if t.pattern.MatchString(fact.Key) {
				f("TX:"+fact.Key, fact.Value)
			}
		}
		return
	}
	name := strings.ToLower(t.Key)
	if n, err := strconv.Atoi(name); err == nil && len(name) == 1 {
		if e.captures == nil || n >= len(e.captures) || n > maxCaptured {
			e.unsure = true // what an earlier rule has left
			return
		}
		f("TX:"+name, e.captures[n])
		return
	}
	if values, ok := e.tx[name]; ok {
		for _, value := range slices.Clone(values) {
			f("TX:"+name, value)
		}
		if !e.doubtful[name] {
			return
		}
	}
	for _, fact := range e.f.of[vars.TX] {
		if fact.Key == name {
			f("TX:"+name, fact.Value)
			return
		}
	}
	if k := c.known[name]; k.c == firm || k.c == dynamic && !k.set {
		if k.set {
			f("TX:"+name, k.value)
		}
		return
	}
	e.unsure = true
}

// find calls f with the values of a target.
func (t *chainTarget) find(facts *Facts, f func(name, value string)) {
	is := func(x *chainTarget, key string, from form) bool {
		switch {
		case x.pattern != nil:
			return x.pattern.MatchString(key)
		case x.Key == "":
			return true
		case from == ofName && !x.Except && caseSensitive[t.Variable]:
			return x.Key == key
		}
		return strings.ToLower(x.Key) == key
	}
	for _, s := range t.from {
		if singles[s.facts] {
			f(t.Variable.Name(), facts.Get(s.facts))
			continue
		}
		for _, fact := range facts.of[s.facts] {
			key := strings.ToLower(fact.Key)
			if !is(t, key, s.form) || slices.ContainsFunc(t.except, func(x chainTarget) bool { return is(&x, key, s.form) }) {
				continue
			}
			name := t.Variable.Name()
			if fact.Key != "" {
				name += ":" + fact.Key
			}
			if s.form == ofName {
				f(name, fact.Key)
			} else {
				f(name, fact.Value)
			}
		}
	}
}

// set does a setvar action.
func (c *chain) set(a assignment, e *follower) {
	name, ok := c.expand(a.name, e)
	value, okValue := c.expand(a.value, e)
	if !ok || !okValue {
		e.unsure = true
		return
	}
	name = strings.ToLower(name)
	if a.remove {
		e.unsure = true
		return
	}
	if e.tx == nil {
		e.tx, e.doubtful = map[string][]string{}, map[string]bool{}
	}
	values := e.tx[name]
	if e.choices > 0 {
		e.doubtful[name] = true
	}
	if relative(value) {
		current := ""
		switch k := c.known[name]; {
		case len(values) > 1, e.choices > 0, e.doubtful[name]:
			e.unsure = true
			return
		case len(values) == 1:
			current = values[0]
		case k.set:
			if k.c != firm {
				e.unsure = true
				return
			}
			current = k.value
		}
		result, ok := assigned(current, value)
		if !ok {
			return
		}
		e.tx[name] = []string{result}
		return
	}
	if !slices.Contains(values, value) {
		e.tx[name] = append(values, value)
	}
}

// expand returns what a macro comes to, and false where that is not known.
func (c *chain) expand(m macro, e *follower) (string, bool) {
	var b strings.Builder
	for _, p := range m {
		switch p.variable {
		case vars.Unknown:
			b.WriteString(p.text)
		case vars.MatchedVar:
			b.WriteString(e.last)
		case vars.MatchedVarName:
			b.WriteString(e.lastName)
		case vars.TX:
			unsure := e.unsure
			var found []string
			c.eachTX(&chainTarget{Target: Target{Variable: vars.TX, Key: p.key}}, e, func(_, value string) { found = append(found, value) })
			if len(found) > 1 || e.unsure && !unsure || e.doubtful[p.key] {
				return "", false
			}
			if len(found) == 0 {
				found = []string{p.text}
			}
			b.WriteString(found[0])
		default:
			from := sources[p.variable]
			if from == nil || len(from) != 1 || from[0].form != ofValue {
				return "", false
			}
			if singles[from[0].facts] {
				b.WriteString(e.f.Get(from[0].facts))
				continue
			}
			text := p.text
			for _, fact := range e.f.of[from[0].facts] {
				if strings.ToLower(fact.Key) == p.key {
					text = fact.Value
					break
				}
			}
			b.WriteString(text)
		}
	}
	return b.String(), true
}
