package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/server"
)

// running is a gateway that serve runs in this process.
type running struct {
	base string
	end  context.CancelFunc
	done chan error
	log  *safeBuffer
}

// safeBuffer is a buffer that several goroutines write to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func startServe(t *testing.T, file string) *running {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	g := &running{end: end, done: make(chan error, 1), log: new(safeBuffer)}
	src := source{file: file}
	started := make(chan string, 1)
	go func() {
		g.done <- serve(ctx, src.load, g.log, func(s *server.Server) {
			for _, a := range s.Addresses() {
				started <- a.String()
			}
		})
	}()
	select {
	case a := <-started:
		g.base = "http://" + a
	case err := <-g.done:
		t.Fatalf("serve: %v\n%s", err, g.log)
	}
	t.Cleanup(end)
	return g
}

// get returns status, body and request id.
func (g *running) get(t *testing.T, target string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.base+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header.Get("X-Request-Id")
}

func (g *running) stop(t *testing.T) {
	t.Helper()
	g.end()
	if err := <-g.done; err != nil {
		t.Errorf("serve ended with %v", err)
	}
	if !strings.Contains(g.log.String(), "stopped") {
		t.Errorf("the log does not tell that the gateway stopped: %s", g.log)
	}
}
