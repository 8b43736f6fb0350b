package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
)

const reloadConfig = `
listeners: [{address: "127.0.0.1:0"}]
limits: []
policies: {default: {rules_after: [words.conf]}, other: {paranoia: 2, rules_after: [words.conf]}}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}]}}
routes: [{name: other, hosts: [other.example], pool: app, policy: other}, {name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`

// TestReloads reloads twenty times; the tag soak has the long run.
func TestReloads(t *testing.T) { testReloads(t, 20) }

// testReloads reloads with other rules each time, while requests come in and
// one is in flight, and looks at what is left: nothing of the rule sets before.
func testReloads(t *testing.T, rounds int) {
	e := open(t, http.HandlerFunc(leaky), reloadConfig, "words.conf", reloadRules(0), "words.data", word(0)+"\n")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	ask := func(host, method, w string) int {
		req, err := http.NewRequest(method, "http://"+e.address+"/?w="+w, http.NoBody)
		if method == http.MethodPost {
			req, err = http.NewRequest(method, "http://"+e.address+"/", strings.NewReader("w="+w))
		}
		if err != nil {
			t.Error(err)
			return 0
		}
		req.Host = host
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return 0
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
	// What the first rounds leave is warm-up: pools, idle connections, the
	// patterns that all rule sets share.
	const warm = 5
	var before held
	for n := 1; n <= rounds+warm; n++ {
		flight := takeOff(t, e, word(n-1))
		e.rewrite(t, n)
		var load sync.WaitGroup
		stop := make(chan struct{})
		for i := range 3 {
			load.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if got := ask([]string{"a.example", "other.example"}[i%2], []string{"GET", "POST"}[i/2], "harmless"); got != 200 {
						t.Errorf("round %d: a harmless request under load got %d", n, got)
						return
					}
				}
			})
		}
		err := e.Reload()
		close(stop)
		load.Wait()
		if err != nil {
			t.Fatalf("round %d: %v", n, err)
		}
		if status, generation := flight.land(t, e); status != 403 || generation != uint64(n) {
			t.Errorf("round %d: the request in flight got %d by generation %d, want 403 by %d, which it began with", n, status, generation, n)
		}
		for _, host := range []string{"a.example", "other.example"} {
			if old, now := ask(host, "POST", word(n-1)), ask(host, "GET", word(n)); old != 200 || now != 403 {
				t.Errorf("round %d, %s: the word of the last rules got %d, that of the new ones %d; want 200 and 403", n, host, old, now)
			}
		}
		if n == warm {
			before = e.held(client)
		}
	}
	after := e.held(client)
	t.Logf("%d reloads: %v before, %v after", rounds, before, after)
	// A rule set that is not given up keeps some 400 KiB of patterns of its own.
	if grown := after.heap - before.heap; grown > 3<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	if after.goroutines > before.goroutines+8 || after.files > before.files+8 {
		t.Errorf("%v before, %v after, want no more goroutines and descriptors", before, after)
	}
}

// word is what the rules of a round refuse.
func word(n int) string { return fmt.Sprintf("forbidden-%d-word", n) }

// reloadRules are rules with a list of their own, and patterns that no other
// round has.
func reloadRules(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SecRule ARGS:w \"@pmFromFile words.data\" \"id:1001,phase:2,deny\"\n")
	for i := range 8 {
		fmt.Fprintf(&b, "SecRule ARGS:never \"@rx (?i)(?:%s){1,40}\" \"id:%d,phase:2,deny\"\n", strings.Repeat(fmt.Sprintf("round %d pattern %d|", n, i), 20)+"x", 1100+i)
	}
	fmt.Fprintf(&b, "SecRuleUpdateTargetById 942100 \"!ARGS:field%d\"\n", n)
	return b.String()
}

// rewrite puts the rules of a round in place.
func (e *edge) rewrite(t *testing.T, n int) {
	t.Helper()
	for name, text := range map[string]string{"words.conf": reloadRules(n), "words.data": word(n) + "\n"} {
		if err := os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A flight is a request whose head has been judged and whose body is under way.
type flight struct {
	conn *testkit.RawConn
	rest string
}

// takeOff begins a request with a word in its body. That the gateway asks for
// the body shows that a generation has taken it.
func takeOff(t *testing.T, e *edge, w string) flight {
	t.Helper()
	conn := testkit.DialRaw(t, e.address)
	body := "w=" + w
	conn.Send(fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: x\r\nAccept: */*\r\nExpect: 100-continue\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", len(body)))
	line, err := conn.Reader().ReadString('\n')
	if err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("the gateway does not ask for the body: %q, %v", line, err)
	}
	if _, err := conn.Reader().ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return flight{conn, body}
}

// land sends the body and returns the status and the generation that judged.
func (f flight) land(t *testing.T, e *edge) (int, uint64) {
	t.Helper()
	f.conn.Send([]byte(f.rest))
	a := f.conn.MustAnswer(http.MethodPost)
	defer f.conn.Close()
	r := e.notes.find(t, a.Header.Get("X-Request-Id"))
	if r.Reason != gate.WAFRule {
		t.Errorf("the request in flight: %s %s", r.Action, r.Reason)
	}
	return a.Status, r.Gateway.Generation
}

// held is what a process keeps.
type held struct {
	heap              int64
	goroutines, files int
}

func (h held) String() string {
	return fmt.Sprintf("%d KiB of heap, %d goroutines, %d descriptors", h.heap>>10, h.goroutines, h.files)
}

// held measures what is left when nothing is going on, and what the test itself
// keeps is gone.
func (e *edge) held(client *http.Client) held {
	e.notes.mu.Lock()
	e.notes.list = nil
	e.notes.mu.Unlock()
	client.CloseIdleConnections()
	e.backend.CloseClientConnections()
	var least held
	for range 20 { // what ends by itself needs a moment
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		now := held{int64(m.HeapAlloc), runtime.NumGoroutine(), 0}
		if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
			now.files = len(fds)
		}
		if least.heap == 0 {
			least = now
		}
		least = held{min(least.heap, now.heap), min(least.goroutines, now.goroutines), min(least.files, now.files)}
		time.Sleep(10 * time.Millisecond)
	}
	return least
}
