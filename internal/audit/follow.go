package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// pollEvery is how often a followed file is looked at.
const pollEvery = 250 * time.Millisecond

// Follow calls fn for the last lines of a file, at most last of them, and then
// for each line that is added, until ctx ends or fn returns an error. The file
// may be moved away and made anew, be cut to nothing, or not be there yet.
// It returns nil when ctx ended.
func Follow(ctx context.Context, name string, last int, fn func(Entry) error) error {
	f := follower{name: name, fn: fn}
	defer f.close()
	if err := f.open(last); err != nil {
		return err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if err := f.poll(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// A follower is the state of Follow.
type follower struct {
	name string
	fn   func(Entry) error
	file *os.File // nil while there is none
	read *splitter
}

// open opens the file at its last lines; none is no error.
func (f *follower) open(last int) error {
	file, err := os.Open(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow audit log: %w", err)
	}
	if last >= 0 {
		if err := seekLast(file, last); err != nil {
			return errors.Join(fmt.Errorf("follow audit log: %w", err), file.Close())
		}
	}
	f.file, f.read = file, newSplitter(file)
	return nil
}

// poll reads what was added, and goes on in the new file when the old one was
// moved away and is read to its end.
func (f *follower) poll(ctx context.Context) error {
	if f.file == nil {
		if err := f.open(-1); err != nil || f.file == nil {
			return err
		}
	}
	// Asked before reading: what was added before the move is then read.
	moved, err := f.moved()
	if err != nil {
		return err
	}
	if err := f.drain(ctx); err != nil {
		return err
	}
	if !moved || ctx.Err() != nil {
		return f.rewind()
	}
	if e, ok := f.read.rest(); ok {
		if err := f.fn(e); err != nil {
			return err
		}
	}
	f.close()
	if err := f.open(-1); err != nil || f.file == nil {
		return err
	}
	return f.drain(ctx)
}

// moved reports whether the name stands for another file by now.
func (f *follower) moved() (bool, error) {
	is, err := os.Stat(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // not made yet: the old one may still grow
	}
	if err != nil {
		return false, fmt.Errorf("follow audit log: %w", err)
	}
	was, err := f.file.Stat()
	if err != nil {
		return false, fmt.Errorf("follow audit log: %w", err)
	}
	return !os.SameFile(was, is), nil
}

// drain reads to the end of the file.
func (f *follower) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		e, err := f.read.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow audit log: %w", err)
		}
		if err := f.fn(e); err != nil {
			return err
		}
	}
	return nil
}

// rewind begins anew in a file that became shorter.
func (f *follower) rewind() error {
	fi, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("follow audit log: %w", err)
	}
	at, err := f.file.Seek(0, io.SeekCurrent)
	if err != nil || fi.Size() >= at {
		return nil // a pipe cannot be cut
	}
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("follow audit log: %w", err)
	}
	f.read = newSplitter(f.file)
	return nil
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// seekLast goes to the beginning of the last n lines of a file.
func seekLast(f *os.File, n int) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return nil // a pipe is read from where it is
	}
	buf := make([]byte, 64<<10)
	lines := 0
	for at := end; at > 0; {
		size := min(at, int64(len(buf)))
		at -= size
		part := buf[:size]
		if _, err := f.ReadAt(part, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] != '\n' || at+int64(i) == end-1 && n > 0 {
				continue
			}
			if lines++; lines >= max(n, 1) {
				_, err := f.Seek(at+int64(i)+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// Last calls fn for the last n lines of a file.
func Last(name string, n int, fn func(Entry) error) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	defer f.Close()
	if n <= 0 {
		return nil
	}
	if err := seekLast(f, n); err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	return Read(f, fn)
}
