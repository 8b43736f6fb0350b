package selftest_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"sallyport/internal/selftest"
)

// TestDocumentNamesEveryField holds docs/selftest.md to the JSON document.
func TestDocumentNamesEveryField(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/selftest.md")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, v := range []any{selftest.Report{}, selftest.Group{}, selftest.Result{}} {
		for i := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			words = append(words, strings.NewReplacer("groups", "groups[]", "results", "results[]").Replace(name))
		}
	}
	for _, o := range []selftest.Outcome{
		selftest.Refused, selftest.Forwarded, selftest.Different, selftest.NotJudged, selftest.Skipped,
		selftest.Accepted, selftest.Several, selftest.Misread, selftest.Hangs, selftest.Unclear,
	} {
		words = append(words, string(o))
	}
	for _, w := range words {
		if w == "" || !strings.Contains(string(text), "`"+w+"`") {
			t.Errorf("docs/selftest.md does not name %q", w)
		}
	}
}
