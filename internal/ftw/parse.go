package ftw

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sallyport/internal/gate"
)

// maxNumber is the highest rule id, test id and port that a file may name.
const maxNumber = 1<<31 - 1

// Parse reads one test file. Every key of the format is known; a key that has
// no meaning when the gateway itself is the target (where to connect to,
// author, tags) is read and left alone. All problems of the file are returned,
// sorted; a file without tests is a warning.
func Parse(name string, src []byte) ([]*Test, gate.Diagnostics) {
	r := &reader{file: name}
	tests := r.tests(r.document(src))
	if len(tests) == 0 && len(r.diags) == 0 {
		r.diags = append(r.diags, gate.Diagnostic{File: name, What: "no tests in this file", Warning: true})
	}
	r.diags.Sort()
	return tests, r.diags
}

// tests reads the top level of a file.
func (r *reader) tests(n ast.Node) []*Test {
	if n == nil {
		return nil
	}
	var rule int
	var tests []*Test
	enabled := true
	r.mapping(n, "", fields{
		"meta": func(n ast.Node, path string) {
			r.mapping(n, path, fields{
				"enabled": r.boolean(&enabled),
				"author":  ignore, "name": ignore, "description": ignore, "version": ignore, "tags": ignore,
			})
		},
		"author":  ignore, // of meta, but one file of the Core Rule Set has it here
		"rule_id": func(n ast.Node, path string) { rule, _ = r.number(n, path, 1, maxNumber) },
		"tests": func(n ast.Node, path string) {
			r.list(n, path, func(n ast.Node, path string) {
				t := r.test(n, path)
				if t.Number == 0 {
					t.Number = len(tests) + 1
				}
				tests = append(tests, t)
			})
		},
	})
	if rule == 0 {
		rule = ruleOf(r.file)
	}
	if rule == 0 && len(tests) > 0 {
		r.fail(n, "", "rule_id is missing", "write the id of the rule that the tests are about, or name the file after it")
	}
	for _, t := range tests {
		t.Rule, t.Disabled = rule, !enabled
	}
	return tests
}

// ruleOf takes the rule from a file name such as 942100.yaml; 0 when there is
// none in it.
func ruleOf(name string) int {
	base := path.Base(strings.ReplaceAll(name, `\`, "/"))
	id, _ := strconv.Atoi(strings.TrimSuffix(base, path.Ext(base)))
	return max(id, 0)
}

// test reads one entry of tests.
func (r *reader) test(n ast.Node, path string) *Test {
	t := &Test{File: r.file}
	t.Line, _ = position(n)
	r.mapping(n, path, fields{
		"test_id":    func(n ast.Node, path string) { t.Number, _ = r.number(n, path, 1, maxNumber) },
		"desc":       r.string(&t.Desc),
		"test_title": ignore, "tags": ignore,
		"stages": func(n ast.Node, path string) {
			r.list(n, path, func(n ast.Node, path string) { t.Stages = append(t.Stages, r.stage(n, path)...) })
		},
	})
	if len(t.Stages) == 0 {
		r.fail(n, path, "a test without stages", "")
	}
	return t
}

// stage reads one entry of stages, which the first version of the format wraps
// in a key of its own. A list of targets makes one stage of each.
func (r *reader) stage(n ast.Node, path string) []Stage {
	s := Stage{Input: Input{Method: "GET", URI: "/", Version: "HTTP/1.1", Complete: true}}
	var targets []string
	known := fields{
		"description": ignore,
		"input":       func(n ast.Node, path string) { targets = r.input(n, path, &s.Input) },
		"output":      func(n ast.Node, path string) { r.output(n, path, &s.Output) },
	}
	outer := maps.Clone(known)
	outer["stage"] = func(n ast.Node, path string) { r.mapping(n, path, known) }
	r.mapping(n, path, outer)
	if len(targets) == 0 {
		return []Stage{s}
	}
	stages := make([]Stage, len(targets))
	for i, target := range targets {
		stages[i] = s
		stages[i].Input.URI = target
	}
	return stages
}

// input reads what is sent, and returns the list of targets when there is one.
func (r *reader) input(n ast.Node, path string, in *Input) (targets []string) {
	var ordered []gate.Field
	var data, encoded, raw ast.Node
	stopMagic := false
	r.mapping(n, path, fields{
		"dest_addr": ignore, "protocol": ignore, "virtual_host_mode": ignore,
		"port":    func(n ast.Node, path string) { r.number(n, path, 0, 65535) },
		"method":  r.string(&in.Method),
		"uri":     r.string(&in.URI),
		"version": r.string(&in.Version),
		"uris": func(n ast.Node, path string) {
			r.list(n, path, func(n ast.Node, path string) {
				if s, ok := r.text(n, path); ok {
					targets = append(targets, s)
				}
			})
		},
		"headers":              func(n ast.Node, path string) { in.Headers = r.headers(n, path) },
		"ordered_headers":      func(n ast.Node, path string) { ordered = r.ordered(n, path) },
		"data":                 func(n ast.Node, path string) { data, in.Data = n, r.template(n, path) },
		"encoded_data":         func(n ast.Node, path string) { encoded, in.Data = n, r.base64(n, path) },
		"encoded_request":      func(n ast.Node, path string) { raw, in.Raw = n, r.base64(n, path) },
		"raw_request":          func(n ast.Node, path string) { raw, in.Raw = n, r.base64(n, path) },
		"autocomplete_headers": r.boolean(&in.Complete),
		"stop_magic":           r.boolean(&stopMagic),
		"follow_redirect":      r.boolean(&in.FollowRedirect),
		"save_cookie":          r.boolean(&in.SaveCookie),
	})
	if ordered != nil {
		in.Headers = ordered
	}
	if stopMagic {
		in.Complete = false
	}
	if data != nil && encoded != nil {
		r.fail(encoded, path, "data and encoded_data in one input", "keep one of them")
	}
	if raw != nil && (data != nil || encoded != nil) {
		r.fail(raw, path, "a whole request beside data", "keep one of them")
	}
	return targets
}

// headers reads a mapping of field names to values and sorts it by name: the
// order of a mapping means nothing in YAML, and the reference runner sorts too.
func (r *reader) headers(n ast.Node, path string) []gate.Field {
	var hs []gate.Field
	for _, kv := range r.pairs(n, path) {
		name, ok := r.text(kv.Key, path)
		value, okay := r.text(kv.Value, join(path, name))
		if ok && okay {
			hs = append(hs, gate.Field{Name: name, Value: value})
		}
	}
	slices.SortStableFunc(hs, func(a, b gate.Field) int { return strings.Compare(a.Name, b.Name) })
	return hs
}

// ordered reads a list of {name, value}, which keeps its order and may repeat
// a name.
func (r *reader) ordered(n ast.Node, path string) []gate.Field {
	hs := []gate.Field{}
	r.list(n, path, func(n ast.Node, path string) {
		var f gate.Field
		r.mapping(n, path, fields{"name": r.string(&f.Name), "value": r.string(&f.Value)})
		hs = append(hs, f)
	})
	return hs
}

// template reads a text and fills in what stands between {{ and }}.
func (r *reader) template(n ast.Node, path string) []byte {
	s, ok := r.text(n, path)
	if !ok {
		return nil
	}
	b, err := expand(s)
	if err != nil {
		r.fail(n, path, err.Error(), "to send {{ as it stands, write the body as encoded_data")
	}
	return b
}

// base64 reads a text in base64, which may be broken over several lines.
func (r *reader) base64(n ast.Node, path string) []byte {
	s, ok := r.text(n, path)
	if !ok {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		r.fail(n, path, err.Error(), "")
	}
	return b
}

// output reads what is expected.
func (r *reader) output(n ast.Node, path string, out *Output) {
	var contains, notContains *regexp.Regexp
	r.mapping(n, path, fields{
		"status": func(n ast.Node, path string) {
			if _, ok := n.(*ast.SequenceNode); ok {
				out.Status = r.numbers(n, path, 100, 599)
			} else if v, ok := r.number(n, path, 100, 599); ok {
				out.Status = []int{v}
			}
		},
		"log": func(n ast.Node, path string) {
			r.mapping(n, path, fields{
				"expect_ids":     func(n ast.Node, path string) { out.Expect = r.numbers(n, path, 1, maxNumber) },
				"no_expect_ids":  func(n ast.Node, path string) { out.Forbid = r.numbers(n, path, 1, maxNumber) },
				"match_regex":    r.pattern(&out.Match),
				"no_match_regex": r.pattern(&out.NoMatch),
			})
		},
		"log_contains":      r.pattern(&contains),
		"no_log_contains":   r.pattern(&notContains),
		"response_contains": r.pattern(&out.Response),
		"expect_error":      r.boolean(&out.Error),
		"retry_once":        r.boolean(&out.RetryOnce),
		"isolated":          r.boolean(&out.Isolated),
	})
	// The older keys count only where the newer ones are silent.
	if out.Match == nil && len(out.Expect) == 0 {
		out.Match = contains
	}
	if out.NoMatch == nil && len(out.Forbid) == 0 {
		out.NoMatch = notContains
	}
	if out.Isolated && len(out.Expect) != 1 {
		r.fail(n, join(path, "isolated"), "isolated needs exactly one rule in log.expect_ids", "")
	}
	if out.negative() && len(out.Forbid) == 0 && out.NoMatch == nil {
		r.fail(n, path, "nothing is expected, so nothing can fail", "write log.expect_ids, log.no_expect_ids or status")
	}
}

// numbers reads a list of whole numbers.
func (r *reader) numbers(n ast.Node, path string, low, high int) []int {
	var vs []int
	r.list(n, path, func(n ast.Node, path string) {
		if v, ok := r.number(n, path, low, high); ok {
			vs = append(vs, v)
		}
	})
	return vs
}

// pattern reads a regular expression into p.
func (r *reader) pattern(p **regexp.Regexp) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		s, ok := r.text(n, path)
		if !ok {
			return
		}
		re, err := regexp.Compile(s)
		if err != nil {
			r.fail(n, path, fmt.Sprintf("bad regular expression: %v", err), "")
			return
		}
		*p = re
	}
}
