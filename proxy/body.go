package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/gate"
)

const (
	// maxPatience bounds what a client that was fast can save up. Without it,
	// ten megabytes sent at once would buy hours of silence.
	maxPatience = time.Minute
	// leaveTime is how long after its body a client that leaves may seem to be
	// there.
	leaveTime = 50 * time.Millisecond
	// lingerTime and lingerBytes bound what is read of a body after its
	// request was answered.
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

var (
	errBodyStopped = errors.New("the request has ended")
	errTooSlow     = errors.New("the client sends slower than body_rate")
)

// A clientBody is the body of a request as it comes from the client: no more
// than allowed, no slower than allowed. Time counts only while a Read waits
// for the client, so a backend that reads slowly costs the client nothing. Each
// failure is a *gate.VerdictError, and stays.
//
// Read is called by one goroutine at a time; the other methods by any.
type clientBody struct {
	ctx     context.Context // of the request: ends with the connection, or the HTTP/2 stream
	src     io.ReadCloser
	control *http.ResponseController
	length  int64 // declared; -1: not declared
	rate    int64 // bytes a second; 0: no limit

	mu       sync.Mutex // not held while a Read waits
	max      int64
	read     int64
	patience time.Duration // how long the client may still make us wait
	ceiling  time.Duration
	waiting  time.Time   // since when a Read waits; zero: none does
	timer    *time.Timer // nil: not needed so far
	armed    bool
	slow     bool
	ended    bool
	stopped  bool
	err      error
}

func newClientBody(ctx context.Context, src io.ReadCloser, control *http.ResponseController, length, rate int64, grace time.Duration) *clientBody {
	return &clientBody{ctx: ctx, src: src, control: control, length: length, rate: rate, patience: grace, ceiling: max(grace, maxPatience)}
}

// limit sets how long the body may be. Until then nothing can be read.
func (b *clientBody) limit(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.max = n
}

// Read implements io.Reader.
func (b *clientBody) Read(p []byte) (int, error) {
	p, err := b.begin(p)
	if err != nil || len(p) == 0 {
		return 0, err
	}
	n, err := b.src.Read(p)
	return b.end(n, err)
}

// begin starts the clock. It leaves room for one byte more than allowed, by
// which a body that is too long shows.
func (b *clientBody) begin(p []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil:
		return nil, b.err
	case b.stopped:
		return nil, errBodyStopped
	case int64(len(p)) > b.max-b.read+1:
		p = p[:b.max-b.read+1]
	}
	b.waiting = time.Now()
	if b.rate > 0 && !b.armed {
		b.armed = true
		if b.timer == nil {
			b.timer = time.AfterFunc(b.patience, b.watch)
		} else {
			b.timer.Reset(b.patience)
		}
	}
	return p, nil
}

// end stops the clock and judges what came.
func (b *clientBody) end(n int, err error) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate > 0 {
		earned := time.Duration(float64(n) / float64(b.rate) * float64(time.Second))
		b.patience = min(b.patience-time.Since(b.waiting)+earned, b.ceiling)
	}
	b.waiting = time.Time{}
	b.read += int64(n)
	if over := b.read - b.max; over > 0 {
		b.err = &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPBodyTooLarge, gate.Enforce, "not declared by Content-Length")}
		return n - int(over), b.err
	}
	b.ended = b.ended || err == io.EOF || err == nil && b.read == b.length
	if err == nil || err == io.EOF {
		return n, err
	}
	b.err = b.explain(err)
	return n, b.err
}

// explain turns what net/http or the guard returned into the verdict that it
// amounts to.
func (b *clientBody) explain(err error) error {
	if ve, ok := errors.AsType[*gate.VerdictError](err); ok {
		return ve
	}
	switch {
	case b.slow:
		return &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPBodyTooSlow, gate.Enforce, errTooSlow.Error())}
	case b.stopped:
		return errBodyStopped
	case b.length > 0 && b.stays():
		// An HTTP/2 stream that ended short of its content-length (RFC 9113
		// section 8.1.1). The guard says so itself in HTTP/1.
		return &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPLengthInvalid, gate.Enforce, err.Error())}
	}
	return &gate.VerdictError{Verdict: gate.Failure(gate.PoolClientGone, fmt.Errorf("read the request body: %w", err))}
}

// stays reports whether the client is still there after its body has failed.
// net/http ends the body a moment before the context when it is not.
func (b *clientBody) stays() bool {
	moment := time.NewTimer(leaveTime)
	defer moment.Stop()
	select {
	case <-b.ctx.Done():
		return false
	case <-moment.C:
		return true
	}
}

// watch runs when the client's patience may have run out. Only a Read that
// waits can be too slow; between two of them the clock stands still.
func (b *clientBody) watch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = false
	if b.waiting.IsZero() || b.stopped || b.ended {
		return
	}
	if left := b.patience - time.Since(b.waiting); left > 0 {
		b.armed = true
		b.timer.Reset(left)
		return
	}
	b.slow = true
	b.interrupt()
}

// interrupt makes a Read that waits return. The connection, or the HTTP/2
// stream, cannot be read after it.
func (b *clientBody) interrupt() {
	_ = b.control.SetReadDeadline(time.Unix(1, 0)) // a connection without deadlines is closed by the server soon
}

// stop ends reading for good: a Read that waits returns, later ones fail. The
// answer may still be written.
func (b *clientBody) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	b.stopped = true
	if b.timer != nil {
		b.timer.Stop()
	}
	if !b.waiting.IsZero() {
		b.interrupt()
	}
}

// drain reads what is still coming, for a little while, and throws it away.
// It is called after stop, and leaves the connection unreadable.
func (b *clientBody) drain() {
	if b.control.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, b.src, lingerBytes) // the request is over: nothing that comes matters
	b.interrupt()
}

// Close implements io.Closer. The server closes its own body; whoever reads
// this one has nothing to close.
func (b *clientBody) Close() error { return nil }

// complete reports whether the whole body was read.
func (b *clientBody) complete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// received is how much of the body came.
func (b *clientBody) received() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// An upload is the body on its way to backends. What the stages have left of
// it can be sent once: as soon as an attempt has asked for a byte, no other
// attempt can be made, unless the whole of it is held.
type upload struct {
	src     io.Reader
	length  int64      // bytes; -1: not known
	ahead   *beginning // nil: nothing was read ahead
	whole   bool       // ahead is all of it
	arrived bool       // the rules have read all of it, and it is not much
	touched atomic.Bool
	over    atomic.Bool  // it was read to its end
	waits   atomic.Bool  // a Read waits for the client
	moved   atomic.Int64 // when the last Read returned, in Unix nanoseconds; 0: none did
	mu      sync.Mutex   // held while a Read waits; guards what follows
	at      int          // up to where attempts have read it, unless it is whole
	err     error
}

// here reports whether no Read waits for the client.
func (u *upload) here() bool { return u.whole || u.arrived }

// spent reports whether the body cannot be sent again.
func (u *upload) spent() bool { return !u.whole && u.touched.Load() }

// moving tells when bytes went to a backend last, and whether it waits for more.
func (u *upload) moving() (last time.Time, waits bool) {
	if at := u.moved.Load(); at > 0 {
		last = time.Unix(0, at)
	}
	return last, u.waits.Load()
}

// attempt returns the body for one attempt.
func (u *upload) attempt() *uploadAttempt { return &uploadAttempt{upload: u} }

// failure waits for a Read in flight, which the caller has interrupted, and
// returns why the body broke, or nil.
func (u *upload) failure() *gate.VerdictError {
	u.mu.Lock()
	defer u.mu.Unlock()
	ve, _ := errors.AsType[*gate.VerdictError](u.err)
	return ve
}

// stop makes further Reads fail, and returns when none is in flight: what the
// stages put in front of the body is theirs alone then. The caller has stopped
// the client's body.
func (u *upload) stop() {
	if u.ahead != nil {
		<-u.ahead.done
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = errBodyStopped
	}
	if u.ahead != nil {
		u.ahead.free()
	}
}

type uploadAttempt struct {
	*upload
	closed atomic.Bool
	at     int // up to where it was read, if it is whole
}

// Read implements io.Reader. It runs on a goroutine of the transport.
func (a *uploadAttempt) Read(p []byte) (n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed.Load() {
		return 0, errBodyStopped
	}
	a.touched.Store(true)
	a.waits.Store(true)
	defer func() {
		a.moved.Store(time.Now().UnixNano())
		a.waits.Store(false)
	}()
	if a.err != nil {
		return 0, a.err
	}
	switch {
	case a.ahead == nil:
		n, err = readBody(a.src, p)
	case a.whole:
		n, err = a.ahead.read(p, a.at, true)
		a.at += n
	default:
		n, err = a.ahead.read(p, a.upload.at, false)
		a.upload.at += n
	}
	switch {
	case err == io.EOF:
		a.over.Store(true)
	case err != nil:
		a.err = err
	}
	return n, err
}

// Held reports whether no Read waits for the client.
func (a *uploadAttempt) Held() bool { return a.here() }

// Close implements io.Closer: the transport is done with the body. It does
// not wait for a Read in flight.
func (a *uploadAttempt) Close() error {
	a.closed.Store(true)
	return nil
}

// A download is the body of a backend's answer. When nothing comes for longer
// than idle, it is broken off.
type download struct {
	src    io.ReadCloser
	cancel context.CancelCauseFunc // of the attempt; not used where src can be aborted
	idle   time.Duration
	timer  *time.Timer // nil: not read yet, or no limit
	err    error
}

// An answerBody is one that came by HTTP/1.1.
type answerBody interface {
	Held() bool
	Abort(cause error)
}

// late breaks the answer off.
func (d *download) late() {
	if b, ours := d.src.(answerBody); ours {
		b.Abort(os.ErrDeadlineExceeded)
		return
	}
	d.cancel(os.ErrDeadlineExceeded)
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	b, ours := d.src.(answerBody)
	switch { // between two Reads the client is waited for, and the clock stands still
	case ours && b.Held():
	case d.timer != nil:
		d.timer.Reset(d.idle)
		defer d.timer.Stop()
	case d.idle > 0:
		d.timer = time.AfterFunc(d.idle, d.late)
		defer d.timer.Stop()
	}
	n, err := d.src.Read(p)
	if err != nil && err != io.EOF {
		d.err = err
	}
	return n, err
}

// Close implements io.Closer.
func (d *download) Close() error {
	if d.timer != nil {
		d.timer.Stop()
	}
	return d.src.Close()
}
