// Package traffic makes up requests: what browsers, scripts and applications
// send, what attackers send, and what is meant to be dear. They are as good as
// the real thing for measuring what rules cost and for comparing ways to run
// them, and each of them can be made again from a seed and a number.
//
// Every request is one that the strict reader accepts. The benign ones pass
// the Core Rule Set at level 1, and the attacks do not; a test holds them to it.
// Only tests and the bench import the package.
package traffic

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// Host is the site that all requests ask.
const Host = "shop.example.org"

// A Request is one request, as a client would send it over HTTP/1.1.
type Request struct {
	Mix    string // what it is one of
	Method string
	Target string
	// Fields are the header fields in the order of the client, Host and
	// Content-Length included.
	Fields []gate.Field
	Body   []byte // nil: it has none
	// Benign says that nobody has a reason to refuse it. What is not benign is
	// an attack, or was made to be dear for those that judge it.
	Benign bool
}

// Get returns the value of the first field of a name, letter case aside.
func (r *Request) Get(name string) string {
	for _, f := range r.Fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// SetBody replaces the body and what the fields say of its length.
func (r *Request) SetBody(body []byte) {
	r.Body = body
	length := gate.Field{Name: "Content-Length", Value: strconv.Itoa(len(body))}
	for i := range r.Fields {
		if strings.EqualFold(r.Fields[i].Name, length.Name) {
			r.Fields[i] = length
			return
		}
	}
	r.Fields = append(r.Fields, length)
}

// Raw is the request as bytes of HTTP/1.1.
func (r *Request) Raw() []byte {
	b := make([]byte, 0, 1<<10+len(r.Body))
	b = fmt.Appendf(b, "%s %s HTTP/1.1\r\n", r.Method, r.Target)
	for _, f := range r.Fields {
		b = append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
	return append(append(b, "\r\n"...), r.Body...)
}

// A Mix is a kind of request, or several in fixed shares.
type Mix struct {
	Name, Description string
	Benign            bool // all of its requests are
	make              func(*source, int) Request
}

// The names of the mixes.
const (
	Tiny       = "tiny"
	Browser    = "browser"
	Browsing   = "browsing"
	Form       = "form"
	JSON1K     = "json-1k"
	JSONFields = "json-fields"
	JSONText   = "json-text"
	Multipart  = "multipart"
	Attack     = "attack"
	Hostile    = "hostile"
)

var mixes = []Mix{
	{Tiny, "GET with three fields and no parameters", true, tiny},
	{Browser, "GET of a browser: 12 to 17 fields, cookies, 5 parameters", true, browser},
	{Browsing, "a visit: of 16 requests 5 static files, 4 pages, 2 searches, 3 JSON by GET, a form and a JSON by POST", true, browsing},
	{Form, "form of 10 fields", true, form},
	{JSON1K, "JSON of 1 KB", true, json1K},
	{JSONFields, "JSON of 10 KB in 384 fields", true, jsonFields},
	{JSONText, "JSON of 10 KB, nearly all in one text", true, jsonText},
	{Multipart, "multipart form with a file of 200 KB", true, multipart},
	{Attack, "attacks in queries, forms, JSON, fields, cookies and paths", false, attack},
	{Hostile, "made to be dear: keywords thrown together, noise, depth, a thousand fields", false, hostile},
}

// Mixes lists all mixes.
func Mixes() []Mix { return slices.Clone(mixes) }

// A Series says whether values come back.
type Series string

// In the fresh series every request is made anew: no free text of it was there
// before. In the repeated one the same few requests come again and again, as in
// most benchmarks, and caches of any kind look their best.
const (
	Fresh    Series = "fresh"
	Repeated Series = "repeated"
)

// RepeatedRequests is how many different requests there are in the repeated
// series of a mix.
const RepeatedRequests = 16

// A Generator makes the requests of one mix. It holds nothing but what it was
// made from, and several goroutines may use it.
type Generator struct {
	mix    Mix
	series Series
	seed   uint64
}

// New returns the generator of a mix. It panics at a name that is none.
func New(mix string, series Series, seed uint64) *Generator {
	at := slices.IndexFunc(mixes, func(m Mix) bool { return m.Name == mix })
	if at < 0 || series != Fresh && series != Repeated {
		panic(fmt.Sprintf("traffic: no mix %q in a series %q", mix, series))
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(mix))
	return &Generator{mix: mixes[at], series: series, seed: seed ^ h.Sum64()}
}

// Request makes the n-th request, which is always the same. It belongs to the
// caller.
func (g *Generator) Request(n int) Request {
	if g.series == Repeated {
		n %= RepeatedRequests
	}
	r := g.mix.make(&source{rand.New(rand.NewPCG(g.seed, uint64(n)))}, n)
	r.Mix, r.Benign = g.mix.Name, g.mix.Benign
	return r
}
