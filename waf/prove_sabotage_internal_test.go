package waf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/waf/prover"
	"sallyport/waf/transform"
)

// breakAt breaks the prover at a place. Nil, unless it was compiled to be broken.
var breakAt func(place string)

// brokenAt is where it is broken.
var brokenAt string

// breakThere breaks it.
func breakThere(place string) {
	brokenAt = place
	breakAt(place)
}

// whole judges by an engine that is not broken.
func (j judge) whole(tr *trial) seen {
	if place := brokenAt; place != "" {
		breakThere("")
		defer breakThere(place)
	}
	return j.see(tr)
}

// A sabotage breaks the prover in one way: at a place of the code, or by telling
// it other rules than those that the engine runs.
type sabotage struct {
	name  string
	place bool
	rules func(rules []prover.Rule) // changes them
	near  []string                  // how the names of trials begin that come first
}

// ruleSabotages are the ways to break the prover through its rules.
func ruleSabotages(t *testing.T) []sabotage {
	t.Helper()
	var out []sabotage
	each := func(name string, change func(l *prover.Link), near ...string) {
		out = append(out, sabotage{name: name, near: near, rules: func(rules []prover.Rule) {
			for i := range rules {
				for k := range rules[i].Links {
					change(&rules[i].Links[k])
				}
			}
		}})
	}
	never := prover.Operator{Name: "nomatch"}

	// Every transformation and operator that the rules use. An operator that is
	// negated is another one.
	transformations, operators := map[string]bool{}, map[string]bool{}
	named := func(o prover.Operator) string {
		if o.Not {
			return "!@" + o.Name
		}
		return "@" + o.Name
	}
	rulesOf := map[string][]prover.Rule{}
	for _, name := range []string{"suite", "rules observed", "own"} {
		rulesOf[name] = contestPlan(t, name).proverRules()
		for i := range rulesOf[name] {
			for _, l := range rulesOf[name][i].Links {
				for _, name := range l.Transformations {
					transformations[strings.ToLower(name)] = true
				}
				if len(l.Targets) > 0 && !slices.ContainsFunc(l.Targets, ofTX) {
					operators[named(l.Operator)] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(transformations)) {
		each("t:"+name+" changes nothing", func(l *prover.Link) {
			l.Transformations = slices.DeleteFunc(slices.Clone(l.Transformations), func(have string) bool { return strings.EqualFold(have, name) })
		}, "special: transformed")
	}
	for _, name := range slices.Sorted(maps.Keys(operators)) {
		each(name+" never matches", func(l *prover.Link) {
			if named(l.Operator) == name && !slices.ContainsFunc(l.Targets, ofTX) {
				l.Operator = never
			}
		})
	}

	// One rule at a time: some of each kind, each with the tests of its own.
	tested := map[int]bool{}
	for _, tr := range coreTrials(t) {
		id, _, _ := strings.Cut(tr.name, "-")
		n, _ := strconv.Atoi(id)
		tested[n] = true
	}
	seen := map[string]int{}
	for _, r := range rulesOf["suite"] {
		for k, l := range r.Links {
			kind := named(l.Operator)
			if l.Operator.Name == "" || !tested[r.ID] || len(l.Targets) == 0 || slices.ContainsFunc(l.Targets, ofTX) {
				continue
			}
			every := map[string]int{"@rx": 12, "!@rx": 3, "@pm": 2, "@pmfromfile": 1}[kind]
			if seen[kind]++; every == 0 || seen[kind]%every != 0 {
				continue
			}
			id, what := r.ID, fmt.Sprintf("link %d of rule %d never matches", k, r.ID)
			out = append(out, sabotage{name: what, near: []string{strconv.Itoa(id) + "-"}, rules: func(rules []prover.Rule) {
				for i := range rules {
					if rules[i].ID == id {
						rules[i].Links[k].Operator = never
					}
				}
			}})
		}
	}
	// One phrase of a list.
	for _, id := range []int{930120, 932160, 933130, 913100} {
		out = append(out, sabotage{name: fmt.Sprintf("all phrases of rule %d but the first are lost", id), near: []string{strconv.Itoa(id) + "-"}, rules: func(rules []prover.Rule) {
			for i := range rules {
				if rules[i].ID == id {
					o := &rules[i].Links[0].Operator
					o.List = slices.Clone(o.List[:1])
				}
			}
		}})
	}

	each("whatever counts is not there", func(l *prover.Link) {
		if slices.ContainsFunc(l.Targets, func(t prover.Target) bool { return t.Count && !ofTX(t) }) {
			l.Operator = never
		}
	})
	each("no key is a pattern", func(l *prover.Link) {
		for i := range l.Targets {
			if p := &l.Targets[i]; p.Pattern != "" && !p.Except && !ofTX(*p) {
				p.Pattern, p.Key = "", p.Pattern
			}
		}
	})
	each("all exceptions are for everything", func(l *prover.Link) {
		for i := range l.Targets {
			if p := &l.Targets[i]; p.Except {
				p.Pattern, p.Key = "", ""
			}
		}
	})
	each("nothing skips but what scores decide", func(l *prover.Link) {
		if !slices.ContainsFunc(l.Targets, ofTX) {
			l.SkipAfter = ""
		}
	}, "special: lane")
	each("nothing looks away", func(l *prover.Link) { l.Ctls = nil }, "special: free", "special: lax", "941", "special: script")
	each("nothing is set", func(l *prover.Link) { l.SetVars = nil })
	each("messages have no macros", func(l *prover.Link) { l.Texts = nil }, "special: left over")
	each("nothing is logged", func(l *prover.Link) { l.Log = false })
	each("nothing decides", func(l *prover.Link) { l.Decision, l.Log = "", l.Log && l.Decision == "" }, "special: do", "special: allow")
	each("no link looks at every step", func(l *prover.Link) { l.MultiMatch = false }, "special: many times", "special: list")
	for phase := 1; phase <= 5; phase++ {
		out = append(out, sabotage{name: fmt.Sprintf("phase %d has no rules", phase), rules: func(rules []prover.Rule) {
			for i := range rules {
				if rules[i].Phase == phase && rules[i].Marker == "" {
					rules[i].Links = []prover.Link{{Targets: rules[i].Links[0].Targets, Operator: never}}
				}
			}
		}})
	}
	for id, near := range map[int]string{941010: "941", 920450: "920450-", 920451: "920451-", 920190: "920190-", 922110: "922110-", 921180: "921180-", 931130: "931130-", 943110: "943110-"} {
		out = append(out, sabotage{name: fmt.Sprintf("rule %d is not there", id), near: []string{near, "special: "}, rules: func(rules []prover.Rule) {
			for i := range rules {
				if rules[i].ID == id {
					rules[i].Links = []prover.Link{{Targets: rules[i].Links[0].Targets, Operator: never}}
				}
			}
		}})
	}
	return out
}

// ofTX reports whether a target is one of the variables that rules set.
func ofTX(t prover.Target) bool { return strings.EqualFold(t.Name, "TX") }

// placeNames finds the names of the ways to break a place.
var placeNames = regexp.MustCompile(`sabotaged\("([^"]+)"\)`)

// nearPlace are the trials that a place is first tried with.
var nearPlace = map[string][]string{
	"the exclusions of one request hold for the next":               {"special: excluded"},
	"links that set something before the rule matches are left out": {"special: half a chain"},
	"what changes what others see is like any rule":                 {"special: late", "special: calm", "special: body", "special: left over"},
	"what records show does not matter":                             {"special: strict"},
	"collected names are not compared":                              {"special: names"},
	"collected names have one reader":                               {"special: names"},
	"a name is looked for once in a list":                           {"special: names"},
	"first links that look away are left out":                       {"special: half a chain"},
	"of many transformations the last counts":                       {"special: many times", "special: list"},
	"keys are compared as they are written":                         {"special: keys"},
	"an exception takes all":                                        {"special: exceptions"},
	"keys that match a pattern are not counted":                     {"special: counts"},
	"keys in capitals are not counted":                              {"special: counts"},
	"what is set is set before others look":                         {"special: fold"},
	"what depends on the request is set from the start":             {"special: fold"},
	"what may be skipped is not":                                    {"special: lane"},
	"what may be skipped is skipped":                                {"special: lane", "special: skip"},
	"requests skip nothing":                                         {"special: lane"},
	"skips end at the next marker":                                  {"special: lane", "special: skip"},
	"the last phase runs after the first":                           {"special: merge"},
	"the last phase runs after all others":                          {"special: merge"},
	"what a request sets is not set":                                {"special: level", "special: stage", "special: made-up"},
	"who sets is seen":                                              {"special: level", "special: stage", "special: half a chain"},
	"no name is made up":                                            {"special: made-up", "special: captures", "special: polluted"},
	"how a body is read does not matter":                            {"special: body"},
	"what is left over is never shown":                              {"special: left over"},
	"to take rules out disturbs nobody":                             {"special: calm", "special: late"},
	"nobody sets what others read":                                  {"special: level", "special: stage", "special: polluted"},
	"who is not followed sets nothing":                              {"special: fold", "special: "},
	"who sets what another sets is not asked":                       {"special: "},
	"who sets is not followed":                                      {"special: level", "special: stage"},
	"who sets has always run":                                       {"special: "},
	"groups are counted from one":                                   {"special: captures", "special: range", "920190-"},
	"the last match is the one":                                     {"special: chains", "special: captures"},
	"what one way sets is all that is set":                          {"special: captures"},
	"of all that matched the last counts":                           {"special: chains"},
	"an exception in a chain takes all":                             {"special: chains"},
	"nothing is added up":                                           {"special: chains", "special: polluted", "921180-"},
	"chains set nothing":                                            {"special: level"},
	"chains count one too many":                                     {"special: chains", "920", "943"},
	"chains look under no key":                                      {"special: chains", "920"},
	"what is gone was never there":                                  {"special: coded answer"},
	"what is gone stays":                                            {"special: coded answer"},
	"what a value was does not matter":                              {"special: marked"},
	"all phases see everything":                                     {"special: calm", "special: do"},
	"what came later is not told":                                   {"special: "},
	"how a body is read was decided before":                         {"special: body"},
	"who loses a target is left out":                                {"special: excluded"},
	"what was left out stays left out":                              {"special: late"},
	"only the rules of the Core Rule Set are looked for":            {"special: "},
	"chains look at the end of many transformations":                {"special: "},
	"variables that rules find by a pattern are none":               {"special: names", "special: captures"},
	"phases begin with nothing set":                                 {"special: merge", "special: a word"},
	"the head was always judged":                                    {"special: too many"},
	"of the parameters those of the query count":                    {"special: do"},
	"a judge remembers how far the last request was read":           {"special: do"},
	"what a phase has read is all there is":                         {"special: "},
	"chains are told nothing of what is captured":                   {"special: captures"},
	"what is not known does not match":                              {"special: large", "special: code"},
	"what is set before the rules is not told to them":              {"special: "},
	"a chain ends well without its last link":                       {"special: chains"},
	"what always matches does not":                                  {"special: agreed"},
}

// placeSabotages are the ways to break the code.
func placeSabotages() []sabotage {
	var out []sabotage
	add := func(name string) {
		out = append(out, sabotage{name: name, place: true, near: nearPlace[name]})
	}
	for _, p := range weakPoints {
		for _, m := range placeNames.FindAllStringSubmatch(p.broken, -1) {
			add(m[1])
		}
	}
	for i := range bits.OnesCount32(uint32(transform.Any)) {
		add(fmt.Sprintf("kind of bytes %c is not seen", 'a'+i))
	}
	return out
}

// A question is a trial under a policy, with what the stock engine came to.
type question struct {
	tr     *trial
	policy string
	stock  *seen // nil: it was not asked yet
}

// sabotageCorpus is fixed: the trials of special places under all policies that
// they are for, a part of the tests of the Core Rule Set and of what else there is.
func sabotageCorpus(t *testing.T) []*question {
	t.Helper()
	var out []*question
	for _, policy := range []string{"rules", "rules excluded", "rules observed", "everything", "own", "exclusions", "rules early", "4", "odd rules"} {
		for _, tr := range specialTrials(t) {
			out = append(out, &question{tr: tr, policy: policy})
		}
	}
	for i, tr := range evasionTrials(t) {
		out = append(out, &question{tr: tr, policy: []string{"own", "4", "2"}[i%3]})
	}
	for i := range 300 {
		r := chance(1, "sabotage", i)
		out = append(out, &question{tr: varied(t, r, eachPlaced(r, i*7)), policy: []string{"4", "rules 3", "own observed"}[i%3]})
	}
	for _, tr := range coreTrials(t) {
		out = append(out, &question{tr: tr, policy: "suite"})
	}
	return out
}

// A saboteur has broken provers judge the corpus.
type saboteur struct {
	all    map[string]*contest
	corpus []*question
	plans  map[string]plan
}

// under is a contest whose fast side is broken.
func (s *saboteur) under(t *testing.T, name string, by sabotage) *contest {
	t.Helper()
	if _, known := s.plans[name]; !known {
		s.plans[name] = contestPlan(t, name)
	}
	rules := s.plans[name].proverRules()
	if by.rules != nil {
		by.rules(rules)
	}
	p := *arena.engine.policies[name+" fast"]
	p.starts = [phaseLogging + 1][2][]setting{}
	if err := p.proveBy(rules, s.plans[name].proverSettings(), nil); err != nil {
		t.Fatal(err)
	}
	of := arena.engine
	c := *s.all[name]
	c.fast.engine = &Engine{log: of.log, memory: of.memory, decoders: of.decoders, turns: of.turns, policies: map[string]*policy{c.fast.policy: &p}}
	return &c
}

// catch returns the first trial of which the broken prover comes to something
// else than the stock engine, and how; empty: there is none.
func (s *saboteur) catch(t *testing.T, by sabotage) (where string, d *difference) {
	t.Helper()
	contests := map[string]*contest{}
	ask := func(q *question) bool {
		if contests[q.policy] == nil {
			contests[q.policy] = s.under(t, q.policy, by)
		}
		c := contests[q.policy]
		if q.stock == nil {
			seen := c.see(c.stock, q.tr)
			q.stock = &seen
		}
		if d, _, _ = c.compareWith(q.tr, *q.stock); d == nil {
			return false
		}
		where = q.tr.name + ", policy " + q.policy
		return true
	}
	near := func(q *question) bool {
		return slices.ContainsFunc(by.near, func(prefix string) bool { return strings.HasPrefix(q.tr.name, prefix) })
	}
	for _, q := range s.corpus {
		if near(q) && ask(q) {
			return where, d
		}
	}
	for i, q := range s.corpus {
		if !near(q) && (q.policy != "suite" || i%6 == 0) && ask(q) {
			return where, d
		}
	}
	return "", nil
}

// unseen are ways to break the prover that change nothing that anybody could see,
// and why.
var unseen = map[string]string{
	"what a phase has read is all there is": "no variable with several values grows once a phase has read it",
	"what came later is not told":           "the same",
	"what a value was does not matter":      "rules that cannot match by what a value was are left out, whatever the engine is told",
	"kind of bytes r is not seen":           "digits, which no transformation changes and all alphabets have",
	"kind of bytes s is not seen":           "small letters: the same",
	"kind of bytes t is not seen":           "the underscore: the same",
	"who looks at sums changes nothing":     "the policies of the contests add up what depends on the request; TestSums has one that does not",
	"!@pmfromfile never matches":            "one rule has it (951100), which skips rules that cannot match without what it looks for",
}

// TestSabotage breaks the prover in one place at a time, and demands that a fixed
// corpus of a few thousand requests shows it: what the differential tests hold of
// the prover, they hold because they would have noticed. The places are in the
// text of the code: the package is compiled once more with all of them, and each is
// broken in turn: every fourth in an ordinary run of the tests, all with
// SABOTAGE=all, as in make differential, or those with a text in their name.
func TestSabotage(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	if breakAt == nil {
		compileSabotaged(t)
		return
	}
	all := contests(t)
	s := &saboteur{all: all, corpus: sabotageCorpus(t), plans: map[string]plan{}}
	list := append(placeSabotages(), ruleSabotages(t)...)
	list = append([]sabotage{{name: "nothing"}}, list...)
	list = slices.DeleteFunc(list, func(by sabotage) bool { return unseen[by.name] != "" })
	only := os.Getenv("SABOTAGE")
	for i, by := range list {
		switch {
		case only == "" && i%4 != 0, only != "" && only != "all" && !strings.Contains(by.name, only):
			continue
		}
		began := time.Now()
		if by.place {
			breakThere(by.name)
		}
		where, d := s.catch(t, by)
		for again := 0; d == nil && again < 3 && by.name != "nothing"; again++ { // the engine's random order hides some now and then
			where, d = s.catch(t, by)
		}
		breakThere("")
		took := time.Since(began).Round(10 * time.Millisecond)
		switch {
		case by.name == "nothing" && d != nil:
			t.Fatalf("nothing is broken, and %s differs:%s", where, d)
		case by.name == "nothing":
			t.Logf("nothing is broken: no difference in %s", took)
		case d == nil:
			t.Errorf("nobody noticed that %s (%s)", by.name, took)
		default:
			t.Logf("%s: %s, %s:%s", by.name, took, where, d.short())
		}
	}
}

// short is the first line of a difference.
func (d *difference) short() string {
	for _, side := range [][]string{d.stock, d.fast} {
		if len(side) > 0 {
			return fmt.Sprintf(" %.120s", side[0])
		}
	}
	return ""
}

// compileSabotaged compiles the package with the weak points in it, and runs the
// test there.
func compileSabotaged(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, p := range weakPoints {
		if texts[p.file] == "" {
			src, err := os.ReadFile(p.file)
			if err != nil {
				t.Fatal(err)
			}
			texts[p.file] = string(src)
		}
		if n := strings.Count(texts[p.file], p.text); n != 1 {
			t.Errorf("%s has %d times, want once, where it is to be broken:\n%s", p.file, n, p.text)
		}
		texts[p.file] = strings.Replace(texts[p.file], p.text, p.broken, 1)
	}
	if t.Failed() {
		return
	}
	maps.Copy(texts, sabotagedFiles)
	overlay := map[string]map[string]string{"Replace": {}}
	for file, text := range texts {
		overlay["Replace"][filepath.Join(here, filepath.FromSlash(file))] = writeFile(t, filepath.Join(dir, strings.ReplaceAll(file, "/", "_")), text)
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-overlay", writeFile(t, filepath.Join(dir, "overlay.json"), string(list)), "-vet=off", "-count=1", "-run", cmp.Or(os.Getenv("SABOTAGE_RUN"), "^TestSabotage$"), "-timeout", "30m", "-v", ".")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
