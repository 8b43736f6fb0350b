package waf

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/waf/coding"
)

// A belated source has its bytes, waits, and then fills all the room that it was
// given.
type belated struct {
	stalling
}

// Read implements io.Reader.
func (s *belated) Read(p []byte) (int, error) {
	if n, err := s.rest.Read(p); err == nil {
		return n, nil
	}
	close(s.stalled)
	<-s.end
	for i := range p {
		p[i] = '!'
	}
	return len(p), nil
}

// TestUploadBuffersLate ends transactions while their readers wait for the
// client: what the client sends then gets into no buffer that others use.
func TestUploadBuffersLate(t *testing.T) {
	e := sharedEngine(t)
	whole := multi(file("f", "a.bin", noise(1<<20)) + last)
	for name, c := range map[string]call{"plain": whole, "coded": whole.in(t, coding.Gzip)} {
		for _, sent := range []int{100 << 10, 300 << 10, 301<<10 + 17} {
			src := &belated{stalling{rest: strings.NewReader(c.body[:sent]), stalled: make(chan struct{}), end: make(chan struct{})}}
			req, tx, v := begin(e, call{method: "POST", target: "/", fields: c.fields, source: src})
			if !v.Passed() {
				t.Fatalf("%s: %v", name, v)
			}
			var reader sync.WaitGroup
			var err error
			reader.Go(func() { _, err = io.Copy(io.Discard, req.HTTP.Body) })
			<-src.stalled
			tx.Close()
			var taken [][]byte
			for range 64 {
				taken = append(taken, chunks.Get().(*[uploadChunk]byte)[:], windows.Get().(*[uploadWindow]byte)[:])
			}
			for _, b := range taken {
				clear(b)
			}
			close(src.end)
			reader.Wait()
			if err != errUploadClosed {
				t.Errorf("%s, %d bytes: reading ended in %v, want %v", name, sent, err, errUploadClosed)
			}
			for _, b := range taken {
				if bytes.IndexByte(b, '!') >= 0 {
					t.Errorf("%s, %d bytes: somebody else's buffer was written to", name, sent)
				}
				recycle(b)
			}
			if n, err := req.HTTP.Body.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("%s, %d bytes: the body can be read after its end: %d, %v", name, sent, n, err)
			}
		}
	}
}

// TestUploadBuffersApart passes many uploads at a time, some of which end early,
// while somebody else writes into every buffer that is free. Each must pass on
// what it was sent, and nothing of the others.
func TestUploadBuffersApart(t *testing.T) {
	e := sharedEngine(t)
	stop := make(chan struct{})
	var scribbler sync.WaitGroup
	scribbler.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond / 10):
			}
			a, b := chunks.Get().(*[uploadChunk]byte), windows.Get().(*[uploadWindow]byte)
			for _, room := range [][]byte{a[:], b[:]} {
				for i := 0; i < len(room); i += 100 {
					room[i] = '?'
				}
				recycle(room)
			}
		}
	})
	var uploads sync.WaitGroup
	for worker := range 4 {
		uploads.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for round := range 25 {
				content := strings.Repeat(fmt.Sprintf("upload %d of %d\n", round, worker), 1+r.IntN(20000))
				c := multi(field("a", fmt.Sprint(worker)) + file("f", "a.txt", content) + field("b", strings.Repeat("c", r.IntN(2*uploadChunk))) + last)
				sent := c.body
				if r.IntN(3) == 0 {
					c = c.in(t, coding.All[r.IntN(len(coding.All))])
					sent = c.body
				}
				c.source = &choppy{rest: strings.NewReader(c.body), r: rand.New(rand.NewPCG(uint64(round), uint64(worker)))}
				req, tx, v := begin(e, c)
				if !v.Passed() {
					t.Errorf("%v", v)
				}
				leave := -1
				if r.IntN(2) == 0 {
					leave = r.IntN(len(sent))
				}
				var closer sync.WaitGroup
				var got []byte
				var err error
				for p := make([]byte, 1+r.IntN(40<<10)); err == nil; {
					var n int
					n, err = req.HTTP.Body.Read(p)
					got = append(got, p[:n]...)
					if leave >= 0 && len(got) >= leave {
						leave = -1
						closer.Go(func() { tx.Close() })
					}
				}
				closer.Wait()
				if !strings.HasPrefix(sent, string(got)) || err == io.EOF && string(got) != sent || err != io.EOF && err != errUploadClosed {
					t.Errorf("upload %d of %d: of %d bytes %d were passed on, not as they were sent, or %v", round, worker, len(sent), len(got), err)
				}
				tx.Close()
			}
		})
	}
	uploads.Wait()
	close(stop)
	scribbler.Wait()
}

// A choppy source reads in pieces of any size.
type choppy struct {
	rest io.Reader
	r    *rand.Rand
}

// Read implements io.Reader.
func (c *choppy) Read(p []byte) (int, error) {
	return c.rest.Read(p[:min(len(p), 1+c.r.IntN(uploadChunk))])
}
