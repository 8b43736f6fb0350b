package proxy

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3 asks for it
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/gate"
)

const (
	// tunnelBuffer is small: most tunnels are idle most of the time.
	tunnelBuffer = 4 << 10
	// tunnelHead bounds the time in which a client takes the head of its 101.
	tunnelHead = 10 * time.Second
)

var errSwitch = errors.New("a 101 that does not accept the handshake")

// upgrade opens the tunnel that a backend has agreed to. The rules see the
// head of the 101; what follows is no longer HTTP, and theirs no more.
func (h *Handler) upgrade(v *visit, a *attempt, resp *http.Response) gate.Verdict {
	backend, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !v.req.Head.Upgrade || !accepted(v.req.Head, resp.Header) {
		_ = resp.Body.Close() // it is not going to be used
		return a.blame(gate.PoolBadAnswer, errSwitch)
	}
	if verdict := h.judge(v, resp); !v.goesOn(verdict) {
		_ = backend.Close()
		return verdict
	}
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	fields := http.Header{}
	if verdict := h.show(v, a.pool, inHeader, fields, resp.Header); !v.goesOn(verdict) {
		_ = backend.Close()
		return verdict
	}
	v.stick(a, fields)
	fields["Connection"] = []string{"Upgrade"}
	fields["Upgrade"] = []string{"websocket"}
	fields["X-Request-Id"] = []string{v.req.ID}
	_ = fields.Write(&head) // a buffer takes everything
	head.WriteString("\r\n")

	v.settle() // the rules end here: the connection may outlive their generation
	v.in.Tunnel()
	client, buffered, err := v.rw.control.Hijack()
	if err != nil {
		_ = backend.Close()
		return gate.Failure(gate.PoolClientGone, err)
	}
	t := &tunnel{
		client: client, read: client, backend: backend, done: a.done, opened: time.Now(),
		limits: v.site.tunnel, asked: *v.req, route: v.site.config, pool: a.pool.name, server: a.b.shown,
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		early, _ := buffered.Reader.Peek(n) // what is buffered can be had
		t.read = io.MultiReader(bytes.NewReader(bytes.Clone(early)), client)
	}
	v.rw.status = http.StatusSwitchingProtocols
	err = errors.Join(client.SetDeadline(time.Time{}), client.SetWriteDeadline(time.Now().Add(tunnelHead)))
	if err == nil {
		_, err = client.Write(head.Bytes())
	}
	if err = errors.Join(err, client.SetWriteDeadline(time.Time{})); err != nil {
		t.close()
		return gate.Failure(gate.PoolClientGone, err)
	}
	v.tunnel, v.answered = t, true
	return gate.Passes(gate.StagePool)
}

// accepted reports whether the answer accepts the client's handshake (RFC 6455
// section 4.1), so that nobody but a WebSocket server gets a tunnel.
func accepted(head *gate.Head, answer http.Header) bool {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	key, _ := head.Get("Sec-WebSocket-Key")
	sum := sha1.Sum([]byte(key + guid)) //nolint:gosec // see the import
	if answer.Get("Sec-Websocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) ||
		!strings.EqualFold(answer.Get("Upgrade"), "websocket") || !hasToken(strings.Join(answer["Connection"], ","), "upgrade") {
		return false
	}
	chosen := answer["Sec-Websocket-Protocol"]
	if len(chosen) == 0 {
		return true
	}
	for _, f := range head.Fields {
		if strings.EqualFold(f.Name, "Sec-WebSocket-Protocol") && hasToken(f.Value, chosen[0]) {
			return len(chosen) == 1
		}
	}
	return false
}

// A tunnel carries bytes between a client and a backend until both have said
// all they have to say, one of them is gone, both are silent for long, or a new
// configuration does not want it any more. It belongs to the goroutine that
// calls run; closing the client's connection ends it.
type tunnel struct {
	client  net.Conn
	read    io.Reader // from the client: what came early, then the connection
	backend io.ReadWriteCloser
	done    func() // releases the backend
	opened  time.Time
	limits  TunnelConfig

	// By what it was opened.
	asked  gate.Request
	route  *RouteConfig
	pool   string
	server string // the URL of the backend

	received, sent atomic.Int64 // from and to the client
	last           atomic.Int64 // when something was carried, in nanoseconds since opened
	closing        sync.Once

	mu     sync.Mutex
	idle   *time.Timer // these would end it; nil: not set
	max    *time.Timer
	notice *time.Timer
	why    string // it was ended; empty: it ended by itself
	over   bool
}

func (t *tunnel) run() {
	defer t.close()
	if t.limits.Idle > 0 {
		t.await(t.limits.Idle)
	}
	if t.limits.Max > 0 {
		t.set(&t.max, t.limits.Max, func() { t.end("longer than tunnel.max") })
	}
	var both sync.WaitGroup
	both.Go(func() { t.carry(t.backend, t.read, &t.received) })
	both.Go(func() { t.carry(t.client, t.backend, &t.sent) })
	both.Wait()
}

// await ends the tunnel when nothing was carried for as long as it may be idle,
// of which left remain.
func (t *tunnel) await(left time.Duration) {
	t.set(&t.idle, left, func() {
		if left := t.limits.Idle - (time.Since(t.opened) - time.Duration(t.last.Load())); left > 0 {
			t.await(left)
			return
		}
		t.end("silent for longer than tunnel.idle")
	})
}

// warn gives the tunnel a while to end by itself. A second notice does not make
// it longer.
func (t *tunnel) warn(grace time.Duration, why string) {
	t.mu.Lock()
	told := t.notice != nil
	t.mu.Unlock()
	if !told {
		t.set(&t.notice, grace, func() { t.end(why) })
	}
}

// spare takes a notice back.
func (t *tunnel) spare() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.notice != nil && t.notice.Stop() {
		t.notice = nil
	}
}

// set runs f after a while, unless the tunnel is over then.
func (t *tunnel) set(timer **time.Timer, d time.Duration, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over {
		*timer = time.AfterFunc(d, f)
	}
}

// end closes the tunnel for a reason.
func (t *tunnel) end(why string) {
	t.mu.Lock()
	if t.why == "" && !t.over {
		t.why = why
	}
	t.mu.Unlock()
	t.close()
}

// reason is why the tunnel was ended; empty: it ended by itself.
func (t *tunnel) reason() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why
}

// carry copies one direction. At its end the other side is told so, and may
// go on talking; where that cannot be said, the tunnel ends.
func (t *tunnel) carry(to io.Writer, from io.Reader, count *atomic.Int64) {
	buf := make([]byte, tunnelBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			t.last.Store(int64(time.Since(t.opened)))
			if _, werr := to.Write(buf[:n]); werr != nil {
				t.close()
				return
			}
			count.Add(int64(n))
		}
		if err == nil {
			continue
		}
		half, ok := to.(interface{ CloseWrite() error })
		if err != io.EOF || !ok || half.CloseWrite() != nil {
			t.close()
		}
		return
	}
}

// close ends both connections. What they still had to say is lost.
func (t *tunnel) close() {
	t.closing.Do(func() {
		t.mu.Lock()
		t.over = true
		for _, timer := range [...]*time.Timer{t.idle, t.max, t.notice} {
			if timer != nil {
				timer.Stop()
			}
		}
		t.mu.Unlock()
		_ = t.client.Close()
		_ = t.backend.Close()
		t.done()
	})
}
