package gate_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// strictMark is where the part of docs/strict.md begins that is not written
// by hand.
const strictMark = "## Reason by reason\n"

// TestStrictDocument holds docs/strict.md to the table of reasons and to the
// accepted cases of the corpus. To write it anew:
//
//	SALLYPORT_WRITE_DOCS=1 go test ./internal/gate -run TestStrictDocument
func TestStrictDocument(t *testing.T) {
	const name = "../../docs/strict.md"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	byHand, _, ok := strings.Cut(string(text), strictMark)
	if !ok {
		t.Fatalf("%s has no %q", name, strictMark)
	}
	want := byHand + strictMark + strictReasons(t)
	if os.Getenv("SALLYPORT_WRITE_DOCS") != "" {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s differs from the table in reason.go or from the corpus; write it anew with SALLYPORT_WRITE_DOCS=1", name)
	}
}

// strictReasons lists every reason of the strict reader that is about form,
// not about size.
func strictReasons(t *testing.T) string {
	t.Helper()
	twins := acceptedTwins(t)
	var b strings.Builder
	b.WriteString("\nMade from the table in `internal/gate/reason.go` and from the accepted cases in `testdata/wire`; a test holds it to both.\n")
	for _, r := range gate.Reasons() {
		if r.Reason.Stage() != gate.StageHTTP || r.Class != gate.ClassFraming && r.Class != gate.ClassHygiene {
			continue
		}
		waived := "never waived"
		if r.Class == gate.ClassHygiene {
			waived = "can be waived"
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s: %s, %s, answered with %d. %s.\n", r.Reason, r.Source, r.Class, waived, r.Status, strings.ToUpper(r.Title[:1])+r.Title[1:])
		if r.Attack != "" {
			b.WriteString("Stops: " + lowerFirst(r.Attack) + "\n")
		}
		if about := twins[r.Reason]; len(about) > 0 {
			b.WriteString("Goes through:\n\n- " + strings.Join(about, "\n- ") + "\n")
		}
	}
	return b.String()
}

// acceptedTwins is what the accepted cases of each reason show, each once,
// with the names of the cases where several show the same.
func acceptedTwins(t *testing.T) map[gate.Reason][]string {
	t.Helper()
	cases, err := wire.All()
	if err != nil {
		t.Fatal(err)
	}
	type twin struct {
		about string
		names []string
	}
	found := map[gate.Reason][]twin{}
	for _, c := range cases {
		folder, name, _ := strings.Cut(c.Name, "/")
		r := gate.Reason(folder)
		if strings.HasPrefix(folder, "h2.") { // what is broken there is the connection
			r = gate.HTTPH2Frame
		}
		name, accepted := strings.CutPrefix(name, "ok-")
		if !accepted {
			continue
		}
		i := slices.IndexFunc(found[r], func(tw twin) bool { return tw.about == c.About })
		if i < 0 {
			i = len(found[r])
			found[r] = append(found[r], twin{about: c.About})
		}
		found[r][i].names = append(found[r][i].names, strings.ReplaceAll(name, "-", " "))
	}
	twins := map[gate.Reason][]string{}
	for r, list := range found {
		for _, tw := range list {
			text := tw.about
			if len(tw.names) > 1 {
				text += " (" + strings.Join(tw.names, ", ") + ")"
			}
			twins[r] = append(twins[r], text)
		}
	}
	return twins
}
