package strict_test

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
)

// found lists findings as "reason@offset".
func found(list []gate.Rejection) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("%s@%d", strings.TrimPrefix(string(r.Reason), "http."), r.Offset))
	}
	return strings.Join(out, " ")
}

// What is let pass unless it is asked for stands in a list of its own, so that
// nobody refuses it by mistake.
func TestOptionalFindings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ rule, head, hygiene, optional string }{
		{"nothing", "GET /a/b?c=%20 HTTP/1.1", "", ""},
		{"an encoded slash", "GET /a%2Fb%2f HTTP/1.1", "", "path_slash@6"},
		{"a parameter", "GET /a;b;c?d;e HTTP/1.1", "", "path_parameter@6"},
		{"an encoded semicolon is data", "GET /a%3Bb HTTP/1.1", "", ""},
		{"an empty segment", "GET /a//b//c?//d HTTP/1.1", "", "path_empty_segment@7"},
		{"an empty segment at the beginning", "GET //a HTTP/1.1", "", "path_empty_segment@5"},
		{"what is encoded twice", "GET /%252e HTTP/1.1", "", "path_double_encoding@5"},
		{"what is encoded twice in pieces", "GET /%25%32e HTTP/1.1", "", "path_double_encoding@5"},
		{"a percent sign at the end", "GET /%25 HTTP/1.1", "", ""},
		{"one digit at the end", "GET /%252 HTTP/1.1", "", ""},
		{"an error in the query", "GET /a?b=%20%2 HTTP/1.1", "", "query_percent@12"},
		{"an error in the path is another reason", "GET /%2?a HTTP/1.1", "path_percent@5", ""},
		{"both lists", "GET /%00;?% HTTP/1.1", "path_nul@5", "path_parameter@8 query_percent@10"},
		{"an absolute target", "GET http://a//;?% HTTP/1.1", "", "path_parameter@14 path_empty_segment@13 query_percent@16"},
		{"an absolute target without a path", "GET http://a?% HTTP/1.1", "", "query_percent@13"},
		{"a field", "GET / HTTP/1.1\r\nx_a: 1\r\nx_b: 2", "", "field_underscore@25"},
		{"a shadow and a field", "GET / HTTP/1.1\r\nx_a: 1\r\nX_Real_Ip: 2", "header_underscore@33", "field_underscore@25"},
		{"a DELETE with a body", "DELETE / HTTP/1.1\r\nContent-Length: 1", "", "body_on_delete@28"},
		{"a DELETE with none", "DELETE / HTTP/1.1\r\nContent-Length: 0", "", ""},
		{"another method", "DELETES / HTTP/1.1\r\nContent-Length: 1", "", ""},
	} {
		raw := strings.Replace(tc.head, "HTTP/1.1", "HTTP/1.1\r\nHost: a", 1) + "\r\n\r\n"
		h, _, err := strict.ParseHead([]byte(raw), strict.Limits{})
		if err != nil || h.Rejection != nil {
			t.Errorf("%s: %v, %v", tc.rule, err, h.Rejection)
			continue
		}
		if got := found(h.Hygiene); got != tc.hygiene {
			t.Errorf("%s: hygiene %q, want %q", tc.rule, got, tc.hygiene)
		}
		if got := found(h.Optional); got != tc.optional {
			t.Errorf("%s: optional %q, want %q", tc.rule, got, tc.optional)
		}
		for _, r := range h.Optional {
			if from := max(0, r.Offset-24); r.Excerpt != raw[from:min(len(raw), from+64)] || r.Detail == "" {
				t.Errorf("%s: %q %q", tc.rule, r.Excerpt, r.Detail)
			}
		}
	}
}

// A finding that nobody asked for must cost no memory: such requests are
// everyday ones.
func TestAnOptionalFindingAllocatesNothing(t *testing.T) {
	cost := func(target string) float64 {
		raw := []byte("GET " + target + " HTTP/1.1\r\nHost: a.example\r\n\r\n")
		return testing.AllocsPerRun(100, func() {
			if h, _, err := strict.ParseHead(raw, strict.Limits{}); err != nil || h.Rejection != nil {
				t.Fatal(err, h)
			}
		})
	}
	plain := cost("/a/b?c=d")
	for _, target := range []string{"/a;b?c=d", "/a//b?c=d", "/a%2Fb?c=d", "/a/b?c=%"} {
		if got := cost(target); got > plain {
			t.Errorf("%s costs %v allocations, want %v", target, got, plain)
		}
	}
}
