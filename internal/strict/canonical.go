package strict

import (
	"net/http"
	"strconv"

	"sallyport/internal/gate"
)

// appendHead appends the canonical bytes of an accepted head, with the target
// that net/http is to see: every line "name: value CRLF", one framing field,
// values without white space around them. The Trailer field is left out, for
// trailers are dropped.
func appendHead(b []byte, h *gate.Head, target string) []byte {
	b = append(b, h.Method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, ' ')
	b = append(b, h.Proto...)
	b = append(b, "\r\n"...)
	host := false
	for i := range h.Fields {
		f := &h.Fields[i]
		value := f.Value
		switch kindOf(f.Name) {
		case kindTrailer:
			continue
		case kindHost:
			host = true
		case kindLength:
			b = append(b, "Content-Length: "...)
			b = strconv.AppendInt(b, h.Length, 10)
			b = append(b, "\r\n"...)
			continue
		case kindCoding:
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
			continue
		case kindExpect:
			value = "100-continue"
		default:
		}
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, value...)
		b = append(b, "\r\n"...)
	}
	if !host && h.Host != "" {
		b = append(b, "Host: "...) // HTTP/1.0 with an absolute target
		b = append(b, h.Host...)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// refusalMethod is the method of the synthetic request: net/http must know
// when the client waits for an answer without a body.
func refusalMethod(h *gate.Head) string {
	if h.Method == http.MethodHead {
		return http.MethodHead
	}
	return http.MethodGet
}

// appendRefusal appends the synthetic request that stands for a refused one.
func appendRefusal(b []byte, method, proto string) []byte {
	if proto != "HTTP/1.0" {
		proto = "HTTP/1.1"
	}
	b = append(b, method...)
	b = append(b, " "+standIn+" "...)
	b = append(b, proto...)
	return append(b, "\r\nHost: "+guardHost+"\r\nConnection: close\r\n\r\n"...)
}
