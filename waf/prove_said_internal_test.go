package waf

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/prover"
)

// A said is what one match of a rule says.
type said struct {
	line          string // that it comes to in a seen
	rule, level   int
	message, data string
	matches       []types.MatchData // all of the rule
}

// ruleOf finds the rule that a line of a seen is about.
var ruleOf = regexp.MustCompile(`^(?:rule|hit) (\d+)`)

// wavers reports whether the stock engine is not at one with itself about a
// line: some runs have it more often than others. most and least hold how often.
func wavers(line string, most, least map[string]int) bool { return most[line] != least[line] }

// random reports whether all that a difference is about are rules of which the
// stock engine says something else each time. More runs of it may then show what
// the fast engine has come upon. Where it says the same in each, they would not.
func (c *contest) random(d *difference, most, least map[string]int) bool {
	wavering := map[string]bool{}
	for l := range most {
		if m := ruleOf.FindStringSubmatch(l); m != nil && wavers(l, most, least) {
			wavering[m[1]] = true
		}
	}
	return !slices.ContainsFunc(slices.Concat(d.fast, d.stock), func(l string) bool {
		m := ruleOf.FindStringSubmatch(l)
		return m == nil || !wavering[m[1]]
	})
}

// composed reports whether a line that only the fast engine has is what a chain
// says, made of what that chain has matched. What it captured, the name of what
// it matched and the value each come from one match of the head or of a link,
// and which ones those are depends on the order of Go's maps: of a chain with
// twenty matches there are thousands of texts, and no number of runs shows them
// all. It is no difference then that the fast engine has put other matches
// together than any run of the stock engine did. That it has the same matches, and
// says as much of them, other lines hold; a text with anything in it that the
// chain has not matched itself, as what an earlier rule left behind, is none of
// these; and where all runs of the stock engine say the same, nothing is random.
func (c *contest) composed(fast *seen, line string, most, least map[string]int) bool {
	at := slices.IndexFunc(fast.said, func(s said) bool { return s.line == line })
	if at < 0 || c.rules == nil {
		return false
	}
	s := &fast.said[at]
	rule := c.rules()[s.rule]
	if rule == nil || len(rule.Links) < 2 || s.level >= len(rule.Links) {
		return false
	}
	prefix, _, _ := strings.Cut(line, ":")
	says := func(l string) bool { return strings.HasPrefix(l, prefix+":") }
	total, varies := 0, false
	for l := range most {
		if says(l) {
			total, varies = total+most[l], varies || wavers(l, most, least)
		}
	}
	if !varies || total == 0 {
		return false
	}
	p := possibilities{rule: rule, matches: s.matches}
	// The head's texts and those of the link that the match is of.
	for _, text := range []string{s.message, s.data} {
		if text != "" && !slices.ContainsFunc(rule.Links[s.level].Texts, func(template string) bool { return p.makes(template, text) }) {
			return false
		}
	}
	return true
}

// possibilities are what the macros of a rule's texts may stand for when its
// chain has matched.
type possibilities struct {
	rule    *prover.Rule
	matches []types.MatchData
}

// makes reports whether the template may come to the text.
func (p *possibilities) makes(template, text string) bool {
	open := strings.Index(template, "%{")
	if open < 0 {
		return template == text
	}
	rest, ok := strings.CutPrefix(text, template[:open])
	name, template, closed := strings.Cut(template[open+2:], "}")
	if !ok || !closed {
		return false
	}
	return slices.ContainsFunc(p.of(name, 0), func(value string) bool {
		after, ok := strings.CutPrefix(rest, value)
		return ok && p.makes(template, after)
	})
}

// maxNested bounds how deep variables may be set to what other variables hold.
const maxNested = 4

// of are the values that a variable may have.
func (p *possibilities) of(name string, depth int) (values []string) {
	collection, key, _ := strings.Cut(strings.ToLower(name), ".")
	switch {
	case depth > maxNested:
	case collection == "matched_var":
		for _, m := range p.matches {
			values = append(values, m.Value())
		}
	case collection == "matched_var_name":
		for _, m := range p.matches {
			name := m.Variable().Name()
			if m.Key() != "" {
				name += ":" + m.Key()
			}
			values = append(values, name)
		}
	case collection == "tx" && len(key) == 1 && '0' <= key[0] && key[0] <= '9':
		values = p.captures(int(key[0] - '0'))
	case collection == "tx":
		for k := range p.rule.Links {
			for _, set := range p.rule.Links[k].SetVars {
				to, value, _ := strings.Cut(set, "=")
				if strings.EqualFold(to, "tx."+key) {
					if inner, ok := strings.CutPrefix(value, "%{"); ok && strings.IndexByte(inner, '}') == len(inner)-1 {
						values = append(values, p.of(inner[:len(inner)-1], depth+1)...)
					}
				}
			}
		}
	}
	return values
}

// captures are what a group may hold: what a link that captures finds in a value
// that it has matched.
func (p *possibilities) captures(group int) (values []string) {
	for k := range p.rule.Links {
		l := &p.rule.Links[k]
		if !l.Capture || l.Operator.Name != "rx" || l.Operator.Not {
			continue
		}
		re, err := regexp.Compile("(?sm)" + l.Operator.Argument)
		if err != nil {
			continue
		}
		for _, m := range p.matches {
			if found := re.FindStringSubmatch(m.Value()); m.ChainLevel() == k && len(found) > group {
				values = append(values, found[group])
			}
		}
	}
	return values
}

// A hit is a match that a test makes up.
type hit struct {
	types.MatchData
	key, value string
	level      int
}

func (h hit) Variable() variables.RuleVariable { return variables.Args }
func (h hit) Key() string                      { return h.key }
func (h hit) Value() string                    { return h.value }
func (h hit) ChainLevel() int                  { return h.level }

// TestComposed holds that only what a chain has matched itself can make up for a
// text that no run of the stock engine has shown.
func TestComposed(t *testing.T) {
	rule := &prover.Rule{ID: 7, Links: []prover.Link{
		{Operator: prover.Operator{Name: "rx", Argument: `(\w)=(\w)`}, Capture: true, Texts: []string{"a match", "%{TX.0} of %{tx.at}: %{MATCHED_VAR}"}, SetVars: []string{"tx.at=%{matched_var_name}"}},
		{Operator: prover.Operator{Name: "rx", Argument: "."}},
	}}
	c := contest{rules: func() map[int]*prover.Rule { return map[int]*prover.Rule{7: rule} }}
	matches := []types.MatchData{hit{key: "x", value: "-a=b-"}, hit{key: "y", value: "c=d"}, hit{key: "x", value: "-a=b-", level: 1}}
	line := func(data string) string { return "rule 7 says at 0: \"a match\", \"" + data + "\"" }
	const shown, other = "a=b of ARGS:x: -a=b-", "c=d of ARGS:y: c=d"
	for _, tc := range []struct {
		data string
		most map[string]int
		want bool
	}{
		{"a=b of ARGS:y: c=d", map[string]int{line(shown): 1, line(other): 1}, true},
		{"c=d of ARGS:x: c=d", map[string]int{line(shown): 1, line(other): 1}, true},
		{"c=d of ARGS:x: c=d", map[string]int{line(shown): 1}, false}, // the stock engine always says the same
		{"c=d of ARGS:x: c=d", nil, false},                            // it says nothing
		{"e=f of ARGS:y: c=d", map[string]int{line(shown): 1, line(other): 1}, false},
		{"a=b of ARGS:z: c=d", map[string]int{line(shown): 1, line(other): 1}, false},
		{"a=b of ARGS:y: left", map[string]int{line(shown): 1, line(other): 1}, false},
		{"a=b of ARGS:y: ", map[string]int{line(shown): 1, line(other): 1}, false},
	} {
		fast := seen{said: []said{{line: line(tc.data), rule: 7, message: "a match", data: tc.data, matches: matches}}}
		least := map[string]int{}
		for l, n := range tc.most {
			if least[l] = n; len(tc.most) > 1 {
				least[l] = 0
			}
		}
		if got := c.composed(&fast, line(tc.data), tc.most, least); got != tc.want {
			t.Errorf("%s, of %d texts of the stock engine: %v, want %v", tc.data, len(tc.most), got, tc.want)
		}
	}
}

// TestManyHeads compares requests of which a chain matches many values, which
// it puts together at random in what it says.
func TestManyHeads(t *testing.T) {
	c := contests(t)["suite"]
	for _, n := range []int{2, 7, 20} {
		target := "/?"
		for i := range n {
			target += string(rune('a'+i)) + "=" + string(rune('a'+i)) + "%22%22x&"
		}
		tr := &trial{name: "many heads", call: get(target+"z=1", "Cookie", "c=a''b; d=c''d")}
		d, fast, _ := c.compare(tr)
		if d != nil {
			t.Errorf("%d values: the engines differ:%s", n, d)
		}
		if !slices.ContainsFunc(fast.said, func(s said) bool { return s.rule == 932240 }) {
			t.Errorf("%d values: rule 932240 says nothing", n)
		}
	}
}
