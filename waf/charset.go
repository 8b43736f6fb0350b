package waf

import (
	"fmt"
	"regexp"
	"strings"

	"sallyport/internal/gate"
)

// The rules read bytes as UTF-8, and so as ASCII what is ASCII. Text in another
// charset is judged as what it is only where every byte below 0x80 means the
// same: an application that is told to read UTF-7 finds a tag in +ADw-script+AD4-
// where no rule does.

// readableCharset reports whether text in the charset shows the rules what it
// shows to an application: UTF-8, US-ASCII and the charsets of one byte that
// hold ASCII. An empty name says nothing.
func readableCharset(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "latin1", "koi8-r", "koi8-u":
		return true
	}
	for _, family := range [...]string{"iso-8859-", "iso8859-", "windows-125", "cp125"} {
		if number, ok := strings.CutPrefix(name, family); ok && number != "" && len(number) < 3 && strings.Trim(number, "0123456789") == "" {
			return true
		}
	}
	return false
}

// typeCharset returns why the charset of a Content-Type keeps the rules from
// reading the body; empty when it does not. Some applications look for the word
// wherever it stands, so every place counts.
func typeCharset(contentType string) string {
	found, first, several := false, "", false
	for rest := strings.ToLower(contentType); ; {
		_, after, more := strings.Cut(rest, "charset")
		if !more {
			break
		}
		rest = after
		value, assigned := strings.CutPrefix(strings.TrimLeft(after, " \t"), "=")
		if strings.HasPrefix(after, "*") {
			return "an encoded charset, which not everybody decodes"
		}
		if !assigned {
			continue
		}
		value = strings.TrimLeft(value, " \t\"'")
		if end := strings.IndexAny(value, ";, \t\"'"); end >= 0 {
			value = value[:end]
		}
		if !readableCharset(value) {
			return fmt.Sprintf("charset %.40q", value)
		}
		if !found {
			found, first = true, value
		}
		several = several || value != first
	}
	if several {
		return "two charsets"
	}
	return ""
}

// wide reports whether a body is text in UTF-16 or UTF-32, which parsers of
// JSON and XML recognise by a byte order mark or by where the zeros are. Of a
// body that is said to be text any sign of it counts; binary ones may begin
// with anything, so theirs must begin like a document.
func wide(body string, text bool) bool {
	b := body[:min(len(body), 4)]
	if len(b) < 2 {
		return false
	}
	if mark := b[:2]; mark == "\xFF\xFE" || mark == "\xFE\xFF" || b == "\x00\x00\xFE\xFF" {
		return text || b[0] == 0 || strings.IndexByte(b, 0) > 0
	}
	first := strings.TrimLeft(b, "\x00")
	if first == "" || len(first) == len(b) && b[1] != 0 {
		return false
	}
	return text || strings.IndexByte("{[\"< \t\r\n", first[0]) >= 0
}

// narrow is the ASCII in text in UTF-16 or UTF-32, for rules to look at where a
// policy lets such bodies pass.
func narrow(body string) string {
	return wideOnly.Replace(body)
}

// wideOnly drops byte order marks and zeros.
var wideOnly = strings.NewReplacer("\xFF\xFE", "", "\xFE\xFF", "", "\x00", "")

// xmlEncoding finds the encoding that an XML declaration names, with white
// space where the grammar allows it (XML 1.0 section 2.8).
var xmlEncoding = regexp.MustCompile(`^(?:\x{FEFF})?\s*<\?xml[^>]*?\sencoding\s*=\s*["']([^"'>]*)`)

// declaredEncoding returns the encoding that an XML document declares.
func declaredEncoding(body string) string {
	if m := xmlEncoding.FindStringSubmatch(body[:min(len(body), 1024)]); m != nil {
		return m[1]
	}
	return ""
}

// A finding is a body that the rules cannot read as the application does, with
// a reason of its own.
type finding struct {
	reason gate.Reason
	what   string
}

// Error says what was found.
func (f *finding) Error() string { return f.what }

// inCharset is the finding about text in a charset that the rules cannot read.
func inCharset(what string) error { return &finding{gate.WAFCharset, what} }

// charsetField is the name of the form field in which a client tells in which
// charset it sends the form (HTML section 4.10.21.4).
const charsetField = "_charset_"
