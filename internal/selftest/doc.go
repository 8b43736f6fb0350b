// Package selftest asks with the wire corpus what a set-up makes of malformed
// and ambiguous requests. Gateway fires the corpus at a gateway and compares
// what was answered, and what reached a Capture behind it, with what each case
// expects, in HTTP/1 and in HTTP/2. Backend sends what the gateway refuses
// straight to a backend, in HTTP/1, and tells what that would have accepted.
//
// It speaks in bytes, over sockets of its own, and never through an HTTP
// client, which would tidy up what it is about. It decides nothing about
// requests and starts no gateway: it is given an address. What it prints of
// the wire is escaped, and cut.
package selftest
