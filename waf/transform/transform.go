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

import "strings"

// A Transformation is one t: action. It never changes and is safe for
// concurrent use.
type Transformation struct {
	name string
	add  func(dst []byte, value string) []byte
	acts Kinds // of bytes; a value that has none of them stays as it is
}

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

// Kinds are the kinds of bytes of a value.
type Kinds uint32

// Lowered returns the kinds of bytes without A to Z.
func (k Kinds) Lowered() Kinds { return k &^ kindUpper }

// What transformations tell apart.
const (
	kindNul       Kinds = 1 << iota
	kindBreak           // tab, newline, vertical tab, form feed, return
	kindSpace           // the space
	kindUpper           // A to Z
	kindPercent         // %
	kindPlus            // +
	kindAmpersand       // &
	kindBackslash       // \
	kindQuote           // " ' ^
	kindComma           // , ;
	kindSlash           // /
	kindStar            // *
	kindDash            // -
	kindHash            // #
	kindDot             // .
	kindColon           // :
	kindHigh            // from 0x80 on
	always              // of every value: for what is never the identity
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
	for c := 'A'; c <= 'Z'; c++ {
		table[c] = kindUpper
	}
	for c := 0x80; c < 0x100; c++ {
		table[c] = kindHigh
	}
	for kind, bytes := range map[Kinds]string{
		kindNul: "\x00", kindBreak: "\t\n\v\f\r", kindSpace: " ", kindPercent: "%", kindPlus: "+", kindAmpersand: "&", kindBackslash: `\`,
		kindQuote: `"'^`, kindComma: ",;", kindSlash: "/", kindStar: "*", kindDash: "-", kindHash: "#", kindDot: ".", kindColon: ":",
	} {
		for i := range len(bytes) {
			table[bytes[i]] = kind
		}
	}
	return table
}()

// all are the transformations that are known, with the bytes that they act on.
var all = [...]Transformation{
	{"none", appendAll, 0},
	{"lowercase", lowercase, kindUpper | kindHigh},
	{"removeNulls", removeNulls, kindNul},
	{"removeWhitespace", removeWhitespace, kindBreak | kindSpace | kindHigh},
	{"compressWhitespace", compressWhitespace, kindBreak | kindSpace | kindHigh},
	{"urlDecode", urlDecode, kindPercent | kindPlus},
	{"urlDecodeUni", urlDecodeUni, kindPercent | kindPlus},
	{"utf8toUnicode", utf8toUnicode, kindHigh},
	{"htmlEntityDecode", htmlEntityDecode, kindAmpersand},
	{"jsDecode", jsDecode, kindBackslash},
	{"cssDecode", cssDecode, kindBackslash},
	{"escapeSeqDecode", escapeSeqDecode, kindBackslash},
	{"cmdLine", cmdLine, kindUpper | kindQuote | kindBackslash | kindSpace | kindComma | kindBreak},
	{"normalizePath", normalizePath, kindSlash | kindDot},
	{"normalisePath", normalizePath, kindSlash | kindDot},
	{"normalizePathWin", normalizePathWin, kindSlash | kindDot | kindBackslash | kindColon | kindSpace},
	{"normalisePathWin", normalizePathWin, kindSlash | kindDot | kindBackslash | kindColon | kindSpace},
	{"replaceComments", replaceComments, kindStar},
	{"removeCommentsChar", removeCommentsChar, kindStar | kindDash | kindHash},
	{"trim", trim, kindBreak | kindSpace},
	{"base64Decode", base64Decode, always},
	{"hexEncode", hexEncode, always},
	{"sha1", sha1Sum, always},
	{"length", length, always},
}
