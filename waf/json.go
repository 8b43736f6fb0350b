package waf

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The paths of all values together may be this much larger than the body, and
// are never held to less than the floor. Each value carries its whole path, so
// a small body with long nested names would otherwise grow by the depth.
const (
	jsonGrowth = 8
	jsonFloor  = 16 << 10
)

// errDuplicate is wrapped by the error about an object that names a key twice.
var errDuplicate = errors.New("duplicate key")

// errCut says that a JSON text ends too early. That is no fault of a body
// that was cut at the limit of what is held.
var errCut = errors.New("unexpected end")

// readJSON takes a JSON text (RFC 8259) apart, strictly: one value, nothing
// after it, no byte order mark, no duplicate keys within an object. It names
// the values as the engine does: json.items.0.name, and for the number of
// elements of an array the array's own name. The first duplicate key is
// returned as an error that wraps errDuplicate when the text is otherwise
// sound; all values are handed on in any case, up to where the text breaks.
//
// Applications differ in which of two values of a key they take (RFC 8259
// section 4), so a component in front of the application may check the one
// and the application use the other.
func readJSON(body string, to *sink) error {
	j := &jsonReader{s: body, to: to, path: []byte("json"), budget: max(jsonGrowth*len(body), jsonFloor)}
	j.space()
	scalar := j.i < len(j.s) && j.s[j.i] != '{' && j.s[j.i] != '['
	if scalar {
		j.path = append(j.path, ".0"...)
	}
	if err := j.value(1); err != nil {
		return fmt.Errorf("json at byte %d: %w", j.i, err)
	}
	if to.full {
		return nil
	}
	if scalar {
		j.path = []byte("json")
		if err := j.length(1); err != nil {
			return err
		}
	}
	if j.space(); j.i < len(j.s) {
		return fmt.Errorf("json at byte %d: more after the value", j.i)
	}
	return j.duplicate
}

type jsonReader struct {
	s         string
	i         int
	to        *sink
	path      []byte
	budget    int // bytes of names and values that may still be handed on
	arrays    int // lengths handed on
	duplicate error
}

func (j *jsonReader) space() {
	for j.i < len(j.s) {
		switch j.s[j.i] {
		case ' ', '\t', '\r', '\n':
			j.i++
		default:
			return
		}
	}
}

// next skips white space and returns the byte after it.
func (j *jsonReader) next() (byte, error) {
	if j.space(); j.i >= len(j.s) {
		return 0, errCut
	}
	return j.s[j.i], nil
}

// add hands on one value under the current path.
func (j *jsonReader) add(value string) error {
	if err := j.spend(len(value)); err != nil {
		return err
	}
	j.to.add(string(j.path), value)
	return nil
}

// empty hands on an object or array without elements, so that rules see its
// name; the engine's own reader leaves it out.
func (j *jsonReader) empty(depth int) error {
	if depth == 1 {
		return nil
	}
	return j.add("")
}

// spend takes the current path and a value off the budget.
func (j *jsonReader) spend(value int) error {
	if j.budget -= len(j.path) + value; j.budget < 0 {
		return errors.New("the paths of the values are many times larger than the body")
	}
	return nil
}

// length hands on the length of an array. Lengths do not count as arguments
// but are bounded alike.
func (j *jsonReader) length(n int) error {
	if j.arrays++; j.arrays > j.to.arguments {
		j.to.full = true
		return nil
	}
	value := strconv.Itoa(n)
	if err := j.spend(len(value)); err != nil {
		return err
	}
	j.to.vars.ArgsPost().Add(string(j.path), value)
	return nil
}

// value reads one value. It returns early, without an error, when the sink is
// full: the body is refused, what it says further does not matter.
func (j *jsonReader) value(depth int) error {
	if j.to.full {
		return nil
	}
	c, err := j.next()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		return j.object(depth)
	case '[':
		return j.array(depth)
	case '"':
		text, err := j.text()
		if err != nil && !errors.Is(err, errCut) {
			return err
		}
		return errors.Join(j.add(text), err)
	}
	start := j.i
	if err := j.literal(c); err != nil {
		return err
	}
	if word := j.s[start:j.i]; word != "null" {
		return j.add(word)
	}
	return j.add("")
}

func (j *jsonReader) object(depth int) error {
	if depth > j.to.jsonDepth {
		return fmt.Errorf("nested deeper than %d", j.to.jsonDepth)
	}
	j.i++
	if c, err := j.next(); err != nil {
		return err
	} else if c == '}' {
		j.i++
		return j.empty(depth)
	}
	parent := len(j.path)
	var few [16]string
	names := few[:0]
	var many map[string]bool
	for {
		if c, err := j.next(); err != nil {
			return err
		} else if c != '"' {
			return errors.New("a key must be a string")
		}
		name, err := j.text()
		if err != nil {
			return err
		}
		j.path = append(append(j.path[:parent], '.'), name...)
		if many == nil && len(names) == cap(few[:]) {
			many = make(map[string]bool, 2*len(names))
			for _, n := range names {
				many[n] = true
			}
		}
		if j.duplicate == nil && (many[name] || many == nil && slices.Contains(names, name)) {
			j.duplicate = fmt.Errorf("%w %.100q", errDuplicate, j.path)
		}
		if many != nil {
			many[name] = true
		} else {
			names = append(names, name)
		}
		if c, err := j.next(); err != nil {
			return err
		} else if c != ':' {
			return errors.New("no colon after a key")
		}
		j.i++
		if err := j.value(depth + 1); err != nil || j.to.full {
			return err
		}
		j.path = j.path[:parent]
		if done, err := j.after('}'); done || err != nil {
			return err
		}
	}
}

func (j *jsonReader) array(depth int) error {
	if depth > j.to.jsonDepth {
		return fmt.Errorf("nested deeper than %d", j.to.jsonDepth)
	}
	j.i++
	if c, err := j.next(); err != nil {
		return err
	} else if c == ']' {
		j.i++
		return j.empty(depth)
	}
	parent := len(j.path)
	for n := 0; ; n++ {
		j.path = strconv.AppendInt(append(j.path[:parent], '.'), int64(n), 10)
		if err := j.value(depth + 1); err != nil || j.to.full {
			return err
		}
		j.path = j.path[:parent]
		done, err := j.after(']')
		if err != nil {
			return err
		}
		if done {
			return j.length(n + 1)
		}
	}
}

// after reads the comma or the end after an element.
func (j *jsonReader) after(end byte) (bool, error) {
	c, err := j.next()
	if err != nil {
		return false, err
	}
	j.i++
	switch c {
	case ',':
		return false, nil
	case end:
		return true, nil
	}
	j.i--
	return false, fmt.Errorf("neither a comma nor %q after a value", end)
}

// literal reads true, false, null or a number (RFC 8259 section 6).
func (j *jsonReader) literal(c byte) error {
	for _, word := range [...]string{"true", "false", "null"} {
		if c == word[0] {
			rest := j.s[j.i:]
			if len(rest) < len(word) && rest == word[:len(rest)] {
				j.i = len(j.s)
				return errCut
			}
			if len(rest) < len(word) || rest[:len(word)] != word {
				return errors.New("not a JSON value")
			}
			j.i += len(word)
			return nil
		}
	}
	digits := func() bool {
		start := j.i
		for j.i < len(j.s) && '0' <= j.s[j.i] && j.s[j.i] <= '9' {
			j.i++
		}
		return j.i > start
	}
	has := func(set string) bool {
		for k := range len(set) {
			if j.i < len(j.s) && j.s[j.i] == set[k] {
				j.i++
				return true
			}
		}
		return false
	}
	bad := func() error {
		if j.i >= len(j.s) {
			return errCut
		}
		return errors.New("not a JSON value")
	}
	has("-")
	if !has("0") && !digits() {
		return bad()
	}
	if has(".") && !digits() {
		return bad()
	}
	if has("eE") {
		has("+-")
		if !digits() {
			return bad()
		}
	}
	return nil
}

// text reads a string (RFC 8259 section 7) and decodes it. A string without
// escapes shares its memory with the body. When the body ends inside the
// string, what is there is returned with errCut.
func (j *jsonReader) text() (string, error) {
	j.i++
	start := j.i
	for ; j.i < len(j.s); j.i++ {
		switch c := j.s[j.i]; {
		case c == '"':
			j.i++
			return j.s[start : j.i-1], nil
		case c == '\\':
			return j.escaped([]byte(j.s[start:j.i]))
		case c < ' ':
			return "", errors.New("a control in a string")
		}
	}
	return j.s[start:], errCut
}

func (j *jsonReader) escaped(b []byte) (string, error) {
	for j.i < len(j.s) {
		c := j.s[j.i]
		j.i++
		switch {
		case c == '"':
			return view(b), nil
		case c < ' ':
			return "", errors.New("a control in a string")
		case c != '\\':
			b = append(b, c)
			continue
		}
		if j.i >= len(j.s) {
			break
		}
		c = j.s[j.i]
		j.i++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, err := j.unicode()
			if err != nil {
				return view(b), err
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", fmt.Errorf("unknown escape \\%c", c)
		}
	}
	return view(b), errCut
}

// unicode reads the four digits after \u and, for a high surrogate, the low
// one that must follow. A lone surrogate becomes U+FFFD.
func (j *jsonReader) unicode() (rune, error) {
	four := func() (rune, error) {
		if len(j.s)-j.i < 4 {
			j.i = len(j.s)
			return 0, errCut
		}
		var r rune
		for range 4 {
			d := hexValue(j.s[j.i])
			if d < 0 {
				return 0, errors.New("\\u without four hex digits")
			}
			r = r<<4 | rune(d)
			j.i++
		}
		return r, nil
	}
	high, err := four()
	if err != nil || high < 0xD800 || high > 0xDFFF {
		return high, err
	}
	if high > 0xDBFF || j.i+1 >= len(j.s) || j.s[j.i] != '\\' || j.s[j.i+1] != 'u' {
		return utf8.RuneError, nil
	}
	mark := j.i
	j.i += 2
	low, err := four()
	if err != nil {
		return 0, err
	}
	if low < 0xDC00 || low > 0xDFFF {
		j.i = mark // not its other half: it speaks for itself
		return utf8.RuneError, nil
	}
	return (high-0xD800)<<10 + (low - 0xDC00) + 0x10000, nil
}
