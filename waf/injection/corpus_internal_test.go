package injection

import (
	"io/fs"
	"math/rand/v2"
	"net/url"
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

// telling are bytes that the readers tell from others.
const telling = "'\"`\\-#/*!()=<>;:,.@$0x1eEnNqQuU&{}[] \x00\xa0aAs%?|~+^\n"

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
	'1': {"1", "2.5", "0x1f", "\\N", "$1"}, 'N': {"foo", "`a`", "[b]", "$"}, 'S': {"'a'", `"b"`, "$$c$$", "'a", "a'"}, 'V': {"@a", "@@b"},
	'O': {"=", "+", "-", "*", "like", "not", "||", "::", "!!", "in", "is"}, '&': {"and", "or", "&&", "xor"}, 'C': {"/*a*/", "--", "-- a", "#a", "/*"},
	'F': {"sin", "sleep", "if", "user", "`sin`"}, 'T': {"int", "varchar", "exec"}, 'K': {"from", "where", "in", "not in", "into outfile", "into", "having"}, 'E': {"select", "insert", "update"},
	'U': {"union", "union all", "except"}, 'B': {"order by", "group by", "limit"}, 'A': {"collate"}, 'X': {"/*!1*/"},
}

// value makes one value.
func (g *generator) value() string {
	var b strings.Builder
	switch g.IntN(16) {
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
				b.WriteByte(telling[g.IntN(len(telling))])
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
