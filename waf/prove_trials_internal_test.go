package waf

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"

	"sallyport/internal/ftw"
	"sallyport/internal/gate"
	"sallyport/internal/wire"
	"sallyport/waf/coding"
)

// A trial is a request to be judged under both engines, and what is answered.
type trial struct {
	name   string // where it comes from
	call   call
	proto  string // empty: HTTP/1.1
	route  string // empty: test
	flow   flow
	answer reply
}

// clone is a copy that may be changed.
func (tr *trial) clone() *trial {
	c := *tr
	c.call.fields = slices.Clone(tr.call.fields)
	return &c
}

// request makes the request, for a policy.
func (tr *trial) request(policy string) *gate.Request {
	req := tr.call.under(policy).request()
	if tr.proto != "" {
		req.HTTP.Proto, req.Head.Proto = tr.proto, tr.proto
	}
	if host, ok := req.Head.Get("Host"); ok {
		req.Head.Host = host
	}
	if tr.route != "" {
		req.Route.Name = tr.route
	}
	req.Path, _, _ = strings.Cut(tr.call.target, "?")
	req.Head.Bytes = len(tr.call.target)
	for _, f := range tr.call.fields {
		req.Head.Bytes += len(f.Name) + len(f.Value) + len(": \r\n")
	}
	return req
}

// String writes the request and the answer so that they can be pasted into Go.
func (tr *trial) String() string {
	var b strings.Builder
	c := &tr.call
	fmt.Fprintf(&b, "trial{proto: %q, route: %q, flow: %d, call: call{method: %q, chunked: %v,\n\ttarget: %q,\n\tfields: []gate.Field{", tr.proto, tr.route, tr.flow, c.method, c.chunked, c.target)
	for _, f := range c.fields {
		fmt.Fprintf(&b, "{Name: %q, Value: %q}, ", f.Name, f.Value)
	}
	fmt.Fprintf(&b, "},\n\tbody: %q}", c.body)
	if a := &tr.answer; a.status != 0 || a.body != "" || len(a.fields) > 0 || a.cut {
		fmt.Fprintf(&b, ",\n\tanswer: reply{status: %d, fields: []gate.Field{", a.status)
		for _, f := range a.fields {
			fmt.Fprintf(&b, "{Name: %q, Value: %q}, ", f.Name, f.Value)
		}
		fmt.Fprintf(&b, "}, cut: %v, body: %q}", a.cut, a.body)
	}
	b.WriteString("}")
	return b.String()
}

// setLength makes the declared length that of the body.
func (tr *trial) setLength() {
	for i, f := range tr.call.fields {
		if strings.EqualFold(f.Name, "Content-Length") {
			tr.call.fields[i].Value = strconv.Itoa(len(tr.call.body))
		}
	}
}

// set gives the first field line with the name another value, or adds one.
func (tr *trial) set(name, value string) {
	for i, f := range tr.call.fields {
		if strings.EqualFold(f.Name, name) {
			tr.call.fields[i].Value = value
			return
		}
	}
	tr.call.fields = append(tr.call.fields, gate.Field{Name: name, Value: value})
}

// rawTrial takes a request in bytes apart, as leniently as it can: those of
// the rule tests are not meant to be well-formed.
func rawTrial(name string, raw []byte) *trial {
	head, body, found := strings.Cut(string(raw), "\r\n\r\n")
	if !found {
		head, body, _ = strings.Cut(string(raw), "\n\n")
	}
	lines := strings.Split(strings.ReplaceAll(head, "\r\n", "\n"), "\n")
	tr := &trial{name: name}
	method, rest, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	target, proto := rest, ""
	if i := strings.LastIndexByte(rest, ' '); i >= 0 {
		target, proto = rest[:i], rest[i+1:]
	}
	if after, absolute := strings.CutPrefix(target, "http://"); absolute { // as the strict reader leaves it
		if i := strings.IndexByte(after, '/'); i >= 0 {
			target = after[i:]
		}
	}
	tr.call = call{method: method, target: target, body: body}
	if proto != "HTTP/1.1" {
		tr.proto = proto
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		tr.call.fields = append(tr.call.fields, gate.Field{Name: name, Value: strings.Trim(value, " \t")})
		tr.call.chunked = tr.call.chunked || strings.EqualFold(name, "Transfer-Encoding")
	}
	return tr
}

// ruleTests turns tests into trials, one for each stage. What the backend of
// the suite answers is the answer.
func ruleTests(t testing.TB, list []*ftw.Test, diags gate.Diagnostics) []*trial {
	t.Helper()
	if len(list) == 0 || diags.Fatal() {
		t.Fatalf("%d tests: %v", len(list), diags)
	}
	backend := ftw.Backend()
	var out []*trial
	for _, test := range list {
		for i := range test.Stages {
			in := &test.Stages[i].Input
			tr := rawTrial(test.ID(), in.Bytes())
			path, _, _ := strings.Cut(tr.call.target, "?")
			if strings.HasPrefix(path, "/reflect") {
				r := httptest.NewRequest(http.MethodPost, "/reflect", strings.NewReader(tr.call.body))
				w := httptest.NewRecorder()
				backend.ServeHTTP(w, r)
				// A server finds out the type of what has none; without it the body would
				// not be judged.
				tr.answer = reply{status: w.Code, body: w.Body.String()}
				header := w.Header()
				if header.Get("Content-Type") == "" && tr.answer.body != "" {
					header.Set("Content-Type", http.DetectContentType([]byte(tr.answer.body)))
				}
				for _, name := range slices.Sorted(maps.Keys(header)) {
					for _, value := range header[name] {
						tr.answer.fields = append(tr.answer.fields, gate.Field{Name: name, Value: value})
					}
				}
			}
			out = append(out, tr)
		}
	}
	return out
}

// coreTests are the regression tests of the Core Rule Set.
var coreTests = sync.OnceValues(func() ([]*ftw.Test, gate.Diagnostics) { return ftw.LoadFS(tests.FS) })

// coreTrials are all of their requests.
func coreTrials(t testing.TB) []*trial {
	t.Helper()
	list, diags := coreTests()
	return ruleTests(t, list, diags)
}

// ownTrials are the requests of the tests of the shipped rules.
func ownTrials(t testing.TB) []*trial {
	t.Helper()
	list, diags := ftw.Load([]string{filepath.Join("..", "rules", "tests")})
	return ruleTests(t, list, diags)
}

// evasionTrials are the rows of testdata/evasions, attacks and twins; its
// README tells the format.
func evasionTrials(t testing.TB) []*trial {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "evasions", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no rows: %v", err)
	}
	var out []*trial
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, pack := "", ""
		lines := strings.Split(string(src), "\n")
		for i := 0; i < len(lines); i++ {
			if lines[i] == "" || lines[i][0] == '#' {
				continue
			}
			key, value, _ := strings.Cut(lines[i], ":")
			value = strings.TrimSpace(value)
			switch key {
			case "case":
				name, pack = filepath.Base(file)+" "+value, ""
			case "pack":
				pack = value
			case "attack", "twin":
				text := []string{value}
				if value == "" {
					for text = nil; i+1 < len(lines) && (lines[i+1] == "" || lines[i+1][0] == ' '); i++ {
						text = append(text, strings.TrimPrefix(lines[i+1], "  "))
					}
				}
				tr := evasionTrial(t, text)
				tr.name = name + ", " + key
				tr.call.body = packed(t, pack, tr.call.body)
				if tr.call.body != "" && !tr.call.chunked {
					tr.set("Content-Length", strconv.Itoa(len(tr.call.body)))
				}
				out = append(out, tr)
			}
		}
	}
	return out
}

// evasionTrial reads one request of a row.
func evasionTrial(t testing.TB, lines []string) *trial {
	t.Helper()
	unescaped := func(s string) string {
		b, err := wire.Unescape(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	method, target, _ := strings.Cut(lines[0], " ")
	tr := &trial{call: call{method: method, target: unescaped(target)}}
	lines = lines[1:]
	for len(lines) > 0 && lines[0] != "" {
		name, value, _ := strings.Cut(lines[0], ":")
		tr.call.fields = append(tr.call.fields, gate.Field{Name: unescaped(name), Value: unescaped(strings.TrimPrefix(value, " "))})
		tr.call.chunked = tr.call.chunked || strings.EqualFold(name, "Transfer-Encoding")
		lines = lines[1:]
	}
	tr.call.body = unescaped(strings.Join(lines, ""))
	for _, f := range browser() {
		if _, ok := (&gate.Head{Fields: tr.call.fields}).Get(f.Name); !ok {
			tr.call.fields = append(tr.call.fields, f)
		}
	}
	return tr
}

// packed is a body in the coding of a row.
func packed(t testing.TB, as, body string) string {
	t.Helper()
	if as == "" {
		return body
	}
	return encoded(t, coding.Coding(as), body)
}
