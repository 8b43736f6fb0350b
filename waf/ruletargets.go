package waf

import (
	"fmt"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/prover"
)

// What a targetReader is reading.
const (
	inName = iota
	inKey
	inPattern
	inPath // the key of XML or JSON, which no slash makes a pattern
)

// A targetReader reads the targets of a rule.
type targetReader struct {
	out           []prover.Target
	state         int
	name, key     []byte
	except, count bool
	quoted        bool // the key began with a quote
	escaped       bool // an odd number of backslashes stands before
}

// engineTargets reads the targets of a rule as the engine's parser does, which
// has ways of its own: a pattern that ends with the text instead of a slash
// loses its last character, a slash within a name begins a pattern, and a quoted
// name that ends the text keeps the quote.
func engineTargets(text string) ([]prover.Target, error) {
	r := &targetReader{}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if i+1 < len(text) && (c != '|' || r.state == inPattern) && (c != '/' || r.state != inPattern || r.escaped) {
			r.take(c)
			continue
		}
		switch {
		case c == '|':
		case r.state == inName:
			r.name = append(r.name, c)
		case r.state != inPattern && c != '/':
			r.key = append(r.key, c)
		}
		closed := c == '\'' || i+1 < len(text) && text[i+1] == '\''
		switch {
		case r.quoted && !closed:
			return r.out, fmt.Errorf("a quote in the targets %s is not closed", text)
		case r.quoted:
			i += 2
		case r.state == inPattern:
			i++
		}
		if err := r.add(); err != nil {
			return r.out, err
		}
	}
	return r.out, nil
}

// take reads one character that ends nothing.
func (r *targetReader) take(c byte) {
	switch r.state {
	case inName:
		switch c {
		case '!':
			r.except = true
		case '&':
			r.count = true
		case ':':
			r.state = inKey
		default:
			r.name = append(r.name, c)
		}
	case inKey:
		switch {
		case len(r.key) == 0 && (string(r.name) == "XML" || string(r.name) == "JSON"):
			r.state, r.key = inPath, append(r.key, c)
		case c == '/':
			r.state = inPattern
		case c == '\'':
			r.quoted = true
		default:
			r.key = append(r.key, c)
		}
	case inPattern:
		r.key = append(r.key, c)
		r.escaped = c == '\\' && !r.escaped
	case inPath:
		r.key = append(r.key, c)
	}
}

// add ends a target.
func (r *targetReader) add() error {
	t := prover.Target{Name: string(r.name), Key: string(r.key), Except: r.except, Count: r.count && !r.except}
	v, err := vars.Parse(t.Name)
	if err != nil {
		return fmt.Errorf("the variable %q is not known", t.Name)
	}
	if r.state == inKey && !v.CanBeSelected() {
		return fmt.Errorf("the variable %s has no keys", t.Name)
	}
	t.Variable = v
	if r.state == inPattern {
		t.Key = "/" + t.Key + "/"
	}
	*r = targetReader{out: r.out}
	if text, is := patternOf(t.Key); is {
		if t.Key, t.Pattern = "", text; !v.CanBeSelected() && !t.Except {
			t.Variable = vars.Unknown // the engine may find nothing there
		}
	}
	if !foldless[v] {
		t.Pattern = strings.ToLower(t.Pattern)
		if !t.Except {
			t.Key = strings.ToLower(t.Key)
		}
	}
	r.out = append(r.out, t)
	return nil
}

// foldless are the variables whose keys the engine takes as they are written.
var foldless = map[vars.RuleVariable]bool{
	vars.Args: true, vars.ArgsNames: true, vars.ArgsGet: true, vars.ArgsPost: true, vars.ArgsGetNames: true, vars.ArgsPostNames: true,
}

// patternOf returns what stands between the slashes of a key that is a pattern.
// A slash behind an odd number of backslashes does not end one.
func patternOf(key string) (string, bool) {
	inner, begins := strings.CutPrefix(key, "/")
	inner, ends := strings.CutSuffix(inner, "/")
	escapes := len(inner) - len(strings.TrimRight(inner, `\`))
	return inner, begins && ends && escapes%2 == 0
}
