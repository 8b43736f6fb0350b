package gate_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// declared returns the reasons that the source declares as constants.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Reason" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out[text] = true
		}
		return true
	})
	return out
}

func TestReasonsAreAClosedSet(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+\.[a-z0-9_]+$`)
	consts := declared(t)
	seen := map[gate.Reason]bool{}
	for _, info := range gate.Reasons() {
		if seen[info.Reason] {
			t.Errorf("%s stands twice in the table", info.Reason)
		}
		seen[info.Reason] = true
		if !consts[string(info.Reason)] {
			t.Errorf("%s is in the table but not declared", info.Reason)
		}
		if !form.MatchString(string(info.Reason)) {
			t.Errorf("%s is not stage.words_with_underscores", info.Reason)
		}
		if info.Status < 300 || info.Status > 599 {
			t.Errorf("%s has status %d", info.Reason, info.Status)
		}
		if info.Title == "" || info.Remedy == "" {
			t.Errorf("%s does not say what it is and what to do", info.Reason)
		}
		if info.Reason.Optional() && info.Class != gate.ClassHygiene {
			t.Errorf("%s is off unless asked for, and its class is %s", info.Reason, info.Class)
		}
		if info.Class == gate.ClassFraming && (!info.Close && !strings.HasPrefix(string(info.Reason), "http.h2_") || info.Source == "") {
			t.Errorf("%s is framing: it must close the connection and name its section", info.Reason)
		}
	}
	for name := range consts {
		if !seen[gate.Reason(name)] {
			t.Errorf("%s is declared but not in the table", name)
		}
	}
}

func TestRefusalUnderModes(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		reason gate.Reason
		mode   gate.Mode
		want   gate.Action
	}{
		{"framing is refused while observing", gate.HTTPTEAndCL, gate.Watch, gate.Refuse},
		{"size is refused while observing", gate.HTTPHeadTooLarge, gate.Watch, gate.Refuse},
		{"hygiene is observed", gate.HTTPPathDots, gate.Watch, gate.Observe},
		{"hygiene is refused", gate.HTTPPathDots, gate.Enforce, gate.Refuse},
		{"policy is observed", gate.WAFInboundScore, gate.Watch, gate.Observe},
		{"policy is refused", gate.WAFInboundScore, gate.Enforce, gate.Refuse},
		{"a missing route cannot be observed away", gate.RouteUnknownHost, gate.Watch, gate.Refuse},
		{"an undeclared reason is refused", gate.Reason("x.y"), gate.Watch, gate.Refuse},
	} {
		if got := gate.Refusal(tc.reason, tc.mode, "").Action; got != tc.want {
			t.Errorf("%s: Refusal(%s, %s) = %s, want %s", tc.rule, tc.reason, tc.mode, got, tc.want)
		}
	}
}

func TestTheZeroVerdictDoesNotPass(t *testing.T) {
	if (gate.Verdict{}).Passed() {
		t.Error("the zero Verdict passes; whoever forgets to decide must fail closed")
	}
	if !gate.Passes(gate.StageGeo).Passed() {
		t.Error("Passes does not pass")
	}
}

// TestReasonsDocument holds docs/reasons.md to the table. To write it anew:
//
//	SALLYPORT_WRITE_DOCS=1 go test ./internal/gate -run TestReasonsDocument
func TestReasonsDocument(t *testing.T) {
	const name = "../../docs/reasons.md"
	want := reasonsDocument()
	if os.Getenv("SALLYPORT_WRITE_DOCS") != "" {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s differs from the table in reason.go; write it anew with SALLYPORT_WRITE_DOCS=1", name)
	}
}

func reasonsDocument() string {
	var b strings.Builder
	b.WriteString("# Reasons\n\n" +
		"Why a request was refused, or would have been: the `reason` of an audit record, the `reason` label of\n" +
		"`sallyport_requests_total`. The set is closed. This page is made from the table in `internal/gate/reason.go`; a test\n" +
		"holds it to the source.\n\n" +
		"**framing**: broken or ambiguous HTTP; always refused, in observe mode too, and never waived. **size**: over a limit of\n" +
		"size or time; always refused, and the limit can be raised. **hygiene**: well framed but suspicious; observed with\n" +
		"`http.hygiene: observe`, let pass with `waive`. **hygiene, off**: likewise, and let pass unless `refuse` names it. **policy**: what a stage was told to refuse; observed in observe mode.\n" +
		"**failure**: there is nothing else to answer.\n")
	stage := gate.Stage("")
	for _, r := range gate.Reasons() {
		if s := r.Reason.Stage(); s != stage {
			stage = s
			fmt.Fprintf(&b, "\n## %s\n", stage)
		}
		class := r.Class.String()
		if r.Reason.Optional() {
			class += ", off"
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s (%s, %d", r.Reason, strings.ToUpper(r.Title[:1])+r.Title[1:], class, r.Status)
		if r.Close {
			b.WriteString(", closes the connection")
		}
		b.WriteString(")")
		if r.Source != "" {
			b.WriteString(": " + r.Source)
		}
		b.WriteString(".\n")
		if r.Attack != "" {
			b.WriteString("Stops: " + lowerFirst(r.Attack) + "\n")
		}
		b.WriteString("What to do: " + lowerFirst(r.Remedy) + "\n")
	}
	return b.String()
}

// lowerFirst begins a clause with a small letter, unless it begins with an
// abbreviation or a name in mixed case.
func lowerFirst(s string) string {
	if len(s) < 2 || s[1] < 'a' && s[1] != ' ' {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
