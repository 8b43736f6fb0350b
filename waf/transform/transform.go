// Package transform has the transformations (t:) of SecLang as the engine has
// them, byte for byte, for whoever looks at values without the engine. They
// append to a buffer of the caller's and, but for htmlEntityDecode where there
// is an ampersand, allocate nothing.
//
// Many transformations leave most values as they are. A value's kinds of bytes
// are found in one pass, and tell which ones those are.
//
// The package knows neither rules nor variables.
package transform

import (
	"iter"
	"strings"
)

// A Transformation is one t: action. It never changes and is safe for
// concurrent use.
type Transformation struct {
	name string
	add  func(dst []byte, value string) []byte
	acts Kinds // of bytes; a value that has none of them stays as it is
	adds []addition
}

// An addition says that a value with some kinds of bytes may have others afterwards.
type addition struct{ on, adds Kinds }

// Find returns the transformation with the name, in any case; false for one that
// is not known here.
func Find(name string) (*Transformation, bool) {
	name = strings.ToLower(name)
	for i := range all {
		if strings.ToLower(all[i].name) == name {
			return &all[i], true
		}
	}
	return nil, false
}

// Name returns the name as SecLang spells it.
func (t *Transformation) Name() string { return t.name }

// Append adds what the transformation makes of value to dst. Value must not
// share memory with what lies behind dst.
func (t *Transformation) Append(dst []byte, value string) []byte { return t.add(dst, value) }

// Keeps reports whether every value with these kinds of bytes and no others
// stays as it is. False says nothing.
func (t *Transformation) Keeps(kinds Kinds) bool { return t.acts&(kinds|always) == 0 }

// Lowers reports whether the transformation makes small letters of A to Z. Where it
// keeps the kinds of bytes of a value but for these, that is all it does.
func (t *Transformation) Lowers() bool { return t.acts&kindUpper != 0 }

// Makes returns the kinds of bytes that may be in what the transformation makes of
// a value with these kinds of bytes: those that it may keep, and those that it adds.
func (t *Transformation) Makes(kinds Kinds) Kinds {
	made := kinds
	for _, a := range t.adds {
		if (kinds|always)&a.on != 0 {
			made |= a.adds
		}
	}
	return made
}

// Kinds are the kinds of bytes of a value. Each byte is of one kind.
type Kinds uint32

// Lowered returns the kinds of bytes once A to Z are small letters.
func (k Kinds) Lowered() Kinds {
	if k&kindUpper != 0 {
		return k&^kindUpper | kindSmall
	}
	return k
}

// Bytes yields the bytes that are of the kinds.
func (k Kinds) Bytes() iter.Seq[byte] {
	return func(yield func(byte) bool) {
		for c, kind := range kindOf {
			if kind&k != 0 && !yield(byte(c)) {
				return
			}
		}
	}
}

// What transformations tell apart, or those who look at what they make.
const (
	kindNul         Kinds = 1 << iota
	kindBreak             // tab, newline, vertical tab, form feed, return
	kindSpace             // the space
	kindUpper             // A to Z
	kindPercent           // %
	kindPlus              // +
	kindAmpersand         // &
	kindBackslash         // \
	kindQuote             // " ' ^
	kindComma             // , ;
	kindSlash             // /
	kindStar              // *
	kindDash              // -
	kindHash              // #
	kindDot               // .
	kindColon             // :
	kindHigh              // from 0x80 on
	kindDigit             // 0 to 9
	kindSmall             // a to z
	kindUnderscore        // _
	kindEquals            // =
	kindMark              // ? !
	kindAt                // @
	kindParenthesis       // ( )
	kindBracket           // [ ] { }
	kindAngle             // < >
	kindOther             // $ ` | ~, and controls that are no breaks
	always                // of every value: for what is never the identity

	every = always - 1 // kinds of bytes
)

// Kinds of which values are often made, each with all those of a word.
const (
	Word  = kindDigit | kindUpper | kindSmall | kindUnderscore | kindDash | kindDot
	Words = Word | kindSpace | kindComma
	URL   = Word | kindSlash | kindColon | kindMark | kindAmpersand | kindEquals | kindPlus | kindPercent // and base64
	Pairs = Words | kindEquals | kindSlash | kindPercent                                                  // as cookies are
	Text  = Words | kindQuote | kindMark | kindParenthesis | kindAt | kindPlus | kindColon | kindSlash | kindHigh
	Any   = every
)

// KindsOf returns the kinds of bytes that value has.
func KindsOf(value string) Kinds {
	var k Kinds
	for i := range len(value) {
		k |= kindOf[value[i]]
	}
	return k
}

var kindOf = func() (table [256]Kinds) {
	for c := range table {
		switch {
		case 'A' <= c && c <= 'Z':
			table[c] = kindUpper
		case 'a' <= c && c <= 'z':
			table[c] = kindSmall
		case '0' <= c && c <= '9':
			table[c] = kindDigit
		case c >= 0x80:
			table[c] = kindHigh
		default:
			table[c] = kindOther
		}
	}
	for kind, bytes := range map[Kinds]string{
		kindNul: "\x00", kindBreak: "\t\n\v\f\r", kindSpace: " ", kindPercent: "%", kindPlus: "+", kindAmpersand: "&", kindBackslash: `\`,
		kindQuote: `"'^`, kindComma: ",;", kindSlash: "/", kindStar: "*", kindDash: "-", kindHash: "#", kindDot: ".", kindColon: ":",
		kindUnderscore: "_", kindEquals: "=", kindMark: "?!", kindAt: "@", kindParenthesis: "()", kindBracket: "[]{}", kindAngle: "<>",
	} {
		for i := range len(bytes) {
			table[bytes[i]] = kind
		}
	}
	return table
}()

// all are the transformations that are known, with the bytes that they act on and
// those that they add.
var all = [...]Transformation{
	{"none", appendAll, 0, nil},
	{"lowercase", lowercase, kindUpper | kindHigh, []addition{{kindUpper | kindHigh, kindSmall}}},
	{"removeNulls", removeNulls, kindNul, nil},
	{"removeWhitespace", removeWhitespace, kindBreak | kindSpace | kindHigh, nil},
	{"compressWhitespace", compressWhitespace, kindBreak | kindSpace | kindHigh, []addition{{kindBreak | kindHigh, kindSpace}}},
	{"urlDecode", urlDecode, kindPercent | kindPlus, []addition{{kindPercent, every}, {kindPlus, kindSpace}}},
	{"urlDecodeUni", urlDecodeUni, kindPercent | kindPlus, []addition{{kindPercent, every}, {kindPlus, kindSpace}}},
	{"utf8toUnicode", utf8toUnicode, kindHigh, []addition{{kindHigh, kindPercent | kindSmall | kindDigit}}},
	{"htmlEntityDecode", htmlEntityDecode, kindAmpersand, []addition{{kindAmpersand, every &^ kindNul}}},
	{"jsDecode", jsDecode, kindBackslash, []addition{{kindBackslash, every}}},
	{"cssDecode", cssDecode, kindBackslash, []addition{{kindBackslash, every &^ kindNul}}},
	{"escapeSeqDecode", escapeSeqDecode, kindBackslash, []addition{{kindBackslash, every}}},
	{"cmdLine", cmdLine, kindUpper | kindQuote | kindBackslash | kindSpace | kindComma | kindBreak, []addition{{kindUpper, kindSmall}, {kindComma | kindBreak, kindSpace}}},
	{"normalizePath", normalizePath, kindSlash | kindDot, nil},
	{"normalisePath", normalizePath, kindSlash | kindDot, nil},
	{"normalizePathWin", normalizePathWin, kindSlash | kindDot | kindBackslash | kindColon | kindSpace, []addition{{kindBackslash, kindSlash}}},
	{"normalisePathWin", normalizePathWin, kindSlash | kindDot | kindBackslash | kindColon | kindSpace, []addition{{kindBackslash, kindSlash}}},
	{"replaceComments", replaceComments, kindStar, []addition{{kindStar, kindSpace}}},
	{"removeCommentsChar", removeCommentsChar, kindStar | kindDash | kindHash, nil},
	{"trim", trim, kindBreak | kindSpace, nil},
	{"base64Decode", base64Decode, always, []addition{{always, every}}},
	{"hexEncode", hexEncode, always, []addition{{always, kindDigit | kindSmall}}},
	{"sha1", sha1Sum, always, []addition{{always, every}}},
	{"length", length, always, []addition{{always, kindDigit}}},
}
