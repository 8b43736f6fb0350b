package selftest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxHeard is how many bytes of answers one connection may bring.
const maxHeard = 16 << 20

// maxJunk is how many bytes of something else than an answer are shown.
const maxJunk = 100

// A line is one connection to whoever is asked.
type line struct {
	conn net.Conn
	r    *bufio.Reader
	sent sync.WaitGroup
	stop func() bool
}

// A reply is one answer, its body read and thrown away.
type reply struct {
	Status int
	ID     string // its X-Request-Id
	Close  bool   // the server said that it will close
}

// The ways in which a line ends without another answer.
var (
	errClosed  = errors.New("closed")
	errTimeout = errors.New("nothing within the time")
	errNotHTTP = errors.New("something that does not begin as an HTTP/1 answer")
	errBroken  = errors.New("an answer that cannot be read")
)

// open connects. Nothing on the line takes longer than the timeout, or goes on
// when ctx ends.
func open(ctx context.Context, to Endpoint, timeout time.Duration) (*line, error) {
	dialling, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := to.dial(dialling)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l := &line{conn: conn, r: bufio.NewReader(io.LimitReader(conn, maxHeard))}
	l.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return l, nil
}

// send writes beside the reading: a server may answer before it has read
// everything. That it closes meanwhile is no failure, since it may have refused
// what came before.
func (l *line) send(p []byte, halfClose bool) {
	l.sent.Go(func() {
		if _, err := l.conn.Write(p); err == nil && halfClose {
			l.finish()
		}
	})
}

// finish ends the sending direction.
func (l *line) finish() {
	if w, ok := l.conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // a peer that has closed already needs no telling
	}
}

// within sets another limit for what is yet to come.
func (l *line) within(d time.Duration) { _ = l.conn.SetReadDeadline(time.Now().Add(d)) }

// close ends the connection.
func (l *line) close() {
	l.stop()
	_ = l.conn.Close() // everything that counts has been read
	l.sent.Wait()
}

// answer reads one answer to a request with the method; interim answers are
// passed over. Instead of one it returns how the line ended.
func (l *line) answer(method string) (reply, error) {
	for {
		if err := l.begins(); err != nil {
			return reply{}, err
		}
		resp, err := http.ReadResponse(l.r, &http.Request{Method: method})
		if err != nil {
			return reply{}, broken(err)
		}
		if 100 <= resp.StatusCode && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		a := reply{Status: resp.StatusCode, ID: resp.Header.Get("X-Request-Id"), Close: resp.Close}
		if a.Status == http.StatusSwitchingProtocols {
			return a, nil // the rest is not HTTP
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if cerr := resp.Body.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			a.Close = true // the status counts; a body that broke off ends the line
		}
		return a, nil
	}
}

// begins waits for the first bytes of an answer.
func (l *line) begins() error {
	const protocol = "HTTP/"
	start, err := l.r.Peek(len(protocol))
	switch {
	case string(start) == protocol:
		return nil
	case len(start) > 0 && !strings.HasPrefix(protocol, string(start)):
		start, _ = l.r.Peek(min(l.r.Buffered(), maxJunk)) // no more than is there: it cannot fail
		return fmt.Errorf("%w: %s", errNotHTTP, escape(start))
	}
	return ending(err)
}

// broken tells an answer that did not come to its end in time from one that
// cannot be read.
func broken(err error) error {
	if end := ending(err); errors.Is(end, errTimeout) {
		return end
	}
	return errBroken
}

// ending puts an error of reading into one of two words. A reset is an end.
func ending(err error) error {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return errTimeout
	}
	return errClosed
}
