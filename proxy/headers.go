package proxy

import (
	"fmt"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"

	"sallyport/internal/gate"
)

// HeaderConfig is what a route changes in the fields that pass through it.
type HeaderConfig struct {
	// Preset is "secure" for the fields that browsers protect a site by, where
	// the backend has not set its own; empty: none.
	Preset   string
	Request  FieldEdits // on the way to the backend, after the rules have judged it
	Response FieldEdits // on the way to the client
}

// FieldEdits are changes to fields: first those of Remove go, then those of
// Set take the place of all fields of their name, then those of Add come
// beside what is there.
type FieldEdits struct {
	Set, Add []FieldValue
	Remove   []string
}

// FieldValue is a field with its value, in which {client.ip}, {geo.country}
// and {request.id} stand for what is known. A field with one that is not known
// is not written; with Set it goes all the same.
type FieldValue struct{ Name, Value string }

var placeholder = regexp.MustCompile(`\{[a-z_]+\.[a-z_]+\}`)

// CheckFieldValue judges the value of a field that a configuration sets.
func CheckFieldValue(value string) error {
	for _, name := range placeholder.FindAllString(value, -1) {
		switch name {
		case "{client.ip}", "{geo.country}", "{request.id}":
		default:
			return fmt.Errorf("no such named value %s", name)
		}
	}
	if !validValue(value) {
		return fmt.Errorf("a control character in the value")
	}
	return nil
}

// RequestFieldIsOurs reports whether a field of requests is written by the
// gateway alone: framing, the connection, and what it says of the client.
func RequestFieldIsOurs(name string) bool {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if dashed, ok := gate.Dashed(canonical); ok {
		canonical = textproto.CanonicalMIMEHeaderKey(dashed)
	}
	_, ours := requestFates[canonical]
	return ours || gate.ForwardingField(canonical) || framesAnswer(canonical) && canonical != "Content-Type" || canonical == maxForwards
}

// ResponseFieldIsOurs reports the same of a field of responses.
func ResponseFieldIsOurs(name string) bool {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch answerFates[canonical] {
	case drop: // those that tell of the software may be written anew
		return framesAnswer(canonical) || canonical == "X-Request-Id" || canonical == "Date"
	case pass, address, source, local, cookie:
	}
	return framesAnswer(canonical) && canonical != "Content-Type"
}

// framesAnswer reports whether a message could not be read without the field,
// or with another value in it.
func framesAnswer(canonical string) bool {
	switch canonical {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Content-Length", "Content-Type", "Content-Encoding", "Content-Range":
		return true
	}
	return false
}

// value fills in the named values, and reports false when one is not known.
func (v *visit) value(template string) (string, bool) {
	if !strings.Contains(template, "{") {
		return template, true
	}
	known := true
	out := placeholder.ReplaceAllStringFunc(template, func(name string) string {
		value := v.req.ID
		switch name {
		case "{client.ip}":
			value = v.req.ClientText()
		case "{geo.country}":
			value = v.req.Place.Country
		}
		known = known && value != ""
		return value
	})
	return out, known && validValue(out)
}

// editable are fields that can be changed.
type editable interface {
	remove(name string)
	add(name, value string)
}

// apply makes the changes.
func (e *FieldEdits) apply(v *visit, fields editable) {
	for _, name := range e.Remove {
		fields.remove(name)
	}
	for _, f := range e.Set {
		fields.remove(f.Name)
		if value, ok := v.value(f.Value); ok {
			fields.add(textproto.CanonicalMIMEHeaderKey(f.Name), value)
		}
	}
	for _, f := range e.Add {
		if value, ok := v.value(f.Value); ok {
			fields.add(textproto.CanonicalMIMEHeaderKey(f.Name), value)
		}
	}
}

// shape writes into a request what the route says about it: the name and the
// prefix of the site, the fields, and that a body has to come in a form that
// can be searched.
func (s *site) shape(v *visit, out *http.Request) {
	switch s.host {
	case "":
	case HostBackend:
		out.Host = "" // the backend's own is filled in when it is chosen
	default:
		out.Host = s.host
	}
	if s.paths != nil && s.paths.strip != "" {
		prefix := s.paths.strip
		if told := v.told("X-Forwarded-Prefix"); strings.HasPrefix(told, "/") && validValue(told) {
			prefix = strings.TrimSuffix(told, "/") + prefix
		}
		v.fields.remove("X-Forwarded-Prefix")
		v.fields.add("X-Forwarded-Prefix", prefix)
	}
	if s.mask.Leaks.searches() {
		v.fields.remove("Accept-Encoding")
		v.fields.add("Accept-Encoding", "identity")
	}
	s.headers.Request.apply(v, &v.fields)
}

// dress writes into an answer of a backend what the route says about it.
func (s *site) dress(v *visit, header http.Header) {
	s.headers.Response.apply(v, headerFields(header))
	s.protect(v, header)
}

// protect adds the fields of the preset that the answer has not. What they are
// and why no others is told in docs/deploy.md.
func (s *site) protect(v *visit, header http.Header) {
	if s == nil || s.headers.Preset != PresetSecure {
		return
	}
	add := func(name, value string) {
		if len(header[name]) == 0 {
			header[name] = []string{value}
		}
	}
	if v.scheme() == "https" {
		add("Strict-Transport-Security", "max-age=31536000") // RFC 6797 section 7.2: never without TLS
	}
	add("X-Content-Type-Options", "nosniff")
	add("Referrer-Policy", "strict-origin-when-cross-origin")
	if !strings.Contains(asciiLower(strings.Join(header["Content-Security-Policy"], ",")), "frame-ancestors") {
		add("X-Frame-Options", "SAMEORIGIN")
		add("Content-Security-Policy", "frame-ancestors 'self'")
	}
}

// PresetSecure is the one preset of fields.
const PresetSecure = "secure"
