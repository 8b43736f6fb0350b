package selftest

import (
	"fmt"
	"strings"
)

// maxShown is how many bytes of one thing from the wire are shown.
const maxShown = 600

// escape returns bytes in the form in which the corpus writes them, so that
// what is shown can be put into a case: \r, \n, \t, \0, \\ and \xNN. All that
// is not visible ASCII is escaped, which leaves nothing that a terminal obeys,
// hides or turns around. What is longer than maxShown is cut, and says so.
func escape(p []byte) string {
	var b strings.Builder
	for i, c := range p {
		if i == maxShown {
			fmt.Fprintf(&b, "… (%d bytes more)", len(p)-i)
			break
		}
		switch {
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == 0:
			b.WriteString(`\0`)
		case c == '\\':
			b.WriteString(`\\`)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
