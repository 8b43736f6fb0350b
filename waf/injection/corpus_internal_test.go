package injection

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	crstests "github.com/corazawaf/coraza-coreruleset/v4/tests"
)

// payloads are the values in the regression tests of the Core Rule Set, as they
// are, with %-escapes resolved, and the parameters in them.
func payloads(tb testing.TB) []string {
	tb.Helper()
	seen := make(map[string]bool)
	err := fs.WalkDir(crstests.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".yaml") {
			return err
		}
		text, err := fs.ReadFile(crstests.FS, name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			_, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
			if !ok {
				value = strings.TrimSpace(line)
			}
			if plain, err := strconv.Unquote(value); err == nil {
				value = plain
			}
			seen[value] = true
			value = strings.Trim(value, `'`)
			seen[value] = true
			if plain, err := url.QueryUnescape(value); err == nil {
				seen[plain] = true
				for part := range strings.SplitSeq(plain, "&") {
					_, v, _ := strings.Cut(part, "=")
					seen[v] = true
				}
			}
		}
		return nil
	})
	if err != nil || len(seen) < 1000 {
		tb.Fatalf("%d payloads: %v", len(seen), err)
	}
	all := make([]string, 0, len(seen))
	for value := range seen {
		all = append(all, value[:min(len(value), 4096)])
	}
	slices.Sort(all)
	return all
}

// A generator makes values of many kinds.
type generator struct {
	*rand.Rand
	payloads []string
	words    []string // keywords and phrases of the library
	prints   []string // its fingerprints
	names    []string // of attributes and tags that matter
}

func newGenerator(tb testing.TB, seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), payloads: payloads(tb)}
	for word, kind := range libraryWords {
		if kind == 'F' {
			g.prints = append(g.prints, word[1:])
		} else {
			g.words = append(g.words, word)
		}
	}
	for name := range libraryEvents {
		g.names = append(g.names, "on"+name)
	}
	for name := range libraryAttributes {
		// Others are of as many kinds, but of one.
		g.names = append(g.names, name, name, name, name, name, name, name, name)
	}
	g.names = append(g.names, libraryTags...)
	g.names = append(g.names, "xmlns", "xlink", "svg", "svgx", "xsl", "xslt", "on", "onx", "a", "b", "div")
	slices.Sort(g.words)
	slices.Sort(g.prints)
	slices.Sort(g.names)
	return g
}

var english = strings.Fields(`the of and to a in is it you that he was for on are with as his they be at one
	have this from or had by not but what all were when we there can an your which their said if do will each about how up
	out them then she many some so these would other into has more her two like him see time could no make than first been
	its who now people my made over did down only way find use may water long little very after words called just where
	most know get through back much before go good new write our used me man too any day same right look think also around
	another came come work three word must because does part even place well such here take why things help put years
	different away again off went old number great tell men say small every found still between name should home big give
	air line set own under read last never us left end along while might next sound below saw something thought both few
	those always looked show large often together asked house don't world going want school important until form food keep
	children feet land side without boy once animals life enough took sometimes four head above kind began almost live page
	got earth need far hand high year mother light parts country father let night following picture being study second
	eyes soon times story boys since white days ever paper hard near sentence better best across during today others
	however sure means knew it's try told young sun hours list order group select update union create delete table insert
	drop date values case character current user password database limit`)

var sqlPieces = []string{
	"'", `"`, "`", "''", `\'`, `\"`, `\`, `\N`, "--", "-- ", "--x", "#", "/*", "*/", "/**/", "/*!", "/*!50000", "\n", " ", " ", " ", " ",
	"1", "0", "1.5", ".5", ".", "1e", "1e5", "1.e", "1e+", "2.0f", "3d ", "1fUNION", "0x1F", "0x", "0b1", "0b", "0xg", "x'1F'", "b'01'", "x'", "b'2'", "X'zz'",
	"a", "foo", "n'a'", "N'", "e'a'", "E'", "q'[a]'", "q'(a", "nq'{a}'", "Q'<a>'", "q'\xe9a\xe9'", "q'éaé'", "u&'a'", "U&'", "nq", "q'", "u&",
	"@a", "@@a", "@", "@@", "@`a`", "@'a'", "@@\"a", "$", "$$", "$$a$$", "$a$b$a$", "$1,000.00", "$.", "$.a", "$a", "$a$",
	"(", ")", "((", "))", ",", ";", ";;", "{", "}", "{`", "``", "{ a", "[a]", "[", "]", "?", ":", "::", ":=", "=", "<", ">", "<=>", "<=", ">=", "<>", "!=", "!!", "!",
	"+", "-", "*", "/", "%", "^", "~", "&", "&&", "|", "||", "|/", "AND", "OR", "or 1=1", "NOT", "IN", "NOT IN", "LIKE", "NOT LIKE", "IS", "IS NOT", "XOR", "DIV", "MOD",
	"UNION", "UNION ALL", "SELECT", "select", "SeLeCt", "ſelect", "unıon", "ALL", "DISTINCT", "FROM", "WHERE", "INTO", "INTO OUTFILE", "OUTFILE", "ORDER", "BY", "GROUP", "HAVING", "LIMIT",
	"USER", "user()", "USER_ID", "USER_NAME", "DATABASE", "PASSWORD", "CURRENT_USER", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP",
	"IF", "if(", "; if", "COLLATE", "latin1_swedish_ci", "INT", "VARCHAR", "date", "BINARY", "CASE", "WHEN", "EXEC", "DROP", "TABLE", "sleep(5)", "sin", "count(*)", "sp_password",
	"select.1", "a.b", "select`a`", "a`b", "\xa0", "\x00", "\x7f", "\x0b", "\xff", "\xc5", "\xbf", "é", "世", "K",
}

var htmlPieces = []string{
	"<", "</", "</>", ">", "/>", "/", "<!", "<!--", "-->", "-!>", "--", "-\x00->", "<!-", "<![CDATA[", "]]>", "]", "<!doctype", "<!DOCTYPE html>", "<?", "<?xml", "<?import", "<%", "%>", "%", "%x",
	"=", "= ", " =", "\x00=", " \x00= \x00", "==", "'", `"`, "`", " ", " ", "\t", "\n", "\x0b", "\x0c", "\x00", "a", "b", "div", "x", "1", "&", "?", ";", ":", "é", "\xff", "\xa0",
	"<a", "<a ", "<a/", "<b>", "</b>", "<script", "<script>", "</script >", "<ſcript", "<s\x00cript", "<svg", "<svgfoo/", "<xsl:a", "<x", "<\x00", "<3", "<<",
	"javascript:", "java", "JAVA", "vbscript:", "data:", "view-source:", "&#106;ava", "&#x6a;ava", "&#x6A", "&#106", "&#", "&#x", "&#x;", "&#1114367;", "&#x100ff;", "&#x14a;ava", "j\x00ava", "j\nava", " \x01java", "\xe2\x80\x83java", "http://",
	"[if", "[IF ", "xml", "import", "im\x00port", "entity", "onclick", "ONCLICK", "on", "on\x00click", "o\x00nclick", "style", "src", "href", "xlink:href", "by", "to", "attributename", "xmlns", "xmlns:a", "aonclick", ":href", "class",
}

// bytesThatTell are those that the readers tell from others.
const bytesThatTell = "'\"`\\-#/*!()=<>;:,.@$0x1eEnNqQuU&{}[] \x00\xa0aAs%?|~+^\n"

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// cased writes a word in some case.
func (g *generator) cased(word string) string {
	switch g.IntN(6) {
	case 0, 1:
		return strings.ToLower(word)
	case 2:
		b := []byte(word)
		for i := range b {
			if c := b[i] | 0x20; g.IntN(2) == 0 && 'a' <= c && c <= 'z' {
				b[i] ^= 0x20
			}
		}
		return string(b)
	case 5:
		if at := g.IntN(len(word) + 1); g.IntN(4) == 0 && at < len(word) { // nearly the word
			return word[:at] + pick(g, []string{"", string(word[at] + 1), string(word[at] ^ 0x20), word[at:at+1] + word[at:at+1]}) + word[at+1:]
		}
	case 3:
		if g.IntN(4) == 0 {
			return strings.NewReplacer("s", "ſ", "S", "ſ", "I", "ı", "i", "ı").Replace(word)
		}
	case 4:
		if g.IntN(4) == 0 {
			at := g.IntN(len(word) + 1)
			return word[:at] + "\x00" + word[at:]
		}
	}
	return word
}

// samples are texts for each kind of token in a fingerprint.
var samples = map[byte][]string{
	'1': {"1", "1", "2.5", "0x1f", "0B1", "\\N", "$1", "x'1f'", "B'01'", "2d", "3f;", "4fUNION", "4fTHEN", "5dTRIM", "5d,"}, 'N': {"foo", "foo", "`a`", "[b]", "$", "eq", "n&", "uq", "e&a", "xq1f'", "b&01'"},
	'S': {"'a'", "'a'", `"b"`, "$$c$$", "$a$b$a$", "'a", "a'", "e'a'", "n'a'", "q'(a)'", "q'[a]'", "nq'{a}'", "nQ'xax'", "Q'<a>'", "n&'xax'", "u&'a'", "'user'"}, 'V': {"@a", "@@b"},
	'O': {"=", "+", "-", "*", "like", "not", "||", "::", "!!", "in", "is"}, '&': {"and", "or", "&&", "xor"}, 'C': {"/*a*/", "--", "-- a", "#a", "/*"},
	'F': {"sin", "sleep", "if", "user", "`sin`", "user_id", "user_name", "database", "password", "current_user", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "like", "not like"},
	'T': {"int", "varchar", "exec", "declare"}, 'K': {"from", "where", "in", "not in", "into outfile", "into", "having"}, 'E': {"select", "insert", "update"},
	'U': {"union", "union all", "except"}, 'B': {"order by", "group by", "limit"}, 'A': {"collate"}, 'X': {"/*!1*/"},
}

// value makes one value.
func (g *generator) value() string {
	var b strings.Builder
	switch g.IntN(24) {
	case 16, 17, 18:
		return g.rare()
	case 19, 20, 21:
		return g.markup()
	case 0: // prose
		for range 1 + g.IntN(14) {
			b.WriteString(pick(g, english))
			b.WriteString(pick(g, []string{" ", " ", " ", " ", ", ", ". ", "? ", " - ", "'s ", " \"", ": ", "; ", " & "}))
		}
	case 1, 2: // a fingerprint, written out
		print := pick(g, g.prints)
		if g.IntN(4) == 0 {
			b.WriteString(pick(g, []string{"(", "-", "+", "/**/", "int ", " ", "not ", "\xa0"}))
		}
		for i := range len(print) {
			list := samples[print[i]]
			if list == nil {
				list = []string{print[i : i+1]}
			}
			b.WriteString(g.cased(pick(g, list)))
			b.WriteString(pick(g, []string{" ", " ", " ", "", "/**/", "\n"}))
			if g.IntN(12) == 0 {
				b.WriteString(pick(g, sqlPieces))
			}
		}
		if g.IntN(3) == 0 {
			b.WriteString(pick(g, []string{"'", `"`, "--", "#", "/*", "x", ")"}))
		}
	case 3, 4: // pieces of SQL
		gap := pick(g, []string{"", "", " "})
		for range 1 + g.IntN(12) {
			b.WriteString(pick(g, sqlPieces))
			b.WriteString(gap)
		}
	case 5, 6: // keywords among pieces
		for range 1 + g.IntN(9) {
			if g.IntN(3) > 0 {
				b.WriteString(g.cased(pick(g, g.words)))
			} else {
				b.WriteString(pick(g, sqlPieces))
			}
			b.WriteString(pick(g, []string{" ", " ", " ", "", ".", "`"}))
		}
	case 7, 8, 9: // pieces of HTML
		for range 1 + g.IntN(12) {
			b.WriteString(pick(g, htmlPieces))
		}
	case 10, 11: // an attribute or tag that matters, in one of its places
		b.WriteString(pick(g, []string{"", "", "<a ", "<a/", "'", `"`, "` ", "x ", "x", "/", "<", "</", "=", "\x00", "a=b ", "a='b'", "<a b=\"c\"", ">", "<b>", "\x00 "}))
		b.WriteString(g.cased(pick(g, g.names)))
		b.WriteString(pick(g, []string{"=", "=", "=", " =", "\x00=", "\x00 =", " x=", "/=", ">", "/", " ", "", "x="}))
		b.WriteString(pick(g, []string{"", " ", "'", `"`, "` "}))
		b.WriteString(pick(g, htmlPieces))
		b.WriteString(pick(g, htmlPieces))
	case 12: // bytes
		for range g.IntN(24) {
			if g.IntN(3) == 0 {
				b.WriteByte(byte(g.Uint32()))
			} else {
				b.WriteByte(bytesThatTell[g.IntN(len(bytesThatTell))])
			}
		}
	default: // an attack, changed
		s := pick(g, g.payloads)
		for range g.IntN(4) {
			s = g.mutate(s)
		}
		return s
	}
	s := b.String()
	if g.IntN(8) == 0 {
		s = g.mutate(s)
	}
	return s
}

// written writes a fingerprint out, with few other things between.
func (g *generator) written(print string) string {
	var b strings.Builder
	for i := range len(print) {
		list := samples[print[i]]
		if list == nil {
			list = []string{print[i : i+1]}
		}
		b.WriteString(g.cased(pick(g, list)))
		if g.IntN(8) > 0 {
			b.WriteString(" ")
		}
	}
	return b.String()
}

// blanks are what some reader or other skips or takes for white space.
var blanks = []string{" ", "\t", "\n", "\v", "\f", "\r", "\x00", "\xa0", "\x08", "\x0e", "\x1f", "!", "\x7f", "\xa1", "\x9f", "\x01"}

// rare makes SQL of forms for which there are rules of their own, and of nearly
// such forms.
func (g *generator) rare() string {
	rest := pick(g, []string{"", "", " ", g.written(pick(g, g.prints))})
	number := func() string {
		return pick(g, []string{"1", "22", "1.5", "0x1f", "0X1F", "0b11", "0B1", "0B2", "0x", "1e5", "1E-5", "1.e", "2d", "2f;", "3F ", "3D\xa0", "4fUNION", "4du", "4f,", "$1", "\\N", "x'1f'", "B'01'", strings.Repeat("7", 28+g.IntN(8))})
	}
	switch g.IntN(18) {
	case 0: // a number and a comment
		return pick(g, []string{"", "", " ", "\t", "(", "\xa0"}) + number() + pick(g, []string{"", " ", "\x00", "!", "\x1f", "e", "/", "-"}) +
			pick(g, []string{"--", "/*", "#", "-- ", "--x", "/**/"}) + pick(g, []string{"", "x", " x", "sp_password", "sp_passwor", "a sp_password"})
	case 1: // five tokens that say nothing
		return pick(g, []string{"", "'", "x' "}) + pick(g, []string{"1", "a", "b"}) + " " + pick(g, []string{"+ ( 1 )", ", ( 1 )", "= ( a )", ") , ( 1", ") + ( a", ") , ( a", ", ( a )", "+ ( 1 (", "= ( @a )", ") + ( 1", "= sin 1 )", ", select 1 )", "+ union 1 )", ") , and 1", ") , sin 1", ") , ; 1"}) + " " +
			pick(g, []string{"", rest, ")", "(", ";", " 1", " union", "+ 1", "= a", ", 1 "}) + g.written(pick(g, g.prints))
	case 2: // pieces of strings, with kinds of quotes
		quote := pick(g, []string{"'", `"`})
		text := func() string {
			return pick(g, []string{"a", "", "a b", `\`, `\\`, quote + quote, strings.Repeat("z", 30)})
		}
		second := pick(g, []string{"'", `"`, "u&'", "U&'", "e'", "n'", "N'", "q'[", "q'(", "q'{", "q'<", "q'!", "q'\x21", "q' ", "nq'[", "nQ'x", "Q'\xe9", "$$", "$a$", "$ab$", "x'", "`", "@'", "[", "u'"})
		closing := pick(g, []string{"", "", "'", `"`, "]'", ")'", "}'", ">'", "!'", "x'", "é'", "$$", "$a$", "`", "]"})
		return pick(g, []string{"", "", quote}) + text() + quote + " " + g.cased(pick(g, samples[pick(g, []byte("OO&"))])) + " " + second + text() + closing + rest
	case 3: // comments to the end of a line, and what MySQL makes of them
		print := pick(g, g.prints)
		return g.written(print[:min(len(print), 1+g.IntN(2))]) + pick(g, []string{"--", "#", "--"}) + pick(g, blanks) + pick(g, []string{"", "a", "1", "or"}) + pick(g, []string{"", "\n", "\n "}) + rest
	case 4: // functions that are names, and names that are functions
		return pick(g, []string{"", "1 ", "'", "1 and ", "select ", "a ", "1, ", "; ", "1;"}) + g.cased(pick(g, append(samples['F'], "if", "ifnull", "instr", "isnull", "ascii", "pi", "i", "of", "'user'", `"user"`))) + pick(g, []string{"(", " (", "()", "( )", "(a", "(1)", " ", "`("}) + " " + rest
	case 5: // collations
		return pick(g, []string{"1 ", "'a' ", "a' ", "select ", "1 or 'a' ", ""}) + "collate " + pick(g, []string{"latin1_bin", "a_", "_", "binary", "latin1"}) + " " + rest
	case 6: // unary operators behind words and commas
		return pick(g, []string{"", "1 ", "1 union ", "' union ", "1;", "and ", "and ((and ", "1 ((= ", "a ((and "}) + g.cased(pick(g, []string{"select", "limit", "order by", "from", "where", ",", "1,", "insert", "group by"})) + " " +
			pick(g, []string{"-", "+", "~", "!", "!!", "not ", "*", "- -", "nor ", "all", "/"}) + pick(g, []string{"(", "1", "a", "@a", "'a'", "sin(", "sin", "/"}) + " " + rest
	case 7: // points
		return pick(g, []string{"", "1 ", "' ", "1 union "}) + pick(g, []string{"select", "insert", "a", "1", "a b", "from"}) + pick(g, []string{" . ", ".", " .", " ,", " : "}) + pick(g, []string{"`a`", "a", "b.c", "`", "1", "[a]"}) + " " + rest
	case 16: // numbers before words
		return pick(g, []string{"", "", "' or ", "1 union select "}) + number() + g.cased(pick(g, g.words)) + " " + rest
	case 15: // backslashes before operators
		return pick(g, []string{"", "1 ", "a' ", "1 union select "}) + `\` + pick(g, []string{"*=", "*", "/", "+", "-", "%", "^", "<", "=", "%=", "N"}) + pick(g, []string{"1", "a", " 1", "@a", "(1", ""}) + " " + rest
	case 8: // something over and over
		s := pick(g, []string{"1,", "a,", "'", `\'`, `\''`, "''", "a'", "((", "))", "1+", "a.b ", "{a ", "}", "not ", "- ", "/**/", "; ", "&& ", "and ", "@a=", "int ", `\`, `\+`, "[a]", "::int ", "$a$", pick(g, sqlPieces)})
		return pick(g, []string{"", "1 ", "a", "'", `\`, `x\`}) + strings.Repeat(s, 2+g.IntN(7)) + rest
	case 9: // long tokens
		long := strings.Repeat(pick(g, []string{"a", "ab", "1", ".", "_", "é", "A1"}), 8+g.IntN(12))
		return pick(g, []string{"", "`", "'", "1 ", "select.", "[", "@", "$", "select ", "sleep`"}) + long + pick(g, []string{"", "`", "'", " ", "]", ".a", "`a", " select", " all"}) + rest
	case 10: // operators of few bytes
		return pick(g, []string{"1", "a", "'a'", "@a", "a'", "1 "}) + pick(g, []string{"<=>", "<=", "<", "::", ":", ":=", "!!", "!=", "!<", "&&", "||", "|/", "&=", "*=", "<@", ">>", "=", "=>", "|", "&"}) + pick(g, []string{"", " ", "1", "a", "'a", "int", "varchar", ">"}) + rest
	case 11: // nested comments and those of MySQL
		return pick(g, []string{"1", "a", "a b", "a b c ", "'", "", "1 "}) + "/*" + pick(g, []string{"", "!", "!5", " !", "/", "/*", "a/*", "*", "*/", "a"}) + pick(g, []string{"", "*/", "/*/", "*/*/", "* /"}) + rest
	case 12: // braces and brackets
		return pick(g, []string{"", "1 ", "select ", "a' "}) + pick(g, []string{"{", "{ ", "}", "[", "]", "{}", "?"}) + pick(g, []string{"``", "`", "a", "`a`", "a 1", "", "]", "a]b"}) + pick(g, []string{"", ".``.id", "}", " }", "]"}) + " " + rest
	case 13: // a tick at the end
		return g.written(pick(g, g.prints)) + pick(g, []string{"`", "``", "` ", "'", `"`, "`a", "[", "a", "e'", "E'", "n'", "x'", "b'", "q'", "q'(", "nq'[", "u&'", "nq'", "1f", "2d"})
	case 14: // money and variables
		return pick(g, []string{"$", "@", "@@", "@@@", "1 or $", "a=@"}) + pick(g, []string{"", "1", ".", ".a", "1.", ",", "$", "a$", "ab$", "1$", "`a`", "'a'", `"a`, "@", "a.b", "é$"}) + pick(g, []string{"", "x$", " $a$", "$$", " "}) + rest
	default: // a phrase, whole and in pieces
		words := strings.Fields(pick(g, g.words))
		for i := range words {
			words[i] = g.cased(words[i])
			if g.IntN(6) == 0 {
				quote := pick(g, []string{"`", "'", `"`})
				words[i] = quote + words[i] + quote
			}
		}
		if at := g.IntN(len(words)); at > 0 && g.IntN(4) == 0 { // several words as one name
			words = append(words[:at], "`"+strings.Join(words[at:], " ")+"`")
		}
		return pick(g, []string{"", "1 ", "' ", "1 and "}) + strings.Join(words, pick(g, []string{" ", " ", "/**/", "  ", "\xa0", "+"})) + " " + rest
	}
}

// encoded writes a text with references to its characters and with what a
// browser ignores in it.
func (g *generator) encoded(text string) string {
	var b strings.Builder
	most := pick(g, []int{2, 3, 14, 14, 30})
	for i := range len(text) {
		c := int(text[i])
		switch g.IntN(most) {
		case 0:
			c += pick(g, []int{0, 0, 256, 512, 32, -32, 1, -1, 0x20})
			fmt.Fprintf(&b, pick(g, []string{"&#%d;", "&#%d", "&#0%d;", "&# %d;", "&#%dz", "a#%d;", "&a%d;"}), c)
			continue
		case 1:
			c += pick(g, []int{0, 0, 0, 256, 0x100000, 0x200000, 0x10000, 32, -32, 0x1000fe - c, 0x100100 - c, 0x1000ff - c})
			fmt.Fprintf(&b, pick(g, []string{"&#x%x;", "&#X%X;", "&#x%x", "&#x00%X;", "&#x%xg", "&#x%X`", "&#x%x@", "&#x%x/", "&#x%x:"}), c)
			continue
		case 2:
			b.WriteString(pick(g, []string{"\x00", "\n", "\r", "\t", " ", "&#10;", "&#0;", "&#x0;", "&#13", "&", "&#", "&#x", "&#;"}))
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// address makes the value of an attribute that may run code.
func (g *generator) address() string {
	var b strings.Builder
	for range g.IntN(3) {
		b.WriteString(pick(g, []string{" ", "\x01", "\x1f", "!", "\x7f", "~", "\x80", "é", "\u2003", "\u0100", "\xff", "&#32;", "&#33;", "&#1;", "&#10;", "&#x20", "&#127;", "\x00", "\n"}))
	}
	scheme := pick(g, []string{"javascript:", "java", "data:", "data", "vbscript:", "vbscript", "view-source:", "view-source", "jav", "dat", "vbscrip", "view-sourc", "http:", ""})
	b.WriteString(g.encoded(g.cased(scheme)))
	return b.String()
}

// markup makes HTML of attributes, and of comments and what else begins with <!.
func (g *generator) markup() string {
	var b strings.Builder
	gap := func() string {
		return pick(g, []string{"", "", "", " ", "\t", "\n", "\v", "\f", "\r", "\x00", " \x00", "/", " /", "//", "\x00\x00", "\x1f", "/ ", "/>"})
	}
	b.WriteString(pick(g, []string{"", "", "<a ", "<a/", "</a ", "<\x00", "x'", `x"`, "x`", "'", `"`, "<b>", "</b>", "</>", "<", "</", "x>", "<a b=c ", "<a b>", "<a =", "<a b='c'", "<a b/", "<a b=c>", "<a/>", "<a b/>", "<3 "}))
	if g.IntN(3) == 0 {
		comment := pick(g, []string{"", "a", "`", "[if", "[IF x", "[i", "if]", "xml", "XML x", "xm", "xmlx", "import", "IMPORT ", "impor", "im\x00port", "\x00import", "entity", "ENTITY x", "entit", "\x00\x00\x00", "-", "--", "!", "%", "%%", "]", "]]", ">", "<a>"})
		if g.IntN(3) == 0 {
			comment = ""
		}
		b.WriteString("<" + pick(g, []string{"!", "!--", "!-", "?", "%", "/", "/ ", "/3", "/\x00", "![CDATA[", "![cdata[", "![CDATA", "!DOCTYPE", "!doctyp", "!DocTypE ", "! doctype"}) + comment)
		for range g.IntN(4) {
			b.WriteString(pick(g, []string{">", "->", "-->", "-!>", "--!>", "-\x00->", "-\x00\x00!>", "--\x00>", "- ->", "%>", "% >", "%%>", "%", "a", "`", "]]>", "]>", "]] >", "]", "-", "--", "-!", "!", "\x00", "-a", "-->x"}))
		}
		if g.IntN(3) == 0 { // of few bytes
			few := pick(g, [][]string{{"%", "%", ">", "<svg", "%>"}, {"-", "!", ">", "\x00", "a", "`", "<svg"}, {"]", ">", "a", "<svg", "]"}})
			for range g.IntN(12) {
				b.WriteString(pick(g, few))
			}
		}
		if g.IntN(3) == 0 {
			return b.String()
		}
		b.WriteString(pick(g, []string{"", "", "<a ", "<script>", "<svg", "`", "x", "<a onclick=x", "<!--`-->", "<x "}))
	}
	for range 1 + g.IntN(3) {
		b.WriteString(gap() + pick(g, []string{"", "", "", "'", `"`, "`", "="}))
		name := g.cased(pick(g, []string{pick(g, g.names), pick(g, g.names), "href", "style", "by", "attributename", "on" + strings.Repeat("x", 70), "a", "title", strings.Repeat("\x00", g.IntN(70)) + "style", "o", "xmlns", "xlink", "xmln"}))
		b.WriteString(name + gap() + pick(g, []string{"=", "=", "=", "==", "", ">", " "}) + gap())
		quote := pick(g, []string{"", "", "'", `"`, "`"})
		value := g.address()
		if g.IntN(4) == 0 {
			value = pick(g, []string{"a", "", g.cased(pick(g, g.names)), "\x00", "xmlns", "onclick", ">", "/"})
		}
		b.WriteString(quote + value + pick(g, []string{quote, quote, quote, "", "'", ">"}) + pick(g, []string{"", "", gap(), ">", "/>", "><a ", "</a>", "</script>", "</script ", "<script", "</script\x00>"}))
	}
	return b.String()
}

func (g *generator) mutate(s string) string {
	at := g.IntN(len(s) + 1)
	switch g.IntN(8) {
	case 0:
		return s[at:]
	case 1:
		return s[:at]
	case 2:
		return s[:at] + pick(g, sqlPieces) + s[at:]
	case 3:
		return s[:at] + pick(g, htmlPieces) + s[at:]
	case 4:
		return s + pick(g, g.payloads)
	case 5:
		if at < len(s) {
			return s[:at] + string(rune(g.IntN(256))) + s[at+1:]
		}
	case 6:
		if at < len(s) {
			return s[:at] + s[at+1:]
		}
	case 7:
		other := pick(g, g.payloads)
		return s[:at] + other[g.IntN(len(other)+1):]
	}
	return s
}

// tellingFile has values, each of which shows that some small change to the
// readers is wrong (TestSabotage finds them), quoted, one a line.
const tellingFile = "testdata/telling.txt"

func telling(tb testing.TB) []string {
	tb.Helper()
	text, err := os.ReadFile(tellingFile)
	if err != nil {
		tb.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		value, err := strconv.Unquote(strings.TrimSpace(line))
		if err != nil {
			tb.Fatalf("%s: %v", line, err)
		}
		all = append(all, value)
	}
	return all
}
