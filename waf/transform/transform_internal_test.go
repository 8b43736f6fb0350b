package transform

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental/plugins"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
)

// A listener is an operator that keeps what it is handed: a value behind the
// engine's transformations.
type listener struct {
	at int
	to *engine
}

func (l listener) Evaluate(_ plugintypes.TransactionState, value string) bool {
	l.to.heard[l.at] = strings.Clone(value)
	return false
}

// An engine has a rule for each transformation.
type engine struct {
	mu    sync.Mutex
	waf   coraza.WAF
	heard []string
}

var newEngine = sync.OnceValue(func() *engine {
	e := &engine{heard: make([]string, len(all))}
	plugins.RegisterOperator("sallyportListen", func(o plugintypes.OperatorOptions) (plugintypes.Operator, error) {
		at, err := strconv.Atoi(o.Arguments)
		return listener{at, e}, err
	})
	var rules strings.Builder
	for i, tr := range all {
		fmt.Fprintf(&rules, "SecRule ARGS:v \"@sallyportListen %d\" \"id:%d,phase:1,pass,nolog,t:none,t:%s\"\n", i, i+1, tr.name)
	}
	var err error
	if e.waf, err = coraza.NewWAF(coraza.NewWAFConfig().WithDirectives(rules.String())); err != nil {
		panic(err)
	}
	return e
})

// transform returns what each transformation of the engine makes of value.
func (e *engine) transform(value string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.heard)
	tx := e.waf.NewTransaction()
	defer tx.Close()
	tx.AddGetRequestArgument("v", value)
	tx.ProcessRequestHeaders()
	return append([]string(nil), e.heard...)
}

// compare holds transformations, and what their tables of kinds promise, to the
// engine, and returns what differs.
func compare(with []Transformation, value string) []string {
	var wrong []string
	kinds := KindsOf(value)
	for i, want := range newEngine().transform(value) {
		tr := &with[i]
		if got := string(tr.Append([]byte("before"), value)); got != "before"+want {
			wrong = append(wrong, fmt.Sprintf("%s(%q) = %q, the engine says %q", tr.Name(), value, strings.TrimPrefix(got, "before"), want))
		}
		if tr.Keeps(kinds) && want != value {
			wrong = append(wrong, fmt.Sprintf("%s keeps %q, the engine makes %q of it", tr.Name(), value, want))
		}
		if more := KindsOf(want) &^ tr.Makes(kinds); more != 0 {
			wrong = append(wrong, fmt.Sprintf("%s adds the kinds %b to %q: the engine makes %q of it", tr.Name(), more, value, want))
		}
	}
	return wrong
}

var seeds = []string{
	"", "plain", "Mixed Case", "a\x00b", "a \t\n\v\f\r b", "%41%zz%4", "+%2b%u0041%U00e9%uff1c%u12", "é\xffÉ世😀", "&lt;&#60;&#x3c;&amp;lt;&nosuch; &eacute",
	`\u0041\u{41}\u{ff1c}\uff1c\x41\101\777\8\a\b\"\`, `\41 \0 \110000x\ff1c\
y\`, `\X41\1\12\123\400\?\'\z`, `c^m"d' ,;/(x ( /`, "/a/../b/./c//d/", "..", "../..", "a/..", "/", "//", "/..", ".", "./", "a/", `C:\x\y.\z. .\f:s`,
	`a:b/`, `/a:b`, "x/ /y", "...", "/* a */ b /* c", "*/<!-- --> -- #", "/*/", "  trim \n", "YWJj", "YWJjZA==", "YW\nJj Z", "YWJ*", "a\xa0b\u00a0c\u0085d", "\xc5\xbf\u212a", "İıſK",
}

// values are the seeds, and n others made of what transformations look for.
func values(n int) []string {
	pieces := append([]string{"%", "u", `\`, "x", "0", "f", "F", "4", "1", "/", "*", ".", " ", "&", "#", ";", "-", "!", "<", ">", "\n", "\x00", "A", "\xff", "é", "{", "}", "+", ":", "=", "\xa0", `"`, "("}, seeds...)
	r := rand.New(rand.NewPCG(1, 2))
	out := slices.Clone(seeds)
	for range n {
		var b strings.Builder
		for range r.IntN(10) {
			b.WriteString(pieces[r.IntN(len(pieces)-len(seeds)*r.IntN(2))])
		}
		out = append(out, b.String())
	}
	return out
}

// escapes are values that some transformation makes one byte of.
func escapes() (out []string) {
	for c := range 256 {
		out = append(out, fmt.Sprintf("%%%02x", c), fmt.Sprintf(`\x%02x`, c), fmt.Sprintf(`\%x`, c), fmt.Sprintf(`\%03o`, c), fmt.Sprintf("&#%d;", c), fmt.Sprintf("&#%d", c), "&num;", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(c)}, 3)))
	}
	return out
}

func TestAgainstEngine(t *testing.T) {
	for _, value := range append(values(4000), escapes()...) {
		for _, wrong := range compare(all[:], value) {
			t.Error(wrong)
		}
	}
}

// TestEveryEscape asks for each %uhhhh.
func TestEveryEscape(t *testing.T) {
	for from := 0; from < 1<<16; from += 256 {
		var b strings.Builder
		for code := from; code < from+256; code++ {
			fmt.Fprintf(&b, "%%u%04x", code)
		}
		for _, wrong := range compare(all[:], b.String()) {
			t.Error(wrong)
		}
	}
}

// TestSabotage breaks one thing at a time: a transformation that does nothing,
// and a table that lacks a kind, one that is looked for or one that is added. The
// comparison must notice each.
func TestSabotage(t *testing.T) {
	if testing.Short() {
		t.Skip("exhaustive, and on one goroutine")
	}
	sample := append(values(1500), escapes()...)
	caught := func(with []Transformation) bool {
		return slices.ContainsFunc(sample, func(value string) bool { return len(compare(with, value)) > 0 })
	}
	for i, tr := range all {
		if tr.acts == 0 {
			continue
		}
		with := slices.Clone(all[:])
		with[i].add = appendAll
		if !caught(with) {
			t.Errorf("nobody noticed that %s does nothing", tr.name)
		}
		for kind := Kinds(1); kind <= always; kind <<= 1 {
			if tr.acts&kind == 0 {
				continue
			}
			with := slices.Clone(all[:])
			with[i].acts &^= kind
			if !caught(with) {
				t.Errorf("nobody noticed that %s overlooks kind %b", tr.name, kind)
			}
		}
		for n, a := range tr.adds {
			for kind := Kinds(1); kind < always; kind <<= 1 {
				if a.adds&kind == 0 || (a.on|kindDigit)&kind != 0 { // escapes are made of these themselves
					continue
				}
				with := slices.Clone(all[:])
				with[i].adds = slices.Clone(tr.adds)
				with[i].adds[n].adds &^= kind
				if !caught(with) {
					t.Errorf("nobody noticed that %s does not add kind %b", tr.name, kind)
				}
			}
		}
	}
}

// TestKinds: each byte is of one kind, and those of a kind are found again.
func TestKinds(t *testing.T) {
	count := 0
	for kind := Kinds(1); kind < always; kind <<= 1 {
		for c := range kind.Bytes() {
			if count++; KindsOf(string([]byte{c})) != kind {
				t.Errorf("%q is of kind %b and of %b", c, kind, KindsOf(string([]byte{c})))
			}
		}
	}
	if count != 256 {
		t.Errorf("%d bytes have a kind", count)
	}
}

// TestKeeps: the tables are of use, ordinary values stay as they are.
func TestKeeps(t *testing.T) {
	kinds := KindsOf("plain-text_1 with (words)?=~")
	for _, tc := range []struct {
		name string
		want bool
	}{{"urlDecodeUni", true}, {"htmlEntityDecode", true}, {"JSDECODE", true}, {"lowercase", true}, {"none", true}, {"removeWhitespace", false}, {"cmdLine", false}, {"base64Decode", false}, {"length", false}} {
		if tr, ok := Find(tc.name); !ok || tr.Keeps(kinds) != tc.want {
			t.Errorf("%s: known: %v, keeps: %v, want %v", tc.name, ok, !tc.want, tc.want)
		}
	}
	if _, ok := Find("md5"); ok {
		t.Error("md5 is known, and nobody has compared it")
	}
}

// TestAllocations: into a buffer that is large enough, nothing is allocated.
func TestAllocations(t *testing.T) {
	buffer := make([]byte, 0, 1<<10)
	for i := range all {
		tr := &all[i]
		for _, value := range seeds {
			if tr.name == "htmlEntityDecode" && strings.Contains(value, "&") {
				continue
			}
			if n := testing.AllocsPerRun(5, func() { tr.Append(buffer, value) }); n != 0 {
				t.Errorf("%s(%q) allocates %v times", tr.name, value, n)
			}
		}
	}
}

func FuzzTransform(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if len(value) > 4096 {
			return
		}
		for _, wrong := range compare(all[:], value) {
			t.Error(wrong)
		}
	})
}

// TestLowers: what makes small letters does nothing else to what it keeps otherwise.
func TestLowers(t *testing.T) {
	lowers := 0
	for i := range all {
		tr := &all[i]
		if !tr.Lowers() {
			continue
		}
		lowers++
		seen := 0
		for _, value := range append(values(20000), "ABC", "Plain-Text", "/A/b.C", "A(B)=1&C") {
			kinds := KindsOf(value)
			if !tr.Keeps(kinds.Lowered()) {
				continue
			}
			if got := string(tr.Append(nil, value)); got != small(value) {
				t.Fatalf("%s(%q) = %q", tr.Name(), value, got)
			}
			if kinds != kinds.Lowered() {
				seen++
			}
		}
		if seen < 100 {
			t.Errorf("%s: %d values with large letters", tr.Name(), seen)
		}
	}
	if lowers != 2 { // lowercase and cmdLine
		t.Errorf("%d transformations make small letters", lowers)
	}
	for _, name := range []string{"hexEncode", "base64Decode", "urlDecodeUni"} {
		if tr, _ := Find(name); tr.Lowers() {
			t.Errorf("%s makes small letters", name)
		}
	}
}

// small makes small letters of A to Z.
func small(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] |= 0x20
		}
	}
	return string(b)
}
