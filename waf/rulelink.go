package waf

import (
	"bufio"
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types"

	"sallyport/waf/prover"
)

// link reads a SecRule or SecAction. dir is where the engine looks for files
// that it names.
func (b *ruleReader) link(d directive, dir string) *readLink {
	l := &readLink{phase: 2}
	if d.name == "secaction" {
		l.applyText(unquote(d.options()), b)
		return l
	}
	targets, rest, _ := strings.Cut(strings.Trim(d.options(), " "), " ")
	operator, rest := cutQuoted(strings.TrimLeft(rest, " "))
	var err error
	if l.Targets, err = engineTargets(targets); err != nil {
		l.fail(err.Error())
	}
	if l.Operator, err = b.operator(operator, dir); err != nil {
		l.fail(err.Error())
	}
	// Without actions it has no default actions either.
	if list := unquote(strings.TrimLeft(rest, " ")); list != "" {
		l.applyText(list, b)
	}
	return l
}

func (l *readLink) fail(why string) {
	if l.unclear == "" {
		l.unclear = why
	}
}

func (l *readLink) applyText(list string, b *ruleReader) { l.apply(engineActions(list), b) }

// The kinds of actions that the engine treats apart from the others.
var (
	describing = map[string]bool{"accuracy": true, "id": true, "maturity": true, "msg": true, "phase": true, "rev": true, "severity": true, "tag": true, "ver": true}
	deciding   = map[string]bool{"allow": true, "block": true, "deny": true, "drop": true, "pass": true, "redirect": true}
)

// engineActions cuts an action list as the engine does: at the commas outside
// single quotes, where a backslash makes the character behind it plain. Of
// several decisions the last one counts, in the place of the first.
func engineActions(list string) []action {
	var out []action
	start, colon, decision, quoted := 0, -1, -1, false
	add := func(end int) {
		name, value := list[start:end], ""
		if colon >= 0 {
			name, value = list[start:colon], list[colon+1:end]
		}
		a := action{strings.ToLower(strings.TrimSpace(name)), unquote(strings.TrimSpace(value)), end}
		switch {
		case !deciding[a.name]:
			out = append(out, a)
		case decision >= 0:
			out[decision] = a
		default:
			decision = len(out)
			out = append(out, a)
		}
		start, colon = end+1, -1
	}
	for i := 1; i < len(list); i++ {
		switch c := list[i]; {
		case list[i-1] == '\\':
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == ':' && colon < 0:
			colon = i
		case c == ',':
			add(i)
		}
	}
	add(len(list))
	return out
}

// apply carries out an action list when the rule is read: what describes the
// rule first, since the phase decides about the default actions, then these,
// then the others. Without a reader there are no default actions.
func (l *readLink) apply(list []action, b *ruleReader) {
	for _, a := range list {
		switch a.name {
		case "id":
			l.id, _ = strconv.Atoi(a.value)
		case "phase":
			phase, ok := enginePhase(a.value)
			if !ok {
				l.fail("phase " + a.value)
			}
			l.phase = phase
		case "msg":
			l.msg = unquote(a.value)
		case "tag":
			l.tags = append(l.tags, a.value)
		}
	}
	var defaults []action
	if b != nil {
		defaults = b.defaultsOf(l.phase)
	}
	decides := false
	for _, a := range list {
		decides = decides || deciding[a.name] && (a.name != "block" || defaults == nil)
	}
	for _, a := range defaults {
		if !deciding[a.name] || !decides {
			l.do(a)
		}
	}
	for _, a := range list {
		if a.name != "block" || defaults == nil {
			l.do(a)
		}
	}
}

// do carries out one action when the rule is read.
func (l *readLink) do(a action) {
	switch a.name {
	case "log":
		l.log = true
	case "nolog":
		l.log = false
	case "capture":
		l.Capture = true
	case "multimatch":
		l.MultiMatch = true
	case "chain":
		l.chained = true
	case "logdata":
		l.logdata = a.value
	case "t":
		switch {
		case a.value == "none":
			l.Transformations = nil
		case strings.HasPrefix(strings.ToLower(a.value), unchanged): // fresh put it there
		default:
			l.Transformations = append(l.Transformations, a.value)
		}
	case "setvar":
		if l.SetVars = append(l.SetVars, a.value); !strings.Contains(a.value, "=") {
			l.Unclear = "the engine panics over setvar without a value"
		}
	case "ctl":
		l.Ctls = append(l.Ctls, a.value)
	case "skipafter":
		l.SkipAfter = unquote(a.value)
	case "skip":
		l.Unclear = "it skips a number of rules, and which ones they are depends on those that are left out"
	case "deny", "drop", "redirect", "allow":
		l.Decision = a.name
	case "pass", "block":
		l.Decision = ""
	case "status", "auditlog", "noauditlog":
	case "exec", "expirevar", "initcol": // the engine does nothing
	default:
		if !describing[a.name] {
			l.Unclear = "the action " + a.name
		}
	}
}

// unchanged begins the names of the transformations that change nothing.
var unchanged = strings.TrimSuffix(strings.TrimPrefix(transformationName(0), "t:"), "0")

// enginePhase reads a phase: a number, or one of its words.
func enginePhase(text string) (int, bool) {
	phase, err := types.ParseRulePhase(text)
	return int(phase), err == nil
}

// operator takes an operator apart, whose quotes are gone.
func (b *ruleReader) operator(text, dir string) (prover.Operator, error) {
	switch {
	case text == "" || text[0] != '@' && text[0] != '!':
		text = "@rx " + text
	case text[0] == '!' && !strings.HasPrefix(text, "!@"):
		text = "!@rx " + text[1:]
	}
	name, argument, _ := strings.Cut(text, " ")
	var op prover.Operator
	name, op.Not = strings.CutPrefix(strings.TrimSpace(name), "!")
	op.Name = strings.ToLower(strings.TrimPrefix(name, "@"))
	op.Argument = strings.TrimSpace(argument)
	var err error
	switch op.Name {
	case "pm":
		op.List = strings.Split(strings.ToLower(op.Argument), " ")
	case "pmfromfile", "pmf":
		op.List, err = b.phrases(op.Argument, dir)
	}
	return op, err
}

// phrases reads a word list: what stands in its lines, but for those that are
// empty or begin with #, up to one that is too long for the engine's scanner.
func (b *ruleReader) phrases(name, dir string) ([]string, error) {
	if !path.IsAbs(name) {
		name = path.Join(dir, name)
	}
	content, err := b.files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("no word list %s", name)
	}
	var out []string
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			out = append(out, strings.ToLower(line))
		}
	}
	return out, nil
}
