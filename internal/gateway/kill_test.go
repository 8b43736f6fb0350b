package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/proxy"
)

const victimEnv = "SALLYPORT_TEST_VICTIM"

// TestMain lets the test binary be a backend too: one that can be killed and
// stopped as only a process can.
func TestMain(m *testing.M) {
	if address := os.Getenv(victimEnv); address != "" {
		serveVictim(address)
		return
	}
	os.Exit(m.Run())
}

// unused returns an address on which nobody listens at the moment.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func serveVictim(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		_, _ = io.WriteString(w, "served")
	}))
}

// A victim is a backend in a process of its own.
type victim struct {
	address string
	process *exec.Cmd
}

func (v *victim) start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v.process = exec.Command(self)
	v.process.Env = append(os.Environ(), victimEnv+"="+v.address)
	out, err := v.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.process.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "ready\n" {
		t.Fatalf("the backend says %q, %v", said, err)
	}
}

func (v *victim) kill() {
	_ = v.process.Process.Kill()
	_ = v.process.Wait()
}

const killing = `
listeners: [{address: "127.0.0.1:0"}]
clients: {trusted_proxies: [127.0.0.0/8]}
limits: []
policies: {default: {mode: off}}
pools:
  app:
    backends: [{url: "http://$0"}, {url: "http://$1"}, {url: "http://$2"}]
    health: {path: /, interval: 500ms, timeout: 500ms, healthy: 1, unhealthy: 2}
    eject: {errors: 3, within: 5s, for: 500ms, at_most: 67%}
    retry: {attempts: 3, budget: 50%}
    timeout: {connect: 300ms, header: 2s}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: "unix:admin.sock"}
state: {dir: state}
`

// TestBackendsDieUnderLoad kills, stops and starts three backends at random,
// one or two of them at a time. No client notices with a request that can be
// sent again; of the others no more fail than were under way.
func TestBackendsDieUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time")
	}
	const readers, writers = 6, 3
	victims := make([]*victim, 3)
	text := killing
	for i := range victims {
		victims[i] = &victim{address: unused(t)}
		victims[i].start(t)
		text = strings.Replace(text, fmt.Sprintf("$%d", i), victims[i].address, 1)
	}
	t.Cleanup(func() {
		for _, v := range victims {
			_ = v.process.Process.Signal(syscall.SIGCONT)
			v.kill()
		}
	})
	e := openTo(t, "", text)

	ctx, stop := context.WithTimeout(t.Context(), killTime)
	defer stop()
	var served, lost, waiting, allowed atomic.Int64
	ask := func(c *http.Client, method string) bool {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+e.address+"/", strings.NewReader(strings.Repeat("x", 100)))
		if method == http.MethodGet {
			r, err = http.NewRequestWithContext(t.Context(), method, "http://"+e.address+"/", nil)
		}
		if err != nil {
			t.Error(err)
			return false
		}
		resp, err := c.Do(r)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode == http.StatusOK && string(body) == "served" {
			served.Add(1)
			return true
		}
		if method == http.MethodGet {
			rec := e.notes.find(t, resp.Header.Get("X-Request-Id"))
			t.Errorf("a GET is answered %d: %s, %s, %+v; %v", resp.StatusCode, rec.Reason, rec.Detail, rec.Pool, e.states(t))
		}
		return false
	}
	var load sync.WaitGroup
	for i := range readers + writers {
		load.Go(func() {
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				if i < readers {
					_ = ask(c, http.MethodGet)
					continue
				}
				waiting.Add(1)
				if !ask(c, http.MethodPost) {
					lost.Add(1)
				}
				waiting.Add(-1)
			}
		})
	}
	// until waits for the pool to have seen what happened, however slow the
	// machine is: nobody may be left without a backend.
	until := func(state string, of ...*victim) {
		for ctx.Err() == nil {
			now, all := e.states(t), true
			for _, v := range of {
				all = all && (now[v.address] == state)
			}
			if all {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	pause := func() {
		select {
		case <-time.After(time.Duration(rand.IntN(300)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil {
		order := rand.Perm(len(victims))
		killed, stopped, restarted := victims[order[0]], victims[order[1]], victims[order[2]]
		until("up", victims...)
		allowed.Add(writers) // each may have one request under way, and no more
		killed.kill()
		pause()
		allowed.Add(writers)
		_ = stopped.process.Process.Signal(syscall.SIGSTOP)
		until("down", killed, stopped)
		pause()
		_ = stopped.process.Process.Signal(syscall.SIGCONT)
		until("up", stopped)
		allowed.Add(writers)
		restarted.kill()
		restarted.start(t)
		killed.start(t)
	}
	load.Wait()
	t.Logf("%d requests were served, %d of those that change something were lost, %d could have been under way", served.Load(), lost.Load(), allowed.Load())
	if lost.Load() > allowed.Load() || served.Load() < 500 || waiting.Load() != 0 {
		t.Errorf("%d requests were lost, no more than %d were under way; %d were served", lost.Load(), allowed.Load(), served.Load())
	}
}

// states tells how the pool sees its backends.
func (e *edge) states(t *testing.T) map[string]string {
	var pools []proxy.PoolStatus
	if err := e.adminOf(t).Get(context.WithoutCancel(t.Context()), "/pools", &pools); err != nil {
		t.Error(err)
		return nil
	}
	out := map[string]string{}
	for _, b := range pools[0].Backends {
		out[strings.TrimPrefix(b.URL, "http://")] = b.State
	}
	return out
}
