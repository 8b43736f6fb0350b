package ftw

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"sallyport/internal/gate"
)

// A reader walks the syntax tree of one YAML file and collects everything that
// is wrong with it. Scalars are taken as the text that was written, so that
// `Content-Length: 010` stays three digits.
type reader struct {
	file  string
	diags gate.Diagnostics
}

// fields says what to do with each key of a mapping.
type fields map[string]func(n ast.Node, path string)

// document parses src and returns its only document, or nil when there is
// none.
func (r *reader) document(src []byte) ast.Node {
	f, err := parser.ParseBytes(src, 0)
	if err != nil {
		r.syntax(err)
		return nil
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			r.fail(d.Body, "", "a second document in one file", "put it into a file of its own")
			break
		}
		body = d.Body
	}
	return body
}

// syntax turns an error of the parser into a diagnostic.
func (r *reader) syntax(err error) {
	d := gate.Diagnostic{File: r.file, What: err.Error()}
	var syn yaml.Error
	if errors.As(err, &syn) {
		d.What = syn.GetMessage()
		if t := syn.GetToken(); t != nil && t.Position != nil {
			d.Line, d.Column = t.Position.Line, t.Position.Column
		}
	}
	r.diags = append(r.diags, d)
}

// fail notes a problem at a node.
func (r *reader) fail(n ast.Node, path, what, hint string) {
	d := gate.Diagnostic{File: r.file, Path: path, What: what, Hint: hint}
	d.Line, d.Column = position(n)
	r.diags = append(r.diags, d)
}

// position is where a node begins; 0, 0 when it has no place in the file.
func position(n ast.Node) (line, column int) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0, 0
	}
	p := n.GetToken().Position
	return p.Line, p.Column
}

// pairs returns the entries of a mapping; null is an empty one.
func (r *reader) pairs(n ast.Node, path string) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return nil
	}
	r.fail(n, path, "not a mapping", "write keys and values here")
	return nil
}

// mapping hands the value of each key to its function. Unknown keys are
// errors.
func (r *reader) mapping(n ast.Node, path string, known fields) {
	for _, kv := range r.pairs(n, path) {
		key, ok := r.text(kv.Key, path)
		if !ok {
			continue
		}
		at := join(path, key)
		if read, ok := known[key]; ok {
			read(kv.Value, at)
			continue
		}
		r.fail(kv.Key, at, "unknown key", "known here: "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// list hands each element of a sequence to read; null is an empty one.
func (r *reader) list(n ast.Node, path string, read func(n ast.Node, path string)) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		for i, v := range n.Values {
			read(v, fmt.Sprintf("%s[%d]", path, i))
		}
	case *ast.NullNode:
	default:
		r.fail(n, path, "not a list", "write [a, b] or one line a dash")
	}
}

// text returns a scalar as it was written, quotes and escapes resolved; null
// is the empty text.
func (r *reader) text(n ast.Node, path string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.NullNode:
		return "", true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		r.fail(n, path, "anchors, aliases and tags are not read here", "write the value out")
	default:
		r.fail(n, path, "not a text", "put it into quotes")
	}
	return "", false
}

// number reads a whole number between low and high.
func (r *reader) number(n ast.Node, path string, low, high int) (int, bool) {
	s, ok := r.text(n, path)
	if !ok {
		return 0, false
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < low || v > high {
		r.fail(n, path, fmt.Sprintf("%q is not a number from %d to %d", s, low, high), "")
		return 0, false
	}
	return v, true
}

// boolean reads true or false into p.
func (r *reader) boolean(p *bool) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		s, ok := r.text(n, path)
		switch {
		case !ok:
		case s == "true":
			*p = true
		case s == "false":
			*p = false
		default:
			r.fail(n, path, fmt.Sprintf("%q is neither true nor false", s), "")
		}
	}
}

// string reads a text into p.
func (r *reader) string(p *string) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		if s, ok := r.text(n, path); ok {
			*p = s
		}
	}
}

// ignore accepts whatever stands there: keys that other runners use and that
// have no meaning for this one.
func ignore(ast.Node, string) {}
