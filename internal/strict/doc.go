// Package strict decides whether a stream of bytes is unambiguous HTTP, by
// RFC 9110, RFC 9112 and RFC 9113.
//
// It is three things. ParseHead and the chunked decoder are a pure grammar:
// bytes in, a gate.Head or a refusal out. Conn is the guarded connection in
// front of net/http's HTTP/1 server, and HTTP2Conn the one in front of its
// HTTP/2 server: they hand on canonical bytes only, so that what net/http makes
// of them is what was judged here.
//
// It never writes to a client (but for the last frame of an HTTP/2 connection
// that is cut), never repairs what is malformed, and never decides about
// hygiene: it lists what is suspicious, and whether that is refused is a matter
// of configuration.
package strict
