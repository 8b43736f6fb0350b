package selftest

import (
	"bytes"
	"slices"
	"strings"

	"sallyport/internal/wire"
)

// corpusHost is the host that the cases name.
const corpusHost = "a.example"

// withHost returns a case that names another host, for gateways whose routes
// want their own. why is not empty when that cannot be, and the case cannot be
// sent as it is either.
//
// Nothing that a length counts is touched: in a case of one request only the
// first head is, and in one of several no body may hold the name. A case about
// the host itself goes as it is when it is refused, which happens before any
// route is looked for; its accepted twin would miss every route.
func withHost(c wire.Case, host string) (changed wire.Case, why string) {
	if host == "" || host == corpusHost {
		return c, ""
	}
	aboutHost := strings.HasPrefix(c.Name, "http.host_")
	switch {
	case aboutHost && c.Refused():
		return c, ""
	case aboutHost:
		return c, "it is about the host itself, and --host names another"
	case slices.ContainsFunc(c.Answers, func(a wire.Answer) bool { return strings.Contains(a.Body, corpusHost) }):
		return c, "its body names the host"
	case c.Protocol == wire.HTTP2:
		return withHostHTTP2(c, host)
	}
	head, rest := c.Raw, []byte(nil)
	if len(c.Answers) == 1 {
		end := firstHead(c.Raw)
		head, rest = c.Raw[:end], c.Raw[end:]
	}
	head = bytes.ReplaceAll(head, []byte(corpusHost), []byte(host))
	switch {
	case c.Refused():
	case !bytes.Contains(head, []byte(host)):
		return c, "it names no host that could be replaced"
	case bytes.Contains(bytes.ToLower(head), []byte(corpusHost)):
		return c, "it names the host in another spelling"
	}
	c.Raw = append(head, rest...)
	return c, ""
}

// withHostHTTP2 does the same for a case in frames, whose fields are written
// anew, with the lengths that they then have.
func withHostHTTP2(c wire.Case, host string) (wire.Case, string) {
	changed, renamed, err := c.Rename(corpusHost, host)
	switch {
	case err != nil:
		return c, err.Error()
	case !renamed && !c.Refused():
		return c, "it names no host that could be replaced"
	}
	return changed, ""
}

// firstHead is where the first head ends, whatever ends its lines; all of it
// when no empty line does.
func firstHead(raw []byte) int {
	_, at := emptyLine(raw)
	return at
}

// emptyLine reports whether a line that somebody could take for empty ends a
// head, and where it ends.
func emptyLine(raw []byte) (bool, int) {
	begun := false // a line with something in it came before
	for at := 0; at < len(raw); {
		n := bytes.IndexByte(raw[at:], '\n')
		if n < 0 {
			break
		}
		empty := len(bytes.Trim(raw[at:at+n], "\r")) == 0
		at += n + 1
		if empty && begun {
			return true, at
		}
		begun = begun || !empty
	}
	return false, len(raw)
}
