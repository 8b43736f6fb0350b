package waf

import (
	"net/url"
	"testing"

	"sallyport/internal/gate"
)

// TestRenamed lets a rule about one parameter see it under every name that PHP
// files under that one.
func TestRenamed(t *testing.T) {
	e := engineWith(t, nil, `
SecRule ARGS:user_id|&ARGS:none|!ARGS:other "@contains evil" "id:1,phase:2,t:lowercase,deny"
SecRule REQUEST_COOKIES:my_id "@contains evil" "id:2,phase:1,deny"
SecRule ARGS_POST:'a[b_c]' "@contains evil" "id:3,phase:2,deny"
`)
	for _, name := range []string{"user_id", "user.id", "user id", "  user.id", "USER.ID", "user[id"} {
		escaped := url.QueryEscape(name)
		run(e, get("/?"+escaped+"=evil")).expect(t, name+" in the query", gate.Refuse, gate.WAFRule)
		run(e, post(formType, escaped+"=evil")).expect(t, name+" in a form", gate.Refuse, gate.WAFRule)
		run(e, multi(field(name, "evil")+last)).expect(t, name+" in a multipart form", gate.Refuse, gate.WAFRule)
		run(e, get("/?"+escaped+"=fine")).expect(t, name+", twin", gate.Pass, "")
	}
	for _, name := range []string{"user-id", "user.id[0]", "xuser.id", "other.id", "user__id"} {
		run(e, get("/?"+url.QueryEscape(name)+"=evil")).expect(t, name, gate.Pass, "")
	}
	run(e, get("/", "Cookie", "my.id=evil")).expect(t, "cookie", gate.Refuse, gate.WAFRule)
	run(e, get("/", "Cookie", "your.id=evil")).expect(t, "cookie, twin", gate.Pass, "")
	for sent, filed := range map[string]string{"a": "a", "a.b": "a_b", " a b": "a_b", "a.b[c.d]": "a_b[c.d]", "a[b": "a_b", "a\x00b": "a", "[a]": "_a]", "": "", "a[b]c": "a[b]c"} {
		if got := renamed(sent); got != filed {
			t.Errorf("renamed(%q) = %q, want %q", sent, got, filed)
		}
	}
}
