package audit

import (
	"fmt"
	"os"
)

// stdout is the path that means standard output.
const stdout = "-"

// openSink opens a file for appending, made readable by its owner only. The
// file is never handed down to a child process.
func openSink(path string) (*os.File, error) {
	if path == stdout {
		return os.Stdout, nil
	}
	// A named pipe without a reader would hold up the start for ever.
	if fi, err := os.Stat(path); err == nil && fi.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		return nil, fmt.Errorf("%s is a pipe or a socket; write to standard output (\"-\") and pipe that", path)
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// endLine ends a last line that a crash cut short, so that the next record does
// not become part of it.
func endLine(f *os.File) error {
	if f == os.Stdout || !torn(f.Name()) {
		return nil
	}
	if _, err := f.WriteString("\n"); err != nil {
		return fmt.Errorf("end the last line of %s: %w", f.Name(), err)
	}
	return nil
}

// torn reports whether the file ends within a line. A file that cannot be read
// is taken for whole.
func torn(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], fi.Size()-1)
	return err == nil && last[0] != '\n'
}

// closeSink closes what openSink opened.
func closeSink(f *os.File) error {
	if f == os.Stdout {
		return nil
	}
	return f.Close()
}
