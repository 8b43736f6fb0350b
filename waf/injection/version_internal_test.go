package injection

import (
	"debug/buildinfo"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"unicode"

	"github.com/corazawaf/libinjection-go"
)

func TestFollowed(t *testing.T) {
	t.Parallel()
	other := &debug.Module{Path: "example.com/other", Version: version}
	for _, c := range []struct {
		name    string
		program *debug.BuildInfo
		want    bool
	}{
		{"this version", &debug.BuildInfo{Deps: []*debug.Module{other, {Path: library, Version: version}}}, true},
		{"a later one", &debug.BuildInfo{Deps: []*debug.Module{{Path: library, Version: "v0.3.4"}}}, false},
		{"a replaced one", &debug.BuildInfo{Deps: []*debug.Module{{Path: library, Version: version, Replace: other}}}, false},
		{"not told", &debug.BuildInfo{Path: "sallyport/cmd/sallyport"}, false},
		{"not told in a test", &debug.BuildInfo{Path: "sallyport/waf.test"}, true},
		{"a later one in a test", &debug.BuildInfo{Path: "sallyport/waf.test", Deps: []*debug.Module{{Path: library, Version: "v0.3.4"}}}, false},
	} {
		if got := followed(c.program, true); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
		if (load(c.program, true) != nil) != c.want {
			t.Errorf("%s: the readers are there or not", c.name)
		}
	}
	if followed(nil, false) {
		t.Error("a program that says nothing is followed")
	}
}

// TestModules fails when the library's version changes: read what changed in
// it, follow it in the readers, run the tests and fuzz targets, and only then
// change the constant.
func TestModules(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}} {{.Replace}}", library).Output()
	if err != nil || strings.TrimSpace(string(out)) != version+" <nil>" {
		t.Errorf("the library is at %s; the readers follow %s (%v)", out, version, err)
	}
}

// TestProgram demands that the gateway as it is built has the readers.
func TestProgram(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the gateway")
	}
	name := filepath.Join(t.TempDir(), "sallyport")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", name, "sallyport/cmd/sallyport").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := buildinfo.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); err != nil || !followed(program, true) {
		t.Errorf("the gateway does without: %v", program)
	}
}

// TestLists demands that lists which the readers cannot rely on are refused.
func TestLists(t *testing.T) {
	t.Parallel()
	if newTables(libraryWords, libraryEvents, libraryAttributes, libraryTags) == nil {
		t.Fatal("the library's own lists are refused")
	}
	with := func(word string, kind byte) map[string]byte {
		words := maps.Clone(libraryWords)
		words[word] = kind
		return words
	}
	for name, words := range map[string]map[string]byte{
		"none": nil, "no kind": with("A", 0), "empty": with("", 'k'), "long": with(strings.Repeat("A", 33), 'k'), "small": with("a", 'k'), "not ASCII": with("É", 'k'),
		"a word like a fingerprint": with("0A", 'k'), "no nought": with("KKK", 'F'), "six kinds": with("0KKKKKK", 'F'), "a point": with("0.", 'F'), "a blank first": with(" A", 'k'),
	} {
		if newTables(words, libraryEvents, libraryAttributes, libraryTags) != nil {
			t.Errorf("words: %s: taken", name)
		}
	}
	many := maps.Clone(libraryWords)
	for c := byte('!'); c < '~'; c++ {
		if c != '.' && c != '`' && !('a' <= c && c <= 'z') {
			many["0"+string(c)] = 'F'
		}
	}
	if newTables(many, libraryEvents, libraryAttributes, libraryTags) != nil {
		t.Error("more kinds than there are codes: taken")
	}
	for _, name := range []string{"A-B", "A B", "A\x00", "A=", "É", strings.Repeat("A", 65)} {
		names := map[string]int{name: black}
		if newTables(libraryWords, names, libraryAttributes, libraryTags) != nil || newTables(libraryWords, libraryEvents, names, libraryTags) != nil {
			t.Errorf("name %q: taken", name)
		}
	}
	if newTables(libraryWords, nil, libraryAttributes, libraryTags) != nil || newTables(libraryWords, libraryEvents, nil, libraryTags) != nil ||
		newTables(libraryWords, libraryEvents, libraryAttributes, nil) != nil || newTables(libraryWords, libraryEvents, libraryAttributes, []string{"A"}) != nil {
		t.Error("a list is missing or has a short tag: taken")
	}
}

// TestFallback demands that without the readers the library answers.
func TestFallback(t *testing.T) { //nolint:paralleltest // it takes the readers away
	kept := readers
	defer func() { readers = kept }()
	readers = nil
	for _, value := range []string{"", "a", "1' or '1'='1", "<script>", "1 union select 1 from a"} {
		want, _ := libinjection.IsSQLi(value)
		if SQLi(value) != want || XSS(value) != libinjection.IsXSS(value) {
			t.Errorf("%q: not what the library says", value)
		}
	}
}

// TestCapitals demands that no other letters than ı and ſ have capitals within
// ASCII: find relies on it.
func TestCapitals(t *testing.T) {
	t.Parallel()
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if c := unicode.ToUpper(r); c < 0x80 && (r != 'ı' || c != 'I') && (r != 'ſ' || c != 'S') {
			t.Errorf("the capital of %q is %q", r, c)
		}
	}
}
