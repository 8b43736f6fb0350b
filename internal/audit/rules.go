package audit

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// maxLine is how much of a line of the rules log is written at most, in bytes.
const maxLine = 8 << 10

// A rulesLog writes one line of text for each rule that matched and logs, in
// the form of ModSecurity's error log, for the runners of rule tests. It is
// written while the request waits.
type rulesLog struct {
	path string
	zap  *zap.Logger

	mu         sync.Mutex
	out        *os.File // nil once closed
	redactor   *redactor
	buf        []byte
	complained time.Time
}

func openRulesLog(path string, r *redactor, log *zap.Logger) (*rulesLog, error) {
	f, err := openSink(path)
	if err != nil {
		return nil, err
	}
	return &rulesLog{path: path, zap: log, out: f, redactor: r}, nil
}

// write appends the lines of one record, in the order of the matches.
func (l *rulesLog) write(rec *gate.Record) {
	if rec.WAF == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	l.buf, err = l.redactor.lines(l.buf[:0], rec)
	if err == nil && len(l.buf) > 0 && l.out != nil {
		_, err = l.out.Write(l.buf)
	}
	if err != nil && time.Since(l.complained) >= complainEvery {
		l.complained = time.Now()
		l.zap.Error("rules log cannot be written", zap.Error(err))
	}
}

func (l *rulesLog) reopen() error {
	if l.path == stdout {
		return nil
	}
	f, err := openSink(l.path)
	if err != nil {
		return fmt.Errorf("reopen rules log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return errors.Join(ErrClosed, f.Close())
	}
	old := l.out
	l.out = f
	return old.Close()
}

func (l *rulesLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return nil
	}
	f := l.out
	l.out = nil
	return closeSink(f)
}

// lines appends the log lines of a record's matches, redacted, each as one line.
func (r *redactor) lines(dst []byte, in *gate.Record) (_ []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("redact log lines: panic: %v", p)
		}
	}()
	logs := false
	for i := range in.WAF.Matches {
		logs = logs || in.WAF.Matches[i].LogLine != ""
	}
	if !logs {
		return dst, nil
	}
	r.begin(in)
	var lines []*logLine
	for i := range in.WAF.Matches {
		if m := &in.WAF.Matches[i]; m.LogLine != "" {
			lines = append(lines, r.addLine(m))
		}
	}
	r.collect()
	r.seek()
	for i := range r.texts {
		r.rewrite(&r.texts[i])
	}
	for _, l := range lines {
		// A secret that holds a quotation mark may have been taken apart.
		line := strings.Join(l.parts, "")
		r.rewrite(&text{p: &line, kind: label, limit: maxLine})
		dst = append(append(dst, cut(Printable(line), maxLine)...), '\n')
	}
	return dst, nil
}

// A logLine is a log line in parts, each of which the rule engine may have cut
// on its own: by turns some text, the beginning of a field, and its value.
type logLine struct{ parts []string }

// addLine lists the parts of a match's log line as texts.
func (r *redactor) addLine(m *gate.RecordMatch) *logLine {
	l := &logLine{}
	for rest := m.LogLine; rest != ""; {
		open, start, end := bracketField(rest)
		l.parts = append(l.parts, rest[:open], rest[open:start], rest[start:end])
		rest = rest[end:]
	}
	secret := r.secretVariable(m.Variable) || r.secretElement(m.Variable, m.Value) || r.quotesSecret(m.Data) || r.quotesSecret(m.LogLine)
	for i := range l.parts {
		k := free
		if l.parts[i] == r.rec.ID {
			// Our own id: its digits may look like a card number, and without
			// it the line belongs to no record.
			continue
		}
		if secret && i%3 == 2 && strings.HasPrefix(strings.TrimLeft(l.parts[i-1], " ["), "data") {
			k = whole
		}
		r.add(&l.parts[i], k, maxLine)
	}
	return l
}

// bracketField finds the first ` [name "value"]`: where it begins, and where the
// value begins and ends. Without one, all three are the end of s.
func bracketField(s string) (open, start, end int) {
	for at := 0; ; {
		n := strings.IndexByte(s[at:], '[')
		if n < 0 {
			return len(s), len(s), len(s)
		}
		open = at + n
		for at = open + 1; at < len(s) && (lower(s[at]) || digit(s[at]) || s[at] == '_'); at++ {
		}
		if at == open+1 || !strings.HasPrefix(s[at:], ` "`) {
			continue
		}
		start = at + len(` "`)
		for end = start; end < len(s) && s[end] != '"'; end++ {
			if s[end] == '\\' {
				end++
			}
		}
		if open > 0 && s[open-1] == ' ' {
			open--
		}
		return open, start, min(end, len(s))
	}
}
