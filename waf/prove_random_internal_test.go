package waf

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// A ruleMaker makes up rule files whose rules have to do with each other: few
// names and values, so that what one sets another one looks at.
type ruleMaker struct {
	*rand.Rand
	id       int
	phase    int
	markers  int  // that are still to come
	wild     bool // with much that has all rules run
	captured bool // by the rule so far
}

func (m *ruleMaker) one(list ...string) string { return list[m.IntN(len(list))] }

// chance is true once in n times.
func (m *ruleMaker) chance(n int) bool { return m.IntN(n) == 0 }

func (m *ruleMaker) tx() string { return m.one("p", "q", "r", "s", "p_x") }

func (m *ruleMaker) macro() string {
	if m.captured && m.chance(2) {
		return m.one("%{TX.0}", "%{TX.1}", "%{TX.0}")
	}
	if m.wild && m.chance(4) {
		return m.one("%{TX.0}", "%{TX.1}", "%{TX.2}", "%{rule.id}")
	}
	return m.one("%{tx."+m.tx()+"}", "%{tx."+m.tx()+"}", "%{MATCHED_VAR}", "%{ARGS.a}", "%{REQUEST_HEADERS.X-A}", "%{MATCHED_VAR_NAME}", "%{REQUEST_METHOD}", "%{TX.10}")
}

// target is what a link looks at; later ones of a chain look at what was matched.
func (m *ruleMaker) target(later bool) string {
	plain := []string{"ARGS", "ARGS", "ARGS:a", "ARGS:b", "ARGS_GET", "ARGS_GET:a", "ARGS_POST", "ARGS_POST:a", "ARGS_NAMES", "ARGS_GET_NAMES", "ARGS:/^[ab]/", "ARGS|!ARGS:a", "ARGS|!ARGS:/^b/", "REQUEST_HEADERS:X-A", "REQUEST_HEADERS:X-B", "REQUEST_HEADERS:/^x-/",
		"REQUEST_COOKIES", "REQUEST_COOKIES:a", "REQUEST_COOKIES|ARGS:b", "REQUEST_METHOD", "QUERY_STRING", "REQUEST_BODY", "REQBODY_PROCESSOR", "&ARGS", "&ARGS:a", "&ARGS_POST", "&REQUEST_COOKIES", "&REQUEST_HEADERS:X-A", "&ARGS:/^a/", "RESPONSE_STATUS", "RESPONSE_BODY", "RESPONSE_HEADERS:X-R"}
	tx := []string{"TX:" + m.tx(), "TX:" + m.tx(), "TX:" + m.tx(), "&TX:" + m.tx(), "TX:/^p/", "TX:10", "TX:" + m.tx() + "|TX:" + m.tx(), "ARGS:a|TX:" + m.tx(), "&TX:/^p/"}
	matched := []string{"MATCHED_VAR", "MATCHED_VARS", "MATCHED_VAR_NAME", "MATCHED_VARS_NAMES", "&MATCHED_VARS"}
	switch n := m.IntN(20); {
	case m.captured && n < 8, m.wild && n < 2:
		return m.one("TX:0", "TX:1", "TX:1", "TX:2")
	case m.wild && n == 2:
		return m.one("TX", "&TX:1", "ARGS_COMBINED_SIZE", "HIGHEST_SEVERITY")
	case n < 5, later && n < 8:
		return m.one(tx...)
	case later && n < 13, m.wild && n == 6:
		return m.one(matched...)
	}
	return m.one(plain...)
}

func (m *ruleMaker) operator(target string) string {
	var out string
	switch n := m.IntN(16); {
	case strings.Contains(target, "&"), n < 3:
		out = "@" + m.one("eq", "eq", "ge", "gt", "lt", "le") + " " + m.one("0", "1", "1", "2", "3", m.macro())
	case n < 8:
		out = "@rx " + m.one("^x$", "x", "^(x)(y)?", `^(\w)(\w)?$`, `(\d)`, "(x)|(y)", ".", "^$", "^p_", "(?i)X", "GET", "ARGS", "json|URL")
	case n < 10:
		out = "@" + m.one("streq", "contains", "beginsWith", "endsWith") + " " + m.one("x", "y", "xy", "1", "evil", m.macro(), m.macro())
	case n < 12:
		out = "@within " + m.one("x y", "xy 1 evil", "GET POST", m.macro(), "x"+m.macro())
	case n == 12:
		out = "@pm " + m.one("x", "evil xy", "1 2")
	case n == 13:
		out = m.one("@unconditionalMatch", "@noMatch", "@unconditionalMatch")
	case n == 14:
		out = m.one("@detectSQLi", "@validateByteRange 48-57", "@validateUtf8Encoding")
		if m.wild {
			out = "@validateNid us [0-9-]+"
		}
	default:
		out = "@rx ^(.*)$"
	}
	if m.chance(5) {
		out = "!" + out
	}
	return out
}

func (m *ruleMaker) setvar() string {
	name := m.tx()
	switch m.IntN(14) {
	case 0:
		return "setvar:'!tx." + name + "=0'"
	case 1:
		if !m.captured && !m.wild {
			return "setvar:'tx.p_%{MATCHED_VAR}=1'"
		}
		return "setvar:'tx.p_" + m.one("%{MATCHED_VAR}", "%{TX.1}", "%{TX.0}", "%{tx.q}") + "=" + m.one("1", "x", "%{MATCHED_VAR}") + "'"
	case 2:
		return "setvar:'tx.inbound_anomaly_score_pl1=+" + m.one("1", "2", "5") + "'"
	case 3:
		if m.chance(3) {
			return "setvar:'tx.inbound_anomaly_score_threshold=" + m.one("3", "7") + "'"
		}
		if m.wild {
			return "setvar:'tx." + m.one("1", "0", "10") + "=x'"
		}
	}
	return "setvar:'tx." + name + "=" + m.one("1", "1", "x", "0", "+1", "+1", "-1", "+%{tx."+m.tx()+"}", m.macro(), m.macro(), "a"+m.macro()) + "'"
}

func (m *ruleMaker) ctl() string {
	id := 1 + m.IntN(20)
	switch m.IntN(7) {
	case 0:
		return fmt.Sprintf("ctl:ruleRemoveById=%d-%d", id, id+m.IntN(4))
	case 1:
		return "ctl:ruleRemoveByTag=" + m.one("odd", "even")
	case 2, 3:
		return fmt.Sprintf("ctl:ruleRemoveTargetById=%d;%s", id, m.one("ARGS:a", "ARGS", "ARGS:/^b/", "REQUEST_COOKIES", "TX:p"))
	case 4:
		return "ctl:ruleRemoveTargetByTag=" + m.one("odd", "even") + ";" + m.one("ARGS:a", "ARGS:b", "REQUEST_COOKIES:a")
	}
	return fmt.Sprintf("ctl:ruleRemoveById=%d", id)
}

// effects are the actions of a link that do something when it matches.
func (m *ruleMaker) effects(likely int) (out []string) {
	if m.IntN(10) < likely {
		out = append(out, m.setvar())
	}
	if m.chance(4) {
		out = append(out, m.setvar())
	}
	if m.chance(9) {
		out = append(out, m.ctl())
	}
	if m.chance(3) {
		out = append(out, "capture")
	}
	if m.chance(12) {
		out = append(out, "multiMatch")
	}
	for range m.IntN(3) {
		out = append(out, m.one("t:none", "t:lowercase", "t:urlDecode", "t:trim", "t:length", "t:hexEncode", "t:none", "t:lowercase", "t:removeWhitespace"))
	}
	if m.wild && m.chance(9) {
		out = append(out, "t:md5")
	}
	return out
}

// rule is one rule, chain included.
func (m *ruleMaker) rule() string {
	m.id++
	if m.chance(3) && m.phase < 5 {
		m.phase++
	}
	phase := m.phase
	if m.chance(8) {
		phase = 1 + m.IntN(5)
	}
	actions := []string{fmt.Sprintf("id:%d", m.id), fmt.Sprintf("phase:%d", phase), "tag:" + []string{"even", "odd"}[m.id%2]}
	links := 1
	if m.chance(3) {
		links += 1 + m.IntN(2)
	}
	always := links == 1 && m.chance(6) // a SecAction
	logs := m.chance(2) && (!always || m.wild)
	if m.IntN(24) < 3 && phase < 5 && (!always || m.wild) {
		actions = append(actions, m.one("deny", "deny,status:404", "block", "drop", "allow", "allow:phase", "allow:request"))
	} else {
		actions = append(actions, "pass")
	}
	if logs {
		actions = append(actions, "log", "msg:'"+m.one("found", "of "+m.macro(), m.macro()+" "+m.macro())+"'")
		if m.chance(3) {
			actions = append(actions, "logdata:'"+m.macro()+"'")
		}
		if m.chance(3) {
			actions = append(actions, "severity:"+m.one("CRITICAL", "NOTICE", "WARNING"))
		}
	} else {
		actions = append(actions, "nolog")
	}
	if m.chance(12) {
		m.markers = max(m.markers, 1)
		actions = append(actions, "skipAfter:END")
	}
	m.captured = false
	var b strings.Builder
	for k := range links {
		if k > 0 {
			actions = nil
		}
		actions = append(actions, m.effects(map[bool]int{true: 6, false: 3}[!logs])...)
		if k < links-1 {
			actions = append(actions, "chain")
		}
		if len(actions) == 0 {
			actions = []string{"t:none"}
		}
		if always || k == 0 && m.chance(40) {
			actions = slices.DeleteFunc(actions, func(a string) bool { return strings.HasPrefix(a, "t:") || a == "multiMatch" || a == "capture" })
			fmt.Fprintf(&b, "SecAction \"%s\"\n", strings.Join(actions, ","))
			continue
		}
		target := m.target(k > 0)
		operator := m.operator(target)
		m.captured = m.captured || slices.Contains(actions, "capture") && strings.HasPrefix(operator, "@rx")
		fmt.Fprintf(&b, "SecRule %s \"%s\" \"%s\"\n", target, operator, strings.Join(actions, ","))
	}
	return b.String()
}

// file is a rule file, rule by rule.
func (m *ruleMaker) file() []string {
	var out []string
	m.phase, m.wild = 1, m.chance(5)
	for range 3 + m.IntN(9) {
		out = append(out, m.rule())
		if m.markers > 0 && m.chance(3) {
			out, m.markers = append(out, "SecMarker END\n"), 0
		}
	}
	if m.markers > 0 {
		out = append(out, "SecMarker END\n")
	}
	for range m.IntN(3) {
		id := 1 + m.IntN(m.id)
		out = append(out, m.one(fmt.Sprintf("SecRuleUpdateTargetById %d \"!ARGS:a\"\n", id), fmt.Sprintf("SecRuleUpdateActionById %d \"pass\"\n", id), fmt.Sprintf("SecRuleRemoveById %d\n", id), "SecRuleUpdateTargetByTag odd \"!ARGS:b\"\n"))
	}
	return out
}

// request is one that such rules look at.
func (m *ruleMaker) request() *trial {
	pairs := func() string {
		var out []string
		for range m.IntN(4) {
			out = append(out, m.one("a", "b", "a", "ab", "c", "A")+"="+m.one("x", "y", "xy", "1", "2", "evil", "", "X", "p_x", "12", "a", "078-05-1120", "%2578"))
		}
		return strings.Join(out, "&")
	}
	c := get("/?" + pairs())
	if m.chance(2) {
		target := c.target
		c = post(formType, pairs())
		c.target = target
	}
	for _, name := range []string{"X-A", "X-B", "Cookie"} {
		if !m.chance(3) {
			continue
		}
		value := m.one("x", "y", "xy", "1", "evil")
		if name == "Cookie" {
			value = strings.ReplaceAll(pairs(), "&", "; ")
		}
		c.fields = append(c.fields, gate.Field{Name: name, Value: value})
	}
	tr := &trial{name: "random", call: c, flow: flow(m.IntN(int(flows)))}
	if m.chance(2) {
		tr.flow = wholeFlow
	}
	tr.answer = reply{status: []int{200, 404, 500}[m.IntN(3)], fields: fieldsOf("Content-Type", "text/html", "X-R", m.one("x", "1")), body: m.one("x", "y", "an x and a y", "evil")}
	return tr
}

// randomContest is a policy of rules, under both engines; nil where the engine does
// not take them.
func randomContest(t testing.TB, name string, rules []string, change func(*Policy)) *contest {
	t.Helper()
	dir, err := os.MkdirTemp("", "random")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p := standard()
	p.CRS, p.ResponseBody = crsOff, "all"
	p.RulesAfter = []string{writeFile(t, filepath.Join(dir, "own.conf"), strings.Join(rules, ""))}
	change(&p)
	stock, fast := p, p
	stock.Engine, fast.Engine = StockEngine, FastEngine
	e, err := New(Config{Memory: 16 << 20, LogLines: true, Policies: map[string]Policy{"stock": stock, "fast": fast}}, zap.NewNop())
	if err != nil {
		return nil
	}
	from, _, err := planFor("fast", p.bounded())
	if err != nil {
		t.Fatal(err)
	}
	return &contest{name: name, stock: judge{e, "stock"}, fast: judge{e, "fast"}, rules: sync.OnceValue(func() map[int]*prover.Rule {
		out := map[int]*prover.Rule{}
		list := from.proverRules()
		for k := range list {
			out[list[k].ID] = &list[k]
		}
		return out
	})}
}

// requestsPerFile is how many requests are judged under one rule file.
const requestsPerFile = 12

// TestRandomRulesAgree makes up rule files, and holds the fast engine to the stock
// one over requests that their rules look at.
func TestRandomRulesAgree(t *testing.T) {
	requests, seed := wanted(t)
	files := max(requests/30, 60)
	if testing.Short() {
		files = 12
	}
	n := newTally("random rules")
	taken, open := 0, 0
	for i := range files {
		m := &ruleMaker{Rand: chance(seed, "random rules", i)}
		rules := m.file()
		watch, paths := m.chance(4), m.chance(3)
		change := func(p *Policy) {
			if watch {
				p.Mode = gate.Watch
			}
			if paths {
				p.Exclusions, p.Routes = []Exclusion{exclude(t, fmt.Sprint(1+i%9), "", forPath("/")), exclude(t, fmt.Sprint(2+i%7), "ARGS:a", forRoute("test"))}, []string{"test"}
			}
		}
		c := randomContest(t, fmt.Sprint("random rules ", i), rules, change)
		if c == nil {
			continue
		}
		taken++
		if info := c.fast.engine.Policies()["fast"]; info.Full || len(info.Unproven) > 0 {
			open++
		}
		for range requestsPerFile {
			tr := m.request()
			d, fast, settled := c.compare(tr)
			n.mu.Lock()
			n.requests++
			n.runs[fast.run]++
			if settled {
				n.settled++
			}
			if fast.silent() {
				n.silent++
			}
			n.mu.Unlock()
			if d == nil {
				continue
			}
			if n.differences++; n.differences > shownDifferences {
				continue
			}
			small := slices.Clone(rules)
			for k := len(small) - 1; k >= 0; k-- {
				less := slices.Delete(slices.Clone(small), k, k+1)
				if smaller := randomContest(t, "smaller", less, change); smaller != nil {
					if found, _, _ := smaller.compare(tr); found != nil {
						small, d, c = less, found, smaller
					}
				}
			}
			reduced, d := c.shrink(tr, d)
			t.Errorf("file %d: the engines differ:%s\nof %s\nunder\n%s", i, d, reduced, strings.Join(small, ""))
			break
		}
		c.fast.engine.Close()
	}
	t.Logf("%s; %d files of %d taken, %d with what is in the way", n, taken, files, open)
	if taken < files*7/10 || open > taken*7/10 {
		t.Errorf("%d files of %d were taken, and of %d some requests can be proven, want more", taken, files, taken-open)
	}
	for run, want := range map[string]float64{gate.RunProven: 0.1, gate.RunGuided: 0.15, gate.RunFull: 0.1} {
		if share := float64(n.runs[run]) / float64(n.requests); share < want {
			t.Errorf("%.2f of the requests were run %s, want %.2f", share, run, want)
		}
	}
}
