package injection

import (
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

// TestSabotagedTables changes one thing in the tables at a time, and demands
// that generated values show it.
func TestSabotagedTables(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	g := newGenerator(t, 13)
	common := telling(t)
	for range 20_000 {
		common = append(common, g.value())
	}
	first := make([]int, 0, len(common)) // places of values that have shown something
	total := 0
	try := func(name string, change func(*tables), own func() string) {
		total++
		changed := readers.clone()
		change(changed)
		for range 20_000 {
			if own == nil {
				break
			}
			if changed.differs(own()) {
				return
			}
		}
		for _, i := range first {
			if changed.differs(common[i]) {
				return
			}
		}
		for i, value := range common {
			if changed.differs(value) {
				first = append(first, i)
				return
			}
		}
		t.Errorf("not noticed: %q", name)
	}
	for i := range 256 {
		c := string([]byte{byte(i)})
		own := func() string {
			b := []byte(g.value())
			if len(b) > 0 {
				b[g.IntN(len(b))] = byte(i)
			}
			return string(b)
		}
		class := byte(beginsNothing)
		if readers.class[i] == class {
			class = beginsWord
		}
		try("class of "+c, func(t *tables) { t.class[i] = class }, own)
		try("in words "+c, func(t *tables) { t.inWord[i] ^= wordEnd }, own)
		try("in variables "+c, func(t *tables) { t.inVar[i] = !t.inVar[i] }, func() string {
			return pick(g, []string{"", "1 ", "' ", "1 and "}) + "@a" + c + pick(g, []string{"b", "", "1"}) + " " + g.written(pick(g, g.prints))
		})
	}
	// phrase writes a word, or a phrase with some of its words in one name.
	var phrases []string
	for _, word := range g.words {
		if strings.Contains(word, " ") {
			phrases = append(phrases, word)
		}
	}
	phrase := func(text string) string {
		if g.IntN(2) == 0 { // more that begins so
			from, _ := slices.BinarySearch(phrases, text+" ")
			to := from
			for to < len(phrases) && strings.HasPrefix(phrases[to], text+" ") {
				to++
			}
			if from < to {
				text = pick(g, phrases[from:to])
			}
		}
		if words := strings.Fields(text); len(words) > 1 && g.IntN(2) == 0 {
			at := 1 + g.IntN(len(words)-1)
			text = strings.Join(words[:at], " ")
			if at > 1 && g.IntN(2) == 0 {
				text = "`" + text + "`"
			}
			rest := strings.Join(words[at:], " ")
			if g.IntN(2) == 0 {
				rest = "`" + rest + "`"
			}
			text += " " + rest
		}
		return pick(g, []string{"", "1 ", "1 and ", "' ", "1 union ", "select ", "1;", "; ", "a ", "@a ", "1 from ", "(", "1, "}) + text +
			pick(g, []string{"", "", "(", "()", "(1", "`", "."}) + " " + g.written(pick(g, g.prints))
	}
	for i, e := range readers.entries {
		// Operators that begin with these bytes are never looked up whole. A name
		// is a name without being a word, too.
		if e.kind == 'n' || e.text == "" || len(e.text) == 2 && strings.IndexByte("~%+/^-@", e.text[0]) >= 0 {
			continue
		}
		try("word "+e.text, func(t *tables) { t.entries[i].kind, t.entries[i].head = 0, headNo }, func() string { return phrase(e.text) })
	}
	attribute := func(name string) func() string {
		return func() string {
			return pick(g, []string{"", "<a ", "<a/", "x' "}) + g.cased(name) + "=" + pick(g, []string{"a", "java", "onclick", "'xmlns'"})
		}
	}
	for name := range readers.events {
		try("event "+name, func(t *tables) { delete(t.events, name) }, attribute("on"+name))
	}
	for name := range readers.attributes {
		try("attribute "+name, func(t *tables) { delete(t.attributes, name) }, attribute(name))
	}
	for i, tag := range readers.tags {
		try("tag "+tag, func(t *tables) { t.tags[i] = "A" }, func() string { return "<" + g.cased(tag) + ">" })
	}
	for i, begin := range readers.tagBegins {
		try("beginning of tag "+string(begin[:]), func(t *tables) {
			t.tagBegins = slices.DeleteFunc(t.tagBegins, func(b [3]byte) bool { return b == readers.tagBegins[i] })
		}, func() string { return "<" + string(begin[:]) + g.cased(pick(g, readers.tags))[3:] + ">" })
	}
	for _, kind := range []byte("kUEftnoT&") {
		own := func() string { return phrase(pick(g, phrases)) }
		if kind != '&' { // no phrase begins so
			try("left "+string(kind), func(t *tables) { t.mergeLeft[kind] = !t.mergeLeft[kind] }, own)
		}
		if kind != 'U' { // and none goes on so
			try("right "+string(kind), func(t *tables) { t.mergeRight[kind] = !t.mergeRight[kind] }, own)
		}
	}
	try("ı", func(t *tables) { t.dotless = "\xff\xff" }, nil)
	try("ſ", func(t *tables) { t.long = "\xff\xff" }, nil)
	t.Logf("%d changes", total)
}
