package gate

import (
	"net/http"
	"strings"
	"testing"
)

func TestForwardingField(t *testing.T) {
	for _, tc := range []struct {
		rule, name string
		want       bool
	}{
		{"by its whole name", "True-Client-IP", true},
		{"by its prefix", "X-Forwarded-Anything", true},
		{"by its prefix, however long", "X-Forwarded-" + strings.Repeat("x", 100), true},
		{"with underscores for dashes", "X_FORWARDED_FOR", true},
		{"with other marks for dashes", "x.real!ip", true},
		{"as CGI programs would call it", "HTTP_X_FORWARDED_FOR", true},
		{"a longer name is another field", "Client-IP-Hint", false},
		{"a shorter name is another field", "X-Real", false},
		{"a field of the content", "Content-Type", false},
		{"the longest name and a byte more", "x-original-forwarded-for" + "s", false},
		{"no name", "", false},
	} {
		if got := ForwardingField(tc.name); got != tc.want {
			t.Errorf("%s: ForwardingField(%q) = %v, want %v", tc.rule, tc.name, got, tc.want)
		}
	}
}

// TestForwardingTables holds the tables to the form in which names are looked
// up.
func TestForwardingTables(t *testing.T) {
	all := forwardingPrefixes[:]
	for name := range forwardingNames {
		all = append(all, name)
	}
	for _, name := range all {
		if len(name) > longestForwarding || name != strings.ToLower(name) || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("%q cannot be found", name)
		}
		for _, spelled := range []string{name, strings.ToUpper(name), http.CanonicalHeaderKey(name)} {
			if !ForwardingField(spelled) {
				t.Errorf("ForwardingField(%q) = false", spelled)
			}
		}
	}
}
