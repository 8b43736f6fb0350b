package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// client2 speaks HTTP/2 without TLS, as the standard library does.
func client2(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Number"), body)
}

// TestHTTP2Pairs sends requests of every kind at once on one connection, and
// holds that each answer belongs to its request: an accepted one with its own
// target, field and body, a refused one with its own record.
func TestHTTP2Pairs(t *testing.T) {
	e := open(t, http.HandlerFunc(echo), strings.Replace(plain2, "inbound_threshold: 1000, rules_before: [types.conf]", `mode: "off"`, 1))
	client := client2(t)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(worker), 9113))
			for n := range 100 {
				method, target, body := "GET", fmt.Sprintf("/%d/%d", worker, n), ""
				if rnd.IntN(2) == 0 {
					method, body = "POST", strings.Repeat(fmt.Sprintf("%d.%d ", worker, n), rnd.IntN(3000))
				}
				refused := rnd.IntN(3) == 0
				if refused {
					target += "%00"
				}
				var content io.Reader
				if body != "" {
					content = bytes.NewBufferString(body)
					if rnd.IntN(2) == 0 {
						content = io.MultiReader(content) // of a length that is not declared
					}
				}
				req, err := http.NewRequestWithContext(t.Context(), method, "http://"+e.address+target, content)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("X-Number", fmt.Sprint(worker, n))
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("%s %s: %v", method, target, err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if want := fmt.Sprintf("%s %s %d %d %s", method, target, worker, n, body); err != nil || !refused && string(got) != want {
					t.Errorf("%s %s: %.80q, %v, want %.80q", method, target, got, err, want)
				}
				r := e.notes.find(t, resp.Header.Get("X-Request-Id"))
				if r.Request.Target != target || r.Request.Method != method || (r.Reason != "") != refused {
					t.Errorf("%s %s was recorded as %s %s, refused for %q", method, target, r.Request.Method, r.Request.Target, r.Reason)
				}
			}
		})
	}
	wg.Wait()
}

// TestHTTP2WindowsComeBack holds that content which nobody reads, because its
// request was refused, is given back to the window of the connection (RFC 9113
// section 6.9): or the uploads after it would wait for ever.
func TestHTTP2WindowsComeBack(t *testing.T) {
	e := open(t, http.HandlerFunc(echo), strings.Replace(plain2, "inbound_threshold: 1000, rules_before: [types.conf]", `mode: "off"`, 1))
	client := client2(t)
	post := func(target string, size int) (status int) {
		resp, err := client.Post("http://"+e.address+target, "text/plain", bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatalf("POST %s: %v", target, err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("POST %s: %v", target, err)
		}
		return resp.StatusCode
	}
	for range 100 { // several times the window of the connection
		if status := post("/a%00", 20_000); status != 400 {
			t.Fatalf("status %d, want 400", status)
		}
	}
	if status := post("/a", 900_000); status != 200 {
		t.Errorf("an upload afterwards got %d", status)
	}
	if n := e.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
