package ftw

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxAnswer bounds how much of an answer is read.
const maxAnswer = 8 << 20

// A reply is what came back on the wire.
type reply struct {
	status int
	header http.Header
	raw    []byte // head and body as received, interim answers included
	err    error  // why there is no final answer; nil when there is one
}

// exchange sends one request over a connection of its own and reads one
// answer. It takes no longer than ctx, and leaves no goroutine behind.
func exchange(ctx context.Context, t Target, request []byte) reply {
	conn, err := t.Dial(ctx)
	if err != nil {
		return reply{err: fmt.Errorf("connect: %w", err)}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	sent := make(chan struct{})
	// The gateway may answer before it has read everything, and a pipe has no
	// buffer: writing and reading go on side by side.
	go func() {
		defer close(sent)
		conn.Write(request) // what became of it shows in the answer
	}()
	r := receive(conn, methodOf(request))
	stop()
	conn.Close()
	<-sent
	if r.err != nil && ctx.Err() != nil {
		r.err = fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	return r
}

// receive reads interim answers and the final one.
func receive(conn net.Conn, method string) reply {
	var r reply
	var raw bytes.Buffer
	br := bufio.NewReader(io.TeeReader(io.LimitReader(conn, maxAnswer), &raw))
	for {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			if raw.Len() == 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
				err = errors.New("the connection was closed without an answer")
			}
			r.err = err
			break
		}
		if resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		r.status, r.header = resp.StatusCode, resp.Header
		if resp.StatusCode != http.StatusSwitchingProtocols {
			// An answer cut short is judged by what came of it.
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		break
	}
	r.raw = raw.Bytes()
	return r
}

// methodOf is the first word of a request, which tells whether the answer has
// a body.
func methodOf(request []byte) string {
	line, _, _ := bytes.Cut(request, []byte("\r\n"))
	word, _, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	return word
}
