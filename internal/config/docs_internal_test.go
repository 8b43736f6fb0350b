package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// knownKeys reads a configuration that has everything and returns every key
// that was asked for; true: it is written there.
func knownKeys(t *testing.T, src []byte) map[string]bool {
	t.Helper()
	r := newReader("x.yaml", func(string) (string, bool) { return "", false })
	r.read(src)
	if r.diags.Fatal() {
		t.Fatal(r.diags)
	}
	return r.known
}

func everything(t *testing.T) []byte {
	t.Helper()
	src, err := os.ReadFile("../../testdata/config/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// Every key that is read stands in a table of the documentation, and every key
// that stands there is read.
func TestDocumentedKeys(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.*\\[\\]]+)` \\|").FindAllSubmatch(doc, -1) {
		documented[string(m[1])] = true
	}
	known := knownKeys(t, everything(t))
	if len(known) < 100 {
		t.Fatalf("only %d keys are known", len(known))
	}
	for key := range known {
		if !documented[key] && !isSection(known, key) {
			t.Errorf("docs/configuration.md lacks %s", key)
		}
	}
	for key := range documented {
		if _, ok := known[key]; !ok {
			t.Errorf("docs/configuration.md explains %s, which is not read", key)
		}
	}
}

// isSection tells whether a key only groups others.
func isSection(known map[string]bool, key string) bool {
	for other := range known {
		if strings.HasPrefix(other, key+".") {
			return true
		}
	}
	return false
}

// Print writes every key that is read.
func TestPrintIsComplete(t *testing.T) {
	r := newReader("x.yaml", func(string) (string, bool) { return "", false })
	c := r.read(everything(t))
	var out strings.Builder
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	known := knownKeys(t, []byte(out.String()))
	for _, key := range slices.Sorted(maps.Keys(known)) {
		if !known[key] {
			t.Errorf("Print leaves out %s", key)
		}
	}
}
