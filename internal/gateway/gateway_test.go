package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
)

// leaky is a backend that tells everything about itself.
func leaky(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "LeakyServer/9.9")
	w.Header().Set("X-Powered-By", "PHP/5.2")
	switch r.URL.Path {
	case "/boom":
		http.Error(w, "Traceback: LeakyServer died in /srv/app.py", http.StatusInternalServerError)
	case "/redirect":
		w.Header().Set("Location", "http://"+r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()+"/next")
		w.WriteHeader(http.StatusFound)
	default:
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.RequestURI, n)
	}
}

const small = `
listeners: [{address: "127.0.0.1:0"}]
clients: {trusted_proxies: [127.0.0.0/8]}
geo: {deny: [198.51.100.0/24]}
limits: [{name: per-client, rate: 10/s, burst: 20}]
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}]}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`

func TestEveryStageDecides(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), small)
	for i, tc := range []struct {
		rule, request string
		status        int
		reason        gate.Reason
		contains      string
	}{
		{"a harmless request passes", "GET /hello?name=world", 200, "", "GET /hello?name=world 0"},
		{"odd but legal targets arrive byte for byte", "GET /a%2Fb;v=1//c?x=%zz;y={|}^[]", 200, "", "GET /a%2Fb;v=1//c?x=%zz;y={|}^[] 0"},
		{"SQL injection in the query", "GET /?id=1%27%20OR%20%271%27=%271%20UNION%20SELECT%20password%20FROM%20users--", 403, gate.WAFInboundScore, ""},
		{"its harmless twin", "GET /?id=select+a+book", 200, "", ""},
		{"script in a form", "POST /c\nContent-Type: application/x-www-form-urlencoded\n\nc=%3Cscript%3Ealert(document.cookie)%3C/script%3E", 403, gate.WAFInboundScore, ""},
		{"its harmless twin", "POST /c\nContent-Type: application/x-www-form-urlencoded\n\nc=I+like+this+book", 200, "", "POST /c 18"},
		{"a command in JSON", "POST /api\nContent-Type: application/json\n\n{\"a\":{\"b\":\";cat /etc/passwd|sh\"}}", 403, gate.WAFInboundScore, ""},
		{"its harmless twin", "POST /api\nContent-Type: application/json\n\n{\"a\":{\"b\":\"the cat sat\"}}", 200, "", "POST /api 25"},
		{"a denied network", "GET /\nX-Forwarded-For: 198.51.100.7", 403, gate.GeoPrefix, ""},
		{"what stands left of the client does not count", "GET /\nX-Forwarded-For: 198.51.100.7, 203.0.113.7", 200, "", ""},
		{"a method nobody allowed", "PURGE /", 405, gate.HTTPMethodNotAllowed, ""},
		{"dot segments", "GET /a/../../etc/passwd", 400, gate.HTTPPathDots, ""},
		{"an obvious smuggle", "POST /\nTransfer-Encoding: chunked\n\n0\r\n\r\n", 400, gate.HTTPTEAndCL, ""},
		{"an error page of ours", "GET /boom", 500, "", ""},
		{"a redirect to ourselves", "GET /redirect", 302, "", ""},
	} {
		request := tc.request
		if !strings.Contains(request, "X-Forwarded-For") {
			head, body, _ := strings.Cut(request, "\n\n")
			request = fmt.Sprintf("%s\nX-Forwarded-For: 203.0.113.%d", head, 10+i)
			if body != "" {
				request += "\n\n" + body
			}
		}
		a := e.send(t, request)
		if a.status != tc.status || !strings.Contains(a.body, tc.contains) {
			t.Errorf("%s: %q was answered %d %q, want %d %q", tc.rule, tc.request, a.status, a.body, tc.status, tc.contains)
		}
		if seen := fmt.Sprint(a.header, a.body); strings.Contains(seen, "Leaky") || strings.Contains(seen, "PHP/5.2") || strings.Contains(seen, "127.0.0.1:") {
			t.Errorf("%s: the answer tells about the backend: %s", tc.rule, seen)
		}
		id := a.header.Get("X-Request-Id")
		r := e.notes.find(t, id)
		if r.Reason != tc.reason {
			t.Errorf("%s: recorded as %q (%s), want %q", tc.rule, r.Reason, r.Detail, tc.reason)
		}
		if r.Reason == gate.WAFInboundScore && (r.WAF == nil || len(r.WAF.Matches) == 0 || r.WAF.Score < 5 || r.WAF.Matches[0].Line == 0) {
			t.Errorf("%s: the record does not tell what matched: %+v", tc.rule, r.WAF)
		}
	}
}

func TestBudgetsOutliveAReload(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), strings.Replace(small, "rate: 10/s", "rate: 10/h", 1))
	ask := func(client string) answer { return e.send(t, "GET /\nX-Forwarded-For: "+client) }
	passed, refused := 0, answer{}
	for range 60 {
		if a := ask("203.0.113.9"); a.status == 200 {
			passed++
		} else {
			refused = a
		}
	}
	if refused.status != 429 || refused.header.Get("Retry-After") == "" {
		t.Fatalf("after %d requests: %d with Retry-After %q, want a 429 that says when to come back", passed, refused.status, refused.header.Get("Retry-After"))
	}
	if a := ask("203.0.113.10"); a.status != 200 {
		t.Errorf("another client got %d", a.status)
	}
	if err := e.Reload(); err != nil {
		t.Fatal(err)
	}
	if a := ask("203.0.113.9"); a.status != 429 {
		t.Errorf("after a reload the client got %d: its budget was refilled", a.status)
	}
	r := e.notes.find(t, refused.header.Get("X-Request-Id"))
	if r.Limit == nil || r.Limit.Name != "per-client" || r.Limit.RetryAfter < 1 {
		t.Errorf("the record tells %+v of the limit", r.Limit)
	}
}

// What is asked for is asked by the configuration that a request meets, not by
// the one under which its connection was opened.
func TestAReloadChangesWhatIsAskedFor(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), small)
	conn := testkit.DialRaw(t, e.address)
	ask := func() int {
		conn.Send([]byte("GET /a%2Fb HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		return conn.MustAnswer("GET").Status
	}
	if got := ask(); got != 200 {
		t.Fatalf("status %d before, want 200", got)
	}
	text, err := os.ReadFile(e.file)
	if err != nil {
		t.Fatal(err)
	}
	e.write(t, string(text)+"http: {refuse: [http.path_slash]}\n")
	if err := e.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != 400 {
		t.Errorf("status %d after, want 400", got)
	}
}

// TestLimitsLearnHowItEnded charges a limit by what the client was answered,
// by whomever, tells every client of its budget, and shows it in the status.
func TestLimitsLearnHowItEnded(t *testing.T) {
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("password") != "right" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}), strings.Replace(small, "limits: [{name: per-client, rate: 10/s, burst: 20}]", `
limits:
  - {name: per-client, rate: 10/h, burst: 20}
  - {name: failed-login, paths: [/login], on_status: [401, 403], rate: 10/h, burst: 3}
  - {name: in-flight, concurrent: 2}
limiter: {headers: all}`, 1))
	ask := func(target string) answer { return e.send(t, "GET "+target+"\nX-Forwarded-For: 203.0.113.9") }
	for i, tc := range []struct {
		target string
		status int
	}{
		{"/login?password=right", 200},
		{"/login?password=wrong", 401},
		{"/login?password=1%27%20OR%20%271%27=%271%20UNION%20SELECT%20password%20FROM%20users--", 403}, // by the rules
		{"/elsewhere?password=wrong", 401},
		{"/login?password=wrong", 401},
		{"/login?password=right", 429},
		{"/elsewhere?password=right", 200},
	} {
		a := ask(tc.target)
		if a.status != tc.status {
			t.Fatalf("request %d, %s: %d, want %d", i+1, tc.target, a.status, tc.status)
		}
		if a.header.Get("RateLimit") == "" || a.header.Get("RateLimit-Policy") == "" {
			t.Errorf("request %d: the client is told %q, %q", i+1, a.header.Get("RateLimit"), a.header.Get("RateLimit-Policy"))
		}
		if r := e.notes.find(t, a.header.Get("X-Request-Id")); tc.status == 429 && (r.Limit == nil || r.Limit.Name != "failed-login" || r.Limit.RetryAfter < 300) {
			t.Errorf("request %d is recorded with %+v", i+1, r.Limit)
		}
	}
}

func TestABadReloadKeepsServing(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), small)
	text, err := os.ReadFile(e.file)
	if err != nil {
		t.Fatal(err)
	}
	e.write(t, strings.Replace(string(text), "rate:", "rtae:", 1))
	err = e.Reload()
	if err == nil || !strings.Contains(err.Error(), "sallyport.yaml:5:") || !strings.Contains(err.Error(), "rtae") {
		t.Errorf("Reload = %v, want the place of the unknown key", err)
	}
	rules := filepath.Join(e.dir, "broken.conf")
	if err := os.WriteFile(rules, []byte("# fine\nSecRule ARGS \"@rx a\" \"id:1001,phase:2,pass\"\nSecRule ARGS \"@nope a\" \"id:1002,phase:2,pass\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.write(t, string(text)+"policies: {default: {rules_after: [broken.conf]}}\n")
	if err = e.Reload(); err == nil || !strings.Contains(err.Error(), "broken.conf:3") {
		t.Errorf("Reload = %v, want the file and line of the broken directive", err)
	}
	if a := e.send(t, "GET /\nX-Forwarded-For: 203.0.113.20"); a.status != 200 || e.Generation() != 1 {
		t.Errorf("after bad reloads: %d by generation %d", a.status, e.Generation())
	}
}

// A short answer ends after its record was taken: who reads the rules log looks
// into it as soon as the answer is there.
func TestTheRecordComesBeforeTheEndOfAShortAnswer(t *testing.T) {
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(6<<10))
		_, _ = w.Write(make([]byte, 6<<10))
	}), strings.Replace(small, "limits: [{name: per-client, rate: 10/s, burst: 20}]", "limits: []", 1))
	e.notes.slow.Store(int64(5 * time.Millisecond))
	for n := range 10 {
		if a := e.send(t, "GET /"); a.status != 200 || len(a.body) != 6<<10 {
			t.Fatalf("%d and %d bytes", a.status, len(a.body))
		}
		e.notes.mu.Lock()
		have := len(e.notes.list)
		e.notes.mu.Unlock()
		if have != n+1 {
			t.Fatalf("after %d answers there are %d records", n+1, have)
		}
	}
}

func TestObserveRefusesOnlyFraming(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), strings.Replace(small, "listeners:", "mode: observe\nlisteners:", 1))
	for _, tc := range []struct {
		rule, request string
		status        int
		action        string
		reason        gate.Reason
	}{
		{"an attack passes and is recorded", "GET /?id=1%27%20UNION%20SELECT%20password%20FROM%20users--", 200, "observe", gate.WAFInboundScore},
		{"a denied network likewise", "GET /\nX-Forwarded-For: 198.51.100.7", 200, "observe", gate.GeoPrefix},
		{"hygiene likewise", "GET /a/../b", 200, "observe", gate.HTTPPathDots},
		{"broken framing is refused", "POST /\nTransfer-Encoding: chunked\n\n0\r\n\r\n", 400, "refuse", gate.HTTPTEAndCL},
		{"a limit of size is refused", "GET /" + strings.Repeat("a", 17<<10), 414, "refuse", gate.HTTPTargetTooLong},
	} {
		a := e.send(t, tc.request)
		if a.status != tc.status {
			t.Errorf("%s: status %d, want %d", tc.rule, a.status, tc.status)
		}
		if r := e.notes.find(t, a.header.Get("X-Request-Id")); r.Action != tc.action || r.Reason != tc.reason {
			t.Errorf("%s: recorded as %s %s, want %s %s", tc.rule, r.Action, r.Reason, tc.action, tc.reason)
		}
	}
}

func TestSecretsStayOutOfTheLog(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), strings.Replace(small, "path: audit.jsonl", "path: audit.jsonl, log: all, rules_log: $DIR/rules.log", 1))
	const secret = "hunter2hunter2"
	for _, request := range []string{
		"GET /?password=" + secret + "&q=1%27%20UNION%20SELECT%20password%20FROM%20users--",
		"GET /\nAuthorization: Bearer " + secret,
		"GET /\nCookie: session=" + secret + "%27%20UNION%20SELECT%20password%20FROM%20users--",
		"POST /login\nContent-Type: application/x-www-form-urlencoded\n\nuser=a&password=" + secret + "%27%20UNION%20SELECT%20password%20FROM%20users--",
		"POST /\nTransfer-Encoding: chunked\nAuthorization: Basic " + secret + "\n\n0\r\n\r\n",
	} {
		e.send(t, request)
	}
	if n := len(e.auditLines(t)); n != 5 {
		t.Errorf("%d records were written, want 5", n)
	}
	for _, name := range []string{"audit.jsonl", "rules.log"} {
		text, err := os.ReadFile(filepath.Join(e.dir, name))
		if err != nil || len(text) == 0 {
			t.Fatalf("%s: %d bytes, %v", name, len(text), err)
		}
		if strings.Contains(string(text), secret) {
			t.Errorf("%s holds the secret: %s", name, text)
		}
	}
}

// A refusal at the guard leaves the record of any other: what stood around the
// refused byte, where, and nothing of the secrets beside it.
func TestRecordsOfRefusalsAtTheGuard(t *testing.T) {
	const post = "POST / HTTP/1.1\r\nHost: localhost\r\n"
	cases := []struct {
		rule, request string // with the refused byte behind a bar
		reason        gate.Reason
		from          string // what the offset is counted from
	}{
		{"a control behind credentials", "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer SECRETSECRET0123456789|\x01\r\n\r\n", gate.HTTPFieldValue, ""},
		{"a control within a cookie", "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: a=SECRET01|\x00SECRET23\r\n\r\n", gate.HTTPFieldValue, ""},
		{"a bad name behind a key", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: SECRETSECRET\r\nbad| name: x\r\n\r\n", gate.HTTPFieldName, ""},
		{"a bare LF behind a password", "GET /?password=SECRET&a HTTP/1.1|\nHost: localhost\r\n\r\n", gate.HTTPBareLF, ""},
		{"a chunk size", post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n|zz\r\npassword=SECRET\r\n", gate.HTTPChunkSize, "5\r\n"},
		{"the end of a chunk that holds the end of a password", post + "Transfer-Encoding: chunked\r\n\r\n30\r\npassword=" + strings.Repeat("SECRET ", 6)[:39] + "|X\r\n0\r\n\r\n", gate.HTTPChunkEnd, "30\r\n"},
		{"the end of a chunk that holds a card number", post + "Transfer-Encoding: chunked\r\n\r\n1a\r\nnumber=4111 1111 1111 1111|\rX\r\n0\r\n\r\n", gate.HTTPChunkEnd, "1a\r\n"},
		{"a forbidden trailer", post + "Transfer-Encoding: chunked\r\n\r\n0\r\n|Authorization: Bearer SECRETSECRET\r\n\r\n", gate.HTTPTrailer, "0\r\n"},
		{"a body that is cut", post + "Content-Length: 500\r\n\r\npassword=SECRET|", gate.HTTPBodyCut, "password="},
		{"a chunked body that is cut", post + "Transfer-Encoding: chunked\r\n\r\n80\r\npassword=SECRET|", gate.HTTPBodyCut, "80\r\n"},
	}
	e := open(t, http.HandlerFunc(leaky), strings.Replace(small, "limits: [{name: per-client, rate: 10/s, burst: 20}]", "limits: []\npolicies: {default: {mode: \"off\"}}", 1))
	var ids []string
	for _, tc := range cases {
		conn := testkit.DialRaw(t, e.address)
		conn.Send([]byte(strings.Replace(tc.request, "|", "", 1)))
		conn.HalfClose()
		a := conn.MustAnswer("POST")
		if a.Status != 400 {
			t.Errorf("%s: status %d", tc.rule, a.Status)
		}
		ids = append(ids, a.Header.Get("X-Request-Id"))
	}
	lines := map[any]map[string]any{}
	for _, line := range e.auditLines(t) {
		lines[line["id"]] = line
	}
	for i, tc := range cases {
		line := lines[ids[i]]
		if line["reason"] != string(tc.reason) {
			t.Errorf("%s: reason %v", tc.rule, line["reason"])
		}
		at := strings.IndexByte(tc.request, '|') - strings.Index(tc.request, tc.from)
		if line["offset"] != float64(at) {
			t.Errorf("%s: offset %v, want %d", tc.rule, line["offset"], at)
		}
		excerpt, _ := line["excerpt"].(string)
		mark, marked := line["mark"].(float64)
		if excerpt != "" {
			_, want, _ := strings.Cut(tc.request, "|")
			rest := excerpt[min(int(mark), len(excerpt)):]
			if !marked || !strings.HasPrefix(rest, "[redacted") && (rest == "") != (want == "") || rest != "" && rest[0] != '[' && rest[0] != want[0] {
				t.Errorf("%s: the mark stands at %v of %q", tc.rule, line["mark"], excerpt)
			}
		} else if tc.reason != gate.HTTPBodyCut {
			t.Errorf("%s: no excerpt", tc.rule)
		}
		for _, secret := range []string{"SECRE", "ECRET", "4111", "1111"} {
			if text, err := json.Marshal(line); err != nil || strings.Contains(string(text), secret) {
				t.Errorf("%s: the record holds a secret: %s, %v", tc.rule, text, err)
			}
		}
	}
}

// TestAbortedRequestsLeaveNothing opens ten thousand requests that vanish at
// every stage of their life, and looks at what is left.
func TestAbortedRequestsLeaveNothing(t *testing.T) {
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) { aborted(t, scheme) })
	}
}

// openOver is open for a backend that is spoken to in a protocol.
func openOver(t testing.TB, scheme string, h http.HandlerFunc, text string, files ...string) *edge {
	t.Helper()
	be := httptest.NewUnstartedServer(h)
	be.Config.Protocols = new(http.Protocols)
	be.Config.Protocols.SetHTTP1(true)
	be.Config.Protocols.SetUnencryptedHTTP2(true)
	be.Start()
	t.Cleanup(be.Close)
	e := openTo(t, be.Listener.Addr().String(), strings.Replace(text, "http://$BACKEND", scheme+"://$BACKEND", 1), files...)
	e.backend = be
	return e
}

// descriptors counts the open files of the process; 0 where that is not known.
func descriptors() int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(files)
}

func aborted(t *testing.T, scheme string) {
	rounds := 5_000
	if testing.Short() || raceEnabled {
		rounds = 500
	}
	e := openOver(t, scheme, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			echoes(w, r)
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			for range 20 {
				if _, err := w.Write(make([]byte, 16<<10)); err != nil {
					return
				}
			}
		}
	}, strings.Replace(small, "limits: [{name: per-client, rate: 10/s, burst: 20}]", "limits: []", 1))
	deadline := time.Now().Add(60 * time.Second)
	// The kernel resets connections of its own accord while a storm has used up
	// what it keeps of closed ones.
	served := func() bool {
		for !e.answers() {
			if time.Now().After(deadline) {
				return false
			}
			time.Sleep(20 * time.Millisecond)
		}
		return true
	}
	if !served() {
		t.Fatal("no request is answered")
	}
	base, files := runtime.NumGoroutine(), descriptors()
	kinds := []string{
		"GET / HT",
		"GET / HTTP/1.1\r\nHost: a\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nhalf",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < rounds; i += 8 {
				c, err := net.Dial("tcp", e.address)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, kinds[i%len(kinds)])
				if i%3 == 0 { // a reset instead of an orderly end
					_ = c.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	served() // all of the storm was accepted when one behind it is answered
	for (runtime.NumGoroutine() > base+20 || descriptors() > files+20 || e.Connections() > 2) && time.Now().Before(deadline) {
		e.backend.CloseClientConnections() // those that lie idle for the next request are no leak
		time.Sleep(20 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > base+20 {
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines are left, %d before:\n%s", n, base, stacks[:runtime.Stack(stacks, true)])
	}
	if n := descriptors(); n > files+20 {
		t.Errorf("%d descriptors are left, %d before", n, files)
	}
	if n := e.Connections(); n > 2 {
		t.Errorf("%d connections are still counted", n)
	}
	if !served() {
		t.Error("afterwards no request is answered")
	}
}

// TestUploadsAndDownloadsStream: nothing that passes is held, whatever the
// backend is spoken to in. make soak does it with a gigabyte each way.
func TestUploadsAndDownloadsStream(t *testing.T) {
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) { streams(t, scheme) })
	}
}

func streams(t *testing.T, scheme string) {
	const size = streamSize
	e := openOver(t, scheme, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", strconv.Itoa(size))
			buf := make([]byte, 64<<10)
			for range size / len(buf) {
				if _, err := w.Write(buf); err != nil {
					return
				}
			}
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}, small+`http: {max_body: 2GiB}
policies: {default: {rules_before: [types.conf]}}`, "types.conf", `SecAction "id:1001,phase:1,pass,nolog,setvar:'tx.allowed_request_content_type=|image/png| |multipart/form-data|'"`)
	var most atomic.Uint64
	watch := time.NewTicker(5 * time.Millisecond)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is held is measured, not what lies about
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-watch.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapInuse))
			}
		}
	})
	for _, tc := range []struct {
		rule string
		req  func() *http.Request
		want string
	}{
		{"an opaque upload", func() *http.Request {
			r, _ := http.NewRequest("POST", "http://"+e.address+"/up", io.LimitReader(zeros{}, size))
			r.Header.Set("Content-Type", "image/png")
			r.ContentLength = size
			return r
		}, strconv.Itoa(size)},
		{"a file in a form", func() *http.Request {
			const head, tail = "--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nholiday\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n", "\r\n--b--\r\n"
			r, _ := http.NewRequest("POST", "http://"+e.address+"/up", io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size), strings.NewReader(tail)))
			r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
			r.ContentLength = int64(len(head) + size + len(tail))
			return r
		}, ""},
	} {
		a := e.do(t, http.DefaultClient, tc.req())
		if a.status != 200 || tc.want != "" && a.body != tc.want {
			t.Errorf("%s: %d %q", tc.rule, a.status, a.body)
		}
	}
	resp, err := http.Get("http://" + e.address + "/down")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("a download of %d bytes came as %d, %v", size, n, err)
	}
	resp.Body.Close()
	close(stop)
	wg.Wait()
	if grown := int64(most.Load()) - int64(before.HeapInuse); grown > 24<<20 {
		t.Errorf("the heap grew by %d MiB while %d MiB streamed", grown>>20, size>>20)
	}
}

// zeros yields zero bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
