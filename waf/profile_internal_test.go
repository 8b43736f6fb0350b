package waf

import (
	"io/fs"
	"path/filepath"
	"testing"

	"sallyport/internal/gate"
	"sallyport/rules"
)

// TestWordPress holds what the profile for WordPress lets pass, and beside it
// what it must not: other fields, other paths, other methods, strangers. make
// app proves it with WordPress itself.
func TestWordPress(t *testing.T) {
	src, err := fs.ReadFile(rules.Profiles, "profiles/wordpress.conf")
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "wordpress.conf"), string(src))
	e := engineWith(t, func(p *Policy) { p.RulesBefore = []string{file} })
	const (
		jsonType = "application/json"
		html     = `<p onclick=\"go()\">SELECT a FROM b; cat /etc/passwd</p><script>alert(1)</script>`
		plain    = `<p onclick="go()">SELECT a FROM b</p><script>alert(1)</script>`
	)
	in := []string{"Cookie", "wordpress_logged_in_0123=anna%7C1"}
	at := func(path string, c call) call { c.target = path; return c }
	override := func(method string) []string { return append([]string{"X-HTTP-Method-Override", method}, in...) }
	for _, tc := range []struct {
		rule   string
		passes bool
		call   call
	}{
		{"a post of somebody logged in", true, at("/wp-json/wp/v2/posts/8?_locale=user", post(jsonType, `{"content":"`+html+`"}`, in...))},
		{"a post by an application password", true, at("/wp-json/wp/v2/posts", post(jsonType, `{"content":"`+html+`"}`, "Authorization", "Basic YTpi"))},
		{"a post of a stranger", false, at("/wp-json/wp/v2/posts/8", post(jsonType, `{"content":"`+html+`"}`))},
		{"another field of a post", false, at("/wp-json/wp/v2/posts/8", post(jsonType, `{"slug":"`+html+`"}`, in...))},
		{"the same field of another address", false, at("/wp-json/other/v1/posts", post(jsonType, `{"content":"`+html+`"}`, in...))},
		{"a parameter of its name in the query", false, at("/wp-json/wp/v2/posts?content=%3Cscript%3Ealert(1)%3C/script%3E", post(jsonType, `{}`, in...))},
		{"a method of the API in a field", true, at("/wp-json/wp/v2/posts/8", post(jsonType, `{}`, override("PUT")...))},
		{"another method in a field", false, at("/wp-json/wp/v2/posts/8", post(jsonType, `{}`, override("TRACE")...))},
		{"a method in a field elsewhere", false, at("/wp-admin/post.php", post(formType, "a=b", override("PUT")...))},
		{"a picture as bytes", true, at("/wp-json/wp/v2/media", post("image/png", "x", in...))},
		{"a picture as bytes elsewhere", false, at("/wp-json/wp/v2/posts", post("image/png", "x", in...))},
		{"another type as bytes", false, at("/wp-json/wp/v2/media", post("application/x-php", "x", in...))},
		{"the classic form", true, at("/wp-admin/post.php", post(formType, "content="+plain, in...))},
		{"the classic form of a stranger", false, at("/wp-admin/post.php", post(formType, "content="+plain))},
		{"a password", true, at("/wp-login.php", post(formType, "log=anna&pwd=x' OR 1=1--<script>"))},
		{"a name with it", false, at("/wp-login.php", post(formType, "log=x' OR 1=1--<script>&pwd=x"))},
		{"prose in a comment", true, at("/wp-comments-post.php", post(formType, `comment=I'd select a book from the shelf; it costs 10 more, "or" not?`))},
		{"script in a comment", false, at("/wp-comments-post.php", post(formType, "comment=<script>alert(1)</script>"))},
		{"SQL in a comment", false, at("/wp-comments-post.php", post(formType, "comment=1' UNION SELECT user_pass FROM wp_users--"))},
		{"the customizer", true, at("/wp-admin/admin-ajax.php", post(formType, `wp_customize=on&customized={"blogname":"Anna\u0027s"}`, in...))},
		{"the customizer's field without it", false, at("/wp-admin/admin-ajax.php", post(formType, `customized={"blogname":"Anna\u0027s"}`, in...))},
		{"the file editor", true, at("/wp-admin/admin-ajax.php", post(formType, "action=edit-theme-plugin-file&newcontent=<?php system('id'); ?>", in...))},
		{"the file editor's field without it", false, at("/wp-admin/admin-ajax.php", post(formType, "action=other&newcontent=<?php system('id'); ?>", in...))},
	} {
		if o := run(e, tc.call); o.verdict.Passed() != tc.passes {
			t.Errorf("%s: %v %q, rules %v, want it passed: %v", tc.rule, o.verdict.Action, o.verdict.Reason, o.rules(), tc.passes)
		}
		if o := run(sharedEngine(t), tc.call); o.verdict.Action != gate.Refuse {
			t.Errorf("%s: without the profile %v, so the case says nothing", tc.rule, o.verdict.Action)
		}
	}
}
