package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

const (
	// flushAt is how much is gathered at most before it is written; an idle
	// writer writes at once.
	flushAt = 64 << 10
	// holdAt is how much waits for a broken output before the writer leaves
	// records in the queue, where the next ones are counted and dropped.
	holdAt = 4 << 20
	// retryAfter is how long a broken output is left alone.
	retryAfter = time.Second
	// complainEvery is how often a broken output is logged.
	complainEvery = time.Minute
	// reportEvery is how often lost records are told of while the queue never
	// runs dry.
	reportEvery = 10 * time.Second
)

// A writer is the one goroutine that redacts, encodes and writes. All of its
// fields belong to it.
type writer struct {
	log     *Log
	zap     *zap.Logger
	out     *os.File
	encoder *encoder

	pending []byte // whole lines, the first of which may be partly written
	written int    // bytes of pending that are in out

	broken     bool      // the last write failed
	complained time.Time // when that was last logged
	failures   uint64    // failed writes since then

	gateway  gate.RecordGateway // of the last record
	reported uint64             // losses told of
	told     time.Time          // when
}

// run writes until Close, then what is left.
func (w *writer) run() {
	defer close(w.log.done)
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		in := w.log.queue
		if w.broken && len(w.pending) >= holdAt {
			in = nil
		}
		select {
		case r := <-in:
			w.take(r)
			w.drain()
			if w.broken {
				continue
			}
		case f := <-w.log.swap:
			w.replace(f)
		case <-retry.C:
		case <-w.log.stop:
			w.end()
			return
		}
		if w.flush() && len(w.log.queue) == 0 {
			w.report(true) // of losses while the output was broken
			w.flush()
		}
		if w.broken {
			retry.Reset(retryAfter)
		}
	}
}

// drain takes what else waits, and writes in large pieces.
func (w *writer) drain() {
	for {
		if len(w.pending) >= flushAt && !w.broken {
			w.report(false)
			w.flush()
		}
		if len(w.pending) >= holdAt {
			return
		}
		select {
		case r := <-w.log.queue:
			w.take(r)
		default:
			w.report(true)
			return
		}
	}
}

// take encodes one record. One that cannot be encoded is lost, not the writer.
func (w *writer) take(r *gate.Record) {
	w.log.queued.Add(-weight(r))
	w.gateway = r.Gateway
	line, err := w.encoder.encode(r)
	if err != nil {
		w.log.lost.Add(1)
		w.zap.Error("audit record could not be encoded", zap.String("id", r.ID), zap.Error(err))
		return
	}
	w.pending = append(w.pending, line...)
}

// report writes how many records were lost, when the queue has run dry or some
// time has passed.
func (w *writer) report(dry bool) {
	lost := w.log.lost.Load()
	if lost == w.reported || !dry && time.Since(w.told) < reportEvery {
		return
	}
	line, err := w.encoder.encode(&gate.Record{
		V: gate.RecordVersion, Time: time.Now(), Event: "dropped",
		Action: gate.Fail.String(), Stage: gate.StageGateway, Mode: gate.Enforce,
		Gateway: w.gateway, Lost: lost - w.reported,
	})
	if err != nil {
		w.zap.Error("audit record could not be encoded", zap.Error(err))
		return
	}
	w.pending = append(w.pending, line...)
	w.reported, w.told = lost, time.Now()
}

// flush writes what is pending and reports whether the output took it. After a
// failure the rest stays; a line that was partly written goes on where it
// stopped.
func (w *writer) flush() bool {
	if w.written == len(w.pending) {
		w.broken = false
		return true
	}
	n, err := 0, w.restore()
	if err == nil {
		n, err = w.out.Write(w.pending[w.written:])
	}
	w.written += n
	if err == nil {
		w.broken = false
		w.pending, w.written = w.pending[:0], 0
		if cap(w.pending) > holdAt {
			w.pending = nil
		}
		return true
	}
	// Only the line that was cut is kept from what is in the file already.
	whole := bytes.LastIndexByte(w.pending[:w.written], '\n') + 1
	w.pending = append(w.pending[:0], w.pending[whole:]...)
	w.written -= whole
	w.broken = true
	w.failures++
	if time.Since(w.complained) >= complainEvery {
		w.zap.Error("audit log cannot be written", zap.Error(err),
			zap.Uint64("failures", w.failures), zap.Int("bytes_waiting", len(w.pending)), zap.Uint64("records_dropped", w.log.lost.Load()))
		w.complained, w.failures = time.Now(), 0
	}
	return false
}

// restore makes the file anew when somebody has deleted it: what is written to
// it without a name is lost, and nobody would count it.
func (w *writer) restore() error {
	if w.log.path == stdout || !deleted(w.out) {
		return nil
	}
	f, err := openSink(w.log.path)
	if err != nil {
		return fmt.Errorf("make the deleted file anew: %w", err)
	}
	w.zap.Error("audit log was deleted and is made anew; what it held is lost")
	w.change(f)
	return nil
}

// replace goes on in another file. What was cut in the old one is written whole
// in the new one, unless they are the same.
func (w *writer) replace(f *os.File) {
	if !w.broken {
		w.flush()
	}
	w.change(f)
}

// change closes the file that is written to and takes another one.
func (w *writer) change(f *os.File) {
	was, err := w.out.Stat()
	is, err2 := f.Stat()
	if err != nil || err2 != nil || !os.SameFile(was, is) {
		w.written = 0
	}
	if err := closeSink(w.out); err != nil {
		w.zap.Warn("audit log could not be closed", zap.Error(err))
	}
	w.out = f
}

// end writes what waits, and says what could not be written.
func (w *writer) end() {
	for len(w.log.queue) > 0 {
		w.drain()
		if !w.flush() {
			break
		}
	}
	w.report(true)
	w.flush()
	var err error
	if left := w.pending[w.written:]; len(left) > 0 {
		lines := uint64(bytes.Count(left, []byte("\n"))) + uint64(len(w.log.queue))
		w.log.lost.Add(lines)
		err = fmt.Errorf("close audit log: %d records could not be written: %w", lines, io.ErrShortWrite)
	}
	w.log.err = errors.Join(err, closeSink(w.out))
}
