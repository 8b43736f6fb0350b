package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// A reader takes one file apart. Every problem goes into diags, and reading
// goes on with the default in the place of what was wrong, so that one run
// tells all.
type reader struct {
	dir     string // where relative paths begin
	env     func(string) (string, bool)
	local   []netip.Addr // addresses of this machine; empty: not asked for
	lines   [][]byte
	counted counted
	diags   gate.Diagnostics
	places  places
	wrong   map[string]bool // paths whose value was refused
	known   map[string]bool // every key that was asked for, as routes[].name; true: it is written
	unknown []unknownKey
}

// An unknownKey waits for the end of the reading: only then is it clear where
// else the key would have been known.
type unknownKey struct {
	at       position
	path     string
	name     string
	siblings []string
}

func newReader(name string, env func(string) (string, bool)) *reader {
	return &reader{dir: directory(name), env: env,
		places: places{name, map[string]position{}}, wrong: map[string]bool{}, known: map[string]bool{}}
}

// result hands out the configuration, unless something is wrong with it.
func (r *reader) result(c *Config) (*Config, gate.Diagnostics) {
	r.diags.Sort()
	if r.diags.Fatal() {
		return nil, r.diags
	}
	c.places = r.places
	return c, r.diags
}

// report adds an error at a position.
func (r *reader) report(at position, path, what, hint string) {
	r.diags = append(r.diags, gate.Diagnostic{File: r.places.file, Line: at.line, Column: at.column, Path: path, What: what, Hint: hint})
}

// fail adds an error about the value of a path, which need not be written in
// the file: the place is then that of the nearest level above it.
func (r *reader) fail(path, what, hint string) {
	r.wrong[path] = true
	r.report(r.places.of(path), path, what, hint)
}

// warn adds a warning about the value of a path.
func (r *reader) warn(path, what, hint string) {
	r.report(r.places.of(path), path, what, hint)
	r.diags[len(r.diags)-1].Warning = true
}

// reject adds the error of a value: what, and the hint where it has one.
func (r *reader) reject(path string, err error) {
	if p, ok := errors.AsType[*problem](err); ok {
		r.fail(path, p.what, p.hint)
		return
	}
	r.fail(path, err.Error(), "")
}

// written tells whether a path stands in the file.
func (r *reader) written(path string) bool {
	_, ok := r.places.at[path]
	return ok
}

// A problem is an error that also knows the remedy.
type problem struct{ what, hint string }

func (p *problem) Error() string {
	if p.hint == "" {
		return p.what
	}
	return p.what + "; " + p.hint
}

// An object is a mapping that is being read, or one that is absent and then
// has all its defaults.
type object struct {
	r       *reader
	path    string
	pattern string // the path with [] for an index and * for a name
	node    *node
	asked   []string
}

// object begins to read a mapping. Nothing at all counts as an empty mapping:
// that is what is left of one whose lines are all commented out.
func (r *reader) object(n *node, path, pattern string) *object {
	o := &object{r: r, path: path, pattern: pattern}
	if n == nil {
		return o
	}
	if path != "" || n.at.line > 0 {
		r.places.at[path] = n.at
	}
	switch n.kind {
	case mapping:
		o.node = n
		r.duplicates(o)
	case empty:
	case scalar, list:
		r.fail(path, "a mapping is needed here", `write "key: value" lines below it`)
	}
	return o
}

// duplicates reports keys that occur twice: one of the two would be without
// effect.
func (r *reader) duplicates(o *object) {
	first := map[string]position{}
	for _, f := range o.node.fields {
		if at, twice := first[f.name]; twice {
			r.report(f.at, o.join(f.name), "duplicate key", fmt.Sprintf("it already stands in line %d", at.line))
			continue
		}
		first[f.name] = f.at
	}
}

// join is the path of a key of the object.
func (o *object) join(key string) string {
	if !isName(key) {
		return o.path + "[" + strconv.Quote(key) + "]"
	}
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

// get returns the value of a key, or nil.
func (o *object) get(key string) *node {
	o.asked = append(o.asked, key)
	pattern := key
	if o.pattern != "" {
		pattern = o.pattern + "." + key
	}
	if _, ok := o.r.known[pattern]; !ok {
		o.r.known[pattern] = false
	}
	if o.node == nil {
		return nil
	}
	for _, f := range o.node.fields {
		if f.name == key {
			o.r.known[pattern] = true
			o.r.places.at[o.join(key)] = f.value.at
			return f.value
		}
	}
	return nil
}

// done ends the reading of the object: keys that nobody asked for are unknown.
func (o *object) done() {
	if o.node == nil {
		return
	}
	for _, f := range o.node.fields {
		if !slices.Contains(o.asked, f.name) {
			o.r.unknown = append(o.r.unknown, unknownKey{f.at, o.join(f.name), f.name, o.asked})
		}
	}
}

// reportUnknown reports the unknown keys, with the place where each would have
// been known.
func (r *reader) reportUnknown() {
	for _, u := range r.unknown {
		hint := didYouMean(u.name, u.siblings)
		if hint == "" {
			hint = r.elsewhere(u.name)
		} else {
			// The key that was meant is not missing as well: one mistake is
			// told once.
			meant := strings.TrimSuffix(u.path, u.name) + closest(u.name, u.siblings)
			r.diags = slices.DeleteFunc(r.diags, func(d gate.Diagnostic) bool { return d.Path == meant && d.What == missing })
		}
		r.report(u.at, u.path, "unknown key", hint)
	}
}

// elsewhere names the one place where a key is known.
func (r *reader) elsewhere(name string) string {
	var found []string
	for pattern := range r.known {
		if pattern == name || strings.HasSuffix(pattern, "."+name) {
			found = append(found, pattern)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return fmt.Sprintf("did you mean %s?", strings.NewReplacer(".*", ".NAME").Replace(found[0]))
}

// section reads a mapping under a key with f, which also runs when the key is
// absent.
func (o *object) section(key string, f func(*object)) {
	n := o.get(key)
	pattern := strings.TrimPrefix(o.pattern+"."+key, ".")
	child := o.r.object(n, o.join(key), pattern)
	f(child)
	child.done()
}

// each reads a list of mappings under a key with f and tells whether the key
// was there.
func (o *object) each(key string, f func(o *object, i int)) bool {
	n := o.get(key)
	if n == nil {
		return false
	}
	path := o.join(key)
	if n.kind != list {
		o.r.fail(path, "a list is needed here", `write one "- " for each entry`)
		return true
	}
	for i, item := range n.items {
		child := o.r.object(item, fmt.Sprintf("%s[%d]", path, i), strings.TrimPrefix(o.pattern+"."+key+"[]", "."))
		f(child, i)
		child.done()
	}
	return true
}

// named reads a mapping from names to mappings with f.
func (o *object) named(key string, f func(o *object, name string)) {
	o.section(key, func(o *object) {
		if o.node == nil {
			return
		}
		for _, fd := range o.node.fields {
			if slices.Contains(o.asked, fd.name) {
				continue // reported as a duplicate
			}
			o.asked = append(o.asked, fd.name)
			path := o.join(fd.name)
			if !isName(fd.name) {
				o.r.wrong[path] = true
				o.r.report(fd.at, path, fmt.Sprintf("bad name %q", fd.name), nameHint)
			}
			child := o.r.object(fd.value, path, o.pattern+".*")
			o.r.places.at[path] = fd.at // the name says more than the first key below it
			f(child, fd.name)
			child.done()
		}
	})
}

// set reads one plain value into dst, which keeps what it holds when the key
// is absent or its value is refused. It tells whether dst was set.
func set[T any](o *object, key string, dst *T, parse func(string) (T, error)) bool {
	n := o.get(key)
	if n == nil {
		return false
	}
	return value(o.r, n, o.join(key), dst, parse)
}

// value reads one plain value.
func value[T any](r *reader, n *node, path string, dst *T, parse func(string) (T, error)) bool {
	r.places.at[path] = n.at
	switch n.kind {
	case empty:
		r.fail(path, "no value", "write one, or remove the key for the default")
		return false
	case list, mapping:
		r.fail(path, "one plain value is needed here", "")
		return false
	case scalar:
	}
	text, err := r.expand(n.text)
	if err == nil && strings.ContainsFunc(text, isControl) {
		err = &problem{"a control character in the value", ""}
	}
	if err == nil {
		var v T
		if v, err = parse(text); err == nil {
			*dst = v
			return true
		}
	}
	r.reject(path, err)
	return false
}

// setList reads a list of plain values into dst; an empty list makes it nil. A
// value that occurs twice is refused: one of the two is a mistake.
func setList[T any](o *object, key string, dst *[]T, parse func(string) (T, error)) bool {
	n := o.get(key)
	if n == nil {
		return false
	}
	path := o.join(key)
	if n.kind != list {
		o.r.fail(path, "a list is needed here", "write [a, b], or [] for none")
		return false
	}
	var out []T
	seen := map[string]bool{}
	for i, item := range n.items {
		var v T
		at := fmt.Sprintf("%s[%d]", path, i)
		if !value(o.r, item, at, &v, parse) {
			continue
		}
		written := fmt.Sprint(v)
		if seen[written] {
			o.r.fail(at, fmt.Sprintf("%q is listed twice", item.text), "")
			continue
		}
		seen[written] = true
		out = append(out, v)
	}
	*dst = out
	return true
}

// missing is what is said of a key that has to be there.
const missing = "missing"

// require reports a key that has no default and is absent.
func (o *object) require(key string, set bool) bool {
	path := o.join(key)
	if !set && !o.r.written(path) {
		o.r.wrong[path] = true
		o.r.report(o.r.places.of(path), path, missing, "")
	}
	return set
}

// file resolves the name of a file against the directory of the configuration.
// An empty name stays empty.
func (r *reader) file(text string) (string, error) {
	switch {
	case text == "":
		return "", nil
	case filepath.IsAbs(text):
		return filepath.Clean(text), nil
	}
	return filepath.Join(r.dir, text), nil
}

// pattern resolves a file name pattern like file; what is special in the
// directory's own name is escaped.
func (r *reader) pattern(text string) (string, error) {
	if text == "" {
		return "", &problem{"an empty file name", ""}
	}
	if _, err := filepath.Match(text, ""); err != nil {
		return "", &problem{fmt.Sprintf("bad pattern %q", text), `close every "["`}
	}
	if filepath.IsAbs(text) {
		return text, nil
	}
	escaped := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(r.dir)
	return filepath.Join(escaped, text), nil
}

// expand replaces ${NAME} by the environment variable NAME; $${ stands for ${.
func (r *reader) expand(text string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		name, rest, closed := strings.Cut(text[i+2:], "}")
		if !closed || !isVariable(name) {
			return "", &problem{"bad ${…}", "write ${NAME} for an environment variable, $${ for the characters themselves"}
		}
		v, ok := r.env(name)
		if !ok {
			return "", &problem{fmt.Sprintf("environment variable %s is not set", name), "set it, or write the value"}
		}
		b.WriteString(text[:i] + v)
		text = rest
	}
}
