package prover

import (
	"fmt"
	"strings"
	"testing"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// sec makes a rule of lines as SecLang has them, but plainer: targets, an
// operator and actions, in quotes but for the targets. A line that begins with a
// blank goes on with a chain; one of a single word is a marker.
func sec(t testing.TB, text string) []Rule {
	t.Helper()
	var out []Rule
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		fields := strings.SplitN(strings.TrimSpace(line), `"`, 5)
		if len(fields) == 1 && !strings.HasPrefix(line, " ") {
			out = append(out, Rule{Marker: fields[0], Place: "test"})
			continue
		}
		var l Link
		r := Rule{Phase: 2, Place: "test"}
		if targets := strings.TrimSpace(fields[0]); targets != "-" {
			l.Targets = targetsOf(t, targets)
			operator, argument, _ := strings.Cut(fields[1], " ")
			operator, l.Operator.Not = strings.CutPrefix(operator, "!")
			l.Operator.Name, l.Operator.Argument = strings.ToLower(strings.TrimPrefix(operator, "@")), argument
			if l.Operator.Name == "pm" {
				l.Operator.List = strings.Split(argument, " ")
			}
		}
		for action := range strings.SplitSeq(fields[3], ",") {
			name, value, _ := strings.Cut(action, ":")
			switch name {
			case "":
			case "id":
				fmt.Sscan(value, &r.ID) //nolint:errcheck // of a test
			case "phase":
				fmt.Sscan(value, &r.Phase) //nolint:errcheck // of a test
			case "core":
				r.Core = true
			case "log":
				l.Log = true
			case "deny", "drop", "redirect", "allow":
				l.Decision = name
			case "t":
				l.Transformations = append(l.Transformations, value)
			case "setvar":
				l.SetVars = append(l.SetVars, value)
			case "ctl":
				l.Ctls = append(l.Ctls, value)
			case "skipAfter":
				l.SkipAfter = value
			case "capture":
				l.Capture = true
			case "multiMatch":
				l.MultiMatch = true
			case "msg":
				l.Texts = append(l.Texts, value)
			case "tag":
				r.Tags = append(r.Tags, value)
			case "odd":
				l.Unclear = value
			case "unclear":
				r.Unclear = value
			default:
				t.Fatalf("the action %q of %s", action, line)
			}
		}
		if strings.HasPrefix(line, " ") {
			last := &out[len(out)-1]
			last.Links = append(last.Links, l)
			continue
		}
		r.Links = []Link{l}
		out = append(out, r)
	}
	return out
}

// targetsOf reads targets.
func targetsOf(t testing.TB, text string) []Target {
	t.Helper()
	var out []Target
	for one := range strings.SplitSeq(text, "|") {
		var g Target
		one, g.Except = strings.CutPrefix(one, "!")
		one, g.Count = strings.CutPrefix(one, "&")
		name, key, _ := strings.Cut(one, ":")
		g.Name, g.Key = name, key
		if strings.HasPrefix(key, "/") && strings.HasSuffix(key, "/") && len(key) > 2 {
			g.Key, g.Pattern = "", strings.Trim(key, "/")
		}
		g.Variable, _ = vars.Parse(name)
		out = append(out, g)
	}
	return out
}

// facts makes facts of pairs as ARGS_GET:name=value, all marked as of phase 1.
func facts(t testing.TB, pairs ...string) *Facts {
	t.Helper()
	f := &Facts{}
	more(t, f, pairs...)
	f.Mark(1)
	return f
}

// more adds pairs.
func more(t testing.TB, f *Facts, pairs ...string) {
	t.Helper()
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		name, key, _ := strings.Cut(name, ":")
		v, err := vars.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if singles[v] {
			f.Set(v, value)
		} else {
			f.Add(v, key, value)
		}
	}
}

// proverOf makes a prover.
func proverOf(t testing.TB, text string, settings ...Setting) *Prover {
	t.Helper()
	p, err := New(sec(t, text), settings, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// judged asks about facts in phase 1, and in phase 2 when more came.
func judged(t testing.TB, p *Prover, head, body []string) (Answer, []int) {
	t.Helper()
	f := facts(t, head...)
	j := p.Judge(f, nil)
	defer j.Close()
	j.Phase(1)
	more(t, f, body...)
	f.Mark(2)
	answer := j.Phase(2)
	return answer, keptBy(p, j, 2)
}

// keptBy are the ids of rules up to a phase that Remove leaves.
func keptBy(p *Prover, j *Judge, phase int) (kept []int) {
	gone := map[int]bool{}
	j.Remove(func(first, last int) {
		for id := first; id <= last; id++ {
			gone[id] = true
		}
	})
	for _, id := range p.ids {
		if id.phase <= phase && !gone[id.id] {
			kept = append(kept, id.id)
		}
	}
	return kept
}
