package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// startOn returns a log whose writer writes to out.
func startOn(out *os.File, queue int) *Log {
	l := &Log{path: "", queue: make(chan *gate.Record, queue), stop: make(chan struct{}), done: make(chan struct{}), swap: make(chan *os.File)}
	w := &writer{log: l, zap: zap.NewNop(), out: out, encoder: newTestEncoder(nil, nil)}
	go w.run()
	return l
}

// TestDropped holds that what does not fit is counted, and that the log says so
// as soon as it can: lines and losses add up to the records.
func TestDropped(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const sent = 500
	l := startOn(out, 10)
	for range sent {
		l.Record(sample()) // the pipe takes some forty of them
	}
	lost := l.Dropped()
	if lost == 0 {
		t.Fatal("nothing was dropped")
	}
	var got []Entry
	ended := make(chan error)
	go func() {
		ended <- Read(in, func(e Entry) error { got = append(got, e); return nil })
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var told uint64
	records := 0
	for _, e := range got {
		switch {
		case e.Err != nil:
			t.Errorf("broken line: %v", e.Err)
		case e.Record.Event == "dropped":
			told += e.Record.Lost
			if e.Record.Gateway.Host != "edge-1" {
				t.Errorf("the record of losses is from %+v", e.Record.Gateway)
			}
		default:
			records++
		}
	}
	if told != lost || records+int(lost) != sent {
		t.Errorf("%d records and %d losses, of which %d were told; want %d in all", records, lost, told, sent)
	}
}

// TestQueueBytes holds that large records fill the queue before it is long.
func TestQueueBytes(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := startOn(out, 1<<20)
	r := sample()
	r.Detail = strings.Repeat("x", 1<<20)
	for range 200 {
		l.Record(r)
	}
	if got := l.queued.Load(); got > maxQueuedBytes {
		t.Errorf("%d bytes wait, want %d at most", got, maxQueuedBytes)
	}
	in.Close() // the writer meets an error from now on
	if err := l.Close(); err == nil {
		t.Error("Close says nothing of what could not be written")
	}
	if l.Dropped() < 130 {
		t.Errorf("Dropped() = %d of 200, want those beyond 64 MiB at least", l.Dropped())
	}
}

// TestTornWrite holds what becomes of a line of which only a part was taken: in
// the same file it goes on, in another one it is written whole.
func TestTornWrite(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full here")
	}
	dir := t.TempDir()
	l := &Log{queue: make(chan *gate.Record, 1)}
	w := &writer{log: l, zap: zap.NewNop(), out: full, encoder: newTestEncoder(nil, nil)}
	w.take(ptr(sample()))
	w.take(ptr(sample()))
	whole := bytes.Clone(w.pending)
	if w.flush() || !w.broken {
		t.Fatal("a full device took the records")
	}
	w.written = 100 // as if it had taken some
	f, err := openSink(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	w.replace(f)
	if !w.flush() || w.broken {
		t.Fatal("the new file took nothing")
	}
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, whole) {
		t.Errorf("the new file holds %d bytes of %d, %v", len(got), len(whole), err)
	}

	w.take(ptr(sample()))
	again := bytes.Clone(w.pending)
	if _, err := f.Write(again[:50]); err != nil {
		t.Fatal(err)
	}
	w.written, w.broken = 50, true
	same, err := os.OpenFile(f.Name(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.replace(same)
	w.flush()
	if got, err = os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, append(whole, again...)) {
		t.Errorf("the same file holds %q", got[len(whole):])
	}
	w.out.Close()
}

// TestNoGoroutineLeft holds that Close ends what New began.
func TestNoGoroutineLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 50 {
		l, err := New(Config{Path: filepath.Join(t.TempDir(), "a")}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		l.Record(sample())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := runtime.NumGoroutine(); after > before+2 {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

// TestEncodeLeavesRecordAlone holds that other takers of the same record see it
// as it was.
func TestEncodeLeavesRecordAlone(t *testing.T) {
	e := newTestEncoder(nil, nil)
	r := sample()
	r.Observed = []gate.RecordObserved{{Stage: gate.StageHTTP, Reason: gate.HTTPPathNul, Detail: "password=hunter2xyzzy"}}
	if _, err := e.encode(&r); err != nil {
		t.Fatal(err)
	}
	if r.Request.Headers[8].Value != sample().Request.Headers[8].Value || r.Observed[0].Detail != "password=hunter2xyzzy" {
		t.Errorf("the record was modified: %+v", r)
	}
}
