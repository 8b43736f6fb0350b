// Package injection answers the two questions of libinjection, whether a value
// is SQL injection or XSS, as the engine's operators @detectSQLi and @detectXSS
// do.
package injection

import "github.com/corazawaf/libinjection-go"

// SQLi reports whether @detectSQLi matches value.
func SQLi(value string) bool {
	found, _ := libinjection.IsSQLi(value)
	return found
}

// XSS reports whether @detectXSS matches value.
func XSS(value string) bool { return libinjection.IsXSS(value) }
