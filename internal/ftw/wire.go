package ftw

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"sallyport/internal/gate"
)

const (
	// pollEvery is how often the files are looked at while a test waits.
	pollEvery = 2 * time.Millisecond
	// maxLine bounds one line of either file.
	maxLine = 4 << 20
)

var (
	// In a line of the rules log everything that a client sent after the rule's
	// place is quoted, so the last match of each is the engine's own.
	ruleInLine = regexp.MustCompile(`\[line "\d*"\] \[id "(\d+)"\]`)
	idInLine   = regexp.MustCompile(`\[unique_id "([^"]+)"\]`)
)

// Wire is a gateway in another process: tests reach it by TCP, and what it
// recorded is read from its audit log, which has to hold all records
// (audit.log: all), and its rules log (audit.rules_log). Rotation is not
// followed.
type Wire struct {
	address string

	mu      sync.Mutex
	audit   tail
	rules   tail // without a file: the rules are taken from the records
	records map[string]*gate.Record
	lines   map[string][]string // of the rules log, by request
	order   []string            // ids of records, oldest first
}

// OpenWire follows the two files from their present end; rulesLog may be
// empty. The gateway has to be running.
func OpenWire(address, auditLog, rulesLog string) (*Wire, error) {
	w := &Wire{address: address, records: make(map[string]*gate.Record), lines: make(map[string][]string)}
	var err error
	if w.audit.f, err = openEnd(auditLog); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	if rulesLog != "" {
		if w.rules.f, err = openEnd(rulesLog); err != nil {
			w.audit.f.Close()
			return nil, fmt.Errorf("open rules log: %w", err)
		}
	}
	return w, nil
}

// openEnd opens a file and skips what it holds.
func openEnd(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close closes the files.
func (w *Wire) Close() error {
	err := w.audit.f.Close()
	if w.rules.f != nil {
		err = errors.Join(err, w.rules.f.Close())
	}
	return err
}

// Dial connects to the gateway.
func (w *Wire) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", w.address)
}

// Outcome waits for the record of a request.
func (w *Wire) Outcome(ctx context.Context, id string) (Outcome, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if o, found, err := w.look(id); found || err != nil {
			return o, err
		}
		select {
		case <-ctx.Done():
			return Outcome{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// look reads what is new in the files and returns what is known of a request.
// The gateway writes the lines of a request before its record: once the record
// is there, and the rules log is read after it, no line is missing.
func (w *Wire) look(id string) (o Outcome, found bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.audit.read(w.takeRecord); err != nil {
		return o, false, err
	}
	if err := w.rules.read(w.takeLine); err != nil {
		return o, false, err
	}
	rec := w.records[id]
	if rec == nil {
		return o, false, nil
	}
	o = OutcomeOf(rec)
	if w.rules.f == nil && rec.WAF != nil {
		for i := range rec.WAF.Matches {
			o.add(rec.WAF.Matches[i].Rule, rec.WAF.Matches[i].Message)
		}
	}
	for _, line := range w.lines[id] {
		o.add(ruleOfLine(line), line)
	}
	delete(w.records, id)
	delete(w.lines, id)
	w.order = slices.DeleteFunc(w.order, func(s string) bool { return s == id })
	return o, true, nil
}

// takeRecord keeps one record of the audit log.
func (w *Wire) takeRecord(line []byte) error {
	rec := new(gate.Record)
	if err := json.Unmarshal(line, rec); err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	if rec.Event != "" || w.records[rec.ID] != nil {
		return nil
	}
	if len(w.order) == maxKept {
		delete(w.records, w.order[0])
		delete(w.lines, w.order[0])
		w.order = w.order[1:]
	}
	w.records[rec.ID] = rec
	w.order = append(w.order, rec.ID)
	return nil
}

// takeLine keeps one line of the rules log. Lines without a request are not
// ours.
func (w *Wire) takeLine(line []byte) error {
	all := idInLine.FindAllSubmatch(line, -1)
	if len(all) == 0 || len(w.lines) > 2*maxKept {
		return nil
	}
	id := string(all[len(all)-1][1])
	w.lines[id] = append(w.lines[id], string(line))
	return nil
}

// ruleOfLine is the rule that a line is about; 0 when it names none.
func ruleOfLine(line string) int {
	all := ruleInLine.FindAllStringSubmatch(line, -1)
	if len(all) == 0 {
		return 0
	}
	id, _ := strconv.Atoi(all[len(all)-1][1])
	return id
}

// A tail reads the complete lines that are appended to a file.
type tail struct {
	f    *os.File
	buf  []byte
	rest []byte // the beginning of a line whose end is not there yet
}

// read hands each new line to take, without its end.
func (t *tail) read(take func(line []byte) error) error {
	if t.f == nil {
		return nil
	}
	if t.buf == nil {
		t.buf = make([]byte, 64<<10)
	}
	for {
		n, err := t.f.Read(t.buf)
		t.rest = append(t.rest, t.buf[:n]...)
		for {
			line, rest, ok := bytes.Cut(t.rest, []byte("\n"))
			if !ok {
				break
			}
			t.rest = rest
			if err := take(line); err != nil {
				return err
			}
		}
		if len(t.rest) > maxLine {
			return fmt.Errorf("a line of %s is longer than %d MiB", t.f.Name(), maxLine>>20)
		}
		if n == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			t.rest = append([]byte(nil), t.rest...) // let go of the lines before
			return err
		}
	}
}
