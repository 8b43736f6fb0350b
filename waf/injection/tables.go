package injection

import (
	"runtime/debug"
	"strings"
	"unicode/utf8"
	_ "unsafe" // for the lists of the library
)

// The lists of words are the library's own, so that they cannot differ from it.
// They are read once, when the program starts and the library has made them,
// and never written. Another version of the library may have other types here,
// so they are not looked at before its version is known.
var (
	//go:linkname libraryWords github.com/corazawaf/libinjection-go.sqlKeywords
	libraryWords map[string]byte
	//go:linkname libraryEvents github.com/corazawaf/libinjection-go.blackEventsMap
	libraryEvents map[string]int
	//go:linkname libraryAttributes github.com/corazawaf/libinjection-go.blacksMap
	libraryAttributes map[string]int
	//go:linkname libraryTags github.com/corazawaf/libinjection-go.blackTags
	libraryTags []string
)

// Sizes that the library fixes.
const (
	maxTokens = 5  // of a fingerprint
	maxText   = 31 // bytes that a token remembers of its text
	maxPhrase = 32 // bytes of two words and the blank between them
	maxName   = 64 // bytes of a tag or attribute that are looked at
)

// What a byte begins, for the reader of SQL.
const (
	beginsWord = iota
	beginsNothing
	beginsNumber
	beginsOperator // of one byte
	beginsLongOperator
	beginsItself // a token whose kind is the byte
	beginsUnknown
	beginsString
	beginsTick
	beginsHash
	beginsMoney
	beginsDash
	beginsSlash
	beginsBackslash
	beginsVariable
	beginsBracket
	beginsPrefixed // a word, or a string or number with a letter before it
)

// What a byte is inside a word of SQL.
const (
	wordSplit byte = 1 << iota // the word before it may be a keyword
	wordHigh                   // not ASCII
	wordEnd   byte = 0x80      // not of the word
)

// What a byte is to the reader of HTML.
const (
	htmlWhite    byte = 1 << iota
	htmlNull          // skipped with white space
	htmlEndsTag       // white space, / and >
	htmlEndsName      // those and =
	htmlLetter        // of ASCII
	htmlInName        // may be in the name of an attribute that matters: letters, : and NUL
	htmlBefore        // may stand before the name of an attribute: white space, / and quotes
)

// An entry is a word or a phrase that the SQL reader looks up.
type entry struct {
	text string // in capitals
	kind byte   // 0 for the beginning of a phrase that is no word by itself
	head byte
}

// Whether a text, a blank and another text may be a phrase.
const (
	headUnknown = iota
	headNo
	headYes
)

const (
	wordSlots  = 1 << 12
	printSlots = 1 << 14
)

// tables are what the two readers know.
type tables struct {
	class  [256]byte // what a byte of SQL begins
	inWord [256]byte
	inVar  [256]bool // ends the name of a variable
	upper  [256]byte
	html   [256]byte

	// Words by a hash of their length and of four of their bytes; 0 is a free
	// slot. Most words of a text meet a free slot.
	slots   [wordSlots]uint16
	entries []entry

	code   [256]byte // of a kind of token, 1 to 30; 31 for those in no fingerprint
	prints [printSlots]uint32

	mergeLeft, mergeRight [256]bool // kinds that may be part of a phrase

	events, attributes map[string]int
	tags               []string
	tagBegins          [][3]byte

	dotless, long string // the small letters beyond ASCII whose capitals are I and S
}

// readers is nil if the library is not the one that they follow.
var readers = load(debug.ReadBuildInfo())

func load(program *debug.BuildInfo, ok bool) *tables {
	if !followed(program, ok) {
		return nil
	}
	return newTables(libraryWords, libraryEvents, libraryAttributes, libraryTags)
}

// newTables returns nil if the lists are not what the readers rely on.
func newTables(words map[string]byte, events, attributes map[string]int, tags []string) *tables {
	if len(words) == 0 || len(events) == 0 || len(attributes) == 0 || len(tags) == 0 {
		return nil
	}
	t := &tables{events: events, attributes: attributes, tags: tags, dotless: "ı", long: "ſ"}
	t.bytes()
	for name := range attributes {
		if !t.plainName(name) {
			return nil
		}
	}
	for name := range events {
		if !t.plainName(name) {
			return nil
		}
	}
	t.tagBegins = [][3]byte{{'S', 'V', 'G'}, {'X', 'S', 'L'}}
	for _, tag := range tags {
		if len(tag) < 3 {
			return nil
		}
		t.tagBegins = append(t.tagBegins, [3]byte([]byte(tag)))
	}
	return t.words(words)
}

// plainName tells whether the short cut for attributes may rely on the bytes of
// a name.
func (t *tables) plainName(name string) bool {
	for i := range len(name) {
		if name[i] == 0 || t.html[name[i]]&htmlInName == 0 {
			return false
		}
	}
	return len(name) <= maxName
}

func (t *tables) bytes() {
	for i := range 256 {
		c := byte(i)
		t.upper[i] = c
		if 'a' <= c && c <= 'z' {
			t.upper[i] -= 'a' - 'A'
		}
		class := byte(beginsWord)
		switch {
		case c <= ' ', c == 0x7f, c == 0xa0:
			class = beginsNothing
		case '0' <= c && c <= '9', c == '.':
			class = beginsNumber
		case strings.IndexByte("%+^~", c) >= 0:
			class = beginsOperator
		case strings.IndexByte("!&*:<=>|", c) >= 0:
			class = beginsLongOperator
		case strings.IndexByte("(),;{}", c) >= 0:
			class = beginsItself
		case c == '?', c == ']':
			class = beginsUnknown
		case c == '"', c == '\'':
			class = beginsString
		case strings.IndexByte("BbEeNnQqUuXx", c) >= 0:
			class = beginsPrefixed
		}
		t.class[i] = class
		if c >= utf8.RuneSelf {
			t.inWord[i] = wordHigh
		}
		if 'A' <= t.upper[c] && t.upper[c] <= 'Z' {
			t.html[i] = htmlLetter | htmlInName
		}
	}
	t.class['`'], t.class['#'], t.class['$'], t.class['-'] = beginsTick, beginsHash, beginsMoney, beginsDash
	t.class['/'], t.class['\\'], t.class['@'], t.class['['] = beginsSlash, beginsBackslash, beginsVariable, beginsBracket
	for _, c := range []byte(" []{}<>:\\?=@!#~+-*/&|^%(),';\t\n\v\f\r\"\x00\xa0") {
		t.inWord[c] = wordEnd
	}
	t.inWord['.'], t.inWord['`'] = wordSplit, wordSplit
	for _, c := range []byte(" <>:\\?=@!#~+-*/&|^%(),';\t\n\v\f\r'`\"") {
		t.inVar[c] = true
	}
	for _, c := range []byte("\t\n\v\f\r ") {
		t.html[c] = htmlWhite | htmlEndsTag | htmlEndsName | htmlBefore
	}
	t.html[0] = htmlNull | htmlInName
	t.html[':'] = htmlInName
	t.html['/'] = htmlEndsTag | htmlEndsName | htmlBefore
	t.html['>'] = htmlEndsTag | htmlEndsName
	t.html['='] = htmlEndsName
	for _, c := range []byte("'\"`") {
		t.html[c] = htmlBefore
	}
	for _, c := range []byte("kUEftnoT") {
		t.mergeLeft[c], t.mergeRight[c] = true, true
	}
	t.mergeRight['&'] = true
}

// words takes the words, phrases and fingerprints of the library in. The
// fingerprints are those words that begin with a nought; nothing that is looked
// up as a word or phrase begins so and changes its kind when it is one.
func (t *tables) words(words map[string]byte) *tables {
	t.entries = make([]entry, 1, 2048)
	for i := range t.code {
		t.code[i] = 31
	}
	codes := byte(0)
	for text, kind := range words {
		if kind == 0 || len(text) == 0 || len(text) > maxPhrase || text[0] == ' ' {
			return nil
		}
		for i := range len(text) {
			if text[i] >= utf8.RuneSelf || t.upper[text[i]] != text[i] {
				return nil
			}
		}
		if kind != 'F' {
			if text[0] == '0' {
				return nil
			}
			e := t.add(text)
			e.kind = kind
			for i := 1; i < len(text); i++ {
				if text[i] == ' ' {
					t.add(text[:i]).head = headYes
				}
			}
			continue
		}
		if text[0] != '0' || len(text) > 1+maxTokens || strings.ContainsAny(text, " .`") {
			return nil
		}
		var print uint32
		for i := 1; i < len(text); i++ {
			c := text[i]
			if t.code[c] == 31 {
				codes++
				t.code[c] = codes
				if 'A' <= c && c <= 'Z' {
					t.code[c+'a'-'A'] = codes
				}
			}
			print |= uint32(t.code[c]) << (5 * (i - 1))
		}
		at := printSlot(print)
		for t.prints[at] != 0 {
			at = (at + 1) % printSlots
		}
		t.prints[at] = print
	}
	if codes > 30 || len(t.entries) > wordSlots/2 {
		return nil
	}
	return t
}

func (t *tables) add(text string) *entry {
	at := slot(text)
	for ; t.slots[at] != 0; at = (at + 1) % wordSlots {
		if e := &t.entries[t.slots[at]]; e.text == text {
			return e
		}
	}
	t.slots[at] = uint16(len(t.entries)) //nolint:gosec // some thousand at most
	t.entries = append(t.entries, entry{text: text, head: headNo})
	return &t.entries[len(t.entries)-1]
}

// slot is where the search for a word begins; case makes no difference.
func slot(word string) uint32 {
	n := len(word)
	h := uint32(word[0]&^0x20) | uint32(word[n>>1]&^0x20)<<8 | uint32(word[n-1]&^0x20)<<16 | uint32(word[n>>2]&^0x20)<<24
	return ((h + uint32(n)*0x01003001) * 0x9e3779b1) >> 20 //nolint:gosec // the text of a token is short
}

func printSlot(print uint32) uint32 { return print * 0x9e3779b1 >> 18 }

// find looks a word or a phrase up as the library does, which compares after
// strings.ToUpper. Two letters beyond ASCII have capitals within it, ı and ſ,
// so a word with one may be a keyword; any other byte beyond ASCII stays one,
// and no keyword has such.
func (t *tables) find(word string) *entry {
	for i := range len(word) {
		if word[i] >= utf8.RuneSelf {
			return t.findHigh(word)
		}
	}
	return t.findASCII(word)
}

func (t *tables) findASCII(word string) *entry {
	if word == "" {
		return nil
	}
next:
	for at := slot(word); t.slots[at] != 0; at = (at + 1) % wordSlots {
		e := &t.entries[t.slots[at]]
		if len(e.text) != len(word) {
			continue
		}
		for i := range len(word) {
			if t.upper[word[i]] != e.text[i] {
				continue next
			}
		}
		return e
	}
	return nil
}

func (t *tables) findHigh(word string) *entry {
	var folded [maxPhrase]byte
	n := 0
	for i := 0; i < len(word); i++ {
		c := word[i]
		if c >= utf8.RuneSelf {
			switch {
			case strings.HasPrefix(word[i:], t.dotless):
				c = 'I'
			case strings.HasPrefix(word[i:], t.long):
				c = 'S'
			default:
				return nil
			}
			i++
		}
		folded[n] = c
		n++
	}
	return t.findASCII(string(folded[:n]))
}

// known tells whether a fingerprint is on the library's list.
func (t *tables) known(print uint32) bool {
	for at := printSlot(print); t.prints[at] != 0; at = (at + 1) % printSlots {
		if t.prints[at] == print {
			return true
		}
	}
	return false
}

// same tells whether text is word, which is in capitals.
func (t *tables) same(text, word string) bool {
	if len(text) != len(word) {
		return false
	}
	for i := range len(word) {
		if t.upper[text[i]] != word[i] {
			return false
		}
	}
	return true
}
