package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A server is a proxy in a process of its own.
type server struct {
	name, short string
	version     string // where it is not that of go.mod
	judges      bool   // it refuses attacks
	// tolerated is the share of answers that may differ from what is expected;
	// two of them always may.
	tolerated float64
	address   string
	control   string // URL of what tells how much it has allocated; empty: nobody does
	command   []string

	cmd    *exec.Cmd
	ended  chan struct{}
	output string // the file it writes to
}

// aFewInThousands is for texts that look like attacks by chance: libinjection
// finds SQL in three words of Chinese now and then.
const aFewInThousands = 0.004

// candidates are the servers that are always there. The first is what the
// others are compared with.
func candidates(dir, backend string) []*server {
	stock := func(name, short string, judges bool) *server {
		s := &server{name: name, short: short, judges: judges, tolerated: aFewInThousands, address: freeAddress()}
		control := freeAddress()
		s.control = "http://" + control + "/"
		s.command = []string{filepath.Join(dir, "bin", "stock"), "-listen", s.address, "-control", control, "-backend", backend, fmt.Sprintf("-rules=%t", judges)}
		return s
	}
	return []*server{
		stock("Coraza's middleware", "middleware", true),
		stock("ReverseProxy", "bare", false),
		gateway(dir, backend, "Sallyport, stock", "stock", "mode: enforce, engine: stock"),
		gateway(dir, backend, "Sallyport, fast", "fast", "mode: enforce, engine: fast"),
		gateway(dir, backend, "Sallyport, off", "off", "mode: \"off\""),
	}
}

// gateway is Sallyport as make build makes it, with the defaults but for a
// limit that nobody reaches. Its log of decisions is a file and holds the
// refusals.
func gateway(dir, backend, name, short, policy string) *server {
	s := &server{name: name, short: short, judges: short != "off", tolerated: aFewInThousands, address: freeAddress()}
	admin := freeAddress()
	s.control = "http://" + admin + "/metrics"
	file := filepath.Join(dir, short, "sallyport.yaml")
	s.command = []string{filepath.Join(dir, "bin", "sallyport"), "serve", "-c", file}
	text := fmt.Sprintf(`listeners: [{address: %q}]
limits: [{name: per-client, rate: 1000000/s, burst: 1000000}]
pools: {app: {backends: [{name: one, url: "http://%s"}]}}
routes: [{name: site, pool: app}]
policies: {default: {%s}}
audit: {path: audit.jsonl}
admin: {address: %q}
`, s.address, backend, policy, admin)
	// What cannot be written is missed when the server starts.
	_ = os.Mkdir(filepath.Dir(file), 0o700)
	_ = os.WriteFile(file, []byte(text), 0o600)
	return s
}

// start starts the process and waits until it takes connections.
func (s *server) start(ctx context.Context, dir string) error {
	home := filepath.Join(dir, s.short)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	s.output = filepath.Join(home, "output")
	f, err := os.Create(s.output)
	if err != nil {
		return err
	}
	defer f.Close()
	s.cmd = exec.CommandContext(ctx, s.command[0], s.command[1:]...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = home, f, f
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // however it ends
		close(s.ended)
	}()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		if conn, err := net.Dial("tcp", s.address); err == nil {
			return conn.Close()
		}
		select {
		case <-s.ended:
			return s.failed("it ended at once")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return s.failed("it takes no connections")
}

// failed is an error with the end of what the server has printed.
func (s *server) failed(what string) error {
	text, err := os.ReadFile(s.output)
	if err != nil {
		return fmt.Errorf("%s: %s; and %w", s.name, what, err)
	}
	return fmt.Errorf("%s: %s\n%s", s.name, what, text[max(0, len(text)-2000):])
}

// stop ends the process, gently at first.
func (s *server) stop() {
	if s.ended == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(5 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	s.ended = nil
}

// allocations is how often the process has allocated memory since its start.
func (s *server) allocations() (float64, error) {
	resp, err := http.Get(s.control)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for l := range bytes.Lines(text) {
		if v, ok := bytes.CutPrefix(l, []byte("go_memstats_mallocs_total ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(v)), 64)
		}
	}
	return 0, errors.New("it does not tell how much it has allocated")
}

// freeAddress is one that nobody listens on right now.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0" // where the server will say why
	}
	defer l.Close()
	return l.Addr().String()
}

// page is what the backend answers to everything.
var page = []byte(strings.Repeat("<p>An ordinary page of an ordinary shop.</p>\n", 100))[:4<<10]

// listenBackend starts a backend that reads requests and answers each with
// the same page.
func listenBackend() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
	serve := func(conn net.Conn) {
		defer conn.Close()
		br := bufio.NewReaderSize(conn, 16<<10)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l, nil
}
