package rx_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/waf/rx"
)

// matcher is a set of one operator.
func matcher(t *testing.T, op rx.Operator) func(string) bool {
	t.Helper()
	s, err := rx.Compile([]rx.Operator{op}, rx.Bytes{})
	if err != nil {
		t.Fatalf("Compile(%+v): %v", op, err)
	}
	c, err := s.Class(0)
	if err != nil {
		t.Fatal(err)
	}
	sc := s.NewScratch()
	return func(value string) bool { return c.Match(sc, value).Hits.Has(0) }
}

func TestOperators(t *testing.T) {
	for _, tc := range []struct {
		rule string
		op   rx.Operator
		yes  []string
		no   []string
	}{
		{"a pattern's ^ and $ are those of lines", rx.Operator{Kind: rx.Pattern, Text: `^ab$`}, []string{"ab", "x\nab\ny", "\nab"}, []string{"", "xab", "ab\r"}},
		{"a pattern's dot takes a newline", rx.Operator{Kind: rx.Pattern, Text: `a.b`}, []string{"a\nb", "a\xffb", "aéb"}, []string{"ab", "a\xc3\xa9\xa9b"}},
		{"a pattern tells case", rx.Operator{Kind: rx.Pattern, Text: `Union`}, []string{"a Union b"}, []string{"union", "UNION"}},
		{"(?i) takes the long s and the Kelvin sign", rx.Operator{Kind: rx.Pattern, Text: `(?i)sleek`}, []string{"sleek", "SLEEK", "ſleek", "slee\u212a", "ſLEE\u212a"}, []string{"ßleek", "slee\xe2\x84"}},
		{"a class without (?i) does not", rx.Operator{Kind: rx.Pattern, Text: `[st]op`}, []string{"stop", "xsop"}, []string{"ſop"}},
		{"an invalid byte is U+FFFD", rx.Operator{Kind: rx.Pattern, Text: "x\ufffd{2}y"}, []string{"x\xff\xfey", "x\ufffd\xc3y", "x\xe2\x84y"}, []string{"x\xffy", "xéy"}},
		{"word boundaries are those of ASCII", rx.Operator{Kind: rx.Pattern, Text: `\bor\b`}, []string{"a or b", "or", "éoré", "\xffor"}, []string{"for", "or_", "oré1or2"[2:]}},
		{"\\z is the end of the text", rx.Operator{Kind: rx.Pattern, Text: `\Aab\z`}, []string{"ab"}, []string{"ab\n", "\nab"}},
		{"the empty pattern matches everything", rx.Operator{Kind: rx.Pattern}, []string{"", "x"}, nil},
		{"a pattern that cannot match does not", rx.Operator{Kind: rx.Pattern, Text: `[^\x00-\x{10ffff}]`}, nil, []string{"", "x", "\xff"}},
		{"bytes that are no UTF-8 are matched as bytes", rx.Operator{Kind: rx.Pattern, Text: `\xac\xed\x00\x05`}, []string{"x\xac\xed\x00\x05y"}, []string{"¬í\x00\x05", ""}},
		{"only the first two digits in braces count there", rx.Operator{Kind: rx.Pattern, Text: `x\x{fffd}`}, nil, []string{"x\xff", "x\ufffd"}},
		{"braces name a byte too", rx.Operator{Kind: rx.Pattern, Text: `\x{bc}[^>]*>`}, []string{"\xbcscript>", "¼>"}, []string{"<script>", "\xbc"}},
		{"and then ^ is the start of the text", rx.Operator{Kind: rx.Pattern, Text: `^\xff`}, []string{"\xffx"}, []string{"\n\xff"}},
		{"phrases know ASCII's case only", rx.Operator{Kind: rx.Phrases, List: rx.SplitPhrases("Select <Script É")}, []string{"SELECT", "a<sCRIPT", "xé"}, []string{"ſelect", "É", "script"}},
		{"contains", rx.Operator{Kind: rx.Contains, Text: "a B"}, []string{"a B", "xa By"}, []string{"a b", "", "aB"}},
		{"contains nothing", rx.Operator{Kind: rx.Contains}, []string{"", "x"}, nil},
		{"beginsWith", rx.Operator{Kind: rx.BeginsWith, Text: "Ab"}, []string{"Ab", "Abc"}, []string{"", "ab", "xAb"}},
		{"endsWith", rx.Operator{Kind: rx.EndsWith, Text: ".pdf"}, []string{".pdf", "x.pdf"}, []string{"", ".PDF", ".pdf "}},
		{"streq", rx.Operator{Kind: rx.Equal, Text: "JSON"}, []string{"JSON"}, []string{"", "json", "JSON "}},
		{"streq nothing", rx.Operator{Kind: rx.Equal}, []string{""}, []string{"x"}},
		{"within", rx.Operator{Kind: rx.Within, Text: "GET POST"}, []string{"GET", "T P", ""}, []string{"get", "GET POST "}},
		{"a byte outside the ranges", rx.Operator{Kind: rx.ByteRange, Text: "9, 32-126"}, []string{"\x00", "aé", "\n"}, []string{"", "a\t~"}},
		{"a range that runs backwards is empty", rx.Operator{Kind: rx.ByteRange, Text: "9-1,65"}, []string{"\x05"}, []string{"A"}},
	} {
		for _, not := range []bool{false, true} {
			tc.op.Not = not
			match := matcher(t, tc.op)
			for _, value := range tc.yes {
				if got := match(value); got == not {
					t.Errorf("%s: %q (not: %v) = %v, want %v", tc.rule, value, not, got, !not)
				}
			}
			for _, value := range tc.no {
				if got := match(value); got != not {
					t.Errorf("%s: %q (not: %v) = %v, want %v", tc.rule, value, not, got, not)
				}
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	good := rx.Operator{Kind: rx.Equal, Text: "x"}
	for _, tc := range []struct {
		rule string
		op   rx.Operator
		want string
	}{
		{"a broken pattern", rx.Operator{Kind: rx.Pattern, Text: `a(`}, "operator 1: error parsing regexp: missing closing ): `(?sm)a(`"},
		{"a broken pattern of bytes", rx.Operator{Kind: rx.Pattern, Text: `\xff(`}, "operator 1: error parsing regexp: missing closing ): `\\xff(`"},
		{"an empty phrase", rx.Operator{Kind: rx.Phrases, List: rx.SplitPhrases("a  b")}, "operator 1: an empty phrase, or none"},
		{"no phrase", rx.Operator{Kind: rx.Phrases}, "operator 1: an empty phrase, or none"},
		{"no ranges", rx.Operator{Kind: rx.ByteRange}, "operator 1: no byte ranges"},
		{"a range beyond a byte", rx.Operator{Kind: rx.ByteRange, Text: "1-256"}, `operator 1: "256" is not a byte`},
		{"a range that is no number", rx.Operator{Kind: rx.ByteRange, Text: "1,a"}, `operator 1: "a" is not a byte`},
		{"no kind", rx.Operator{Text: "x"}, "operator 1: kind 0 is not known"},
	} {
		if _, err := rx.Compile([]rx.Operator{good, tc.op}, rx.Bytes{}); err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v, want %s", tc.rule, err, tc.want)
		}
	}
	if s, err := rx.Compile([]rx.Operator{good}, rx.Bytes{}); err != nil {
		t.Error(err)
	} else if _, err := s.Class(1); err == nil {
		t.Error("a class took an operator that the set has not")
	}
	if s, err := rx.Compile(nil, rx.Bytes{}); err != nil {
		t.Errorf("the empty set: %v", err)
	} else if c, err := s.Class(); err != nil || c.Match(s.NewScratch(), "x").Hits.Any() {
		t.Errorf("the empty set matched, or %v", err)
	}
}

// TestClasses: one set, and each class answers for its own members only.
func TestClasses(t *testing.T) {
	s, err := rx.Compile([]rx.Operator{
		{Kind: rx.Pattern, Text: `(?i)union\s+select`},
		{Kind: rx.Phrases, List: []string{"union", "sleep"}},
		{Kind: rx.Pattern, Text: `^\w+$`, Not: true},
		{Kind: rx.Contains, Text: "union"},
	}, rx.Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	sc := s.Acquire()
	defer s.Release(sc)
	for _, tc := range []struct {
		members []int
		value   string
		want    []int
	}{
		{[]int{0, 1, 2, 3}, "x union  select", []int{0, 1, 2, 3}},
		{[]int{0, 1, 2, 3}, "UNION", []int{1}},
		{[]int{3}, "x union  select", []int{3}},
		{[]int{2, 2}, "x union  select", []int{2}},
		{[]int{2}, "word", nil},
		{[]int{0, 1}, "word", nil},
		{nil, "x union  select", nil},
	} {
		c, err := s.Class(tc.members...)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(c.Match(sc, tc.value).Hits.All()); !slices.Equal(got, tc.want) {
			t.Errorf("class %v: %q matches %v, want %v", tc.members, tc.value, got, tc.want)
		}
	}
}

func TestReadPhrases(t *testing.T) {
	got, err := rx.ReadPhrases([]byte("# comment\n\n  Select \r\nUNION ALL\n \t\n É#x\nlast"))
	if want := []string{"select", "union all", "é#x", "last"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("ReadPhrases = %q, %v, want %q", got, err, want)
	}
	if _, err := rx.ReadPhrases([]byte("a\n" + strings.Repeat("x", 1<<16))); err == nil {
		t.Error("a line that the engine's reader stops at was taken")
	}
}

// TestShared: many goroutines ask one set, each with a scratch of its own, and
// get what one alone gets.
func TestShared(t *testing.T) {
	var ops []rx.Operator
	var every []int
	for i, text := range []string{`(?i)\bunion\b.*\bselect\b`, `<script[^>]*>`, `^[a-z]+$`, `(?:a|b)*abb.{1,9}c`, `\bk\w{3,}s\b`} {
		ops, every = append(ops, rx.Operator{Kind: rx.Pattern, Text: text}), append(every, i)
	}
	s, err := rx.Compile(ops, rx.Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Class(every...)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for i := range 300 {
		values = append(values, fmt.Sprintf("v%d %.*s union%*sſelect <script a%d> %s", i, i%9, "abbabbabb", i%7, "", i, strings.Repeat("abb", i%5)), strings.Repeat("k", i%40)+"s")
	}
	answers := func() []string {
		sc := s.Acquire()
		defer s.Release(sc)
		var all []string
		for _, v := range values {
			all = append(all, fmt.Sprint(slices.Collect(c.Match(sc, v).Hits.All())))
		}
		return all
	}
	want := answers()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				if got := answers(); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			}
		})
	}
	wg.Wait()
}
