package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"sallyport/internal/gate"
)

// maxEntry is how long a line may be that is read back, in bytes. The log does
// not write longer ones.
const maxEntry = 8 << 20

// ErrNotFound is returned by Find for an id that no record has.
var ErrNotFound = errors.New("no record with this id")

// An Entry is one line of an audit log, read back.
type Entry struct {
	Record gate.Record
	Raw    []byte // the line without its end; not to be kept beyond the callback
	// Err says why the line is no record; Record then holds nothing of use.
	Err error
}

// parse reads one line. Fields that are not known are left alone: newer
// gateways write more.
func parse(line []byte) Entry {
	e := Entry{Raw: line}
	if err := json.Unmarshal(line, &e.Record); err != nil {
		return Entry{Raw: line, Err: fmt.Errorf("broken line: %w", err)}
	}
	if e.Record.V == 0 {
		return Entry{Raw: line, Err: errors.New("broken line: not an audit record")}
	}
	return e
}

// A splitter cuts a stream into lines. A line that is too long is skipped and
// told of.
type splitter struct {
	src  *bufio.Reader
	line []byte
	long bool
}

func newSplitter(src io.Reader) *splitter { return &splitter{src: bufio.NewReaderSize(src, 64<<10)} }

// next returns the next whole line that is not empty. At the end of what there
// is it returns io.EOF, and keeps the beginning of a line for the next call.
func (s *splitter) next() (Entry, error) {
	for {
		part, err := s.src.ReadSlice('\n')
		if len(s.line)+len(part) > maxEntry {
			s.line, s.long = s.line[:0], true
		} else if !s.long {
			s.line = append(s.line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return Entry{}, err
		}
		line, long := bytes.TrimSpace(s.line), s.long
		s.line, s.long = s.line[:0], false
		if long {
			return Entry{Err: fmt.Errorf("broken line: longer than %d bytes", maxEntry)}, nil
		}
		if len(line) > 0 {
			return parse(line), nil
		}
	}
}

// rest returns what stands after the last line end.
func (s *splitter) rest() (Entry, bool) {
	line := bytes.TrimSpace(s.line)
	s.line = s.line[:0]
	if len(line) == 0 || s.long {
		return Entry{}, false
	}
	return parse(line), true
}

// Read calls fn for every line of an audit log, broken ones included, until fn
// returns an error, which Read returns.
func Read(src io.Reader, fn func(Entry) error) error {
	s := newSplitter(src)
	for {
		e, err := s.next()
		if errors.Is(err, io.EOF) {
			if e, ok := s.rest(); ok {
				return fn(e)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

// ReadFile is Read of a file, or of standard input for "-".
func ReadFile(name string, fn func(Entry) error) error {
	if name == stdout {
		return Read(os.Stdin, fn)
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	defer f.Close()
	return Read(f, fn)
}

// minPrefix is how much of an id must be given.
const minPrefix = 8

// Find returns the records with the id, in the order in which they were
// written: a tunnel has two. A beginning of the id, of at least eight
// characters, will do when it is that of one id only.
func Find(name, id string) ([]Entry, error) {
	id = strings.ToLower(strings.TrimSpace(id))
	if len(id) < minPrefix {
		return nil, fmt.Errorf("find record: %q is too short for an id", id)
	}
	var found []Entry
	needle := []byte(id)
	err := ReadFile(name, func(e Entry) error {
		if e.Err != nil || !bytes.Contains(e.Raw, needle) || !strings.HasPrefix(e.Record.ID, id) {
			return nil
		}
		if len(found) > 0 && found[0].Record.ID != e.Record.ID {
			return fmt.Errorf("find record: more than one id begins with %q", id)
		}
		e.Raw = bytes.Clone(e.Raw)
		found = append(found, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("find record %s in %s: %w", id, name, ErrNotFound)
	}
	return found, nil
}
