package injection

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/corazawaf/libinjection-go"
)

// TestWords demands that the tables have what the library's list has and
// nothing else.
func TestWords(t *testing.T) {
	t.Parallel()
	words, prints := 0, 0
	for text, kind := range libraryWords {
		if kind == 'F' {
			prints++
			if !readers.known(readers.print(text[1:])) {
				t.Errorf("fingerprint %s is not known", text[1:])
			}
			continue
		}
		words++
		if e := readers.find(strings.ToLower(text)); e == nil || e.kind != kind || e.text != text {
			t.Errorf("%s is not found", text)
		}
		for i := range len(text) {
			if e := readers.find(text[:i]); text[i] == ' ' && (e == nil || e.head != headYes) {
				t.Errorf("%s: %s is not the beginning of a phrase", text, text[:i])
			}
		}
	}
	for _, e := range readers.entries {
		if e.kind != 0 {
			words--
		}
	}
	known := 0
	for print := range uint32(1 << (5 * maxTokens)) {
		if readers.known(print) {
			known++
		}
	}
	if words != 0 || known != prints {
		t.Errorf("%d words too few; %d fingerprints for %d", words, known, prints)
	}
}

// print packs a fingerprint.
func (t *tables) print(text string) (print uint32) {
	for i := range len(text) {
		print |= uint32(t.code[text[i]]) << (5 * i)
	}
	return print
}

// clone copies tables, so that one may be changed.
func (t *tables) clone() *tables {
	c := *t
	c.entries, c.tagBegins, c.tags = slices.Clone(t.entries), slices.Clone(t.tagBegins), slices.Clone(t.tags)
	c.events, c.attributes = maps.Clone(t.events), maps.Clone(t.attributes)
	return &c
}

// differs tells whether tables answer otherwise than the library.
func (t *tables) differs(value string) bool {
	return ask(t.sqli, value) != ask(librarySQLi, value) || ask(t.xss, value) != ask(libinjection.IsXSS, value)
}

// TestSabotagedFingerprints takes each fingerprint away and demands that a
// value written after it is not found any more.
func TestSabotagedFingerprints(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	g, changed, noticed := newGenerator(t, 11), readers.clone(), 0
	var missed []string
next:
	for _, print := range g.prints {
		at := printSlot(readers.print(print))
		for changed.prints[at] != readers.print(print) {
			at = (at + 1) % printSlots
		}
		kept := changed.prints[at]
		for range 400 {
			value := g.exactly(print)
			found, got := libinjection.IsSQLi(value)
			if !found || !strings.EqualFold(got, print) {
				continue
			}
			changed.prints[at] = 1 << 31 // of no tokens
			lost := !changed.sqli(value)
			changed.prints[at] = kept
			if lost {
				noticed++
				continue next
			}
		}
		missed = append(missed, print)
	}
	t.Logf("%d of %d fingerprints; not: %q", noticed, len(g.prints), missed)
	if noticed < 8100 { // the others are folded away, or need more than their own tokens
		t.Error("too few of them")
	}
}

// exactly writes a fingerprint out in one of the ways that leave it what it is,
// if there is one.
func (g *generator) exactly(print string) string {
	samples := map[byte][]string{
		'1': {"1"}, 'N': {"foo"}, 'S': {"'a'", "$$c$$", `"a"`}, 'V': {"@a"}, 'O': {"=", "*", "-", "like", "is"}, '&': {"and"}, 'C': {"/*a*/", "--", "-- a"},
		'F': {"sin", "if", "user"}, 'T': {"int", "exec", "declare"}, 'K': {"from", "in", "having", "into outfile"}, 'E': {"select"}, 'U': {"union"}, 'B': {"order by", "limit"}, 'A': {"collate"}, 'X': {"/*!1*/"},
	}
	var b strings.Builder
	if g.IntN(3) == 0 && print[0] == 'S' {
		b.WriteString(pick(g, []string{"a'", `a"`}))
		print = print[1:]
	}
	for i := range len(print) {
		list := samples[print[i]]
		if list == nil {
			list = []string{print[i : i+1]}
		}
		b.WriteString(" " + pick(g, list))
	}
	if g.IntN(3) == 0 {
		b.WriteString(pick(g, []string{" ", " x", ")", " 1", " = 1", " --", " (1"}))
	}
	return b.String()
}

// A spoiler changes one thing in the tables at a time, and demands that values
// show it: those made for the change, or else those for all.
type spoiler struct {
	*testing.T
	*generator
	phrases []string
	common  []string
	first   []int // places of those in common that have shown something
	changes int
}

func (s *spoiler) try(name string, change func(*tables), own func() string) {
	s.changes++
	changed := readers.clone()
	change(changed)
	for range 20_000 {
		if own != nil && changed.differs(own()) {
			return
		}
	}
	for _, i := range s.first {
		if changed.differs(s.common[i]) {
			return
		}
	}
	for i, value := range s.common {
		if changed.differs(value) {
			s.first = append(s.first, i)
			return
		}
	}
	s.Errorf("not noticed: %q", name)
}

// phrase writes a word, a phrase that begins so, or one with some of its words
// in one name.
func (s *spoiler) phrase(text string) string {
	if s.IntN(2) == 0 {
		from, _ := slices.BinarySearch(s.phrases, text+" ")
		to := from
		for to < len(s.phrases) && strings.HasPrefix(s.phrases[to], text+" ") {
			to++
		}
		if from < to {
			text = pick(s.generator, s.phrases[from:to])
		}
	}
	if words := strings.Fields(text); len(words) > 1 && s.IntN(2) == 0 {
		at := 1 + s.IntN(len(words)-1)
		text = strings.Join(words[:at], " ")
		if at > 1 && s.IntN(2) == 0 {
			text = "`" + text + "`"
		}
		rest := strings.Join(words[at:], " ")
		if s.IntN(2) == 0 {
			rest = "`" + rest + "`"
		}
		text += " " + rest
	}
	return pick(s.generator, []string{"", "1 ", "1 and ", "' ", "1 union ", "select ", "1;", "; ", "a ", "@a ", "1 from ", "(", "1, "}) + text +
		pick(s.generator, []string{"", "", "(", "()", "(1", "`", "."}) + " " + s.written(pick(s.generator, s.prints))
}

func (s *spoiler) bytes() {
	for i := range 256 {
		c := string([]byte{byte(i)})
		own := func() string {
			b := []byte(s.value())
			if len(b) > 0 {
				b[s.IntN(len(b))] = byte(i)
			}
			return string(b)
		}
		class := byte(beginsNothing)
		if readers.class[i] == class {
			class = beginsWord
		}
		s.try("class of "+c, func(t *tables) { t.class[i] = class }, own)
		s.try("in words "+c, func(t *tables) { t.inWord[i] ^= wordEnd }, own)
		s.try("in variables "+c, func(t *tables) { t.inVar[i] = !t.inVar[i] }, func() string {
			return pick(s.generator, []string{"", "1 ", "' ", "1 and "}) + "@a" + c + pick(s.generator, []string{"b", "", "1"}) + " " + s.written(pick(s.generator, s.prints))
		})
	}
}

func (s *spoiler) words() {
	for i, e := range readers.entries {
		// Operators that begin with these bytes are never looked up whole. A name
		// is a name without being a word, too.
		if e.kind == 'n' || e.text == "" || len(e.text) == 2 && strings.IndexByte("~%+/^-@", e.text[0]) >= 0 {
			continue
		}
		s.try("word "+e.text, func(t *tables) { t.entries[i].kind, t.entries[i].head = 0, headNo }, func() string { return s.phrase(e.text) })
	}
	for _, kind := range []byte("kUEftnoT&") {
		own := func() string { return s.phrase(pick(s.generator, s.phrases)) }
		if kind != '&' { // no phrase begins so
			s.try("left "+string(kind), func(t *tables) { t.mergeLeft[kind] = !t.mergeLeft[kind] }, own)
		}
		if kind != 'U' { // and none goes on so
			s.try("right "+string(kind), func(t *tables) { t.mergeRight[kind] = !t.mergeRight[kind] }, own)
		}
	}
	s.try("ı", func(t *tables) { t.dotless = "\xff\xff" }, nil)
	s.try("ſ", func(t *tables) { t.long = "\xff\xff" }, nil)
}

func (s *spoiler) names() {
	attribute := func(name string) func() string {
		return func() string {
			return pick(s.generator, []string{"", "<a ", "<a/", "x' "}) + s.cased(name) + "=" + pick(s.generator, []string{"a", "java", "onclick", "'xmlns'"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(readers.events)) {
		s.try("event "+name, func(t *tables) { delete(t.events, name) }, attribute("on"+name))
	}
	for _, name := range slices.Sorted(maps.Keys(readers.attributes)) {
		s.try("attribute "+name, func(t *tables) { delete(t.attributes, name) }, attribute(name))
	}
	for i, tag := range readers.tags {
		s.try("tag "+tag, func(t *tables) { t.tags[i] = "A" }, func() string { return "<" + s.cased(tag) + ">" })
	}
	for _, begin := range readers.tagBegins {
		s.try("beginning of tag "+string(begin[:]), func(t *tables) {
			t.tagBegins = slices.DeleteFunc(t.tagBegins, func(b [3]byte) bool { return b == begin })
		}, func() string {
			for _, tag := range readers.tags {
				if strings.HasPrefix(tag, string(begin[:])) && s.IntN(2) == 0 {
					return "<" + tag + ">"
				}
			}
			return "<" + string(begin[:]) + ">"
		})
	}
}

// html takes each byte for one of another kind, but for those kinds that only let
// more through the short cut.
func (s *spoiler) html() {
	for i := range 256 {
		c := string([]byte{byte(i)})
		own := func() string {
			return strings.ReplaceAll(pick(s.generator, []string{
				"x?onclick=1", "x onclick?=1", "x onclick?1", "<?script>", "<script?>", "<script?x>", "<script?", "</?>`", "</?a `>", "x=?onclick=1", "x=1?onclick=1", "on?click=1", "?onclick=1",
				"<a onclick=?", "x'?onclick=1", "x href=?java", "<x?y onclick=1", "x onclick?z=1", "<a?onclick=1>", "x y?z=1 onclick=1", "x b?=c onclick=1", "x>?<svg", "x=?><svg", "x ?><svg",
			}), "?", c)
		}
		for _, other := range []byte{' ', 'a', 0, '/', '>', '1'} {
			if readers.html[i] != readers.html[other] && readers.html[i]|htmlBefore != readers.html[other] {
				s.try(fmt.Sprintf("%q as %q", byte(i), other), func(t *tables) { t.html[i] = t.html[other] }, own)
			}
		}
	}
}

// TestSabotagedTables changes each byte, word and name in the tables.
func TestSabotagedTables(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	s := &spoiler{T: t, generator: newGenerator(t, 13), common: telling(t)}
	for range 20_000 {
		s.common = append(s.common, s.value())
	}
	for _, word := range s.generator.words {
		if strings.Contains(word, " ") {
			s.phrases = append(s.phrases, word)
		}
	}
	s.bytes()
	s.words()
	s.names()
	s.html()
	t.Logf("%d changes", s.changes)
}
