package traffic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"sallyport/internal/gate"
)

var sections = strings.Fields("shop news help account products blog forum docs travel recipes")

// escape is a value as forms and queries hold it.
func escape(v string) string { return url.QueryEscape(v) }

// A pair is a parameter.
type pair struct{ name, value string }

// encode is a query or the body of a form.
func encode(pairs []pair) string {
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escape(p.name) + "=" + escape(p.value))
	}
	return b.String()
}

// post is a request with a body.
func post(target string, fields []gate.Field, contentType string, body []byte) Request {
	r := Request{Method: "POST", Target: target, Fields: append(fields, gate.Field{Name: "Origin", Value: "https://" + Host}, gate.Field{Name: "Content-Type", Value: contentType})}
	r.SetBody(body)
	return r
}

// marshal is a value as scripts send it: they escape no angle brackets.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func tiny(s *source, _ int) Request {
	f := []gate.Field{{Name: "Host", Value: Host}, {Name: "User-Agent", Value: fmt.Sprintf("curl/8.%d.0", s.between(1, 16))}, {Name: "Accept", Value: "*/*"}}
	return Request{Method: "GET", Target: "/" + s.slug(), Fields: f}
}

func browser(s *source, _ int) Request {
	q := []pair{{"page", s.digits(1)}, {"sort", pick(s, []string{"price", "name", "date", "rating"})}, {"dir", pick(s, []string{"asc", "desc"})}, {"q", s.query()},
		{"utm_campaign", strings.ReplaceAll(s.words(2), " ", "_") + "_" + s.hex(8)}}
	return Request{Method: "GET", Target: "/" + pick(s, sections) + "/list?" + encode(q), Fields: s.browser(document)}
}

// visit is what the sixteen requests of a visit are.
var visit = []func(*source) Request{
	viewPage, getAsset, getAsset, getJSON, search, getAsset, viewPage, getAsset, getJSON, sendForm, viewPage, getAsset, search, getJSON, sendJSON, viewPage,
}

func browsing(s *source, n int) Request { return visit[n%len(visit)](s) }

func viewPage(s *source) Request {
	target := "/" + pick(s, sections) + "/" + s.slug()
	if s.chance(30) {
		target += "?ref=" + s.base64url(12)
	}
	return Request{Method: "GET", Target: target, Fields: s.browser(document)}
}

func getAsset(s *source) Request {
	target := pick(s, []string{"/static/js/app.%s.js", "/static/css/main.%s.css", "/media/photos/%s.webp", "/media/photos/%s.jpg?w=640", "/fonts/inter-%s.woff2"})
	r := Request{Method: "GET", Target: fmt.Sprintf(target, s.hex(12)), Fields: s.browser(asset)}
	if s.chance(30) {
		r.Fields = append(r.Fields, gate.Field{Name: "If-None-Match", Value: `"` + s.hex(16) + `"`})
	}
	return r
}

func search(s *source) Request {
	q := []pair{{"q", s.query()}, {"category", pick(s, sections)}, {"page", s.digits(1)}}
	return Request{Method: "GET", Target: "/search?" + encode(q), Fields: s.browser(document)}
}

func getJSON(s *source) Request {
	var target string
	switch s.IntN(3) {
	case 0:
		target = "/api/v2/products/" + s.uuid() + "?fields=id,name,price&_=" + fmt.Sprint(s.unix())
	case 1:
		target = "/api/v2/suggest?" + encode([]pair{{"term", s.query()}, {"limit", s.digits(1)}})
	default:
		target = "/api/v2/orders?" + encode([]pair{{"since", s.date()}, {"cursor", s.base64url(32)}, {"per_page", s.digits(2)}})
	}
	if s.chance(40) {
		return Request{Method: "GET", Target: target, Fields: s.app()}
	}
	r := Request{Method: "GET", Target: target, Fields: s.browser(call)}
	r.Fields = append(r.Fields, gate.Field{Name: "X-Requested-With", Value: "XMLHttpRequest"})
	return r
}

func sendForm(s *source) Request {
	return post("/contact", s.browser(submit), formType, []byte(encode([]pair{
		{"name", s.name()}, {"email", s.email()}, {"subject", s.free(50)}, {"message", s.free(300)}, {"csrf", s.hex(40)}})))
}

func sendJSON(s *source) Request {
	return post("/api/v2/cart", s.browser(call), jsonType, marshal(map[string]any{
		"product": s.uuid(), "quantity": s.between(1, 9), "note": s.free(80), "gift": s.chance(20)}))
}

func form(s *source, _ int) Request {
	return post("/account/order", s.browser(submit), formType, []byte(encode([]pair{
		{"full_name", s.name()}, {"email", s.email()}, {"phone", s.phone()}, {"address", s.address()}, {"company", capital(s.words(2)) + " Ltd"},
		{"delivery", s.date()}, {"amount", s.price()}, {"subject", s.free(60)}, {"message", s.free(200)}, {"csrf_token", s.base64(44)}})))
}

// sender are the fields of somebody who sends JSON.
func (s *source) sender() []gate.Field {
	if s.chance(50) {
		return s.app()
	}
	return s.browser(call)
}

// An item is what a shop says of a product in a list.
type item struct {
	ID      int      `json:"id"`
	Name    string   `json:"name"`
	Price   float64  `json:"price"`
	Stock   int      `json:"stock"`
	Tags    []string `json:"tags,omitempty"`
	Note    string   `json:"note,omitempty"`
	Updated string   `json:"updated,omitempty"`
}

func (s *source) item() item {
	return item{ID: s.between(1, 1<<20), Name: s.words(2), Price: float64(s.between(100, 99999)) / 100, Stock: s.IntN(500)}
}

func json1K(s *source, n int) Request {
	type order struct {
		Customer string `json:"customer"`
		Email    string `json:"email"`
		Token    string `json:"token"`
		Comment  string `json:"comment"`
		Items    []item `json:"items"`
	}
	o := order{Customer: s.name(), Email: s.email(), Token: s.base64(44), Comment: s.free(120)}
	for len(marshal(o)) < 900 {
		i := s.item()
		i.Tags, i.Note, i.Updated = []string{pick(s, adjectives), pick(s, nouns)}, s.free(30), s.date()
		o.Items = append(o.Items, i)
	}
	return post(fmt.Sprintf("/api/v2/orders/%d", n%7), s.sender(), jsonType, marshal(o))
}

func jsonFields(s *source, _ int) Request {
	// 48 rows of 8 values.
	type row struct {
		ID    string  `json:"id"`
		Name  string  `json:"name"`
		Owner string  `json:"owner"`
		City  string  `json:"city"`
		Note  string  `json:"note"`
		Price float64 `json:"price"`
		Count int     `json:"count"`
		Date  string  `json:"updated"`
	}
	rows := make([]row, 48)
	for i := range rows {
		l := pick(s, languages)
		note := pick(s, l.words) + l.space + pick(s, l.words) + l.space + pick(s, l.words) + l.space + pick(s, l.words)
		if s.chance(60) {
			note = s.words(6)
		}
		rows[i] = row{s.hex(20), s.words(3), s.name(), pick(s, cities), note, float64(s.between(100, 99999)) / 100, s.IntN(1000), s.date()}
	}
	return post("/api/v2/import", s.sender(), jsonType, marshal(map[string]any{"rows": rows}))
}

func jsonText(s *source, n int) Request {
	const size = 10 << 10
	var text string
	switch n % 4 {
	case 0, 1:
		text = s.english(size, true)
	case 2:
		for len(text) < size-400 {
			text += s.foreign(800, true) + "\n\n"
		}
	default:
		text = s.base64(size)
	}
	return post("/api/v2/articles", s.sender(), jsonType, marshal(map[string]any{
		"title": s.words(4), "lang": pick(s, []string{"en", "de", "ja"}), "draft": s.chance(50), "body": text}))
}

func multipart(s *source, n int) Request {
	const size = 200 << 10
	boundary := "----WebKitFormBoundary" + s.hex(16)
	name, kind, content := s.slug()+".jpg", "image/jpeg", []byte(nil)
	switch n % 4 {
	case 0, 1:
		content = append([]byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"), s.bytes(size-20)...)
	case 2:
		name, kind = s.slug()+".pdf", "application/pdf"
		content = append([]byte("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"), s.bytes(size-30)...)
	default:
		name, kind = s.slug()+".txt", "text/plain"
		content = []byte(s.english(size, true))
	}
	var b bytes.Buffer
	for _, p := range []pair{{"title", s.free(60)}, {"caption", s.free(200)}, {"csrf_token", s.hex(40)}} {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, p.name, p.value)
	}
	fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\nContent-Type: %s\r\n\r\n", boundary, name, kind)
	b.Write(content)
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return post("/media/upload", s.browser(submit), "multipart/form-data; boundary="+boundary, b.Bytes())
}
