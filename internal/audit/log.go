// Package audit writes one line of JSON for each decision, and reads the lines
// back: live, by id, and as a page for people.
//
// It decides what of a record may be written: secrets are replaced by short
// keyed hashes, and bytes that would confuse a terminal or a parser are escaped
// (RFC 8259 section 7), before anything is handed to a writer. It never makes a
// request wait for a disk, the rules log of test runs apart, never drops a
// record without saying so, and never decides about a request.
package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

const (
	defaultQueue = 8192
	// maxQueuedBytes bounds what the records that wait hold in memory, however
	// large the heads are that clients send.
	maxQueuedBytes = 64 << 20
	// closeTimeout is how long Close and Reopen wait for a writer that hangs,
	// as one on a full pipe does.
	closeTimeout = 5 * time.Second
)

// ErrClosed is returned by methods of a Log that was closed.
var ErrClosed = errors.New("audit log is closed")

// A Log takes records and appends them to a file or to standard output. Its
// methods may be called from any goroutine.
type Log struct {
	all    bool
	path   string
	queue  chan *gate.Record
	queued atomic.Int64  // bytes that the records in queue hold, estimated
	lost   atomic.Uint64 // records not written, ever

	rules *rulesLog // nil: none

	// open is held for reading while a record is put into the queue, so that
	// none slips in after Close has seen the last one.
	open   sync.RWMutex
	closed bool
	stop   chan struct{} // closed by Close
	done   chan struct{} // closed by the writer when it has ended
	swap   chan *os.File // a newly opened file for the writer
	err    error         // of the writer's end; read after done
}

// New opens the files and starts the writer, which Close ends.
func New(cfg Config, log *zap.Logger) (*Log, error) {
	if len(cfg.Key) == 0 {
		cfg.Key = make([]byte, 32)
		if _, err := rand.Read(cfg.Key); err != nil {
			return nil, fmt.Errorf("make audit key: %w", err)
		}
	}
	if cfg.Queue <= 0 {
		cfg.Queue = defaultQueue
	}
	if cfg.Path == "" {
		cfg.Path = stdout
	}
	if cfg.RulesLog == cfg.Path {
		return nil, fmt.Errorf("open audit log: the rules log and the audit log are one file, %s", cfg.Path)
	}
	out, err := openSink(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	if err := endLine(out); err != nil {
		return nil, errors.Join(fmt.Errorf("open audit log: %w", err), closeSink(out))
	}
	names := newNames(cfg.RedactFields, cfg.RedactHeaders)
	var rules *rulesLog
	if cfg.RulesLog != "" {
		if rules, err = openRulesLog(cfg.RulesLog, newRedactor(names, cfg.Key), log); err != nil {
			return nil, errors.Join(fmt.Errorf("open rules log: %w", err), closeSink(out))
		}
	}
	l := &Log{
		all:   cfg.All,
		path:  cfg.Path,
		queue: make(chan *gate.Record, cfg.Queue),
		rules: rules,
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
		swap:  make(chan *os.File),
	}
	w := &writer{log: l, zap: log, out: out, encoder: newEncoder(newRedactor(names, cfg.Key))}
	go w.run()
	return l, nil
}

// Record takes one record. It returns at once: a record that finds the queue
// full is counted and dropped. What the record points to must not be modified
// afterwards.
//
// The lines of the rules log, where there is one, are written before Record
// returns, of every record: a test runner reads them as soon as it has the
// answer. This is why the rules log is for test runs only.
func (l *Log) Record(r gate.Record) {
	if l.rules != nil {
		l.rules.write(&r)
	}
	if !l.all && !relevant(&r) {
		return
	}
	kept := new(gate.Record)
	*kept = r
	kept.Measure()
	size := weight(kept)

	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed || l.queued.Add(size) > maxQueuedBytes {
		l.drop(size)
		return
	}
	select {
	case l.queue <- kept:
	default:
		l.drop(size)
	}
}

// drop counts a record of the size that was not queued.
func (l *Log) drop(size int64) {
	if !l.closed {
		l.queued.Add(-size)
	}
	l.lost.Add(1)
}

// relevant reports whether a record is written in any case: everything but a
// pass, and a pass of which the rules saw only the beginning, so that nothing
// that could not be judged goes by in silence; and every change of a backend.
func relevant(r *gate.Record) bool {
	return r.Action != passes || r.Event == gate.EventBackend || r.WAF != nil && (r.WAF.Inspected == "head" || r.WAF.Differs)
}

// passes is the action of requests that nobody refused or would have.
var passes = gate.Pass.String()

// weight estimates how much memory a record holds, from the texts whose length
// the client chooses.
func weight(r *gate.Record) int64 {
	n := 1024 + len(r.Request.Target) + len(r.Request.Host) + len(r.Detail) + 64*len(r.Request.Headers)
	for i := range r.Request.Headers {
		n += len(r.Request.Headers[i].Name) + len(r.Request.Headers[i].Value)
	}
	if r.WAF != nil {
		n += 256 * len(r.WAF.Matches)
		for i := range r.WAF.Matches {
			m := &r.WAF.Matches[i]
			n += len(m.Message) + len(m.Data) + len(m.Value) + len(m.Variable) + len(m.LogLine)
		}
	}
	return int64(n)
}

// Dropped is how many records were not written since New, because the queue
// was full, the output stayed broken until Close, or a record could not be
// encoded.
func (l *Log) Dropped() uint64 { return l.lost.Load() }

// Reopen opens the files by their names again, for those who move them away
// after rotation. When
// that fails, writing goes on where it was. Standard output is left alone.
func (l *Log) Reopen() error {
	var err error
	if l.rules != nil {
		err = l.rules.reopen()
	}
	return errors.Join(err, l.reopen())
}

func (l *Log) reopen() error {
	if l.path == stdout {
		return nil
	}
	f, err := openSink(l.path)
	if err != nil {
		return fmt.Errorf("reopen audit log: %w", err)
	}
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case l.swap <- f:
		return nil
	case <-l.done:
		return errors.Join(ErrClosed, f.Close())
	case <-timeout.C:
		return errors.Join(fmt.Errorf("reopen audit log: the writer did not answer within %s", closeTimeout), f.Close())
	}
}

// Close writes what waits, and ends the writer. Records that come later are
// counted as dropped. When the output does not take the rest within five
// seconds, Close gives up on it and says so. It may be called more than once.
func (l *Log) Close() error {
	l.open.Lock()
	if !l.closed {
		l.closed = true
		close(l.stop)
	}
	l.open.Unlock()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	var err error
	select {
	case <-l.done:
		err = l.err
	case <-timeout.C:
		err = fmt.Errorf("close audit log: the output did not take the rest within %s", closeTimeout)
	}
	if l.rules != nil {
		err = errors.Join(err, l.rules.close())
	}
	return err
}
