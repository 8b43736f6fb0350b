package waf

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"

	"sallyport/internal/cores"
	"sallyport/internal/gate"
)

// maxWarmers is how many requests are looked at at the same time to warm up.
const maxWarmers = 4

// Warm has the provers of the policies look at made-up requests, until ctx ends.
// What a prover does with a kind of value it finds out when the first of that kind
// comes, some tens of milliseconds of work in all, for which visitors would wait.
// No rule runs, and nothing is recorded.
func (e *Engine) Warm(ctx context.Context) {
	requests := warmRequests()
	for _, name := range slices.Sorted(maps.Keys(e.policies)) {
		if p := e.policies[name]; p.prover == nil || p.prover.Declines() {
			continue
		}
		// Each of those who work at the same time learns for itself what its patterns
		// are made of.
		var wg sync.WaitGroup
		for range min(cores.Number(), maxWarmers) {
			wg.Go(func() {
				for i := range requests {
					if ctx.Err() != nil {
						return
					}
					e.warm(name, &requests[i])
				}
			})
		}
		wg.Wait()
		if ctx.Err() != nil {
			return
		}
		e.log.Debug("the rules are warm", zap.String("policy", name), zap.Int("kinds of values", e.policies[name].prover.Learned()))
	}
}

// warm has the prover of a policy look at a request.
func (e *Engine) warm(policy string, r *warmRequest) {
	t := e.Begin(r.gate(policy))
	t.warming = true
	t.Request()
	_, _ = io.Copy(io.Discard, t.req.HTTP.Body) // a verdict on it is nobody's
	t.Close()
}

// gate returns the request as the gateway gets it.
func (r *warmRequest) gate(policy string) *gate.Request {
	h := &http.Request{Method: r.method, Header: http.Header{}, Body: http.NoBody, Proto: "HTTP/1.1"}
	if r.body != nil {
		h.Body = io.NopCloser(bytes.NewReader(r.body))
	}
	return &gate.Request{HTTP: h, Head: &gate.Head{Method: r.method, Target: r.target, Received: r.target, Proto: "HTTP/1.1", Host: "www.example.com", Fields: r.fields, Length: int64(len(r.body)), Bytes: len(r.target)},
		ID: "warm", Client: warmPeer.Addr(), Peer: warmPeer, Route: &gate.Route{Name: "warm", Policy: policy}}
}

// warmPeer is an address for documentation (RFC 5737).
var warmPeer = netip.MustParseAddrPort("192.0.2.1:49152")

type warmRequest struct {
	method, target string
	fields         []gate.Field
	body           []byte
}

// warmTexts are values of the kinds that browsers and programs send.
var warmTexts = []string{
	"1", "2048", "19.95", "-7", "true", "de", "page", "Sun", "DE", "news2", "Page2", "main-menu", "first_name", "a.b", "Size_XL", "x-Large.2",
	"green tea", "Green Tea", "green tea, hot", "Is it open on Sundays?", "It's fine.", `the "big" one`, "Hello, World! How are you today? Fine; thanks.",
	"tea & cake", "50% off", "C++", "a+b", "#1", "(new)", "mail: jo@example.org", "Jo.Miller@example.org", "2026-11-27", "2026-11-27T09:30:00Z", "09:30",
	"/news/today", "/static/site.v2.css", "/Images/Logo-2x.png", "https://www.example.org/", "https://www.example.org/search?q=tea&page=2", "../up",
	"4f1c2d3e5a6b7c8d", "9F86D081884C7D65", "Zm9vYmFyYmF6cXV4", "dGVh+Y2FrZQ/MjA==", "550e8400-e29b-41d4-a716-446655440000", "eyJhIjoxfQ.eyJiIjoyfQ.c2lnbmF0dXJl", "GA1.1.204800001.1764230400",
	"line\r\nnext line, and more", "tab\tseparated", "Füße", "Crème brûlée, s'il vous plaît!", "Добрый день", "Добрый день, как дела?", "お茶とケーキ", "{\"a\":[1,2]}", "<b>", "key=value; other=2", "back\\slash", "a/b/c", "*", "~user", "",
}

// warmRequests are made of each text in the places of a request where such texts
// are: a page that is asked for, a form, JSON and an upload.
func warmRequests() (out []warmRequest) {
	agent := gate.Field{Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
	browser := func(more ...gate.Field) []gate.Field {
		return append([]gate.Field{{Name: "Host", Value: "www.example.com"}, agent, {Name: "Accept", Value: "text/html,application/xhtml+xml,*/*;q=0.8"},
			{Name: "Accept-Language", Value: "en-GB,en;q=0.5"}, {Name: "Accept-Encoding", Value: "gzip, deflate, br"}, {Name: "Referer", Value: "https://www.example.com/news"},
			{Name: "Sec-Fetch-Mode", Value: "navigate"}, {Name: "Upgrade-Insecure-Requests", Value: "1"}, {Name: "Connection", Value: "keep-alive"}}, more...)
	}
	post := func(contentType string, body []byte) {
		out = append(out, warmRequest{http.MethodPost, "/send", browser(gate.Field{Name: "Content-Type", Value: contentType}, gate.Field{Name: "Origin", Value: "https://www.example.com"}), body})
	}
	for _, text := range warmTexts {
		cookie := strings.NewReplacer("\r\n", "", "\t", "", ";", "", `"`, "").Replace(text)
		out = append(out, warmRequest{http.MethodGet, "/shop/" + url.PathEscape(text) + "?q=" + url.QueryEscape(text), browser(gate.Field{Name: "Cookie", Value: "sid=" + cookie + "; lang=en; _ga=GA1.1.204800001.1764230400"}), nil})
		post("application/x-www-form-urlencoded", []byte("subject="+url.QueryEscape(text)+"&send=1"))
		object, err := json.Marshal(map[string]any{"title": text, "tags": []any{text, 1, true}, "user": map[string]string{"name": text}})
		if err != nil {
			continue // a text is always JSON
		}
		post("application/json", object)
		var b bytes.Buffer
		form := multipart.NewWriter(&b)
		_ = form.WriteField("comment", text) // into memory
		if part, err := form.CreateFormFile("file", "holiday.jpg"); err == nil {
			_, _ = io.WriteString(part, "\xff\xd8\xff\xe0 "+text)
		}
		_ = form.Close()
		post(form.FormDataContentType(), b.Bytes())
	}
	return out
}
