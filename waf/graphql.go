package waf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxGraphQLDepth bounds the recursion of the reader. It is the most that a
// policy may allow.
const maxGraphQLDepth = 1000

// A graphQLReader takes an executable document (GraphQL specification, October
// 2021, section 2) apart: operations and fragments, not definitions of types.
// It accepts a little more than the grammar, never less: what a server would
// run and the reader would not, no rule would see.
//
// What a client wrote as a value becomes an argument named after the fields
// around it, as in graphql.createPost.title; strings are decoded. The names in
// the document, of operations, fields, aliases, fragments, variables ($id) and
// directives (@include), become one argument, graphql.names: they are too many
// for one each, and a name cannot hold more than letters, digits and _.
// Comments become graphql.comments: nothing of the document is left that no
// argument holds, so a rule that takes the text of every document for an attack
// can be told to leave the text alone.
type graphQLReader struct {
	graphQLLexer
	most      int // arguments
	jsonDepth int // of lists and objects
	path      []byte
	budget    int // bytes of names and values that may still be handed on

	found  [][2]string // arguments: name and value
	names  []string
	known  map[string]bool // names
	blocks map[string]*graphQLBlock
	whole  []*graphQLBlock // every operation and fragment
}

// A graphQLBlock is what an operation or a fragment asks for.
type graphQLBlock struct {
	depth   int // of its own fields
	aliases int
	spreads []graphQLSpread
	state   uint8 // 0: not added up, 1: being added up, 2: depth and aliases hold the fragments too
}

// A graphQLSpread is the use of a fragment, among fields of a depth.
type graphQLSpread struct {
	name  string
	depth int
}

// errGraphQL says that a text is not a GraphQL document.
var errGraphQL = errors.New("not GraphQL")

// errManyArguments says that a document has more values than the rules look at.
var errManyArguments = errors.New("too many arguments")

// errFragmentCircle says that a fragment uses itself.
var errFragmentCircle = errors.New("fragments in a circle")

func newGraphQLReader(doc string, to *sink) *graphQLReader {
	return &graphQLReader{
		graphQLLexer: graphQLLexer{s: doc}, most: to.arguments, jsonDepth: to.jsonDepth, path: []byte("graphql"),
		budget: max(jsonGrowth*len(doc), jsonFloor), known: map[string]bool{}, blocks: map[string]*graphQLBlock{},
	}
}

// document reads a whole document.
func (g *graphQLReader) document() error {
	if err := g.advance(); err != nil {
		return err
	}
	for ok := true; ok; ok = g.kind != 0 {
		if err := g.definition(); err != nil {
			return fmt.Errorf("graphql at byte %d: %w", g.i, err)
		}
	}
	return nil
}

func (g *graphQLReader) definition() error {
	if g.kind == graphQLString { // a description
		if err := g.advance(); err != nil {
			return err
		}
	}
	b := &graphQLBlock{}
	g.whole = append(g.whole, b)
	if g.kind == '{' {
		return g.selection(b, 1)
	}
	word := g.text
	if g.kind != graphQLName {
		return g.unexpected()
	}
	if err := g.advance(); err != nil {
		return err
	}
	switch word {
	case "query", "mutation", "subscription":
		if g.kind == graphQLName {
			if _, err := g.name(""); err != nil {
				return err
			}
		}
	case "fragment":
		name, err := g.name("")
		if err != nil {
			return err
		}
		g.blocks[name] = b
	default:
		return errGraphQL
	}
	if err := g.variables(); err != nil {
		return err
	}
	if word == "fragment" {
		if g.kind != graphQLName || g.text != "on" {
			return g.unexpected()
		}
		if err := g.advance(); err != nil {
			return err
		}
		if _, err := g.name(""); err != nil {
			return err
		}
	}
	if err := g.directives(); err != nil {
		return err
	}
	return g.selection(b, 1)
}

// name takes a name, which is remembered behind the prefix.
func (g *graphQLReader) name(prefix string) (string, error) {
	if g.kind != graphQLName {
		return "", g.unexpected()
	}
	name := prefix + g.text
	if !g.known[name] {
		g.known[name] = true
		g.names = append(g.names, name)
	}
	return name, g.advance()
}

// variables takes the definitions of variables, if there are any.
func (g *graphQLReader) variables() error {
	if g.kind != '(' {
		return nil
	}
	if err := g.advance(); err != nil {
		return err
	}
	for g.kind != ')' {
		if err := g.expect('$'); err != nil {
			return err
		}
		name, err := g.name("$")
		if err != nil {
			return err
		}
		if err := g.expect(':'); err != nil {
			return err
		}
		if err := g.variableType(); err != nil {
			return err
		}
		if g.kind == '=' {
			if err := g.advance(); err != nil {
				return err
			}
			if err := g.below(name, func() error { return g.value(1) }); err != nil {
				return err
			}
		}
		if err := g.directives(); err != nil {
			return err
		}
	}
	return g.advance()
}

// variableType takes a type: a name, in brackets and with marks.
func (g *graphQLReader) variableType() error {
	open := 0
	for ; g.kind == '['; open++ {
		if err := g.advance(); err != nil {
			return err
		}
	}
	if _, err := g.name(""); err != nil {
		return err
	}
	for g.kind == '!' || g.kind == ']' && open > 0 {
		if g.kind == ']' {
			open--
		}
		if err := g.advance(); err != nil {
			return err
		}
	}
	if open > 0 {
		return g.unexpected()
	}
	return nil
}

// directives takes what follows a field, a fragment or an operation.
func (g *graphQLReader) directives() error {
	for g.kind == '@' {
		if err := g.advance(); err != nil {
			return err
		}
		name, err := g.name("@")
		if err != nil {
			return err
		}
		if err := g.below(name, g.arguments); err != nil {
			return err
		}
	}
	return nil
}

// selection takes the fields between two braces, which are depth deep.
func (g *graphQLReader) selection(b *graphQLBlock, depth int) error {
	if depth > maxGraphQLDepth {
		return fmt.Errorf("%w: fields nested deeper than %d", errBound, maxGraphQLDepth)
	}
	if err := g.expect('{'); err != nil {
		return err
	}
	b.depth = max(b.depth, depth)
	for ok := true; ok; ok = g.kind != '}' {
		if err := g.selected(b, depth); err != nil {
			return err
		}
	}
	return g.advance()
}

// selected takes a field or the use of a fragment.
func (g *graphQLReader) selected(b *graphQLBlock, depth int) error {
	if g.kind == graphQLSpreadMark {
		return g.fragment(b, depth)
	}
	field, err := g.name("")
	if err != nil {
		return err
	}
	if g.kind == ':' {
		if err := g.advance(); err != nil {
			return err
		}
		b.aliases++
		if field, err = g.name(""); err != nil {
			return err
		}
	}
	return g.below(field, func() error {
		if err := g.arguments(); err != nil {
			return err
		}
		if err := g.directives(); err != nil || g.kind != '{' {
			return err
		}
		return g.selection(b, depth+1)
	})
}

// fragment takes what follows three dots.
func (g *graphQLReader) fragment(b *graphQLBlock, depth int) error {
	if err := g.advance(); err != nil {
		return err
	}
	if g.kind == graphQLName && g.text != "on" {
		name, err := g.name("")
		if err != nil {
			return err
		}
		b.spreads = append(b.spreads, graphQLSpread{name, depth})
		if err := g.arguments(); err != nil { // a proposal that some servers know
			return err
		}
		return g.directives()
	}
	if g.kind == graphQLName {
		if err := g.advance(); err != nil {
			return err
		}
		if _, err := g.name(""); err != nil {
			return err
		}
	}
	if err := g.directives(); err != nil {
		return err
	}
	// Fields of a fragment stand beside those around it; what nests are braces.
	if g.nested++; g.nested > maxGraphQLDepth {
		return fmt.Errorf("%w: fragments nested deeper than %d", errBound, maxGraphQLDepth)
	}
	defer func() { g.nested-- }()
	return g.selection(b, depth)
}

// arguments takes what stands in parentheses, if there are any.
func (g *graphQLReader) arguments() error {
	if g.kind != '(' {
		return nil
	}
	if err := g.advance(); err != nil {
		return err
	}
	for g.kind != ')' {
		if err := g.pair(0); err != nil {
			return err
		}
	}
	return g.advance()
}

// pair takes a name, a colon and a value.
func (g *graphQLReader) pair(depth int) error {
	name := g.text
	if g.kind != graphQLName {
		return g.unexpected()
	}
	if err := g.advance(); err != nil {
		return err
	}
	if err := g.expect(':'); err != nil {
		return err
	}
	return g.below(name, func() error { return g.value(depth + 1) })
}

// value takes a value (section 2.9).
func (g *graphQLReader) value(depth int) error {
	if depth > min(g.jsonDepth, maxGraphQLDepth) {
		return fmt.Errorf("%w: values nested deeper than %d", errBound, g.jsonDepth)
	}
	switch g.kind {
	case '$':
		if err := g.advance(); err != nil {
			return err
		}
		_, err := g.name("$")
		return err
	case graphQLName:
		word := g.text
		if word == "null" {
			word = ""
		}
		return errors.Join(g.add(word), g.advance())
	case graphQLNumber, graphQLString:
		return errors.Join(g.add(g.text), g.advance())
	case '[':
		return g.inside(']', func(n int) error {
			return g.below(strconv.Itoa(n), func() error { return g.value(depth + 1) })
		})
	case '{':
		return g.inside('}', func(int) error { return g.pair(depth) })
	}
	return g.unexpected()
}

// inside takes elements up to the end of a list or an object. One without any
// is an argument without a value, so that rules see its name.
func (g *graphQLReader) inside(end byte, element func(n int) error) error {
	if err := g.advance(); err != nil {
		return err
	}
	if g.kind == end {
		return errors.Join(g.add(""), g.advance())
	}
	for n := 0; g.kind != end; n++ {
		if err := element(n); err != nil {
			return err
		}
	}
	return g.advance()
}

// below reads on with a name added to the path.
func (g *graphQLReader) below(name string, read func() error) error {
	parent := len(g.path)
	g.path = append(append(g.path, '.'), name...)
	err := read()
	g.path = g.path[:parent]
	return err
}

// add hands on one value under the current path.
func (g *graphQLReader) add(value string) error {
	if g.budget -= len(g.path) + len(value); g.budget < 0 {
		return fmt.Errorf("%w: the paths of the values are many times larger than the document", errBound)
	}
	if len(g.found) == g.most {
		return errManyArguments
	}
	g.found = append(g.found, [2]string{string(g.path), value})
	return nil
}

// size adds up how deep the document goes and how many aliases it has, its
// fragments counted as often as they are used: of the operation with the most,
// as only one of them runs. Aliases are counted up to most.
func (g *graphQLReader) size(most int) (depth, aliases int, err error) {
	for _, b := range g.whole {
		if err := g.sum(b, most, 0); err != nil {
			return 0, 0, err
		}
		depth, aliases = max(depth, b.depth), max(aliases, b.aliases)
	}
	return depth, aliases, nil
}

func (g *graphQLReader) sum(b *graphQLBlock, most, level int) error {
	switch {
	case b.state == 2:
		return nil
	case b.state == 1:
		return errFragmentCircle
	case level > maxGraphQLDepth:
		return fmt.Errorf("%w: fragments that use each other, more than %d", errBound, maxGraphQLDepth)
	}
	b.state = 1
	for _, s := range b.spreads {
		f := g.blocks[s.name]
		if f == nil {
			continue // the server will refuse it
		}
		if err := g.sum(f, most, level+1); err != nil {
			return err
		}
		b.depth = max(b.depth, s.depth-1+f.depth)
		b.aliases = min(b.aliases+f.aliases, most)
	}
	b.state = 2
	return nil
}

// allNames are the names, joined by commas.
func (g *graphQLReader) allNames() string { return strings.Join(g.names, ",") }
