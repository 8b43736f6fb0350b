//go:build soak

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/testkit"
)

// What issue 3 asks for under 2,000 slow heads, slow bodies and slow readers.
const (
	slowEach  = 2000
	worseP99  = 2.0       // times the idle one
	moreBytes = 200 << 20 // of resident memory
)

// A house is the built gateway as a process of its own, in front of a small
// backend.
type house struct {
	*process
	dir                    string
	plain, tls, h2c, admin string
	asked                  atomic.Int64 // requests that the backend got
}

// backend answers 1 KiB, its path below /n/, and 10 MiB at /big.
func (h *house) backend(w http.ResponseWriter, r *http.Request) {
	h.asked.Add(1)
	piece := make([]byte, 64<<10)
	switch {
	case r.URL.Path == "/big":
		for range 10 << 20 / len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	case strings.HasPrefix(r.URL.Path, "/n/"):
		_, _ = io.WriteString(w, r.URL.Path)
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(piece[:1<<10])
	}
}

// settle builds and starts the gateway, with every limit at its default but
// for what extra says, and with room for few descriptors, which it has to widen
// by itself.
func settle(t *testing.T, extra string) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), plain: freePort(t), tls: freePort(t), h2c: freePort(t), admin: freePort(t)}
	backend := httptest.NewUnstartedServer(http.HandlerFunc(h.backend))
	backend.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if tcp, ok := c.(*net.TCPConn); ok && s == http.StateNew {
			_ = tcp.SetWriteBuffer(64 << 10) // what it holds itself is not what is measured
		}
	}
	backend.Start()
	t.Cleanup(backend.CloseClientConnections)
	cert, key := testkit.CertificatePEM(t, time.Now().Add(24*time.Hour), "shop.example")
	for name, text := range map[string][]byte{
		"site.pem": cert, "site.key": key,
		"sallyport.yaml": fmt.Appendf(nil, `
listeners:
  - address: %q
  - {address: %q, tls: {certificates: [{cert: site.pem, key: site.key}]}}
  - {address: %q, protocols: [h2c]}
pools: {app: {backends: [{name: app-1, url: %q}]}}
routes: [{name: shop, hosts: [shop.example], pool: app}]
audit: {path: audit.jsonl}
admin: {address: %q}
%s`, h.plain, h.tls, h.h2c, backend.URL, h.admin, extra),
	} {
		if err := os.WriteFile(filepath.Join(h.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(h.dir, "sallyport")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	h.process = startCommand(t, exec.Command("sh", "-c", `ulimit -Sn 1024 && exec "$0" "$@"`, binary, "serve", "-c", filepath.Join(h.dir, "sallyport.yaml")))
	for range 3 {
		h.expect(t, "listening")
	}
	go func() {
		for range h.stderr { // what it logs must not block it
		}
	}()
	return h
}

// proc reads a file of the gateway's process.
func (h *house) proc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(h.cmd.Process.Pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// resident is the gateway's resident memory in bytes.
func (h *house) resident(t *testing.T) int64 {
	t.Helper()
	for line := range strings.Lines(h.proc(t, "status")) {
		if n, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(n)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// cpu is the processor time that the gateway has used.
func (h *house) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat := h.proc(t, "stat")
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		t.Fatalf("stat %q", stat)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // 100 ticks a second on every Linux
}

// connections is how many the gateway says that it has.
func (h *house) connections(t *testing.T) int {
	t.Helper()
	resp, err := http.Get("http://" + h.admin + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s struct {
		Connections int `json:"connections"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s.Connections
}

// An assault is an attacking process.
type assault struct {
	mu   sync.Mutex
	last tally
	end  func()
}

func attack(t *testing.T, o order) *assault {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAttack$", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), attackEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &assault{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			var now tally
			if json.Unmarshal(s.Bytes(), &now) == nil {
				a.mu.Lock()
				a.last = now
				a.mu.Unlock()
			}
		}
	}()
	a.end = sync.OnceFunc(func() {
		in.Close()
		<-done
		_ = cmd.Wait() // it has told everything
	})
	t.Cleanup(a.end)
	return a
}

func (a *assault) tally() tally {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// A visitor is a well-behaved client that asks at a steady rate.
type visitor struct {
	source  net.IP
	address string
	fresh   bool // a connection for each request
	every   time.Duration

	conn net.Conn
	r    *bufio.Reader
}

// ask sends one small GET and returns how long the answer took.
func (v *visitor) ask() (time.Duration, error) {
	begun := time.Now()
	if v.conn == nil {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: v.source}, Timeout: 20 * time.Second}
		c, err := d.Dial("tcp", v.address)
		if err != nil {
			return 0, err
		}
		v.conn, v.r = c, bufio.NewReader(c)
	}
	_ = v.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(v.conn, "GET /page HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: visitor\r\nAccept: */*\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(v.r, nil)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || n != 1<<10 {
		return 0, fmt.Errorf("status %d, %d bytes, %w", resp.StatusCode, n, err)
	}
	took := time.Since(begun)
	if v.fresh {
		v.conn.Close()
		v.conn = nil
	}
	return took, nil
}

// A window is what the visitors waited, all of them together.
type window struct {
	p50, p99, max time.Duration
}

// watch measures what visitors wait during three seconds.
func watch(t *testing.T, h *house) window {
	t.Helper()
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	for i := range 4 {
		v := &visitor{source: net.IPv4(127, 9, 0, byte(i+1)), address: h.plain, fresh: i == 3, every: 20 * time.Millisecond}
		wg.Go(func() {
			time.Sleep(time.Duration(i) * v.every / 4) // not in step with the others
			tick := time.NewTicker(v.every)
			defer tick.Stop()
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); <-tick.C {
				d, err := v.ask()
				if err != nil {
					t.Errorf("a visitor: %v", err)
					return
				}
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
			}
			if v.conn != nil {
				v.conn.Close()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	if len(took) == 0 {
		t.Fatal("nobody was served")
	}
	return window{took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}

// median is that of one figure over windows.
func median(ws []window, f func(window) time.Duration) time.Duration {
	list := make([]time.Duration, len(ws))
	for i, w := range ws {
		list[i] = f(w)
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// A figure is what was measured in one phase.
type figure struct {
	p99      time.Duration // median of the windows
	resident int64         // largest, in bytes
	kernel   int64         // bytes that all sockets of the machine hold
	conns    int           // most that the gateway had
	busy     int           // percent of the machine's processors, whoever used them
}

// phase measures windows, and prints a row of the table. a may be nil.
func phase(t *testing.T, h *house, name string, windows int, a *assault) figure {
	t.Helper()
	var before tally
	if a != nil {
		before = a.tally()
	}
	cpu, begun := h.cpu(t), time.Now()
	busy, all := machine(t)
	var f figure
	var ws []window
	for range windows {
		ws = append(ws, watch(t, h))
		f.resident = max(f.resident, h.resident(t))
		f.kernel = max(f.kernel, socketBytes(t))
		f.conns = max(f.conns, h.connections(t))
	}
	took := time.Since(begun)
	nowBusy, nowAll := machine(t)
	f.busy = 100 * (nowBusy - busy) / max(1, nowAll-all)
	f.p99 = median(ws, func(w window) time.Duration { return w.p99 })
	row := fmt.Sprintf("%-28s p50 %5.2f ms, p99 %5.2f ms, worst %6.2f ms; resident %3d MiB; sockets %4d MiB; gateway %2.0f %% of a core, machine %d %% busy, %d connections",
		name, ms(median(ws, func(w window) time.Duration { return w.p50 })), ms(f.p99), ms(median(ws, func(w window) time.Duration { return w.max })),
		f.resident>>20, f.kernel>>20, 100*float64(h.cpu(t)-cpu)/float64(took), f.busy, f.conns)
	if a != nil {
		now := a.tally()
		row += fmt.Sprintf("; attackers %2.0f %%, %d + %d + %d open, %.0f opened a second, ended %v",
			100*float64(now.CPU-before.CPU)/float64(took), now.Head, now.Body, now.Read, float64(now.Opened-before.Opened)/took.Seconds(), now.Ends)
	}
	t.Log(row)
	return f
}

// machine is how long the processors have been busy and how long they have
// been there, in ticks. What others do on the machine shows in the p99.
func machine(t *testing.T) (busy, all int) {
	t.Helper()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line)[1:9] { // up to steal; guests are in user
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("stat %q", line)
		}
		if all += n; i != 3 && i != 4 { // idle, iowait
			busy += n
		}
	}
	return busy, all
}

// socketBytes is what the kernel holds for all TCP sockets.
func socketBytes(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		t.Fatal(err)
	}
	_, mem, ok := strings.Cut(string(b), " mem ")
	var pages int64
	if _, err := fmt.Sscan(mem, &pages); err != nil || !ok {
		t.Fatalf("sockstat %q: %v", b, err)
	}
	return pages * int64(os.Getpagesize())
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// TestSlowAndMany holds the gateway to what issue 3 promises to everybody else
// while slow clients hold it: 2,000 of each kind, alone and all together.
func TestSlowAndMany(t *testing.T) {
	for _, kinds := range [][]string{{"head"}, {"body"}, {"read"}, {"head", "body", "read"}} {
		name := fmt.Sprintf("%d slow %s", slowEach, strings.Join(kinds, ", "))
		t.Run(name, func(t *testing.T) {
			h := settle(t, "")
			if limits := h.proc(t, "limits"); strings.Contains(limits, "Max open files            1024 ") {
				t.Errorf("the gateway has not raised its number of descriptors:\n%s", limits)
			}
			watch(t, h) // warm
			idle := phase(t, h, "idle", 3, nil)
			a := attack(t, order{Plain: h.plain, TLS: h.tls, H2C: h.h2c, Kinds: kinds, Each: slowEach, Sources: 60, Ramp: 8 * time.Second})
			a.await(t, int64(len(kinds)*slowEach)*95/100)
			under := phase(t, h, name, 3, a)
			if float64(under.p99) > worseP99*float64(idle.p99) {
				t.Errorf("the p99 of others is %.2f ms, %.1f times the idle one (the machine was %d %% busy, idle %d %%)", ms(under.p99), float64(under.p99)/float64(idle.p99), under.busy, idle.busy)
			}
			if grown := under.resident - idle.resident; grown > moreBytes {
				t.Errorf("resident memory grew by %d MiB, %d KiB for each slow client", grown>>20, grown>>10/int64(len(kinds)*slowEach))
			}
		})
	}
}

// TestOneAddressIsHeldToItsShare attacks from a single address: by default it
// gets 256 connections, and nobody else notices.
func TestOneAddressIsHeldToItsShare(t *testing.T) {
	const share, visitors = 256, 4
	h := settle(t, "")
	a := attack(t, order{Plain: h.plain, TLS: h.tls, H2C: h.h2c, Kinds: []string{"head"}, Each: slowEach, Sources: 1, Ramp: time.Second})
	a.await(t, share*95/100)
	f := phase(t, h, "2000 from one address", 2, a)
	if f.conns > share+visitors || f.conns < share*9/10 {
		t.Errorf("the gateway had %d connections, want the %d of one address and the visitors'", f.conns, share)
	}
}

// TestPipelinedRequestsWait sends 10,000 requests and reads no answer: what is
// served is what the client's system and the bound on unsent bytes take. Then
// it reads them all.
func TestPipelinedRequestsWait(t *testing.T) {
	const many = 10_000
	h := settle(t, "limits: []")
	watch(t, h) // warm
	held, begun := h.resident(t), h.asked.Load()
	a := &attacker{order: order{Sources: 1}}
	c, err := a.dialRaw(0, h.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriter(c)
		for i := range many {
			fmt.Fprintf(w, "GET /n/%d HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: visitor\r\nAccept: */*\r\n\r\n", i)
		}
		sent <- w.Flush()
	}()
	time.Sleep(5 * time.Second) // less than the patience with slow readers
	served, grown := h.asked.Load()-begun, h.resident(t)-held
	t.Logf("%d requests pipelined and no answer read: %d served, resident memory grew by %d KiB", many, served, grown>>10)
	if served > many/10 {
		t.Errorf("%d requests were served for a client that reads nothing", served)
	}
	if grown > 8<<20 {
		t.Errorf("resident memory grew by %d KiB", grown>>10)
	}
	r := bufio.NewReader(c)
	for i := range many {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		b, err := io.ReadAll(resp.Body)
		if want := fmt.Sprintf("/n/%d", i); err != nil || resp.StatusCode != http.StatusOK || string(b) != want {
			t.Fatalf("answer %d: %d %.60q, %v, want %s", i, resp.StatusCode, b, err, want)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// await returns when so many attacking connections stand.
func (a *assault) await(t *testing.T, n int64) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		now := a.tally()
		if now.Head+now.Body+now.Read >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the attack does not stand: %+v", now)
		}
	}
}
