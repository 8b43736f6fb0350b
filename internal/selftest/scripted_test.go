package selftest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/selftest"
	"sallyport/internal/wire"
)

// flaws are the ways in which a scripted backend is bad.
type flaws struct {
	lengthFirst bool // takes Content-Length where there is a coding too
	codingFirst bool // takes the coding where there is a length too
	bareLF      bool // ends lines at LF
	mute        bool // waits for more instead of refusing
	old         bool // refuses without a status line
	noPost      bool // answers 501 to every POST and closes
	early       bool // answers before it reads the body
	goesOn      bool // keeps the connection after a refusal
	goesAway    bool // closes after each answer
}

// serve runs a function over each connection of a listener on loopback, until
// the test ends, and returns its address.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.Map
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Store(c, true)
			running.Go(func() {
				defer open.Delete(c)
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		running.Wait()
	})
	return l.Addr().String()
}

// handle reads requests with the flaws, and is strict about the rest.
func (f flaws) handle(c net.Conn) {
	r := bufio.NewReader(c)
	for f.one(c, r) {
	}
}

// one serves one request and reports whether the connection goes on.
func (f flaws) one(c net.Conn, r *bufio.Reader) bool {
	line, err := f.line(r)
	if err != nil {
		return f.refuse(c, r, err)
	}
	words := strings.Split(line, " ")
	if len(words) != 3 || words[2] != "HTTP/1.1" || words[0] != "GET" && words[0] != "POST" && words[0] != "HEAD" {
		return f.refuse(c, r, errOdd)
	}
	fields := map[string]string{}
	for {
		line, err := f.line(r)
		if err != nil {
			return f.refuse(c, r, err)
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, " \t") || strings.ContainsAny(value, "\r\x00") {
			return f.refuse(c, r, errOdd)
		}
		fields[strings.ToLower(name)] = strings.TrimSpace(value)
	}
	if f.noPost && words[0] == "POST" {
		_, _ = io.WriteString(c, "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return false
	}
	if f.early {
		f.answer(c, words[0], words[1], false)
	}
	if err := f.body(r, fields); err != nil {
		return f.refuse(c, r, err)
	}
	last := f.goesAway || fields["connection"] == "close"
	if !f.early {
		f.answer(c, words[0], words[1], last)
	}
	return !last
}

var errOdd = fmt.Errorf("not a plain request")

// line reads one line and refuses other ends of lines than the backend knows.
func (f flaws) line(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	s = strings.TrimSuffix(s, "\n")
	if f.bareLF {
		return strings.TrimSuffix(s, "\r"), nil
	}
	if !strings.HasSuffix(s, "\r") {
		return "", errOdd
	}
	return s[:len(s)-1], nil
}

func (f flaws) body(r *bufio.Reader, fields map[string]string) error {
	length, sized := fields["content-length"]
	_, coded := fields["transfer-encoding"]
	switch {
	case sized && coded && !f.lengthFirst && !f.codingFirst:
		return errOdd
	case sized && (!coded || f.lengthFirst):
		n, err := strconv.Atoi(length)
		if err != nil {
			return errOdd
		}
		_, err = io.CopyN(io.Discard, r, int64(n))
		return err
	case coded:
		for {
			size, err := f.line(r)
			if err != nil {
				return err
			}
			n, err := strconv.ParseUint(size, 16, 31)
			if err != nil {
				return errOdd
			}
			if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
				return err
			}
			if end, err := f.line(r); err != nil || end != "" {
				return errOdd
			}
			if n == 0 {
				return nil
			}
		}
	}
	return nil
}

// refuse ends a connection, in the backend's way.
func (f flaws) refuse(c net.Conn, r io.Reader, why error) bool {
	switch {
	case why == io.EOF || why == io.ErrUnexpectedEOF: //nolint:errorlint // as bufio returns them
	case f.mute:
		_, _ = io.Copy(io.Discard, r)
	case f.old:
		_, _ = io.WriteString(c, "<h1>Bad\x1b[31m request</h1>")
	case f.goesOn:
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return true
	default:
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}
	return false
}

func (f flaws) answer(c net.Conn, method, target string, last bool) {
	status, body := "200 OK", "ok"
	if target != "/" && target != "/in" {
		status = "404 Not Found"
	}
	end := "\r\n\r\n"
	if last {
		end = "\r\nConnection: close\r\n\r\n"
	}
	if method == "HEAD" {
		body = ""
	}
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 2%s%s", status, end, body)
}

// relay is a gateway that passes on every byte and judges nothing.
func relay(t *testing.T, backend string) string {
	return serve(t, func(c net.Conn) {
		b, err := net.Dial("tcp", backend)
		if err != nil {
			return
		}
		defer b.Close()
		var up sync.WaitGroup
		up.Go(func() {
			_, _ = io.Copy(b, c)
			_ = b.(*net.TCPConn).CloseWrite()
		})
		_, _ = io.Copy(c, b)
		_ = c.Close()
		up.Wait()
	})
}

// parse reads a case that is written in the test.
func parse(t *testing.T, name, src string) wire.Case {
	t.Helper()
	c, err := wire.Parse([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	c.Name = name
	return c
}

// find returns a case of the corpus.
func find(t *testing.T, name string) wire.Case {
	t.Helper()
	cases, err := wire.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no case %s", name)
	return wire.Case{}
}

func result(t *testing.T, rep *selftest.Report, name string) selftest.Result {
	t.Helper()
	for _, r := range rep.Results {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no result of %s", name)
	return selftest.Result{}
}
