package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// A kind says what stands in a place of the file.
type kind uint8

const (
	empty kind = iota // nothing, or null
	scalar
	list
	mapping
)

// A node is one value of the file. Of YAML it knows only what a configuration
// needs; every scalar keeps the text that was written, so that NO is Norway
// and 1.20 is not 1.2.
type node struct {
	kind   kind
	text   string
	at     position
	items  []*node
	fields []field
}

// A field is one key of a mapping with its value.
type field struct {
	name  string
	at    position
	value *node
}

// A position counts lines and bytes from 1. The zero position is the file as
// a whole.
type position struct{ line, column int }

// Bounds on what the parser is given: more than any configuration needs, and
// little enough for one that recurses at every level and compares every key of
// a mapping with every other.
const (
	maxDepth   = 16  // levels of [ ] and { }
	maxOpeners = 256 // tokens of one line that open a level
	maxKeys    = 20000
)

// parse turns the text into a tree. A problem of syntax is reported and ends
// the reading: what follows it cannot be told apart.
func (r *reader) parse(src []byte) *node {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	if len(src) > maxFile {
		r.report(position{}, "", "the file is larger than 1MiB", "")
		return nil
	}
	r.lines = bytes.Split(src, []byte("\n"))
	if at, what := unreadable(r.lines); what != "" {
		r.report(at, "", what, "save the file as UTF-8 text")
		return nil
	}
	file := r.syntax(string(src))
	if file == nil {
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return r.node(doc.Body)
		}
	}
	return &node{}
}

// unreadable finds the first byte that no text has.
func unreadable(lines [][]byte) (position, string) {
	for i, line := range lines {
		for col := 0; col < len(line); {
			c, size := utf8.DecodeRune(line[col:])
			switch {
			case c == utf8.RuneError && size == 1:
				return position{i + 1, col + 1}, "a byte that is not UTF-8"
			case c == '\r' && col == len(line)-1, c == '\t':
			case c < ' ' || c == 0x7f || c >= 0x80 && c <= 0x9f || c == '\u2028' || c == '\u2029':
				return position{i + 1, col + 1}, "a control character"
			}
			col += size
		}
	}
	return position{}, ""
}

// syntax runs the YAML parser over the text once the tokens have shown that
// there is nothing in it that a configuration must not have.
func (r *reader) syntax(text string) (file *ast.File) {
	defer func() {
		// The parser is not ours: a defect in it must not take the running
		// gateway down when its configuration is reloaded.
		if p := recover(); p != nil {
			r.report(position{}, "", fmt.Sprintf("the YAML parser gave up: %v", p), "")
			file = nil
		}
	}()
	tokens := lexer.Tokenize(text)
	if r.forbidden(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntaxError(err)
		return nil
	}
	return file
}

// syntaxError reports what the parser found.
func (r *reader) syntaxError(err error) {
	ye, ok := errors.AsType[yaml.Error](err)
	if !ok || ye.GetToken() == nil {
		r.report(position{}, "", "not YAML: "+err.Error(), "")
		return
	}
	hint := ""
	if msg := ye.GetMessage(); strings.Contains(msg, "mapping value is not allowed") {
		hint = "quote a value that contains a colon and a space"
	} else if strings.Contains(msg, `character '\t'`) || strings.Contains(msg, "character '\t'") {
		hint = "indent with spaces"
	}
	r.report(r.position(ye.GetToken()), "", "not YAML: "+oneLine(ye.GetMessage()), hint)
}

// oneLine escapes what would break a diagnostic into two.
func oneLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s)
}

// forbiddenTokens are what YAML offers and a configuration must not use: each
// makes a file mean something that a reader does not see at the place.
var forbiddenTokens = map[token.Type]problem{
	token.AnchorType:     {"anchors are not used here", `quote a value that begins with "&"`},
	token.AliasType:      {"aliases are not used here", `quote a value that begins with "*"`},
	token.TagType:        {"tags are not used here", `quote a value that begins with "!"`},
	token.MergeKeyType:   {"merge keys are not used here", "write the keys where they are needed"},
	token.DirectiveType:  {"directives are not used here", `quote a value that begins with "%"`},
	token.LiteralType:    {"block text is not used here", "write the value on one line"},
	token.FoldedType:     {"block text is not used here", "write the value on one line"},
	token.MappingKeyType: {"complex keys are not used here", `write "key: value"`},
}

// forbidden reports tokens that a configuration must not have, and tells
// whether there are any.
func (r *reader) forbidden(tokens token.Tokens) bool {
	before := len(r.diags)
	for i, t := range tokens {
		if p, found := forbiddenTokens[t.Type]; found {
			r.report(r.position(t), "", p.what, p.hint)
		}
		if t.Type == token.MappingStartType && i > 0 && strings.HasSuffix(tokens[i-1].Value, "$") {
			r.report(r.position(t), "", `"${" inside [ ] or { } without quotes`, `quote the value, as in "${NAME}"`)
		}
	}
	if t := secondDocument(tokens); t != nil {
		r.report(r.position(t), "", "several documents in one file", "")
	}
	if t := overgrown(tokens); t != nil {
		r.report(r.position(t), "", "too many levels or keys", "")
	}
	return len(r.diags) > before
}

// secondDocument returns the token that begins another document, or nil.
func secondDocument(tokens token.Tokens) *token.Token {
	content, ended, directive := false, false, 0
	for _, t := range tokens {
		switch t.Type {
		case token.CommentType:
			continue
		case token.DirectiveType:
			directive = t.Position.Line
		case token.DocumentEndType:
			ended = true
			continue
		case token.DocumentHeaderType:
			if !content {
				continue
			}
			ended = true
		}
		if ended {
			return t
		}
		content = content || t.Position.Line != directive
	}
	return nil
}

// overgrown returns the token at which the text nests deeper, or has more
// keys, than the parser can take in its stride, or nil.
func overgrown(tokens token.Tokens) *token.Token {
	keys, depth, openers, line := 0, 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, openers = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.MappingValueType:
			keys++
			openers++
		case token.SequenceEntryType:
			openers++
		}
		if depth > maxDepth || openers > maxOpeners || keys > maxKeys {
			return t
		}
	}
	return nil
}

// node converts one value.
func (r *reader) node(n ast.Node) *node {
	if n == nil || n.GetToken() == nil {
		return &node{}
	}
	out := &node{at: r.position(n.GetToken())}
	switch n := n.(type) {
	case *ast.MappingNode:
		out.kind = mapping
		if !n.IsFlowStyle && len(n.Values) > 0 {
			out.at = r.position(n.Values[0].Key.GetToken())
		}
		for _, v := range n.Values {
			out.fields = append(out.fields, r.field(v))
		}
	case *ast.MappingValueNode:
		out.kind, out.fields = mapping, []field{r.field(n)}
		out.at = out.fields[0].at
	case *ast.SequenceNode:
		out.kind = list
		for _, v := range n.Values {
			out.items = append(out.items, r.node(v))
		}
	case *ast.NullNode:
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = scalar, n.GetToken().Value
	default:
		r.report(out.at, "", "not a mapping, a list or a plain value", "")
	}
	return out
}

// field converts one key and its value.
func (r *reader) field(v *ast.MappingValueNode) field {
	key := v.Key.GetToken()
	f := field{name: key.Value, at: r.position(key), value: r.node(v.Value)}
	if f.value.at == (position{}) {
		f.value.at = f.at
	}
	return f
}

// position is where a token begins. The parser counts characters and may point
// past the end; a diagnostic counts bytes and stays inside the file.
func (r *reader) position(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	line := min(max(t.Position.Line, 1), len(r.lines))
	text := bytes.TrimSuffix(r.lines[line-1], []byte("\r"))
	// Positions are asked for nearly in order: counting on from the last one
	// keeps a long line from being counted anew for each of its values.
	if c := &r.counted; c.line != line || c.characters >= t.Position.Column {
		*c = counted{line: line, characters: 1}
	}
	for r.counted.characters < t.Position.Column && r.counted.bytes < len(text) {
		_, size := utf8.DecodeRune(text[r.counted.bytes:])
		r.counted.bytes += size
		r.counted.characters++
	}
	return position{line, r.counted.bytes + 1}
}

// counted is how far the characters of a line have been counted.
type counted struct{ line, characters, bytes int }
