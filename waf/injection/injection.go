// Package injection answers the two questions of libinjection, whether a value
// is SQL injection or XSS, as the engine's operators @detectSQLi and @detectXSS
// do.
package injection

import "github.com/corazawaf/libinjection-go"

// SQLi reports whether @detectSQLi matches value.
func SQLi(value string) bool {
	if readers == nil {
		found, _ := libinjection.IsSQLi(value)
		return found
	}
	return readers.sqli(value)
}

// XSS reports whether @detectXSS matches value.
func XSS(value string) bool {
	if readers == nil {
		return libinjection.IsXSS(value)
	}
	return readers.xss(value)
}
