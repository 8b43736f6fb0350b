package unmask_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/unmask"
	"sallyport/proxy"
)

// ask asks a server about the page at a path, by the name of a site.
func ask(t *testing.T, h http.HandlerFunc, path string, opt unmask.Options) *unmask.Report {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	opt.Connect = srv.Listener.Addr().String()
	site, err := url.Parse("http://shop.example.org" + path)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := unmask.Ask(t.Context(), site, opt)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// things are what was found in the answers to one question.
func things(rep *unmask.Report, name string) []string {
	var all []string
	for _, q := range rep.Questions {
		for _, f := range q.Found {
			if q.Name == name {
				all = append(all, f.Kind+" "+f.Where+": "+f.What)
			}
		}
	}
	return all
}

func TestWhatIsFound(t *testing.T) {
	t.Parallel()
	backends := proxy.NewSearcher(proxy.Config{Pools: []proxy.PoolConfig{{Backends: []proxy.BackendConfig{{URL: &url.URL{Scheme: "http", Host: "198.51.100.9:8080"}}}}}})
	for _, tc := range []struct{ rule, field, value, body, want string }{
		{"software", "Server", "nginx/1.18.0", "", "software field Server: nginx/1.18.0"},
		{"a debugging field", "X-Backend-Server", "web3", "", "software field X-Backend-Server: web3"},
		{"a balancer's cookie", "Set-Cookie", "BIGipServerpool=1.2.3; path=/", "", "balancer field Set-Cookie: BIGipServerpool"},
		{"a private address", "Location", "http://10.1.2.3:8080/x", "", "private field Location: 10.1.2.3:8080"},
		{"an internal name", "X-Any", "by app-1.shop.internal", "", "internal field X-Any: app-1.shop.internal"},
		{"a backend of the configuration", "X-Any", "by 198.51.100.9", "", "backend field X-Any: 198.51.100.9"},
		{"in a body", "", "", "at http://192.168.0.7/", "private body: 192.168.0.7"},
		{"under an error page", "", "", "<hr><center>nginx/1.24.0</center>", "software body: nginx/1.24.0"},
		{"the site's own name", "Location", "http://shop.example.org/x", "", ""},
		{"an ordinary cookie", "Set-Cookie", "sid=1; Path=/", "", ""},
		{"a version of something else", "", "", "chapter 10.1, in 172.200.0.1 ways, locally", ""},
		{"fields of the connection", "Connection", "close", "", ""},
	} {
		rep := ask(t, func(w http.ResponseWriter, _ *http.Request) {
			if tc.field != "" {
				w.Header().Set(tc.field, tc.value)
			}
			_, _ = io.WriteString(w, tc.body)
		}, "/", unmask.Options{Backends: backends})
		want := []string{tc.want}
		if tc.want == "" {
			want = nil
		}
		if got := things(rep, "the page"); !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", tc.rule, got, want)
		}
		if (rep.Found > 0) != (tc.want != "") {
			t.Errorf("%s: %d things in all", tc.rule, rep.Found)
		}
	}
}

// Each question is asked as it is described.
func TestQuestions(t *testing.T) {
	t.Parallel()
	var seen []string
	rep := ask(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprintf("%s %s %s %s", r.Method, r.Proto, r.Host, r.RequestURI))
		w.WriteHeader(http.StatusNotFound)
	}, "/shop/?a=b", unmask.Options{})
	all := strings.Join(seen, "\n")
	for _, want := range []string{
		"GET HTTP/1.1 shop.example.org /shop/?a=b", "OPTIONS HTTP/1.1 shop.example.org /shop/?a=b", "UNMASK HTTP/1.1 shop.example.org /shop/?a=b",
		"GET HTTP/1.1 unmask.invalid /shop/?a=b", "GET HTTP/1.0  /shop/?a=b", "GET HTTP/1.1 shop.example.org /shop\n",
	} {
		if !strings.Contains(all+"\n", want) {
			t.Errorf("nobody asked %q; the site was asked\n%s", want, all)
		}
	}
	if len(rep.Questions) != 9 {
		t.Errorf("%d questions, want 9", len(rep.Questions))
	}
	for _, q := range rep.Questions {
		if q.Status == 0 && q.Problem == "" || q.Found == nil {
			t.Errorf("%+v tells neither a status nor a problem, or has no list", q)
		}
	}
	if _, err := json.Marshal(rep); err != nil {
		t.Error(err)
	}
}

// An endless answer, and one that is none, end too.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := 0
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil && n == 0 {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				for err == nil {
					_, err = io.WriteString(c, strings.Repeat("x", 64<<10))
				}
			}
			n++
			_, _ = io.WriteString(c, "garbage\r\n\r\n")
			_ = c.Close()
		}
	}()
	site := &url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/"}
	rep, err := unmask.Ask(t.Context(), site, unmask.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if q := rep.Questions[0]; q.Status != 200 {
		t.Errorf("an endless answer: %+v", q)
	}
	if q := rep.Questions[1]; q.Status != 0 || q.Problem == "" {
		t.Errorf("no answer: %+v", q)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := unmask.Ask(ctx, site, unmask.Options{}); err == nil {
		t.Error("a site that was not asked has answered")
	}
}
