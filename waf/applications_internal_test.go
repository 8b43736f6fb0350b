package waf

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Readers as applications have them, small and for tests only: what each makes
// of the bytes that it is sent. They are written after the documentation and
// the behaviour of what they are named for, and know no limits.

// A reading is what an application reads: names, in the pieces that it takes
// them apart into, and values.
type reading struct{ names, values []string }

func (r *reading) add(name, value string) {
	r.name(name)
	r.values = append(r.values, value)
}

func (r *reading) name(pieces ...string) {
	for _, p := range pieces {
		if p != "" {
			r.names = append(r.names, p)
		}
	}
}

// percent decodes %XX, and a plus where it means a space.
func percent(s string, plus bool) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		if s[i] == '+' && plus {
			b = append(b, ' ')
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// goForm is net/url, which drops what it does not like.
func goForm(s string) (r reading) {
	values, _ := url.ParseQuery(s) // what is sound is there in any case
	for name, all := range values {
		for _, value := range all {
			r.add(name, value)
		}
	}
	return r
}

// phpForm registers variables: a name ends at a NUL, loses spaces before it,
// and has its dots and spaces replaced; brackets make arrays.
func phpForm(s string) (r reading) {
	for pair := range strings.SplitSeq(s, "&") {
		name, value, _ := strings.Cut(pair, "=")
		phpVariable(&r, percent(name, true), percent(value, true))
	}
	return r
}

func phpVariable(r *reading, name, value string) {
	name, _, _ = strings.Cut(strings.TrimLeft(name, " "), "\x00")
	base, keys, array := strings.Cut(name, "[")
	if base == "" && !array || name == "" {
		return
	}
	r.name(phpName(base))
	for array {
		key, rest, closed := strings.Cut(keys, "]")
		if !closed {
			r.name(phpName(keys))
			break
		}
		r.name(key)
		_, keys, array = strings.Cut(rest, "[")
	}
	r.values = append(r.values, value)
}

func phpName(s string) string { return phpNames.Replace(s) }

var phpNames = strings.NewReplacer(" ", "_", ".", "_", "[", "_")

// nodeQuerystring is Node's own module, which never fails to decode.
func nodeQuerystring(s string) (r reading) {
	for pair := range strings.SplitSeq(s, "&") {
		if pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			r.add(strings.ToValidUTF8(percent(name, true), "\uFFFD"), strings.ToValidUTF8(percent(value, true), "\uFFFD"))
		}
	}
	return r
}

// nodeQS is the module qs: brackets nest, and what cannot be decoded whole
// stays as it is.
func nodeQS(s string) (r reading) {
	decode := func(s string) string {
		s = strings.ReplaceAll(s, "+", " ")
		d, err := url.PathUnescape(s)
		if err != nil || !utf8.ValidString(d) {
			return s
		}
		return d
	}
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		at := strings.Index(pair, "]=") + 1
		if at == 0 {
			at = strings.IndexByte(pair, '=')
		}
		name, value := pair, ""
		if at >= 0 {
			name, value = pair[:at], pair[at+1:]
		}
		r.name(strings.FieldsFunc(decode(name), func(c rune) bool { return c == '[' || c == ']' })...)
		r.values = append(r.values, decode(value))
	}
	return r
}

// pythonForm is urllib.parse.parse_qsl with blank values kept; before 3.10 a
// semicolon separated too.
func pythonForm(s string, old bool) (r reading) {
	if old {
		s = strings.ReplaceAll(s, ";", "&")
	}
	for pair := range strings.SplitSeq(s, "&") {
		name, value, assigned := strings.Cut(pair, "=")
		if old && !assigned {
			continue // a name without a value: it is shown with what stands around it
		}
		if pair != "" {
			r.add(strings.ToValidUTF8(percent(name, true), "\uFFFD"), strings.ToValidUTF8(percent(value, true), "\uFFFD"))
		}
	}
	return r
}

// goCookies is net/http.
func goCookies(fields []string) (r reading) {
	h := http.Request{Header: http.Header{"Cookie": fields}}
	for _, c := range h.Cookies() {
		r.add(c.Name, c.Value)
	}
	return r
}

// phpCookies registers cookies like parameters; old versions decode a plus, and
// names.
func phpCookies(field string, old bool) (r reading) {
	for pair := range strings.SplitSeq(field, ";") {
		name, value, assigned := strings.Cut(strings.TrimLeft(pair, " \t\v\f\r\n"), "=")
		if !assigned {
			continue
		}
		if old {
			name = percent(name, true)
		}
		phpVariable(&r, name, percent(value, old))
	}
	return r
}

// nodeCookies is the module cookie.
func nodeCookies(field string) (r reading) {
	space := func(c rune) bool { return c == ' ' || '\t' <= c && c <= '\r' || c == 0xA0 }
	latin1 := func(s string) []rune {
		var out []rune
		for i := range len(s) {
			out = append(out, rune(s[i]))
		}
		return out
	}
	bytes := func(s string) string {
		var out []byte
		for _, c := range s {
			out = append(out, byte(c))
		}
		return string(out)
	}
	for pair := range strings.SplitSeq(string(latin1(field)), ";") {
		name, value, assigned := strings.Cut(pair, "=")
		if !assigned {
			continue
		}
		name, value = bytes(strings.TrimFunc(name, space)), bytes(strings.TrimFunc(value, space))
		if len(value) > 1 && value[0] == '"' {
			value = value[1 : len(value)-1]
		}
		ascii := strings.Map(func(c rune) rune {
			if c >= 0x80 {
				return -1
			}
			return c
		}, value)
		if d, err := url.PathUnescape(ascii); err == nil && utf8.ValidString(d) {
			value = percent(value, false)
		}
		r.add(name, value)
	}
	return r
}

var (
	pythonCookie  = regexp.MustCompile(`^\s*([\w\d!#%&'~_` + "`" + `><@,:/$*+\-.^|)(?}{=]+?)(?:\s*=\s*("(?:[^\\"]|\\.)*"|\w{3},\s[\w\d\s-]{9,11}\s[\d:]{8}\sGMT|[\w\d!#%&'~_` + "`" + `><@,:/$*+\-.^|)(?}{=\[\]]*))?\s*(?:\s+|;|$)`)
	pythonEscapes = regexp.MustCompile(`\\([0-3][0-7][0-7]|.)`)
)

// pythonCookies is http.cookies.SimpleCookie.
func pythonCookies(field string) (r reading) {
	for field != "" {
		m := pythonCookie.FindStringSubmatchIndex(field)
		if m == nil {
			return r
		}
		if m[4] >= 0 && field[m[2]] != '=' { // no application asks for such a name
			value := field[m[4]:m[5]]
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				value = pythonEscapes.ReplaceAllStringFunc(value[1:len(value)-1], func(e string) string {
					if len(e) == 4 {
						c, _ := strconv.ParseUint(e[1:], 8, 8)
						return string([]byte{byte(c)})
					}
					return e[1:]
				})
			}
			r.add(field[m[2]:m[3]], value)
		}
		if m[1] == 0 {
			return r
		}
		field = field[m[1]:]
	}
	return r
}

// javaCookies is RFC 2109 as older servlet containers read it: commas separate
// too, and values may be quoted.
func javaCookies(field string) (r reading) {
	for field != "" {
		name, rest, assigned := strings.Cut(field, "=")
		if end := strings.IndexAny(field, ",;\""); !assigned || 0 <= end && end < len(name) {
			field = field[end+1:]
			if end < 0 {
				return r
			}
			continue
		}
		rest = strings.TrimLeft(rest, " ")
		end := 0
		if strings.HasPrefix(rest, `"`) {
			for end = 1; end < len(rest) && rest[end] != '"'; end++ {
				if rest[end] == '\\' {
					end++
				}
			}
			if end >= len(rest) {
				return r
			}
			r.add(strings.TrimSpace(name), rest[1:end])
			end++
		} else {
			if end = strings.IndexAny(rest, ",; "); end < 0 {
				end = len(rest)
			}
			r.add(strings.TrimSpace(name), strings.TrimSpace(rest[:end]))
		}
		field = strings.TrimLeft(rest[end:], " ;,")
	}
	return r
}

// jsonValues are the keys and strings of what a decoder of JSON returns.
func jsonValues(r *reading, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			r.name(key)
			jsonValues(r, value)
		}
	case []any:
		for _, value := range v {
			jsonValues(r, value)
		}
	case string:
		r.values = append(r.values, v)
	}
}

// anyJSON is encoding/json. The readers of other languages find the same in
// what this one accepts.
func anyJSON(body string) (r reading) {
	d := json.NewDecoder(strings.NewReader(strings.TrimPrefix(body, byteOrderMark)))
	for {
		var v any
		if d.Decode(&v) != nil {
			return r
		}
		switch v.(type) {
		case map[string]any, []any, string:
		default:
			return r // there is nothing in it that a rule would look for
		}
		jsonValues(&r, v)
	}
}

var pythonNumbers = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b`)

// pythonJSON takes NaN and Infinity for numbers.
func pythonJSON(body string) reading {
	return anyJSON(pythonNumbers.ReplaceAllStringFunc(body, func(found string) string {
		if found[0] == '"' {
			return found
		}
		return "null"
	}))
}

// A formStyle is how a lenient reader of multipart forms differs from others.
type formStyle struct {
	name        string
	bareLF      bool   // a line may end in LF alone
	trimmed     bool   // white space may follow a boundary
	folded      bool   // a head line may go on in the next one
	single      bool   // single quotes are quotes
	escapes     string // what a backslash escapes; empty: it is a character
	star        bool   // filename* counts
	percent     bool   // names are decoded
	transferred bool   // Content-Transfer-Encoding counts
}

// formStyles are those that the differential tests compare with.
var formStyles = []formStyle{
	{name: "php", bareLF: true, folded: true, single: true, escapes: `"'\\`},
	{name: "python", bareLF: true, trimmed: true, folded: true, escapes: `"\\`, star: true, transferred: true},
	{name: "node", escapes: `"\\`, star: true},
	{name: "go", trimmed: true, escapes: `"\\`, star: true, transferred: true},
	{name: "strict browser", percent: true},
}

// lines are those of a body, and what ends each: the content of a part keeps it.
func (s formStyle) lines(body string) (lines, ends []string) {
	end := "\r\n"
	if s.bareLF {
		end = "\n"
	}
	for {
		line, rest, more := strings.Cut(body, end)
		if !more {
			return append(lines, line), append(ends, "")
		}
		last := end
		if cut, ok := strings.CutSuffix(line, "\r"); ok && s.bareLF {
			line, last = cut, "\r\n"
		}
		lines, ends, body = append(lines, line), append(ends, last), rest
	}
}

// read takes a form apart: its fields, and of files the names.
func (s formStyle) read(body, boundary string) (r reading) {
	lines, ended := s.lines(body)
	border := func(line string) (ends, last bool) {
		if s.trimmed {
			line = strings.TrimRight(line, " \t")
		}
		return line == "--"+boundary || line == "--"+boundary+"--", strings.HasSuffix(line, "--") && line != "--"+boundary
	}
	i := 0
	for i < len(lines) {
		if ends, last := border(lines[i]); !ends {
			i++
			continue
		} else if last {
			return r
		}
		head := map[string]string{}
		key := ""
		for i++; i < len(lines) && lines[i] != ""; i++ {
			if s.folded && key != "" && strings.TrimLeft(lines[i], " \t") != lines[i] {
				head[key] += " " + strings.TrimLeft(lines[i], " \t")
				continue
			}
			name, value, _ := strings.Cut(lines[i], ":")
			key = strings.ToLower(strings.TrimSpace(name))
			head[key] = strings.TrimSpace(value)
		}
		start := i + 1
		for i = start; i < len(lines); i++ {
			if ends, _ := border(lines[i]); ends {
				break
			}
		}
		content := ""
		for n := start; n < min(i, len(lines)); n++ {
			if content += lines[n]; n+1 < i {
				content += ended[n]
			}
		}
		s.part(&r, head, content)
	}
	return r
}

// part takes what one part says.
func (s formStyle) part(r *reading, head map[string]string, content string) {
	params := s.params(head["content-disposition"])
	filename, file := params["filename"]
	if star, ok := params["filename*"]; ok && s.star {
		if pieces := strings.SplitN(star, "'", 3); len(pieces) == 3 {
			filename, file = percent(pieces[2], false), true
		}
	}
	name, ok := params["name"]
	if !ok {
		return
	}
	if s.percent {
		name, filename = percent(name, false), percent(filename, false)
	}
	r.name(name)
	if file && filename != "" {
		r.values = append(r.values, filename)
		return
	}
	if e := strings.ToLower(head["content-transfer-encoding"]); s.transferred && e == "quoted-printable" {
		content = strings.ReplaceAll(content, "=3C", "<")
	}
	r.values = append(r.values, content)
}

// params takes the parameters of a field apart.
func (s formStyle) params(field string) map[string]string {
	out := map[string]string{}
	_, rest, _ := strings.Cut(field, ";")
	for rest != "" {
		name, after, assigned := strings.Cut(rest, "=")
		if !assigned {
			return out
		}
		after = strings.TrimLeft(after, " \t")
		value := ""
		if quote := strings.IndexAny(after, "\"'"); quote == 0 && (after[0] == '"' || s.single) {
			i := 1
			for ; i < len(after) && after[i] != after[0]; i++ {
				if after[i] == '\\' && i+1 < len(after) && strings.IndexByte(s.escapes, after[i+1]) >= 0 {
					i++
				}
				value += after[i : i+1]
			}
			_, rest, _ = strings.Cut(after[min(i, len(after)):], ";")
		} else {
			value, rest, _ = strings.Cut(after, ";")
			value = strings.TrimRight(value, " \t")
		}
		out[strings.ToLower(strings.Trim(name, " \t;"))] = value
	}
	return out
}
