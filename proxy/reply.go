package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"sallyport/internal/gate"
)

const (
	// copyBuffer is how much of an answer is held at a time.
	copyBuffer = 16 << 10
	// longBuffer is the same from longFrom on, for clients that take it.
	longBuffer = 32 << 10
	longFrom   = 256 << 10
	// slowBuffer is the same for a client that has yet to take what was sent.
	slowBuffer = 1 << 10
	// slowFrom is from where on in an answer that is asked.
	slowFrom = 64 << 10
	// slowFor is how many parts are small once one has to be.
	slowFor = 16
)

var (
	buffers     = sync.Pool{New: func() any { return new([copyBuffer]byte) }}
	longBuffers = sync.Pool{New: func() any { return new([longBuffer]byte) }}
	slowBuffers = sync.Pool{New: func() any { return new([slowBuffer]byte) }}
)

// vet takes a backend's answer past the rules, and puts one of our own in place
// of an error. Until the rules have passed it, the client gets no byte of it.
func (h *Handler) vet(v *visit) gate.Verdict {
	a := v.got
	resp, body := a.resp, &a.body
	v.pool.Status = resp.StatusCode
	if resp.StatusCode == http.StatusSwitchingProtocols {
		verdict := h.upgrade(v, a, resp)
		if verdict.Passed() {
			v.leaked()
		}
		return verdict
	}
	*body = download{src: resp.Body, cancel: a.cancel, idle: a.pool.timeout.Idle}
	resp.Body = body
	if resp.StatusCode < 200 || resp.StatusCode > 599 {
		return a.blame(gate.PoolBadAnswer, fmt.Errorf("status %d", resp.StatusCode))
	}
	if verdict := h.judge(v, resp); !v.goesOn(verdict) {
		if body.err != nil { // the rules could not read it either
			return a.cutOff(gate.PoolBadAnswer, body.err)
		}
		return verdict
	}
	if resp.Body == io.ReadCloser(body) && (v.upload == nil || v.upload.whole || v.upload.over.Load()) {
		h.guard(v, v.endRules) // they hold nothing of either body
	}
	v.resume()
	if resp.StatusCode >= 500 && v.site.route.MaskErrors != "pass" {
		header := v.fresh()
		if after := resp.Header.Get("Retry-After"); validRetry(after) {
			header["Retry-After"] = []string{after}
		}
		v.stick(a, header)
		v.page(resp.StatusCode, false)
	}
	return gate.Passes(gate.StagePool)
}

// validRetry reports whether a Retry-After is one (RFC 9110 section 10.2.3),
// and no place to put other things.
func validRetry(s string) bool {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return strconv.FormatUint(n, 10) == s
	}
	_, err := http.ParseTime(s)
	return err == nil
}

// judge asks the rules about the answer.
func (h *Handler) judge(v *visit, resp *http.Response) gate.Verdict {
	defer v.spent("waf")
	return v.tx.Response(resp)
}

// public is how the client knows the site. A name that could not stand in a
// URL is as good as none. A trusted proxy may have named the port in a field of
// its own; of the two that go without saying it may have meant its own.
func (v *visit) public() public {
	p := public{scheme: v.scheme(), authority: v.authority()}
	if !validAuthority(p.authority) {
		return public{scheme: p.scheme}
	}
	_, written := splitAuthority(p.authority)
	if port := v.told("X-Forwarded-Port"); written == "" && validPort(port) && port != "80" && port != "443" {
		p.authority += ":" + port
	}
	return p
}

// relay writes the answer to the client as it comes. From its first byte on
// nothing else can be said: what breaks is cut off.
//
// This is where slow clients are waited for, so the stack is kept low: it stays
// as large as it has been, and half of what net/http writes a head with.
func (h *Handler) relay(v *visit) (verdict gate.Verdict) {
	if verdict = h.lead(v); !verdict.Passed() {
		return verdict
	}
	resp := v.got.resp
	var readErr, writeErr error
	if !v.bodyless(resp) {
		readErr, writeErr = v.copy(resp.Body, resp.ContentLength)
	}
	return h.conclude(v, readErr, writeErr)
}

// bodyless reports whether the answer ends with its head.
func (v *visit) bodyless(resp *http.Response) bool {
	return v.req.Head.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
}

// trailing reports whether there may be fields behind the body.
func (v *visit) trailing(resp *http.Response) bool {
	return !v.bodyless(resp) && v.req.HTTP.ProtoAtLeast(1, 1) && (resp.ContentLength < 0 || !v.http1())
}

// lead writes the head of the answer, under the mask.
func (h *Handler) lead(v *visit) gate.Verdict {
	a, resp, header := v.got, v.got.resp, v.rw.Header()
	if verdict := h.show(v, a.pool, inHeader, header, resp.Header); !v.goesOn(verdict) {
		return verdict
	}
	if resp.ContentLength >= 0 {
		header["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	if verdict := h.screen(v, a.pool, resp, header, v.bodyless(resp)); !v.goesOn(verdict) {
		return verdict
	}
	v.site.dress(v, header)
	if v.req.Budget != nil { // the backend's own would speak of another budget
		delete(header, "Ratelimit")
		delete(header, "Ratelimit-Policy")
		rateLimit(header, v.req.Budget)
	}
	v.stick(a, header)
	header["X-Request-Id"] = []string{v.req.ID}
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // keeps net/http from guessing one
	}
	if v.http1() && v.unread() {
		header["Connection"] = []string{"close"}
	}
	if len(resp.Trailer) > 0 && v.trailing(resp) {
		h.announce(header, resp.Trailer, v.site.origin(a.pool).leaks.tokens())
	}
	v.rw.WriteHeader(resp.StatusCode)
	return gate.Passes(gate.StagePool)
}

// conclude is what came of an answer whose head the client has, with the errors
// of its body.
func (h *Handler) conclude(v *visit, readErr, writeErr error) gate.Verdict {
	a, resp := v.got, v.got.resp
	if w, ok := resp.Body.(*leakWatcher); ok && !v.bodyless(resp) {
		w.finish()
	}
	if writeErr != nil {
		if ve, ok := errors.AsType[*gate.VerdictError](writeErr); ok {
			return ve.Verdict
		}
		return gate.Failure(gate.PoolClientGone, writeErr)
	}
	if readErr != nil {
		if ve, ok := errors.AsType[*gate.VerdictError](readErr); ok {
			return ve.Verdict // the rules refused it while it streamed
		}
		return a.cutOff(gate.PoolBroken, readErr)
	}
	if v.trailing(resp) {
		h.trail(v, a.pool, v.rw.Header(), resp.Trailer)
	}
	v.answered = true
	v.leaked()
	return gate.Passes(gate.StagePool)
}

// announce names the trailers that will be passed on, if they come. One whose
// name may tell something comes unannounced, and is judged then.
func (h *Handler) announce(header, trailer http.Header, leaks *leakSet) {
	names := make([]string, 0, len(trailer))
	for name := range trailer {
		if h.mask.fate(name) != drop && validName(name) && !leaks.suspects(name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		header["Trailer"] = []string{strings.Join(names, ", ")}
	}
}

// trail passes the trailers on, announced or not, under the mask.
func (h *Handler) trail(v *visit, p *pool, header, trailer http.Header) {
	seen := make(http.Header, len(trailer))
	v.goesOn(h.show(v, p, inTrailer, seen, trailer)) // what must not pass is not in seen
	announced := header["Trailer"]
	for name, values := range seen {
		if len(announced) > 0 && hasToken(announced[0], name) {
			header[name] = values
		} else {
			header[http.TrailerPrefix+name] = values
		}
	}
}

// copy writes the body as it comes. Whatever is waited for is flushed first: a
// stream's head and each of its parts, and the part that has come of a body
// whose rest has not.
//
// Over HTTP/2 a client may have all of a body and be gone before net/http
// learns that the last of it was written, and says that it was not.
func (v *visit) copy(src io.Reader, length int64) (readErr, writeErr error) {
	var room portion
	defer room.free()
	stream := length < 0
	if stream {
		if err := v.rw.control.Flush(); err != nil {
			return nil, err
		}
	}
	for {
		buf := room.take(v.rw.bytes, v.in)
		n, err := src.Read(buf)
		if n > 0 {
			upTo := v.rw.bytes + int64(n)
			write := v.rw.Write
			if v.http1() && v.rw.bytes == 0 && upTo == length {
				write = v.whole
			}
			if _, werr := write(buf[:n]); werr != nil {
				if upTo == length && !v.http1() {
					v.rw.bytes = upTo
					return nil, nil
				}
				return nil, werr
			}
		}
		switch {
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return err, nil
		case stream || n < len(buf) && v.rw.bytes < length:
			if err := v.rw.control.Flush(); err != nil {
				return nil, err
			}
		}
	}
}

// whole writes a body that is there as a whole. Its head and all of it go out
// together, when the record is written, as the end of any answer does.
func (v *visit) whole(body []byte) (int, error) {
	v.in.Gather()
	v.gathered = true
	return v.rw.Write(body)
}

// send sends what was gathered of the answer.
func (v *visit) send() {
	if v.gathered {
		_ = v.rw.control.Flush() // who is not there any more learns nothing
		_ = v.in.Send()
	}
}

// A portion is the part of an answer that is held: a small one while a write
// would wait for the client, and pin it.
type portion struct {
	buf  []byte
	from *sync.Pool // where buf goes back to
	held any        // as which it does
	slow int        // parts that are still small
}

// take returns the buffer for the part that begins after so many bytes.
func (p *portion) take(sent int64, client gate.Inbound) []byte {
	if sent >= slowFrom && client.Congested() {
		p.slow = slowFor
	}
	switch {
	case p.slow > 0:
		p.slow--
		return p.fit(slowBuffer)
	case sent >= longFrom:
		return p.fit(longBuffer)
	}
	return p.fit(copyBuffer)
}

// fit changes to a buffer of the size, if it is not there already.
func (p *portion) fit(size int) []byte {
	if len(p.buf) == size {
		return p.buf
	}
	p.free()
	switch size {
	case slowBuffer:
		b := slowBuffers.Get().(*[slowBuffer]byte)
		p.buf, p.held, p.from = b[:], b, &slowBuffers
	case longBuffer:
		b := longBuffers.Get().(*[longBuffer]byte)
		p.buf, p.held, p.from = b[:], b, &longBuffers
	default:
		b := buffers.Get().(*[copyBuffer]byte)
		p.buf, p.held, p.from = b[:], b, &buffers
	}
	return p.buf
}

// free gives the buffer back.
func (p *portion) free() {
	if p.from != nil {
		p.from.Put(p.held)
	}
	p.buf, p.held, p.from = nil, nil, nil
}

// cutOff is the verdict of an answer that ended before its end. It may be the
// client's doing.
func (a *attempt) cutOff(reason gate.Reason, err error) gate.Verdict {
	late := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(context.Cause(a), os.ErrDeadlineExceeded) || a.v.late()
	if !late {
		if verdict, ok := a.v.clientFault(); ok {
			return verdict
		}
	}
	if late && a.v.rw.status == 0 {
		reason = gate.PoolTimeout
	}
	return a.blame(reason, err)
}

// blame is the verdict of an answer that the backend spoiled.
func (a *attempt) blame(reason gate.Reason, err error) gate.Verdict {
	a.failed()
	return gate.Failure(reason, fmt.Errorf("backend %s: %w", a.b.name, err))
}
