package waf

import (
	"fmt"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// maxLine is the longest line, in bytes, that the engine's scanner reads. It
// drops a longer one and, without a word, everything after it.
const maxLine = 64<<10 - 1

// A directive is one logical line of a rule file: continued lines joined,
// comments left out, exactly as the engine will understand it.
type directive struct {
	file string // as an operator knows it
	line int    // of its first line, from 1
	name string // lower case
	args string // what follows the name, joined to one line
	raw  string // the lines as they stand in the file; what the engine is given
	// rule is the SecRule or SecAction taken apart, where that was done before:
	// the embedded rules are read once for all policies.
	rule *rule
	// was is the directive as it stands in the file, where the engine is given
	// something else.
	was *directive
}

// at starts a diagnostic about the directive.
func (d directive) at(what, hint string) gate.Diagnostic {
	return gate.Diagnostic{File: d.file, Line: d.line, What: what, Hint: hint}
}

// split cuts a rule file into directives the way the engine's parser does,
// and reports what that parser would lose without an error: an overlong line
// and a file that ends in the middle of a directive.
func split(file, src string) ([]directive, gate.Diagnostics) {
	var (
		out   []directive
		diags gate.Diagnostics
		text  strings.Builder // the logical line so far
		raw   []string
		first int
		ticks bool // inside the block of a SecDataset
	)
	number := 0
	for line := range strings.SplitSeq(src, "\n") {
		number++
		if len(line) > maxLine {
			diags = append(diags, gate.Diagnostic{File: file, Line: number,
				What: fmt.Sprintf("a line of %d bytes; the engine reads at most %d", len(line), maxLine), Hint: "break it with a backslash at the end"})
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if len(raw) == 0 {
			first = number
		}
		raw = append(raw, line)
		switch {
		case !ticks && strings.HasSuffix(line, "`"):
			ticks = true
		case ticks && line[0] == '`':
			ticks = false
		}
		if ticks {
			text.WriteString(line + "\n")
			continue
		}
		if strings.HasSuffix(line, `\`) {
			text.WriteString(strings.TrimSuffix(line, `\`))
			continue
		}
		text.WriteString(line)
		name, args, _ := strings.Cut(text.String(), " ")
		out = append(out, directive{file: file, line: first, name: strings.ToLower(name), args: args, raw: strings.Join(raw, "\n")})
		text.Reset()
		raw = nil
	}
	if len(raw) > 0 {
		diags = append(diags, gate.Diagnostic{File: file, Line: first,
			What: "the file ends in the middle of a directive", Hint: "remove the backslash at the end of its last line, or close the backtick"})
	}
	return out, diags
}

// An action is one item of a rule's action list.
type action struct {
	name, value string
	end         int // where in the list the item ends
}

// A rule is a SecRule or SecAction taken apart as far as the gateway needs to
// know it.
type rule struct {
	variables string // as written; empty for SecAction
	operator  string // name without @ and !; empty for SecAction
	negated   bool   // by a ! before the operator
	argument  string // of the operator
	actions   []action
	list      string // the actions as written
}

// parseRule takes a SecRule or SecAction apart. Whatever it does not
// understand is left to the engine to refuse.
func parseRule(d directive) rule {
	if d.rule != nil {
		return *d.rule
	}
	if d.name == "secaction" {
		list := unquote(strings.TrimSpace(d.args))
		return rule{actions: parseActions(list), list: list}
	}
	variables, rest, _ := strings.Cut(strings.Trim(d.args, " "), " ")
	rest = strings.TrimLeft(rest, " ")
	operator, rest := cutQuoted(rest)
	operator, negated := strings.CutPrefix(operator, "!")
	r := rule{negated: negated, variables: variables, operator: "rx", argument: operator, list: unquote(strings.TrimSpace(rest))}
	if named, ok := strings.CutPrefix(operator, "@"); ok {
		r.operator, r.argument, _ = strings.Cut(named, " ")
		r.argument = strings.TrimSpace(r.argument)
	}
	r.actions = parseActions(r.list)
	return r
}

// action returns the value of the last action with the name.
func (r rule) action(name string) (string, bool) {
	for i := len(r.actions) - 1; i >= 0; i-- {
		if r.actions[i].name == name {
			return r.actions[i].value, true
		}
	}
	return "", false
}

// id returns the rule's id; 0 when it has none.
func (r rule) id() int {
	value, _ := r.action("id")
	id, err := strconv.Atoi(value)
	if err != nil {
		return 0
	}
	return id
}

// cutQuoted returns what stands between the quotes at the start of s, with
// escaped quotes resolved, and the rest.
func cutQuoted(s string) (string, string) {
	if s == "" || s[0] != '"' {
		return "", s
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return strings.ReplaceAll(s[1:i], `\"`, `"`), s[i+1:]
		}
	}
	return s[1:], ""
}

// unquote removes one pair of quotes around s.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// parseActions cuts an action list at the commas outside single quotes. Names
// are in lower case.
func parseActions(list string) []action {
	var out []action
	quoted, start := false, 0
	add := func(end int) {
		name, value, _ := strings.Cut(list[start:end], ":")
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
			out = append(out, action{name, unquote(strings.TrimSpace(value)), end})
		}
		start = end + 1
	}
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '\\':
			i++
		case '\'':
			quoted = !quoted
		case ',':
			if !quoted {
				add(i)
			}
		}
	}
	add(len(list))
	return out
}
