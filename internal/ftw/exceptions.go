package ftw

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sallyport/internal/gate"
)

// Exceptions is a reviewed list of tests that do not pass, each with the way
// in which it does not and the reason why that is right:
//
//	exceptions:
//	  - kind: refused_earlier
//	    by: http.version
//	    reason: a version that does not exist is answered by the parser
//	    tests: [920430-1, 920430-2]
//
// An entry with "wire: true" holds only where log lines are read back from
// disk, redacted, and not for a run in one process; see InProcess.
//
// A run agrees with it when exactly these tests come out in exactly these
// ways: an unexpected pass is an error like any other.
type Exceptions struct {
	file   string
	groups []group
	byTest map[string]listed
}

// listHead begins the file that Write prints.
const listHead = `# Tests that do not pass, each with the reason why that is right. A run has to
# come out exactly like this: an unexpected pass is an error too.
exceptions:
`

// A group is one entry of the file.
type group struct {
	kind   Kind
	by     gate.Reason
	reason string
	wire   bool
	tests  []string
}

// listed is where a test stands in the file.
type listed struct {
	group int
	line  int
}

// ParseExceptions reads the list. An entry without a reason is an error: it
// has not been reviewed.
func ParseExceptions(name string, src []byte) (*Exceptions, gate.Diagnostics) {
	r := &reader{file: name}
	e := &Exceptions{file: name, byTest: make(map[string]listed)}
	if n := r.document(src); n != nil {
		r.mapping(n, "", fields{"exceptions": func(n ast.Node, path string) {
			r.list(n, path, func(n ast.Node, path string) { e.group(r, n, path) })
		}})
	}
	r.diags.Sort()
	return e, r.diags
}

// group reads one entry.
func (e *Exceptions) group(r *reader, n ast.Node, path string) {
	var g group
	var kind, by string
	r.mapping(n, path, fields{
		"kind":   r.string(&kind),
		"by":     r.string(&by),
		"reason": r.string(&g.reason),
		"wire":   r.boolean(&g.wire),
		"tests": func(n ast.Node, path string) {
			r.list(n, path, func(n ast.Node, path string) {
				id, ok := r.text(n, path)
				if !ok {
					return
				}
				if first, ok := e.byTest[id]; ok {
					r.fail(n, path, fmt.Sprintf("test %s is listed twice", id), fmt.Sprintf("the first is in line %d", first.line))
					return
				}
				line, _ := position(n)
				e.byTest[id] = listed{group: len(e.groups), line: line}
				g.tests = append(g.tests, id)
			})
		},
	})
	g.kind, g.by = Kind(kind), gate.Reason(by)
	switch {
	case g.kind != Refused && g.kind != Failed:
		r.fail(n, join(path, "kind"), fmt.Sprintf("%q is not a kind", kind), fmt.Sprintf("write %s or %s", Refused, Failed))
	case g.kind == Refused && !slices.ContainsFunc(gate.Reasons(), func(i gate.ReasonInfo) bool { return i.Reason == g.by }):
		r.fail(n, join(path, "by"), fmt.Sprintf("%q is not a reason", by), "name the reason that refused the request, as in http.version")
	case g.kind == Failed && by != "":
		r.fail(n, join(path, "by"), "a failed test was refused by nothing", "")
	}
	if strings.TrimSpace(g.reason) == "" {
		r.fail(n, join(path, "reason"), "no reason given", "say why these tests may come out like this")
	}
	if len(g.tests) == 0 {
		r.fail(n, join(path, "tests"), "no tests", "")
	}
	e.groups = append(e.groups, g)
}

// InProcess drops the entries that hold only over the wire.
func (e *Exceptions) InProcess() {
	for id, at := range e.byTest {
		if e.groups[at.group].wire {
			delete(e.byTest, id)
		}
	}
}

// Review compares a run of the whole suite with the list. Each difference is
// one diagnostic; none means that the run is in order.
func (e *Exceptions) Review(s *Summary) gate.Diagnostics {
	var ds gate.Diagnostics
	ran := make(map[string]bool, len(s.Results))
	for i := range s.Results {
		r := &s.Results[i]
		if r.Kind == Skipped {
			continue
		}
		ran[r.Test] = true
		at, known := e.byTest[r.Test]
		switch {
		case !known && r.Kind != Passed:
			d := gate.Diagnostic{File: r.File, Line: r.Line, Path: r.Test, What: r.outcome() + ": " + visible(strings.Join(r.Details, "; "))}
			if e.file != "" {
				d.Hint = "mend it, or list it with a reason in " + e.file
			}
			ds = append(ds, d)
		case known && r.Kind == Passed:
			ds = append(ds, gate.Diagnostic{File: e.file, Line: at.line, Path: r.Test, What: "passes although it is listed as an exception", Hint: "take it from the list"})
		case known && (r.Kind != e.groups[at.group].kind || r.By != e.groups[at.group].by):
			g := Result{Kind: e.groups[at.group].kind, By: e.groups[at.group].by}
			ds = append(ds, gate.Diagnostic{File: e.file, Line: at.line, Path: r.Test, What: fmt.Sprintf("listed as %s, came out as %s", g.outcome(), r.outcome()),
				Hint: "find out why, then correct the list"})
		}
	}
	for id, at := range e.byTest {
		if !ran[id] {
			ds = append(ds, gate.Diagnostic{File: e.file, Line: at.line, Path: id, What: "no such test was run", Hint: "take it from the list"})
		}
	}
	ds.Sort()
	return ds
}

// outcome is how a result is called in the list.
func (r *Result) outcome() string {
	if r.Kind == Refused {
		return string(r.Kind) + " by " + string(r.By)
	}
	return string(r.Kind)
}

// Write prints the list as this run would have it. Reasons are kept where a
// test comes out as it is listed; the others are left empty, for a person to
// fill in: the list is not valid before. What was found stands beside each
// new test as a comment.
func (e *Exceptions) Write(w io.Writer, s *Summary) error {
	var groups []group
	found := make(map[string]string) // of tests without a reason
	for _, r := range s.NotPassed() {
		g := group{kind: r.Kind, by: r.By}
		if at, ok := e.byTest[r.Test]; ok && e.groups[at.group].kind == r.Kind && e.groups[at.group].by == r.By {
			g.reason, g.wire = e.groups[at.group].reason, e.groups[at.group].wire
		} else {
			found[r.Test] = strings.Join(r.Details, "; ")
		}
		i := slices.IndexFunc(groups, func(o group) bool {
			return o.kind == g.kind && o.by == g.by && o.reason == g.reason && o.wire == g.wire
		})
		if i < 0 {
			i, groups = len(groups), append(groups, g)
		}
		groups[i].tests = append(groups[i].tests, r.Test)
	}
	slices.SortStableFunc(groups, func(a, b group) int {
		return cmp.Or(-cmp.Compare(a.kind, b.kind), cmp.Compare(a.by, b.by), cmp.Compare(a.reason, b.reason))
	})
	b := bufio.NewWriter(w)
	b.WriteString(listHead)
	if len(groups) == 0 {
		b.WriteString("  []\n")
	}
	for _, g := range groups {
		fmt.Fprintf(b, "  - kind: %s\n", g.kind)
		if g.by != "" {
			fmt.Fprintf(b, "    by: %s\n", g.by)
		}
		if g.wire {
			b.WriteString("    wire: true\n")
		}
		fmt.Fprintf(b, "    reason: %s\n    tests:\n", quote(g.reason))
		slices.SortFunc(g.tests, compareIDs)
		for _, id := range g.tests {
			fmt.Fprintf(b, "      - %s", id)
			if f := found[id]; f != "" {
				fmt.Fprintf(b, " # %s", visible(firstLine(f)))
			}
			b.WriteByte('\n')
		}
	}
	return b.Flush()
}

// quote writes a text as a double-quoted YAML scalar.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}

// compareIDs orders test ids by rule and number.
func compareIDs(a, b string) int {
	split := func(id string) (int, int) {
		rule, number, _ := strings.Cut(id, "-")
		r, _ := strconv.Atoi(rule)
		n, _ := strconv.Atoi(number)
		return r, n
	}
	ra, na := split(a)
	rb, nb := split(b)
	return cmp.Or(cmp.Compare(ra, rb), cmp.Compare(na, nb))
}
