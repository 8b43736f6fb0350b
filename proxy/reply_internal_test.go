package proxy

import (
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
