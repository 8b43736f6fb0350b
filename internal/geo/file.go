package geo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"go.uber.org/zap"
)

// A watched is a file whose newest sound version is in use. poll belongs to
// one goroutine, trouble may be called by many.
type watched struct {
	what    string // "geo database" or "network list", for the log
	path    string
	used    fs.FileInfo            // what the version in use was read from
	problem atomic.Pointer[string] // why that is not what the file holds; nil: it is
	seen    fs.FileInfo            // at the last poll, when it was not used
	refused fs.FileInfo            // what could not be loaded, so as not to try it again
	missing bool                   // the last poll could not find the file
}

// take notes that the version in use is the one that was read from a file.
func (w *watched) take(info fs.FileInfo) {
	w.used, w.seen, w.refused = info, nil, nil
	w.problem.Store(nil)
}

// trouble is why the version in use is not what the file holds; empty: it is.
func (w *watched) trouble() string {
	if p := w.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// poll looks at the file, and loads a new version that has settled.
func (w *watched) poll(log *zap.Logger, load func() error) {
	info, err := os.Stat(w.path)
	if err != nil {
		if !w.missing {
			w.complain(log, fmt.Errorf("cannot be found: %w", cause(err)))
		}
		w.missing = true
		return
	}
	w.missing = false
	switch {
	case same(info, w.used):
		w.take(info)
	case same(info, w.refused):
	case !same(info, w.seen):
		w.seen = info
	default:
		if err := load(); err != nil {
			w.refused = info
			w.complain(log, err)
		}
	}
}

// complain notes and logs why the old version stays in use.
func (w *watched) complain(log *zap.Logger, err error) {
	text := err.Error()
	w.problem.Store(&text)
	log.Warn(w.what+" not reloaded, the old one stays in use", zap.String("path", w.path), zap.Error(err))
}

// readFile reads a regular file of bounded size.
func readFile(path string, most int64) ([]byte, fs.FileInfo, error) {
	// Opening a pipe would wait for its writer.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot be opened: %w", cause(err))
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("cannot be read: %w", cause(err))
	case !info.Mode().IsRegular():
		return nil, nil, errors.New("is not a regular file")
	case info.Size() > most:
		return nil, nil, fmt.Errorf("is larger than %d bytes", most)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, nil, fmt.Errorf("cannot be read: %w", cause(err))
	}
	return data, info, nil
}

// cause drops the path that os puts before an error: the message has it.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// same reports whether a file is, by all that its directory tells, unchanged.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
