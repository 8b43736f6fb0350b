// Package strict decides whether a stream of bytes is unambiguous HTTP, by
// RFC 9110, RFC 9112 and, for what net/http leaves visible of HTTP/2, RFC 9113.
//
// It is three things. ParseHead and the chunked decoder are a pure grammar:
// bytes in, a gate.Head or a refusal out. Conn is the guarded connection in
// front of net/http's HTTP/1 server: it hands on canonical bytes only, so that
// what net/http makes of them is what was judged here. JudgeHTTP2 asks of a
// parsed HTTP/2 request what can still be asked of it.
//
// It never writes to a client, never repairs what is malformed, and never
// decides about hygiene: it lists what is suspicious, and whether that is
// refused is a matter of configuration.
package strict
