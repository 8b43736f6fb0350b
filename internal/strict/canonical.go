package strict

import (
	"net/http"
	"strconv"

	"sallyport/internal/gate"
)

// What net/http is given for a request: only what net/http itself acts on. The
// method tells it whether an answer has content, the framing field where the
// content ends, Connection whether the connection stays, Expect whether the
// client waits. In place of the target stands the number of the head, and in
// place of the host a name that is none: nobody behind the guard reads a field
// that was not judged, and no request can be taken for another.

// guardHost is the host that net/http is told.
const guardHost = "judged.invalid"

// A ticket is the target that net/http is told in place of the real one: the
// number under which the judged head waits.
func appendTicket(b []byte, number uint32) []byte {
	return strconv.AppendUint(append(b, '/'), uint64(number), 10)
}

// ticketNumber is the number on a ticket.
func ticketNumber(target string) (uint32, bool) {
	if len(target) < 2 || target[0] != '/' {
		return 0, false
	}
	n, err := strconv.ParseUint(target[1:], 10, 32)
	return uint32(n), err == nil
}

// A persistence is what a client says about the connection after the answer
// (RFC 9112 section 9.3).
type persistence uint8

const (
	unsaid persistence = iota
	keeps
	closes
)

// appendHead appends the canonical bytes of an accepted head.
func appendHead(b []byte, h *gate.Head, number uint32, stays persistence, expects bool) []byte {
	b = append(b, h.Method...)
	b = append(b, ' ')
	b = appendTicket(b, number)
	b = append(b, ' ')
	b = append(b, h.Proto...)
	b = append(b, "\r\nHost: "+guardHost+"\r\n"...)
	switch {
	case h.Length > 0:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, h.Length, 10)
		b = append(b, "\r\n"...)
	case h.Length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	switch stays {
	case keeps:
		b = append(b, "Connection: keep-alive\r\n"...)
	case closes:
		b = append(b, "Connection: close\r\n"...)
	case unsaid:
	}
	if expects {
		b = append(b, "Expect: 100-continue\r\n"...)
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
func appendRefusal(b []byte, method, proto string, number uint32) []byte {
	if proto != "HTTP/1.0" {
		proto = "HTTP/1.1"
	}
	return appendHead(b, &gate.Head{Method: method, Proto: proto}, number, closes, false)
}
