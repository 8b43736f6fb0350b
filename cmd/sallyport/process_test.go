package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the program itself, so that tests can send
// it real signals and read its exit code.
func TestMain(m *testing.M) {
	if os.Getenv("SALLYPORT_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a running sallyport.
type process struct {
	cmd    *exec.Cmd
	stderr chan string // lines
	seen   []string
}

func startProcess(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "SALLYPORT_TEST_MAIN=1"), env...)
	return startCommand(t, cmd)
}

// startCommand starts a command that is or becomes the program.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, stderr: make(chan string, 1000)}
	p.cmd.Dir = t.TempDir() // where it makes its state
	pipe, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.stderr)
		for s := bufio.NewScanner(pipe); s.Scan(); {
			p.stderr <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// expect waits for a line with a text.
func (p *process) expect(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-p.stderr:
			if !ok {
				t.Fatalf("the process ended without %q:\n%s", text, strings.Join(p.seen, "\n"))
			}
			p.seen = append(p.seen, line)
			if strings.Contains(line, text) {
				return line
			}
		case <-timeout:
			t.Fatalf("no %q within 20 s:\n%s", text, strings.Join(p.seen, "\n"))
		}
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	for line := range p.stderr {
		p.seen = append(p.seen, line)
	}
	_ = p.cmd.Wait() // the code tells
	return p.cmd.ProcessState.ExitCode()
}

// freePort is a port that nobody listens on right now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func status(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// TestLifeOfAProcess starts the program as systemd would, reloads it well and
// badly by SIGHUP, rotates its log, and ends it by SIGTERM while a request is
// in flight.
func TestLifeOfAProcess(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "ok")
	}))
	defer backend.Close()

	dir := t.TempDir()
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	told := make(chan string, 100)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := notify.Read(buf)
			if err != nil {
				return
			}
			told <- string(buf[:n])
		}
	}()
	systemd := func(want string) {
		t.Helper()
		for {
			select {
			case got := <-told:
				if strings.Contains(got, want) {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("systemd was not told %q", want)
			}
		}
	}

	listen, admin := freePort(t), freePort(t)
	file := filepath.Join(dir, "sallyport.yaml")
	config := func(extra string) {
		t.Helper()
		text := fmt.Sprintf("listeners: [{address: %q}]\nadmin: {address: %q}\npools: {app: {backends: [{url: %q}]}}\nroutes: [{name: site, pool: app}]\naudit: {path: audit.jsonl, log: all}\n%s",
			listen, admin, backend.URL, extra)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config("")
	p := startProcess(t, []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "WATCHDOG_USEC=400000"}, "serve", "-c", file)
	systemd("READY=1")
	systemd("WATCHDOG=1")
	if got := status(t, "http://"+admin+"/readyz"); got != 200 {
		t.Errorf("/readyz = %d", got)
	}
	if got := status(t, "http://"+listen+"/"); got != 200 {
		t.Errorf("a request got %d", got)
	}

	config("limits: [{name: a, rtae: 1/s}]\n")
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	p.expect(t, "reload failed")
	p.expect(t, "sallyport.yaml:6:")
	if got := status(t, "http://"+listen+"/"); got != 200 {
		t.Errorf("after a bad reload a request got %d", got)
	}

	config("limits: []\n")
	if err := os.Rename(filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "audit.jsonl.1")); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	systemd("RELOADING=1")
	systemd("READY=1")
	p.expect(t, "reloaded")
	if got := status(t, "http://"+listen+"/after"); got != 200 {
		t.Errorf("after a reload a request got %d", got)
	}

	answer := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + listen + "/slow")
		if err != nil {
			answer <- 0
			return
		}
		resp.Body.Close()
		answer <- resp.StatusCode
	}()
	<-entered
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	systemd("STOPPING=1")
	p.expect(t, "draining")
	close(release)
	if got := <-answer; got != 200 {
		t.Errorf("the request in flight got %d", got)
	}
	if code := p.exit(t); code != exitFine {
		t.Errorf("exit code %d:\n%s", code, strings.Join(p.seen, "\n"))
	}
	text, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil || !strings.Contains(string(text), `"/after"`) || !strings.Contains(string(text), `"/slow"`) {
		t.Errorf("the log after the rotation holds %q, %v", text, err)
	}
}

func TestServeExitsWhenItCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := startProcess(t, nil, "serve", "--upstream", "http://127.0.0.1:1", "--listen", taken.Addr().String())
	if code := p.exit(t); code != exitProblems || !strings.Contains(strings.Join(p.seen, "\n"), taken.Addr().String()) {
		t.Errorf("a port in use: exit code %d\n%s", code, strings.Join(p.seen, "\n"))
	}
}
