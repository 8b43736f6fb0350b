package waf

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
)

// got is what a lenient backend makes of coded bytes.
func got(c coding.Coding, coded string) string {
	var r io.Reader
	var err error
	switch src := strings.NewReader(coded); c {
	case coding.Gzip:
		r, err = gzip.NewReader(src)
	case coding.Deflate:
		r, err = zlib.NewReader(src)
	case coding.Brotli:
		r = brotli.NewReader(src)
	case coding.Zstd:
		r, err = zstd.NewReader(src, zstd.WithDecoderConcurrency(1))
	}
	if err != nil {
		return ""
	}
	text, _ := io.ReadAll(r) // as far as it goes
	return string(text)
}

// TestCodedUploadStreams holds what the backend can decode of a coded body with
// files, and when.
func TestCodedUploadStreams(t *testing.T) {
	e := sharedEngine(t)
	const attack = "<script>alert(1)</script>"
	large := noise(3 << 20)
	for _, c := range coding.All {
		for _, tc := range []struct {
			name   string
			body   string
			reason gate.Reason
			unseen string // must not have reached the backend
		}{
			{"a large file", file("f", "a.bin", large) + last, "", ""},
			{"a field before a large file is judged at the end", field("c", attack) + file("f", "a.bin", large) + last, gate.WAFInboundScore, "--b0undary--"},
			{"a field after a large file is withheld", file("f", "a.bin", large) + field("c", attack) + last, gate.WAFInboundScore, "script"},
			{"a harmless field after a large file", file("f", "a.bin", large) + field("c", "fine") + last, "", ""},
			{"a field between large files", file("f", "a.bin", large) + field("c", attack) + file("g", "b.bin", large) + last, gate.WAFInboundScore, "--b0undary--"},
			{"the name of the last file", file("f", "a.bin", large) + file("g", "shell.php", "x") + last, gate.WAFInboundScore, "shell"},
			{"the end is missing", file("f", "a.bin", large) + "--b0undary", gate.WAFBodyUnreadable, ""},
			{"something after the end", file("f", "a.bin", large) + last + "x", gate.WAFBodyUnreadable, "--b0undary--"},
		} {
			call := multi(tc.body).in(t, c)
			what := tc.name + " in " + string(c)
			o := run(e, call)
			if tc.reason == "" {
				o.expect(t, what, gate.Pass, "")
				if o.passed != call.body || o.result.Inspected != "full" {
					t.Errorf("%s: the backend read %d bytes of %d, inspected %q", what, len(o.passed), len(call.body), o.result.Inspected)
				}
				continue
			}
			o.expect(t, what, gate.Refuse, tc.reason)
			if !o.late || o.passed == call.body || !strings.HasPrefix(call.body, o.passed) || len(o.passed) == 0 {
				t.Errorf("%s: late %v, %d bytes of %d passed", what, o.late, len(o.passed), len(call.body))
			}
			if text := got(c, o.passed); tc.unseen != "" && strings.Contains(text, tc.unseen) || strings.HasSuffix(text, last) {
				t.Errorf("%s: the backend could read %q", what, tc.unseen)
			}
		}
		// A stream that goes wrong behind its content is not completed either.
		whole := multi(file("f", "a.bin", large)+last).in(t, c)
		for _, body := range []string{whole.body + "\x00", whole.body[:len(whole.body)-1], whole.body + encoded(t, c, "x")} {
			o := run(e, multi("").as(string(c), body))
			o.expect(t, "a broken end in "+string(c), gate.Refuse, gate.WAFEncoding)
			if text := got(c, o.passed); strings.Contains(text, "--b0undary--") {
				t.Errorf("a broken end in %s: the backend could read the whole form", c)
			}
		}
	}
	given(t, e)
}

// noise is content that cannot be made smaller.
func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b) //nolint:errcheck // it never fails
	return string(b)
}

// a hashing reader tells what went through it.
type hashing struct {
	io.Reader
	sum  hash.Hash
	size int64
}

// Read implements io.Reader.
func (h *hashing) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	h.sum.Write(p[:n])
	h.size += int64(n)
	return n, err
}

// TestLargeCodedUploads passes 64 MiB of a file at constant memory and byte for
// byte.
func TestLargeCodedUploads(t *testing.T) {
	e := sharedEngine(t)
	size := int64(64 << 20)
	if testing.Short() {
		size = 8 << 20
	}
	for _, c := range coding.All {
		r, w := io.Pipe()
		enc := encoder(t, c, w)
		go func() {
			_, err := io.WriteString(enc, strings.TrimSuffix(file("f", "film.mp4", ""), "\r\n"))
			if err == nil {
				_, err = io.CopyN(enc, rand.NewChaCha8([32]byte{}), size)
			}
			if err == nil {
				_, err = io.WriteString(enc, "\r\n"+field("title", "holiday")+last)
			}
			if err == nil {
				err = enc.Close()
			}
			w.CloseWithError(err)
		}()
		sent := &hashing{Reader: r, sum: sha256.New()}
		call := call{method: "POST", target: "/", fields: browser("Content-Type", "multipart/form-data; boundary=b0undary", "Content-Encoding", string(c), "Transfer-Encoding", "chunked"), source: sent}
		req, tx, v := begin(e, call)
		if !v.Passed() {
			t.Fatalf("%s: %v %s", c, v.Reason, v.Detail)
		}
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		received, peak, held := sha256.New(), uint64(0), int64(0)
		buf := make([]byte, 64<<10)
		for step := 0; ; step++ {
			n, err := req.HTTP.Body.Read(buf)
			received.Write(buf[:n])
			held = max(held, e.Held())
			if step%200 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&during)
				peak = max(peak, during.HeapAlloc)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", c, err)
			}
		}
		if sent.size < size {
			t.Errorf("%s: only %d bytes were sent", c, sent.size)
		}
		if !bytes.Equal(received.Sum(nil), sent.sum.Sum(nil)) {
			t.Errorf("%s: the backend got other bytes than the client sent", c)
		}
		if grown := int64(peak) - int64(before.HeapAlloc); grown > 12<<20 || held > 12<<20 {
			t.Errorf("%s: the heap grew by %d bytes, %d were accounted for, while %d passed", c, grown, held, sent.size)
		}
		if v := tx.Response(&http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}); v.Action != gate.Pass {
			t.Errorf("%s: %v", c, v)
		}
		if in := tx.Close(); in.Inspected != "full" {
			t.Errorf("%s: inspected %q", c, in.Inspected)
		}
		given(t, e)
	}
}

// TestCodedUploadEnds gives everything back wherever an upload ends: read in
// part, answered early, closed while somebody reads.
func TestCodedUploadEnds(t *testing.T) {
	e := sharedEngine(t)
	large := noise(2 << 20)
	for _, c := range coding.All {
		call := multi(file("f", "a.bin", large)+field("c", "x")+last).in(t, c)
		_, tx, _ := begin(e, call)
		tx.Close()

		req, tx, _ := begin(e, call)
		if _, err := io.CopyN(io.Discard, req.HTTP.Body, 256<<10); err != nil {
			t.Error(err)
		}
		if v := tx.Response(answer(200, "")); v.Action != gate.Pass {
			t.Errorf("%s, answered early: %v", c, v)
		}
		if rest, err := io.ReadAll(req.HTTP.Body); !isVerdict(err) {
			t.Errorf("%s: a field after the answer: %d bytes, %v, want the body refused", c, len(rest), err)
		}
		tx.Close()
		if _, err := io.ReadAll(req.HTTP.Body); err == nil {
			t.Errorf("%s: the body can be read after the transaction was closed", c)
		}

		for range 5 {
			req, tx, _ := begin(e, call)
			var both sync.WaitGroup
			both.Go(func() { io.Copy(io.Discard, req.HTTP.Body) })
			both.Go(func() { tx.Response(answer(200, "")) })
			both.Go(func() { tx.Close() })
			both.Wait()
		}
		given(t, e)
	}
}

// A stalling reader has its bytes, and then waits.
type stalling struct {
	rest    io.Reader
	stalled chan struct{} // closed when it waits
	end     chan struct{} // closed to let it end
}

// Read implements io.Reader.
func (s *stalling) Read(p []byte) (int, error) {
	if n, err := s.rest.Read(p); err == nil {
		return n, nil
	}
	close(s.stalled)
	<-s.end
	return 0, io.ErrUnexpectedEOF
}

// TestCodedUploadStalls gives the memory back when a transaction ends while its
// reader waits for the client.
func TestCodedUploadStalls(t *testing.T) {
	e := sharedEngine(t)
	for _, c := range coding.All {
		whole := multi(file("f", "a.bin", noise(1<<20))+last).in(t, c)
		src := &stalling{rest: strings.NewReader(whole.body[:len(whole.body)/2]), stalled: make(chan struct{}), end: make(chan struct{})}
		req, tx, v := begin(e, call{method: "POST", target: "/", fields: whole.fields, source: src})
		if !v.Passed() {
			t.Fatalf("%s: %v", c, v)
		}
		var reader sync.WaitGroup
		reader.Go(func() { io.Copy(io.Discard, req.HTTP.Body) })
		<-src.stalled
		if e.decoders.held.Load() == 0 {
			t.Errorf("%s: no decoder is at work", c)
		}
		tx.Close()
		given(t, e)
		close(src.end)
		reader.Wait()
	}
}
