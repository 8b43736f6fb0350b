package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/traffic"
)

// connections is how many clients ask at the same time.
const connections = 8

// A sample is what a number of requests cost a server.
type sample struct {
	requests int
	cpu      time.Duration
	mallocs  float64 // less than nothing: not known
}

func (s sample) cpuPer() time.Duration { return s.cpu / time.Duration(s.requests) }

// others are the answers that were not expected.
type others struct {
	sync.Mutex
	count int
	first string
}

func (o *others) add(format string, args ...any) {
	o.Lock()
	defer o.Unlock()
	if o.count++; o.count == 1 {
		o.first = fmt.Sprintf(format, args...)
	}
}

// settle is how long a server gets to end what an answer does not wait for: its
// record, its garbage.
const settle = 20 * time.Millisecond

// A supply makes the requests of a round, each of them once, for all servers.
type supply struct {
	generator *traffic.Generator
	first     int // number of the first one
	made      []traffic.Request
	bytes     int // of their bodies
}

// maxSupply is how many bytes of bodies a supply holds before it ends.
const maxSupply = 256 << 20

// take returns count requests from the one at i on; none when the supply has ended.
func (u *supply) take(i, count int) []traffic.Request {
	if i+count > len(u.made) && u.bytes > maxSupply {
		return nil
	}
	for len(u.made) < i+count {
		r := u.generator.Request(u.first + len(u.made))
		u.made = append(u.made, r)
		u.bytes += len(r.Body)
	}
	return u.made[i : i+count]
}

// window sends requests over connections that are open already and have been
// used, and tells what they cost: count of them, and as many more as the server
// answers until least has passed. All answers are looked at.
func (s *server) window(warm []traffic.Request, from *supply, count int, least time.Duration, o *others) (sample, error) {
	conns := make([]*client, connections)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.close()
			}
		}
	}()
	for i := range conns {
		conns[i] = &client{address: s.address}
	}
	got := sample{mallocs: -1}
	allocated, asking, err := s.askAllocations()
	if err != nil {
		return got, err
	}
	if err := s.send(conns, warm, &others{}); err != nil {
		return sample{}, err
	}
	time.Sleep(settle)
	before, err := cpuTime(s.cmd.Process.Pid)
	if err != nil {
		return got, err
	}
	for spent := time.Duration(0); got.requests == 0 || spent < least; {
		requests := from.take(got.requests, count)
		if requests == nil {
			break
		}
		began := time.Now()
		if err := s.send(conns, requests, o); err != nil {
			return got, err
		}
		spent += time.Since(began)
		got.requests += len(requests)
	}
	time.Sleep(settle)
	after, err := cpuTime(s.cmd.Process.Pid)
	if err != nil {
		return got, err
	}
	got.cpu = after - before
	if s.control != "" {
		now, err := s.allocations()
		if err != nil {
			return got, err
		}
		// Those of all requests: to ask in between would leave the server cold.
		got.mallocs = (now - allocated - asking) * float64(got.requests) / float64(len(warm)+got.requests)
	}
	return got, nil
}

// askAllocations tells how much the server has allocated, and how much of it
// with each question: the least between two of them.
func (s *server) askAllocations() (now, asking float64, err error) {
	if s.control == "" {
		return 0, 0, nil
	}
	var last float64
	for i := range 5 {
		if now, err = s.allocations(); err != nil {
			return 0, 0, err
		}
		if d := now - last; i == 1 || i > 1 && d < asking {
			asking = d
		}
		last = now
	}
	return now, asking, nil
}

// send has the clients share the requests.
func (s *server) send(conns []*client, requests []traffic.Request, o *others) error {
	var next atomic.Int64
	failures := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			for failures[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(requests) {
					return
				}
				a, err := c.ask(requests[n].Raw())
				if errors.Is(err, errCut) {
					o.add("%v for %.60q", err, requests[n].Method+" "+requests[n].Target)
				} else if err != nil {
					failures[i] = fmt.Errorf("request %d: %w", n, err)
				} else if want := s.expects(&requests[n], a); want != "" {
					o.add("%d and %d bytes instead of %s for %.60q", a.status, a.size, want, requests[n].Method+" "+requests[n].Target)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(failures...)
}

// expects says what should have been the answer; empty: what it is.
func (s *server) expects(r *traffic.Request, a answer) string {
	passed := a.status == http.StatusOK && a.size == len(page)
	refused := a.status == http.StatusForbidden
	switch {
	case r.Mix == traffic.Hostile && s.judges: // whatever the rules say
		if passed || a.status >= 400 && a.status < 500 {
			return ""
		}
		return "the page, or a refusal"
	case r.Benign || !s.judges:
		if passed {
			return ""
		}
		return "the page"
	case refused:
		return ""
	}
	return "403"
}

// A client asks one thing after the other over a connection that it keeps.
type client struct {
	address string
	from    net.Addr // nil: whatever the system takes
	conn    net.Conn
	br      *bufio.Reader
}

type answer struct{ status, size int }

// errCut is that of an answer that has begun and has no end. ReverseProxy has one in
// ten thousands.
var errCut = errors.New("an answer was cut")

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// ask sends a request and reads the answer. A connection that the server has
// closed in the meantime is opened anew.
func (c *client) ask(raw []byte) (answer, error) {
	kept := c.conn != nil
	a, began, err := c.once(raw)
	if err != nil && kept && !began {
		a, _, err = c.once(raw)
	}
	return a, err
}

func (c *client) once(raw []byte) (a answer, began bool, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.conn == nil {
		if c.conn, err = (&net.Dialer{Timeout: 5 * time.Second, LocalAddr: c.from}).Dial("tcp", c.address); err != nil {
			return a, false, err
		}
		c.br = bufio.NewReaderSize(c.conn, 16<<10)
	}
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return a, false, err
	}
	// A server may refuse, and close, before it has read everything.
	_, failed := c.conn.Write(raw)
	if _, err := c.br.Peek(1); err != nil {
		return a, false, cmp.Or(failed, err)
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return a, true, fmt.Errorf("%w: %w", errCut, err)
	}
	size, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return a, true, fmt.Errorf("%w: %w", errCut, err)
	}
	if resp.Close || failed != nil {
		c.close()
	}
	return answer{resp.StatusCode, int(size)}, true, nil
}
