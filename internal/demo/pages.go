package demo

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"strings"
)

// page writes an HTML page. The body is written as it is: this application
// escapes nothing that a visitor sent, which is what makes it worth attacking.
func page(w http.ResponseWriter, status int, title, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>%s</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#222}
form{margin:1rem 0;padding:1rem;background:#f4f1ea;border-radius:.5rem}input,textarea{font:inherit;margin:.2rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem;border-bottom:1px solid #ccc;text-align:left}nav a{margin-right:1rem}</style></head>
<body><nav><a href="/">Shop</a><a href="/search?q=portcullis">Search</a><a href="/comments">Comments</a><a href="/echo">Echo</a></nav>
<h1>%s</h1>
%s
</body></html>
`, title, title, body)
}

// home shows the forms.
func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	page(w, http.StatusOK, "Keep &amp; Bailey, castle supplies", `<p>Everything for the fortified home. This is a demo that trusts its visitors far too much.</p>
<form action="/search"><b>Search</b><br><input name="q" value="portcullis"> <button>Find</button></form>
<form action="/login" method="post"><b>Log in</b><br><input name="user" placeholder="user"> <input name="password" type="password" placeholder="password"> <button>Log in</button></form>
<form action="/comments" method="post"><b>Leave a comment</b><br><textarea name="text" rows="2" cols="40"></textarea> <button>Send</button></form>
<form action="/upload" method="post" enctype="multipart/form-data"><b>Upload</b><br><input type="file" name="file"> <button>Upload</button></form>
<p>Also: <a href="/boom">a crash</a>, <a href="/leak?kind=php">leaked source</a>, <a href="/leak?kind=sql">a leaked error</a>,
<a href="/redirect">a redirect</a>, <a href="/stream">events</a>, <a href="/slow?seconds=3">a slow page</a>, <a href="/download?size=10MiB">a download</a>.</p>`)
}

// search puts q into a statement as it came, and into the page as well.
func (s *shop) search(in instance, w http.ResponseWriter, r *http.Request) {
	q := r.FormValue("q")
	columns, rows, err := s.query("SELECT id, name, price FROM products WHERE name LIKE '%" + q + "%'")
	if err != nil {
		in.databaseError(w, err)
		return
	}
	var b strings.Builder
	b.WriteString("<p>You searched for: " + q + "</p>\n<table><tr>")
	for _, c := range columns {
		b.WriteString("<th>" + c + "</th>")
	}
	b.WriteString("</tr>\n")
	for _, row := range rows {
		b.WriteString("<tr><td>" + strings.Join(row, "</td><td>") + "</td></tr>\n")
	}
	fmt.Fprintf(&b, "</table><p>%d found.</p>", len(rows))
	page(w, http.StatusOK, "Search", b.String())
}

// login takes a form or JSON and asks the users table for both at once.
func (s *shop) login(in instance, w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		page(w, http.StatusOK, "Log in", `<form method="post"><input name="user"> <input name="password" type="password"> <button>Log in</button></form>`)
		return
	}
	var user, password string
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var body struct{ User, Password string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxForm)).Decode(&body); err != nil {
			page(w, http.StatusBadRequest, "Log in", "<p>"+html.EscapeString(err.Error())+"</p>")
			return
		}
		user, password = body.User, body.Password
	} else {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		user, password = r.PostFormValue("user"), r.PostFormValue("password")
	}
	_, rows, err := s.query("SELECT id, name, email FROM users WHERE name = '" + user + "' AND password = '" + password + "'")
	switch {
	case err != nil:
		in.databaseError(w, err)
	case len(rows) == 0:
		page(w, http.StatusUnauthorized, "Log in", "<p>Wrong user or password.</p>")
	default:
		host, _, _ := net.SplitHostPort(own(r))
		http.SetCookie(w, &http.Cookie{Name: "SHOPSESSION", Value: "user-" + rows[0][0], Path: "/", Domain: host})
		page(w, http.StatusOK, "Welcome", "<p>Welcome, "+rows[0][1]+" ("+rows[0][2]+").</p>")
	}
}

// commentsPage shows the comments, and keeps one when it is posted.
func (s *shop) commentsPage(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if text := r.PostFormValue("text"); text != "" {
			s.add(text)
		}
		http.Redirect(w, r, "/comments", http.StatusSeeOther)
		return
	}
	page(w, http.StatusOK, "Comments", "<ul><li>"+strings.Join(s.all(), "</li>\n<li>")+`</li></ul>
<form method="post"><textarea name="text" rows="2" cols="40"></textarea> <button>Send</button></form>`)
}

// healthz is asked by the gateway's health checks.
func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
}
