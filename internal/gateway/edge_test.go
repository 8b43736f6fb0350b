package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
	"sallyport/internal/server"
)

// edge is a whole gateway in this process, started from a configuration file.
type edge struct {
	*server.Server
	gateway *gateway.Gateway
	backend *httptest.Server
	dir     string
	file    string
	address string
	notes   notes
}

// notes keeps the records of a test.
type notes struct {
	mu   sync.Mutex
	list []gate.Record
	slow atomic.Int64 // how long each takes, in nanoseconds
}

func (n *notes) Record(r gate.Record) {
	time.Sleep(time.Duration(n.slow.Load()))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, r)
}

// find returns the record with an id, waiting for it: it is written when the
// answer has ended, which the client may see first.
func (n *notes) find(tb testing.TB, id string) gate.Record {
	tb.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		n.mu.Lock()
		for i := range n.list {
			if n.list[i].ID == id && n.list[i].Event == "" {
				r := n.list[i]
				n.mu.Unlock()
				return r
			}
		}
		n.mu.Unlock()
	}
	tb.Fatalf("no record with id %q", id)
	return gate.Record{}
}

// open starts a gateway. In the text, $BACKEND stands for a backend's host and
// port, and $DIR for the directory of the file. The strings after it are names
// and contents of files beside it.
func open(tb testing.TB, backend http.Handler, text string, files ...string) *edge {
	tb.Helper()
	be := httptest.NewUnstartedServer(backend)
	be.Config.DisableGeneralOptionsHandler = true // OPTIONS * is for the handler to see
	be.Start()
	tb.Cleanup(be.Close)
	e := openTo(tb, strings.TrimPrefix(be.URL, "http://"), text, files...)
	e.backend = be
	return e
}

// openTo is open for a backend that is there already.
func openTo(tb testing.TB, backend, text string, files ...string) *edge {
	tb.Helper()
	e := &edge{dir: tb.TempDir()}
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(e.dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	e.file = filepath.Join(e.dir, "sallyport.yaml")
	e.write(tb, strings.ReplaceAll(text, "$BACKEND", backend))
	e.gateway = gateway.New(gateway.Options{
		Load:    func() (*config.Config, gate.Diagnostics) { return config.Load(e.file) },
		Version: "test", Also: &e.notes, Log: zap.NewNop(),
	})
	e.Server = server.New(server.Options{
		Build:   func(n uint64) (server.Generation, error) { return e.gateway.Build(n) },
		Record:  e.gateway.Record,
		Metrics: e.gateway.Metrics(),
		Version: "test",
		Log:     zap.NewNop(),
	})
	e.gateway.Watch(e.Server)
	if err := e.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.close(tb))
	for _, a := range e.Addresses() {
		e.address = a.String()
	}
	return e
}

func (e *edge) write(tb testing.TB, text string) {
	tb.Helper()
	if err := os.WriteFile(e.file, []byte(strings.ReplaceAll(text, "$DIR", e.dir)), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func (e *edge) close(tb testing.TB) func() {
	return sync.OnceFunc(func() {
		if err := e.Shutdown(); err != nil {
			tb.Errorf("Shutdown: %v", err)
		}
		if err := e.gateway.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (e *edge) do(tb testing.TB, c *http.Client, req *http.Request) answer {
	tb.Helper()
	resp, err := c.Do(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// send sends a request whose head is written as "METHOD target" with fields
// below it, and a body after an empty line.
func (e *edge) send(tb testing.TB, text string) answer {
	tb.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	c, err := net.Dial("tcp", e.address)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, target)
	for _, l := range lines[1:] {
		b.WriteString(l + "\r\n")
	}
	if body != "" || method == "POST" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return e.exchange(tb, c, b.Bytes(), method)
}

// answers reports whether a new connection is served. While one client has too
// many open, it is not.
func (e *edge) answers() bool {
	c, err := net.Dial("tcp", e.address)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

// exchange writes bytes and reads one answer.
func (e *edge) exchange(tb testing.TB, c net.Conn, request []byte, method string) answer {
	tb.Helper()
	if _, err := c.Write(request); err != nil {
		tb.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		tb.Fatalf("%.60q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%.60q: %v", request, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// auditLines closes the gateway and returns the lines of its audit log.
func (e *edge) auditLines(t *testing.T) []map[string]any {
	t.Helper()
	e.close(t)()
	text, err := os.ReadFile(filepath.Join(e.dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for line := range bytes.Lines(text) {
		m := map[string]any{}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		out = append(out, m)
	}
	return out
}
