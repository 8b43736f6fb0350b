// Package unmask asks a site a few questions, as an outsider would who wants to
// know what is behind it, and tells what its answers give away: the fields that
// name software and machines, the cookies of load balancers, private addresses
// and internal names, and the backends of a configuration if it is given one.
//
// It sends a fixed number of requests to the one address it is given, follows
// no redirect, and reads a bounded part of each answer. It decides nothing
// about traffic.
package unmask

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"sallyport/proxy"
)

const (
	// maxBody is how much of a body is read.
	maxBody = 256 << 10
	// perQuestion is how long one question may take.
	perQuestion = 10 * time.Second
	// maxShown is how much of a value is repeated.
	maxShown = 200
)

// Options say who is asked, and how.
type Options struct {
	// Connect is the host and port to connect to in place of the URL's; empty:
	// the URL's. With it one asks past a gateway, or past the DNS.
	Connect string
	// Insecure does not verify the certificate.
	Insecure bool
	// Backends finds what must not be told; nil: nobody knows.
	Backends *proxy.Searcher
}

// A Report is what a site was asked and what it gave away.
type Report struct {
	URL       string     `json:"url"`
	Questions []Question `json:"questions"`
	Found     int        `json:"found"` // things in all questions
}

// A Question is one request and what its answer gave away.
type Question struct {
	Name    string  `json:"name"`    // what is tried
	Request string  `json:"request"` // method and target
	Status  int     `json:"status"`  // 0: there was no answer
	Problem string  `json:"problem,omitempty"`
	Found   []Thing `json:"found"`
}

// A Thing is one thing that an answer gave away.
type Thing struct {
	// Kind is "backend" (of the configuration), "software", "balancer",
	// "private" (an address) or "internal" (a name).
	Kind  string `json:"kind"`
	Where string `json:"where"` // "field Server", "body"
	What  string `json:"what"`
}

// A prober asks one site.
type prober struct {
	opt    Options
	site   *url.URL
	client *http.Client
}

// Ask asks all questions, one after the other. The error is about the URL or
// about a site that answers nothing at all.
func Ask(ctx context.Context, site *url.URL, opt Options) (*Report, error) {
	p := &prober{opt: opt, site: site}
	transport := &http.Transport{
		Proxy: nil, DisableCompression: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.address())
		},
		TLSClientConfig: p.tls(),
	}
	p.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	rep := &Report{URL: site.String()}
	answered := false
	for _, q := range p.questions() {
		q := q.ask(ctx, p)
		answered = answered || q.Status > 0
		rep.Found += len(q.Found)
		rep.Questions = append(rep.Questions, q)
	}
	if !answered {
		return nil, fmt.Errorf("%s answers nothing: %s", site.Redacted(), rep.Questions[0].Problem)
	}
	return rep, nil
}

func (p *prober) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: p.site.Hostname(), InsecureSkipVerify: p.opt.Insecure} //nolint:gosec // the operator's flag
}

// address is where the site is connected to.
func (p *prober) address() string {
	if p.opt.Connect != "" {
		return p.opt.Connect
	}
	port := p.site.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[p.site.Scheme]
	}
	return net.JoinHostPort(p.site.Hostname(), port)
}

// A question is one thing to try.
type question struct {
	name, method, target string
	change               func(*http.Request)
	bare                 bool // HTTP/1.0 without a Host
}

// questions are those that make servers talk: what is there, what is not, what
// is malformed, what is asked by another name.
func (p *prober) questions() []question {
	at := p.site.RequestURI()
	dir := at[:strings.LastIndexByte(strings.SplitN(at, "?", 2)[0], '/')+1]
	list := []question{
		{name: "the page", method: http.MethodGet, target: at},
		{name: "a page that is not there", method: http.MethodGet, target: dir + strings.ToLower(rand.Text())},
		{name: "which methods", method: http.MethodOptions, target: at},
		{name: "a method that nobody knows", method: "UNMASK", target: at},
		{name: "a malformed path", method: http.MethodGet, target: dir + "%"},
		{name: "a range", method: http.MethodGet, target: at, change: func(r *http.Request) { r.Header.Set("Range", "bytes=0-0,-1") }},
		{name: "another host", method: http.MethodGet, target: at, change: func(r *http.Request) { r.Host = "unmask.invalid" }},
		{name: "no host at all", method: http.MethodGet, target: at, bare: true},
	}
	if path, _, _ := strings.Cut(dir, "?"); path != "/" { // servers that redirect a directory name themselves
		list = append(list, question{name: "a directory without its slash", method: http.MethodGet, target: strings.TrimSuffix(path, "/")})
	}
	return list
}

// ask sends the request and looks through the answer.
func (q question) ask(ctx context.Context, p *prober) Question {
	out := Question{Name: q.name, Request: q.method + " " + q.target, Found: []Thing{}}
	ctx, cancel := context.WithTimeout(ctx, perQuestion)
	defer cancel()
	resp, err := q.send(ctx, p)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		out.Problem = err.Error()
		return out
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		out.Problem = err.Error()
	}
	out.Status = resp.StatusCode
	for _, header := range []http.Header{resp.Header, resp.Trailer} {
		for name, values := range header {
			for _, value := range values {
				out.Found = append(out.Found, p.field(name, value)...)
			}
		}
	}
	out.Found = append(out.Found, p.text("body", body)...)
	out.Found = append(out.Found, banners(body)...)
	slices.SortStableFunc(out.Found, func(a, b Thing) int { return strings.Compare(a.Where, b.Where) })
	out.Found = slices.Compact(out.Found)
	return out
}

func (q question) send(ctx context.Context, p *prober) (*http.Response, error) {
	if q.bare {
		return q.sendBare(ctx, p)
	}
	req := (&http.Request{
		Method: q.method, Host: p.site.Host, Header: http.Header{"User-Agent": {"sallyport-mask-check"}, "Accept": {"*/*"}},
		URL: &url.URL{Scheme: p.site.Scheme, Host: p.site.Host, Opaque: q.target},
	}).WithContext(ctx)
	if q.change != nil {
		q.change(req)
	}
	return p.client.Do(req)
}

// sendBare writes a request as the oldest clients did: servers that have to
// name themselves and were not told a name may tell their address.
func (q question) sendBare(ctx context.Context, p *prober) (*http.Response, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.address())
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = c.Close() }) // ask's context ends with the question
	if p.site.Scheme == "https" {
		tc := tls.Client(c, p.tls())
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = tc
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.0\r\n\r\n", q.method, q.target); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(io.LimitReader(c, 2*maxBody)), nil)
}

// field tells what a field gives away.
func (p *prober) field(name, value string) []Thing {
	where := "field " + name
	if proxy.RevealsSoftware(name) {
		return []Thing{{"software", where, shown(value)}}
	}
	if name == "Set-Cookie" {
		cookie, _, _ := strings.Cut(value, "=")
		if proxy.RevealsBalancer(strings.Trim(cookie, " \t")) {
			return []Thing{{"balancer", where, shown(cookie)}}
		}
	}
	return p.text(where, []byte(value))
}

var (
	privateAddress = regexp.MustCompile(`\b(?:10(?:\.\d{1,3}){3}|127(?:\.\d{1,3}){3}|192\.168(?:\.\d{1,3}){2}|169\.254(?:\.\d{1,3}){2}|172\.(?:1[6-9]|2\d|3[01])(?:\.\d{1,3}){2})(?::\d{1,5})?\b`)
	internalName   = regexp.MustCompile(`(?i)\b[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)*\.(?:internal|local|localdomain|lan|corp|intranet|svc)\b(?::\d{1,5})?`)
	banner         = regexp.MustCompile(`(?i)\b(?:nginx|openresty|apache(?: tomcat)?|microsoft-iis|lighttpd|jetty(?:\(|/)|gunicorn|werkzeug|php|phusion passenger|puma|kestrel|weblogic|envoy|varnish|haproxy)[/ (v]*\d+\.\d[\w.]*`)
)

// text tells what a text gives away. The name that the site was asked by is
// nobody's secret.
func (p *prober) text(where string, text []byte) []Thing {
	var found []Thing
	known := map[string]bool{p.site.Host: true, p.site.Hostname(): true}
	add := func(kind, what string) {
		if host, _, _ := strings.Cut(what, ":"); !known[what] && !known[host] {
			known[what] = true
			found = append(found, Thing{kind, where, shown(what)})
		}
	}
	if p.opt.Backends != nil {
		for _, token := range p.opt.Backends.Find(text) {
			if !known[token] {
				known[token] = true
				found = append(found, Thing{"backend", where, token})
			}
		}
	}
	const most = 8 // of a kind
	for _, m := range privateAddress.FindAll(text, most) {
		add("private", string(m))
	}
	for _, m := range internalName.FindAll(text, most) {
		add("internal", string(m))
	}
	return found
}

// banners finds the names and versions that servers put under their pages.
func banners(body []byte) []Thing {
	var found []Thing
	for _, m := range banner.FindAll(body, 4) {
		found = append(found, Thing{"software", "body", shown(string(m))})
	}
	return found
}

// shown bounds what is repeated of an answer.
func shown(s string) string { return s[:min(len(s), maxShown)] }
