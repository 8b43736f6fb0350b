package waf

import (
	"context"
	"errors"
	"io"
	"sync"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
)

const (
	// smallUpload is how much of a body with files is held to be judged before
	// the backend sees any of it.
	smallUpload = 64 << 10
	// uploadChunk is how much is read at a time.
	uploadChunk = 32 << 10
	// uploadWindow is room for a chunk behind what is held of a body with files.
	uploadWindow = smallUpload + uploadChunk
)

// The buffers of uploads. Most that are held need no other.
var (
	chunks  = sync.Pool{New: func() any { return new([uploadChunk]byte) }}
	windows = sync.Pool{New: func() any { return new([uploadWindow]byte) }}
)

// recycle takes a buffer back that nobody uses any more.
func recycle(b []byte) {
	switch cap(b) {
	case uploadChunk:
		chunks.Put((*[uploadChunk]byte)(b[:uploadChunk]))
	case uploadWindow:
		windows.Put((*[uploadWindow]byte)(b[:uploadWindow]))
	}
}

// errUploadClosed is what reading a body returns after its transaction ended.
var errUploadClosed = errors.New("the request has ended")

// errUploadBusy is what a Read returns while another one waits for more, or
// after that one panicked.
var errUploadBusy = errors.New("the body is being read")

// An upload is a multipart body that streams to the backend while it is taken
// apart. It passes on nothing but up to the content of a file: while bytes of
// a file are the last that went out, the body is not complete and no field
// after the file has been seen by the backend. Everything else is held until
// more of a file follows, or until the rules have judged all fields and file
// names; then the end follows, or an error in its place.
//
// A coded body is passed on in its coded form, and of that no more than what
// decodes to no more than was taken apart.
//
// One goroutine reads it. What it shares with the transaction is guarded by
// the lock of the transaction. So are buf, ready and passed, which belong to the
// reader while it is reading, and for whom a Read that comes late finds nothing:
// buf is given back when the upload or its transaction ends, whichever is first.
type upload struct {
	t     *Transaction
	ctx   context.Context
	src   io.ReadCloser
	form  *formReader
	coded *codedUpload // nil: the body has no coding, or is not decoded any more

	buf    []byte // read and taken apart, but for ready not to be passed on
	ready  int    // how much of buf may be passed on
	passed int    // how much of ready was
	taken  int64  // memory leased
	end    error  // what reading ends in, once ready is passed on

	blind   bool  // the rules have judged; the rest passes unseen
	refused error // ends the reading at once
	reading bool  // the reader is waiting for more
	sealed  int64 // bytes outside files that may still come once the answer came early; 0: it did not
	told    int   // runs of text in coded bytes that were judged then
}

// multipart judges a multipart body, holding it as long as it holds no file
// that is too large for that.
func (t *Transaction) multipart() {
	form, err := newFormReader(t.contentType, t.policy.Arguments)
	if err != nil {
		t.judge(err)
		return
	}
	u := &upload{t: t, ctx: t.req.HTTP.Context(), src: t.req.HTTP.Body, form: form}
	t.upload, t.inspected, t.req.HTTP.Body = u, "full", u
	if t.coding != "" {
		u.decode()
	}
	for u.end == nil && !t.judged && t.verdict.Passed() && !(form.inFile() && len(u.buf) >= smallUpload) {
		chunk, err := u.fetch()
		u.settle(chunk, err)
	}
	if form.total == 0 && t.inspected == "full" && t.verdict.Passed() {
		t.inspected = ""
	}
}

// Read passes on what may be passed on. It may be called by another goroutine
// than the one that serves the request.
func (u *upload) Read(p []byte) (int, error) {
	for {
		if n, more, err := u.pass(p); !more {
			return n, err
		}
		chunk, err := u.fetch()
		u.t.mu.Lock()
		u.reading = false
		u.t.protect(func() { u.settle(chunk, err) })
		u.t.endTurn()
		if u.t.broken {
			u.settleBroken(err)
		}
		if u.t.closed {
			u.abandon() // if nothing was settled any more
		}
		u.t.mu.Unlock()
	}
}

// pass copies what may be passed on, or tells what reading ends in. When there
// is neither, more is to be read: the reader is marked as busy, so that nothing
// that it uses is given away.
func (u *upload) pass(p []byte) (n int, more bool, err error) {
	u.t.mu.Lock()
	defer u.t.mu.Unlock()
	switch {
	case u.reading:
		return 0, false, errUploadBusy
	case u.refused != nil:
		u.free()
		return 0, false, u.refused
	case u.t.closed:
		return 0, false, errUploadClosed
	case u.passed < u.ready:
		n = copy(p, u.buf[u.passed:u.ready])
		u.passed += n
		return n, false, nil
	case u.end != nil:
		u.free()
		return 0, false, u.end
	case len(p) == 0:
		return 0, false, nil
	}
	u.drop(u.ready)
	u.reading = true
	return 0, true, nil
}

// Close closes what the upload reads from.
func (u *upload) Close() error { return u.src.Close() }

// plainHeld is how much is held of a form that stands in coded bytes.
func (u *upload) plainHeld() int64 {
	if u.coded == nil {
		return 0
	}
	return u.coded.plain.held()
}

// drop forgets the first n bytes of buf, which were passed on.
func (u *upload) drop(n int) {
	u.buf = append(u.buf[:0], u.buf[n:]...)
	u.ready, u.passed = 0, 0
	if u.coded != nil {
		u.coded.dropped(n)
	}
	if len(u.buf) == 0 && cap(u.buf) > uploadChunk {
		u.free() // a file that streams needs no more than a chunk
	}
}

// free gives buf back. The transaction is locked, and the reader not busy.
func (u *upload) free() {
	recycle(u.buf)
	u.buf, u.ready, u.passed = nil, 0, 0
}

// abandon gives back what the upload takes, as the transaction ends. The
// transaction is locked.
func (u *upload) abandon() {
	if u.coded != nil {
		u.coded.giveBack()
	}
	if u.reading { // then the reader does the rest
		return
	}
	if u.coded != nil {
		u.coded.close()
	}
	u.free()
}

// fetch reads one more chunk of the form, within the memory of the process.
func (u *upload) fetch() ([]byte, error) {
	if u.coded != nil {
		return u.coded.fetch()
	}
	if err := u.reserve(uploadChunk); err != nil {
		return nil, err
	}
	return u.receive()
}

// reserve takes memory for what is held, and more beside it.
func (u *upload) reserve(more int64) error {
	need := u.form.held() + u.plainHeld() + int64(len(u.buf)) + more
	if err := u.t.lease.take(u.ctx, need-u.taken); err != nil {
		return err
	}
	u.taken = max(u.taken, need)
	return nil
}

// receive reads one more chunk behind buf. The memory is reserved.
func (u *upload) receive() ([]byte, error) {
	u.grow()
	size := len(u.buf)
	n, err := u.src.Read(u.buf[size : size+uploadChunk])
	u.buf = u.buf[:size+n]
	return u.buf[size:], err
}

// grow makes room for one more chunk in buf.
func (u *upload) grow() {
	size := len(u.buf)
	if cap(u.buf)-size >= uploadChunk {
		return
	}
	var larger []byte
	switch {
	case size == 0:
		larger = chunks.Get().(*[uploadChunk]byte)[:0]
	case size <= smallUpload:
		larger = windows.Get().(*[uploadWindow]byte)[:0]
	default:
		larger = make([]byte, 0, max(2*cap(u.buf), size+uploadChunk))
	}
	larger = append(larger, u.buf...)
	recycle(u.buf)
	u.buf = larger
}

// settle takes a chunk apart, decides what of buf may be passed on, and has
// the form judged when all of it was seen. The transaction is locked.
func (u *upload) settle(chunk []byte, err error) {
	t := u.t
	if t.closed {
		u.abandon()
		u.end = errUploadClosed
		return
	}
	bad, stop := t.undecodable(err)
	if bad {
		err = nil // of the body itself
	}
	if !u.blind {
		u.form.feed(chunk)
		if u.coded != nil {
			u.coded.watch()
		}
	}
	switch {
	case u.blind:
	case stop:
		t.inspected = "none"
		u.refuse()
		return
	case bad: // only observed: what could be decoded is judged
		t.inspected, u.blind = "head", true
		if u.form.total == 0 {
			t.inspected = "none"
		}
		t.judgeForm(nil)
	case errors.Is(err, errWithheld) && !t.policy.OverHead && t.tooLarge():
		u.refuse()
		return
	case errors.Is(err, errWithheld):
		u.surrender()
		err = nil
	case err != nil && err != io.EOF:
		// Nothing that was withheld goes out: the body stays incomplete.
		t.unread(err)
		u.refuse()
		return
	case u.sealed > 0:
		if u.form.held() > u.sealed || u.coded != nil && len(u.coded.plain.strays(u.form, u.told)) > 0 {
			u.blind = true // goes on only where nothing is refused
			t.find(gate.WAFBodyUnreadable, "the backend answered before the body was complete, and more parts followed")
		}
	case u.form.held() > t.policy.Inspect && !t.policy.OverHead && t.tooLarge():
		u.refuse()
		return
	case u.form.held() > t.policy.Inspect:
		u.surrender()
	case u.form.state == formLost:
		t.inspected, u.blind = "head", true
		t.judgeForm(u.form.defect)
	case err == io.EOF && u.form.total > 0:
		t.judgeForm(u.form.finish())
	case err == io.EOF:
		t.judge(nil)
	}
	if !t.verdict.Passed() {
		u.refuse()
		return
	}
	if u.blind || err != nil {
		u.finishCoding()
	}
	u.end = err
	switch {
	case err != nil || u.blind:
		u.ready = len(u.buf)
	case u.form.inFile() && u.coded != nil:
		u.ready = u.coded.ready()
	case u.form.inFile():
		u.ready = len(u.buf)
	}
}

// surrender judges what was seen of a body of which too much would have to be
// held, and lets the rest pass unseen.
func (u *upload) surrender() {
	u.t.inspected, u.blind = "head", true
	u.t.facts.Set(vars.InboundDataError, "1")
	u.t.judgeForm(nil)
}

// settleBroken goes on after the engine panicked: by policy, without it. err
// is what the last chunk ended in.
func (u *upload) settleBroken(err error) {
	if !u.t.verdict.Passed() {
		u.refuse()
		return
	}
	if err != io.EOF { //nolint:errorlint // never wrapped
		err = nil // reading on tells
	}
	u.finishCoding()
	u.blind, u.ready, u.end = true, len(u.buf), err
}

// refuse ends the reading with the verdict of the transaction.
func (u *upload) refuse() {
	u.refused = &gate.VerdictError{Verdict: u.t.verdict}
	u.end = u.refused
}

// judgeForm judges what was taken out of a multipart body.
func (t *Transaction) judgeForm(parse error) {
	if !t.turn(t.upload.form.held()) {
		t.judged = true
		return
	}
	to := newSink(t.facts, t.policy)
	t.upload.form.addTo(to)
	if c := t.upload.coded; c != nil && !c.plain.addTo(t.upload.form, to) && t.find(gate.WAFEncoding, t.strayText()) {
		t.judged = true
		return
	}
	to.full = to.full || errors.Is(parse, errManyParts)
	if t.exceeds(to, "parts") {
		t.judged = true
		return
	}
	if parse == nil && t.upload.form.state == formEnd {
		parse = t.upload.form.defect // of the JSON in it; a part that is not there yet is no defect
	}
	if errors.Is(parse, errDuplicate) {
		if t.find(gate.WAFDuplicateName, parse.Error()) {
			t.judged = true
			return
		}
		parse = nil
	}
	if to.flaw != nil {
		parse = to.flaw
	}
	t.judge(parse)
}

// judgeEarly judges what was seen of a body that is still streaming, because
// the backend answers already. Of what follows, only files may pass.
func (t *Transaction) judgeEarly() {
	if t.upload == nil || t.judged {
		return
	}
	u := t.upload
	t.inspected = "head"
	u.sealed = max(u.form.held(), 1)
	if u.form.inFile() {
		u.sealed += int64(len(u.form.delimiter)) + 2 + maxEpilogue
	}
	t.judgeForm(nil)
	if u.coded != nil {
		u.told = len(u.coded.plain.runs)
	}
	if !t.verdict.Passed() {
		u.refused = &gate.VerdictError{Verdict: t.verdict}
	}
}
