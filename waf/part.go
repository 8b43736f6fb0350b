package waf

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
)

// A formPart is one part: a field, or a file.
type formPart struct {
	headers []string // as received
	name    string
	// otherNames and otherFilenames are what the name and the file name are to
	// those who leave escapes in, or decode what is not encoded to others.
	otherNames, otherFilenames []string
	filename                   string
	contentType                string
	// plain says that a filename parameter makes the part a file to every
	// application.
	plain         bool
	extended      bool // there was a filename*
	charset, lang string
	duplicate     bool // a header or parameter appears twice
	quoted        bool // filename* in quotes
	data          []byte
	size          int64
}

// file reports whether the part is a file, whose content streams. What is a
// file to some applications only is judged like a field: a part with an empty
// file name, as browsers send it where no file was chosen, one that has its
// name in filename* alone, which many do not know, and one whose quotes end
// elsewhere for some.
func (p *formPart) file() bool { return p.plain }

// read takes the header fields of a part apart.
func (p *formPart) read(head string) error {
	var flaw error
	note := func(err error) {
		if flaw == nil {
			flaw = err
		}
	}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSuffix(head, "\r\n"), "\r\n") {
		if line == "" {
			continue
		}
		name, value, colon := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		shown := line
		if len(line) != len(name)+2+len(value) || !strings.HasPrefix(line[len(name):], ": ") {
			shown = name + ": " + value
		}
		p.headers = append(p.headers, shown)
		switch {
		case line[0] == ' ' || line[0] == '\t':
			note(errors.New("a part header that is continued on the next line"))
			continue
		case !colon || !token(name):
			note(errors.New("a part header without a valid name"))
			continue
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }):
			note(errors.New("a control in a part header"))
		}
		name = lowerPartField(name)
		if seen[name] {
			p.duplicate = true
			note(errors.New("a part header that appears twice"))
		}
		seen[name] = true
		switch name {
		case "content-disposition":
			note(p.disposition(value))
		case "content-transfer-encoding":
			// RFC 7578 section 4.7 has done away with it; some still decode.
			if e := strings.ToLower(value); e != "7bit" && e != "8bit" && e != "binary" {
				note(fmt.Errorf("a part in the transfer encoding %.40q", value))
			}
		case "content-type":
			p.contentType = value
			if what := typeCharset(value); what != "" {
				note(inCharset("a part in " + what))
			}
			// RFC 7578 section 4.3 has done away with these.
			if e := essence(value); e == "multipart/mixed" || e == "multipart/form-data" {
				note(errors.New("a part that has parts itself"))
			}
		}
	}
	if !seen["content-disposition"] {
		note(errors.New("a part without Content-Disposition"))
	}
	return flaw
}

// lowerPartField returns the name of a field of a part, which is a token, in
// lower case. Hardly any others are ever seen than these.
func lowerPartField(name string) string {
	switch name {
	case "Content-Disposition":
		return "content-disposition"
	case "Content-Type":
		return "content-type"
	}
	return strings.ToLower(name)
}

// token reports whether s is a token (RFC 9110 section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// disposition reads the Content-Disposition of a part (RFC 7578 section 4.2).
func (p *formPart) disposition(value string) error {
	kind, rest, _ := strings.Cut(value, ";")
	var flaw error
	if !strings.EqualFold(strings.TrimSpace(kind), "form-data") {
		flaw = errors.New("a part that is not form-data")
	}
	seen := map[string]bool{}
	star, plain := "", true
	err := parameters(rest, func(name, value string, quoted bool) error {
		name = strings.ToLower(name)
		plain = plain && !slippery(name, value, quoted)
		if seen[name] {
			p.duplicate = true
			flaw = errors.New("a parameter of a part that appears twice")
			// The first is kept where it is, the second is shown too.
			switch name {
			case "filename":
				p.otherFilenames = append(p.otherFilenames, value)
			case "name":
				p.otherNames = append(p.otherNames, value)
			}
			return nil
		}
		seen[name] = true
		switch name {
		case "name":
			p.name = value
		case "filename":
			p.filename = value
		case "filename*":
			star, p.quoted = value, quoted
		default:
			if strings.HasPrefix(name, "filename*") || strings.HasPrefix(name, "name*") {
				flaw = errors.New("a parameter of a part in several pieces, or encoded")
			}
		}
		return nil
	})
	if err == nil && !seen["name"] {
		err = errors.New("a part without a name")
	}
	p.plain = plain && p.filename != ""
	if seen["filename*"] {
		err = errors.Join(err, p.extend(star))
	}
	// A backslash is an escape to some applications and a part of the name to
	// others, such as those that know old Windows browsers: both get judged.
	if raw := p.filename; strings.Contains(raw, `\`) && star == "" {
		quote, _, _ := strings.Cut(raw, `"`) // the end to those who know no escapes
		p.filename, p.otherFilenames = unescapeQuoted(raw), append(p.otherFilenames, raw, quote)
	}
	if raw := p.name; strings.Contains(raw, `\`) {
		p.name, p.otherNames = unescapeQuoted(raw), append(p.otherNames, raw)
	}
	p.otherFilenames = decodedNames(p.filename, p.otherFilenames)
	p.otherNames = decodedNames(p.name, p.otherNames)
	if flaw != nil {
		return flaw
	}
	return err
}

// maxForms is how many forms of a name are decoded once more.
const maxForms = 8

// decodedNames returns the other forms of a name, without it and without
// repeats: those that are known, and for each what those make of it who decode
// percent signs, as browsers write quotes and line ends (HTML section 4.10.21.8),
// or words encoded as in mail (RFC 2047), as some libraries do.
func decodedNames(name string, others []string) []string {
	forms := append([]string{name}, others...)
	for i := 0; i < len(forms) && i < maxForms; i++ {
		form := forms[i]
		if decoded := percentDecoded(form); decoded != form {
			forms = append(forms, decoded)
		}
		if strings.Contains(form, "=?") {
			if decoded, err := new(mime.WordDecoder).DecodeHeader(form); err == nil && decoded != form {
				forms = append(forms, decoded)
			}
		}
	}
	var out []string
	for _, form := range forms {
		if form != "" && form != name && !slices.Contains(out, form) {
			out = append(out, form)
		}
	}
	return out
}

// slippery reports whether a parameter may end elsewhere for an application
// that resolves no escapes, or only that of the quote, or that takes single
// quotes for quotes: what follows it, such as a filename, would then not be
// there. Only a quote inside a file name itself changes nothing but the name.
func slippery(name, value string, quoted bool) bool {
	if quoted {
		return strings.HasSuffix(value, `\`) || name != "filename" && strings.Contains(value, `\"`)
	}
	return strings.Contains(name, "'") || name != "filename*" && strings.Contains(value, "'")
}

// extend reads a filename* (RFC 8187 section 3.2): charset, language, and the
// percent-encoded name. RFC 7578 section 4.2 forbids it in forms, some clients
// send it, and applications differ in whether they prefer it.
func (p *formPart) extend(star string) error {
	pieces := strings.SplitN(star, "'", 3)
	if len(pieces) != 3 || strings.Contains(pieces[2], "'") {
		return errors.New("a malformed filename*")
	}
	name := percentDecoded(pieces[2])
	p.charset, p.lang, p.extended = pieces[0], pieces[1], true
	if p.filename != "" {
		p.otherFilenames = append(p.otherFilenames, p.filename)
	}
	p.filename = name
	switch {
	case p.quoted:
		return errors.New("a filename* in quotes")
	case !strings.EqualFold(p.charset, "utf-8") && !strings.EqualFold(p.charset, "iso-8859-1"):
		// Some decode whatever charset is named, and get another name than
		// the one that was judged.
		return errors.New("a filename* in a charset that RFC 8187 does not know")
	}
	return nil
}

// percentDecoded decodes %XX and leaves everything else as it is.
func percentDecoded(s string) string {
	return unescape(strings.ReplaceAll(s, "+", "%2B"))
}

// unescapeQuoted resolves the escapes of a quoted string (RFC 9110 section
// 5.6.4).
func unescapeQuoted(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// parameters calls f with every parameter of a field (RFC 9110 section 5.6.6),
// the quotes removed and the escapes left in.
func parameters(s string, f func(name, value string, quoted bool) error) error {
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return nil
		}
		if s[0] == ';' {
			s = s[1:]
			continue
		}
		name, rest, found := strings.Cut(s, "=")
		if !found || !token(name) {
			return errors.New("a malformed parameter")
		}
		value, quoted := "", strings.HasPrefix(rest, `"`)
		if quoted {
			end := 1
			for ; end < len(rest) && rest[end] != '"'; end++ {
				if rest[end] == '\\' {
					end++
				}
			}
			if end >= len(rest) {
				return errors.New("a quote that is not closed")
			}
			value, s = rest[1:end], strings.TrimLeft(rest[end+1:], " \t")
		} else {
			end := strings.IndexByte(rest, ';')
			if end < 0 {
				end = len(rest)
			}
			value, s = strings.TrimRight(rest[:end], " \t"), rest[end:]
			if value == "" || strings.ContainsAny(value, " \t\"") {
				return errors.New("a malformed parameter")
			}
		}
		if s != "" && s[0] != ';' {
			return errors.New("a malformed parameter")
		}
		if err := f(name, value, quoted); err != nil {
			return err
		}
	}
}
