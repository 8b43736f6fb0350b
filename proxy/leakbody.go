package proxy

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

const (
	// leakHold is how much of a body is looked through before its head is
	// sent, where that spares it something.
	leakHold = 64 << 10
	// leakWatch bounds what is searched of a body that passes anyway.
	leakWatch = 256 << 10
	// leakUnpack is the same of what a compressed one holds: to decode it costs
	// more than all the rest of a request.
	leakUnpack = 32 << 10
)

// screen puts the leak detector between a backend's body and the client, and
// changes the head to what it makes of the body. The body may be replaced; the
// verdict is that of an answer that must not pass.
func (h *Handler) screen(v *visit, p *pool, resp *http.Response, header http.Header, bodyless bool) gate.Verdict {
	set, leaks := v.site.origin(p).leaks.tokens(), v.site.mask.Leaks
	pass := gate.Passes(gate.StageMask)
	if leaks.bodies() == LeakOff || set.empty() || !textual(header) {
		return pass
	}
	action := leaks.bodies()
	if action == LeakBlock && h.mode == gate.Watch {
		action = LeakObserve
	}
	coding := coding(header)
	if action == LeakObserve {
		if !bodyless {
			resp.Body = newLeakWatcher(resp.Body, v, set, coding)
		}
		return pass
	}
	if resp.StatusCode == http.StatusPartialContent { // a token may be cut in two
		return gate.Refusal(gate.MaskRange, h.mode, "")
	}
	if bodyless {
		if resp.StatusCode != http.StatusNotModified {
			unvalidated(header) // as the same answer with its body may
		}
		return pass
	}
	src, err := unpacked(resp.Body, coding)
	if err != nil {
		return gate.Refusal(gate.MaskUnreadable, h.mode, err.Error())
	}
	if coding != "" {
		delete(header, "Content-Encoding")
		unvalidated(header)
		resp.ContentLength = -1
	}
	r := &leakFilter{src: src, set: h.bodyScanner(v, set, action)}
	body := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{r, body}
	return h.settleBody(r, resp, header, action)
}

// bodyScanner is a scanner that redacts, or that fails at the first find.
func (h *Handler) bodyScanner(v *visit, set *leakSet, action string) *bodyScanner {
	b := &bodyScanner{}
	b.leakScanner = leakScanner{set: set, edit: func(token leakToken) (string, bool) {
		if v.named(token) {
			return "", false
		}
		v.leaks.note(inBody, "", token.shown, action, 1)
		b.found++
		if action == LeakBlock && b.refused == nil {
			b.refused = &gate.VerdictError{Verdict: h.leakage(inBody, "", token.shown)}
		}
		return leakStandIn, true
	}}
	return b
}

type bodyScanner struct {
	leakScanner
	found   int
	refused error
}

// settleBody reads ahead where that decides something before the head is
// sent: a short body keeps its tag and length if there is nothing in it, and
// what must not pass can still be answered as a whole.
func (h *Handler) settleBody(r *leakFilter, resp *http.Response, header http.Header, action string) gate.Verdict {
	short := 0 <= resp.ContentLength && resp.ContentLength <= leakHold
	if short || action == LeakBlock && !eventStream(header) {
		r.ahead(leakHold)
	}
	if ve, ok := errors.AsType[*gate.VerdictError](r.err); ok && len(r.out) == 0 {
		return ve.Verdict
	}
	switch {
	case r.err == io.EOF && r.set.found == 0: //nolint:errorlint // an io.Reader's own
	case r.err == io.EOF: //nolint:errorlint // likewise
		unvalidated(header)
		resp.ContentLength = int64(len(r.out))
		header["Content-Length"] = []string{strconv.Itoa(len(r.out))}
	default: // it may be edited yet
		unvalidated(header)
		resp.ContentLength = -1
	}
	return gate.Passes(gate.StageMask)
}

// A leakFilter reads a body without what reveals a backend. It hands on what
// has come as soon as it is known to be clean.
type leakFilter struct {
	src io.Reader
	set *bodyScanner
	out []byte
	err error
	// room is what out is made of, once it has been read.
	room []byte
}

// Read implements io.Reader.
func (r *leakFilter) Read(p []byte) (int, error) {
	for len(r.out) == 0 && r.err == nil {
		r.fill()
	}
	n := copy(p, r.out)
	if r.out = r.out[n:]; n > 0 {
		return n, nil
	}
	return 0, r.err
}

// fill reads once and searches what came.
func (r *leakFilter) fill() {
	buf := buffers.Get().(*[copyBuffer]byte)
	defer buffers.Put(buf)
	n, err := r.src.Read(buf[:])
	if len(r.out) == 0 {
		r.out = r.room[:0]
	}
	r.out = r.set.feed(r.out, buf[:n], err == io.EOF) //nolint:errorlint // an io.Reader's own
	r.room = r.out
	r.err = err
	if r.set.refused != nil {
		r.out, r.err = nil, r.set.refused
	}
}

// ahead reads until the body ends, breaks or has as many bytes.
func (r *leakFilter) ahead(most int) {
	for len(r.out) < most && r.err == nil {
		r.fill()
	}
}

// A leakWatcher searches the beginning of a body that passes as it is.
type leakWatcher struct {
	io.ReadCloser
	v      *visit
	set    leakScanner
	left   int
	unpack *unpacking // nil: the body has no coding
	found  leakLog    // goes to the visit in the end
	done   bool
}

func newLeakWatcher(body io.ReadCloser, v *visit, set *leakSet, coding string) *leakWatcher {
	w := &leakWatcher{ReadCloser: body, v: v, left: leakWatch}
	w.set = leakScanner{set: set, mute: true, edit: w.note}
	switch coding {
	case "":
	case "gzip", "x-gzip", "deflate":
		w.unpack = newUnpacking(coding, &w.set)
	default:
		w.left = 0 // nobody can tell
	}
	return w
}

// note keeps what was found, and leaves it where it is.
func (w *leakWatcher) note(token leakToken) (string, bool) {
	if !w.v.named(token) {
		w.found.note(inBody, "", token.shown, LeakObserve, 1)
	}
	return "", false
}

// Read implements io.Reader.
func (w *leakWatcher) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if w.left > 0 {
		piece := p[:min(n, w.left)]
		w.left -= len(piece)
		switch {
		case w.unpack == nil:
			w.set.feed(nil, piece, false)
		case !w.unpack.take(piece):
			w.left = 0
		}
	}
	return n, err
}

// finish ends the search. What was found goes to the record. Calling it again
// does nothing.
func (w *leakWatcher) finish() {
	if w.done {
		return
	}
	w.done = true
	if w.unpack != nil {
		w.unpack.finish()
	}
	w.set.feed(nil, nil, true)
	for _, f := range w.found.found {
		w.v.leaks.note(f.Where, f.Name, f.Token, f.Action, f.Count)
	}
	w.v.leaks.more += w.found.more
}

// Close implements io.Closer.
func (w *leakWatcher) Close() error {
	w.finish()
	return w.ReadCloser.Close()
}

// unpacking decodes a body beside its way to the client, in a goroutine of its
// own that ends with finish.
type unpacking struct {
	to   *io.PipeWriter
	done chan struct{}
}

func newUnpacking(coding string, set *leakScanner) *unpacking {
	from, to := io.Pipe()
	u := &unpacking{to: to, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		defer from.Close()
		src, err := unpacked(from, coding)
		if err != nil {
			return
		}
		buf := buffers.Get().(*[copyBuffer]byte)
		defer buffers.Put(buf)
		for left := leakUnpack; left > 0; {
			n, err := src.Read(buf[:min(left, len(buf))])
			set.feed(nil, buf[:n], false)
			if left -= n; err != nil {
				return
			}
		}
	}()
	return u
}

// take hands over what has come, and reports whether more is wanted.
func (u *unpacking) take(piece []byte) bool {
	_, err := u.to.Write(piece)
	return err == nil
}

func (u *unpacking) finish() {
	_ = u.to.Close() // it never fails
	<-u.done
}

var errCoding = errors.New("a content coding that cannot be searched")

// unpacked decodes a body (RFC 9110 section 8.4.1). Nothing is read before the
// result is.
func unpacked(body io.Reader, coding string) (io.Reader, error) {
	switch coding {
	case "":
		return body, nil
	case "gzip", "x-gzip":
		return &lazy{open: func() (io.Reader, error) { return gzip.NewReader(body) }}, nil
	case "deflate":
		return &lazy{open: func() (io.Reader, error) { return zlib.NewReader(body) }}, nil
	}
	return nil, errCoding
}

// lazy is a reader that is opened by its first Read.
type lazy struct {
	open func() (io.Reader, error)
	src  io.Reader
}

// Read implements io.Reader.
func (l *lazy) Read(p []byte) (int, error) {
	if l.src == nil {
		src, err := l.open()
		if err != nil {
			return 0, err
		}
		l.src = src
	}
	return l.src.Read(p)
}

// coding is the content coding of an answer, lower case; empty: none.
func coding(header http.Header) string {
	c := strings.Trim(asciiLower(strings.Join(header["Content-Encoding"], ",")), " \t")
	if c == "identity" {
		return ""
	}
	return c
}

// textual reports whether a body is text, in which an address can be read. One
// that does not say what it is counts as text: a browser may take it for that.
func textual(header http.Header) bool {
	kind := ""
	if values := header["Content-Type"]; len(values) > 0 {
		kind, _, _ = strings.Cut(asciiLower(values[0]), ";")
		kind = strings.Trim(kind, " \t")
	}
	main, sub, _ := strings.Cut(kind, "/")
	switch {
	case kind == "" || main == "text":
		return true
	case strings.HasSuffix(sub, "json") || strings.HasSuffix(sub, "xml") || strings.HasSuffix(sub, "javascript") || strings.HasSuffix(sub, "ecmascript"):
		return true
	}
	switch sub {
	case "x-ndjson", "jsonl", "json-seq", "x-www-form-urlencoded", "graphql", "yaml", "x-yaml", "toml", "sql", "byteranges", "x-httpd-php", "x-sh":
		return true
	}
	return false
}

// eventStream reports whether a body is a stream of events, which nobody may
// keep waiting.
func eventStream(header http.Header) bool {
	return strings.HasPrefix(asciiLower(strings.Join(header["Content-Type"], ",")), "text/event-stream")
}
