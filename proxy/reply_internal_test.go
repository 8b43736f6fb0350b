package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// A full client is one whose connection takes nothing, or does again.
type full struct {
	gate.Inbound
	congested bool
}

func (f *full) Congested() bool { return f.congested }

// A client that does not take what is sent pins little, and is soon no longer
// taken for slow when it does.
func TestPortion(t *testing.T) {
	var p portion
	defer p.free()
	var client full
	expect := func(what string, sent int64, want int) {
		t.Helper()
		if n := len(p.take(sent, &client)); n != want {
			t.Errorf("%s: %d bytes, want %d", what, n, want)
		}
	}
	expect("at first", 0, copyBuffer)
	client.congested = true
	expect("a short answer is not worth asking", slowFrom-1, copyBuffer)
	expect("the client waits", slowFrom, slowBuffer)
	client.congested = false
	for range slowFor - 1 {
		expect("for a while", slowFrom, slowBuffer)
	}
	expect("the client takes it again", slowFrom, copyBuffer)
	expect("a long answer", longFrom, longBuffer)
	client.congested = true
	expect("that stops", longFrom, slowBuffer)
}

// A leaver takes so many bytes and is gone.
type leaver struct{ takes int }

func (l *leaver) Header() http.Header { return http.Header{} }
func (l *leaver) WriteHeader(int)     {}
func (l *leaver) Flush()              {}

func (l *leaver) Write(p []byte) (int, error) {
	if l.takes -= len(p); l.takes < 0 {
		return 0, errors.New("stream closed")
	}
	return len(p), nil
}

// A client that leaves with the last bytes of an answer over HTTP/2 has got it.
func TestLeavingWithTheLastBytes(t *testing.T) {
	const length = 3 * copyBuffer
	for _, tc := range []struct {
		rule   string
		major  int
		takes  int
		length int64
		gone   bool
	}{
		{"it stays", 2, length, length, false},
		{"it leaves with the last ones", 2, length - copyBuffer, length, false},
		{"it leaves before them", 2, length - 2*copyBuffer, length, true},
		{"nobody knows which are the last", 2, length - copyBuffer, -1, true},
		{"over HTTP/1 they went to the socket, or did not", 1, length - copyBuffer, length, true},
	} {
		v := &visit{req: &gate.Request{HTTP: &http.Request{ProtoMajor: tc.major}}, in: &full{}}
		w := &leaver{tc.takes}
		v.rw = response{ResponseWriter: w, control: *http.NewResponseController(w)}
		readErr, writeErr := v.copy(strings.NewReader(strings.Repeat("x", length)), tc.length)
		if readErr != nil && readErr != io.EOF || (writeErr != nil) != tc.gone {
			t.Errorf("%s: %v, %v; gone %v", tc.rule, readErr, writeErr, tc.gone)
		}
	}
}
