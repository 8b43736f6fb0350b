package waf

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxNumber is how long a number may be, and maxExponent how many digits its
// exponent may have. Libraries with numbers of any size compute for minutes
// over longer ones, and a double ends at 17 digits and 1e308.
const (
	maxNumber   = 128
	maxExponent = 3
)

// The paths of all values together may be this much larger than the body, and
// are never held to less than the floor. Each value carries its whole path, so
// a small body with long nested names would otherwise grow by the depth.
const (
	jsonGrowth = 8
	jsonFloor  = 16 << 10
)

// Bounds of the memory that names are given at a time.
const (
	minNames = 64
	maxNames = 4 << 10
)

// errDuplicate is wrapped by the error about an object that names a key twice.
var errDuplicate = errors.New("duplicate key")

// errBound is wrapped by the errors about a text that is JSON so far but too
// deep, or otherwise too much, to be read on.
var errBound = errors.New("too much to judge")

// errCut says that a JSON text ends too early. That is no fault of a body
// that was cut at the limit of what is held.
var errCut = errors.New("unexpected end")

// readJSON takes a JSON text (RFC 8259) apart, strictly: one value, nothing
// after it, no byte order mark, no number beyond all use, no duplicate keys within an object. It names
// the values as the engine does: json.items.0.name, and for the number of
// elements of an array the array's own name. The first duplicate key is
// returned as an error that wraps errDuplicate when the text is otherwise
// sound; all values are handed on in any case, up to where the text breaks.
//
// Applications differ in which of two values of a key they take (RFC 8259
// section 4), so a component in front of the application may check the one
// and the application use the other.
func readJSON(body string, to *sink) error {
	return readNamedJSON(body, "json", to)
}

// readNamedJSON does the same and names the values after name.
func readNamedJSON(body, name string, to *sink) error {
	j := newJSONReader(body, name, to)
	if err := j.document(); err != nil || to.full {
		return err
	}
	if j.space(); j.i < len(j.s) {
		return fmt.Errorf("json at byte %d: more after the value", j.i)
	}
	return j.duplicate
}

// readJSONTexts takes a sequence of JSON texts apart, one after the other with
// white space or record separators between them (application/x-ndjson, RFC
// 7464). All are named alike.
func readJSONTexts(body string, to *sink) error {
	j := newJSONReader(body, "json", to)
	j.separator = '\x1E'
	for j.space(); j.i < len(j.s); j.space() {
		if err := j.document(); err != nil || to.full {
			return err
		}
	}
	return j.duplicate
}

// readJSONLoosely shows what a lenient reader may find in a text that was never
// said to be JSON: the values up to where it breaks, and from there on the
// strings in it that have something to decode. It reports whether all of the
// text is JSON. The error is one that wraps errBound.
func readJSONLoosely(body string, to *sink) (whole bool, err error) {
	j := newJSONReader(body, "json", to)
	j.separator, j.loose = '\x1E', true
	for j.space(); j.i < len(j.s) && !to.full; j.space() { // a full sink ends a document where it is
		err := j.document()
		if errors.Is(err, errBound) {
			return false, err
		}
		if whole = err == nil; !whole {
			break
		}
	}
	whole = whole && j.i == len(j.s) && !j.lax
	for !to.full {
		start := strings.IndexAny(j.s[j.i:], "\"'")
		if start < 0 {
			break
		}
		start += j.i
		j.i, j.quote = start, j.s[start]
		text, _ := j.text() // it can only be cut
		if strings.Contains(j.s[start:j.i], `\`) {
			to.add("json", text)
		}
	}
	return whole, nil
}

func newJSONReader(body, path string, to *sink) *jsonReader {
	return &jsonReader{s: body, to: to, path: []byte(path), quote: '"', budget: max(jsonGrowth*len(body), jsonFloor)}
}

// document reads one JSON text, up to its end.
func (j *jsonReader) document() error {
	j.root = len(j.path)
	defer func() { j.path = j.path[:j.root] }()
	j.space()
	scalar := j.i < len(j.s) && j.s[j.i] != '{' && j.s[j.i] != '['
	if scalar {
		j.path = append(j.path, ".0"...)
	}
	if err := j.value(1); err != nil {
		return fmt.Errorf("json at byte %d: %w", j.i, err)
	}
	if j.to.full || !scalar {
		return nil
	}
	j.path = j.path[:j.root]
	return j.length(1)
}

type jsonReader struct {
	s         string
	i         int
	to        *sink
	path      []byte
	names     []byte // handed on, and room for more
	budget    int    // bytes of names and values that may still be handed on
	arrays    int    // lengths handed on
	separator byte   // counts as white space; 0: none
	quote     byte   // what ends a string
	duplicate error
	loose     bool // strings hold whatever some reader lets pass, and words are numbers
	lax       bool // there was such a word
	root      int  // bytes of the path that name the whole text
	lone      bool // the string holds a lone surrogate
}

func (j *jsonReader) space() {
	for j.i < len(j.s) {
		switch j.s[j.i] {
		case ' ', '\t', '\r', '\n':
			j.i++
		default:
			if j.separator == 0 || j.s[j.i] != j.separator {
				return
			}
			j.i++
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
	j.to.add(j.name(), value)
	return nil
}

// name is the current path. Names share memory, of which there is about as much
// as they need together.
func (j *jsonReader) name() string {
	if cap(j.names)-len(j.names) < len(j.path) {
		j.names = make([]byte, 0, max(len(j.path), min(max(len(j.s)/2, minNames), maxNames)))
	}
	from := len(j.names)
	j.names = append(j.names, j.path...)
	return view(j.names[from:])
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
		return fmt.Errorf("%w: the paths of the values are many times larger than the body", errBound)
	}
	return nil
}

// queryKey ends the path of what may be a GraphQL document.
var queryKey = []byte(".query")

// top reports whether the path is that of a key of the outermost object, or of
// one of the objects in the outermost array: requests in a batch.
func (j *jsonReader) top() bool {
	between := string(j.path[j.root : len(j.path)-len(queryKey)])
	return strings.Trim(between, ".0123456789") == "" && strings.Count(between, ".") < 2
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
	j.to.facts.Add(j.to.args, j.name(), value)
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
		j.lone = false
		text, err := j.text()
		if err != nil && !errors.Is(err, errCut) {
			return err
		}
		if j.lone {
			// Applications replace half a character, or drop it.
			if err := j.add(strings.ReplaceAll(text, "\uFFFD", "")); err != nil {
				return err
			}
		}
		if bytes.HasSuffix(j.path, queryKey) && j.top() {
			j.to.document(text) //nolint:errcheck // then it is just a text
		}
		if err == nil {
			return j.add(text)
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
		return fmt.Errorf("%w: nested deeper than %d", errBound, j.to.jsonDepth)
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
		return fmt.Errorf("%w: nested deeper than %d", errBound, j.to.jsonDepth)
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
