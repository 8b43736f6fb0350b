package ftw

import (
	"bytes"
	"net/url"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

const (
	contentType   = "Content-Type"
	contentLength = "Content-Length"
	formType      = "application/x-www-form-urlencoded"
)

// Bytes builds the request. The rules are those of go-ftw, whose bytes the
// tests were written against:
//
//   - Raw is sent as it is.
//   - Unless Complete is off, a body without a Content-Type is a form; the body
//     of a form that holds nothing decodable is encoded, name by name and value
//     by value.
//   - In a multipart body every LF becomes CRLF.
//   - Unless Complete is off, Connection: close is added where there is no
//     Connection, and Content-Length where there is none and the request has a
//     body or a method that takes one.
//
// Nothing is validated or repaired beyond that.
func (in *Input) Bytes() []byte {
	if len(in.Raw) > 0 {
		return in.Raw
	}
	headers := append([]gate.Field(nil), in.Headers...)
	data := in.Data
	if in.Complete && len(data) > 0 {
		if !has(headers, contentType) {
			headers = append(headers, gate.Field{Name: contentType, Value: formType})
		}
		if anyValue(headers, contentType, func(v string) bool { return strings.EqualFold(v, formType) }) {
			data = encodeForm(data)
		}
	}
	if anyValue(headers, contentType, func(v string) bool { return strings.Contains(strings.ToLower(v), "multipart/form-data;") }) {
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	}
	if in.Complete {
		if !has(headers, "Connection") {
			headers = append(headers, gate.Field{Name: "Connection", Value: "close"})
		}
		if !has(headers, contentLength) && (len(data) > 0 || takesBody(in.Method)) {
			headers = append(headers, gate.Field{Name: contentLength, Value: strconv.Itoa(len(data))})
		}
	}

	var b bytes.Buffer
	b.WriteString(in.Method + " " + in.URI + " " + in.Version + "\r\n")
	for _, h := range headers {
		b.WriteString(h.Name + ": " + h.Value + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(data)
	return b.Bytes()
}

// has reports whether a field is there.
func has(hs []gate.Field, name string) bool {
	return anyValue(hs, name, func(string) bool { return true })
}

// anyValue reports whether the value of any field with the name holds.
func anyValue(hs []gate.Field, name string, holds func(value string) bool) bool {
	for _, h := range hs {
		if strings.EqualFold(h.Name, name) && holds(h.Value) {
			return true
		}
	}
	return false
}

// set replaces every field with the name by one.
func set(hs []gate.Field, name, value string) []gate.Field {
	kept := make([]gate.Field, 0, len(hs)+1)
	for _, h := range hs {
		if !strings.EqualFold(h.Name, name) {
			kept = append(kept, h)
		}
	}
	return append(kept, gate.Field{Name: name, Value: value})
}

// takesBody reports whether a method gets a Content-Length even for an empty
// body. The reference runner looks for the words within the method, so ours
// must too.
func takesBody(method string) bool {
	return strings.HasPrefix(method, "POST") || strings.Contains(method, "PUT") ||
		strings.Contains(method, "PATCH") || strings.HasSuffix(method, "DELETE")
}

// encodeForm percent-encodes names and values of a form, unless decoding it
// would change it or fail: then it counts as encoded already.
func encodeForm(data []byte) []byte {
	s := string(data)
	if decoded, err := url.QueryUnescape(s); err != nil || decoded != s {
		return data
	}
	// A trailing & ends the last pair and does not begin an empty one.
	pairs := strings.Split(strings.TrimSuffix(s, "&"), "&")
	for i, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		pairs[i] = url.QueryEscape(name)
		if found {
			pairs[i] += "=" + url.QueryEscape(value)
		}
	}
	return []byte(strings.Join(pairs, "&"))
}
