package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
)

// defaultMode is the permissions of a Unix socket that says none: a proxy of
// the same group may connect.
const defaultMode fs.FileMode = 0o660

// socketPath is the path of an address unix:PATH; false for any other address.
func socketPath(address string) (string, bool) { return strings.CutPrefix(address, "unix:") }

// listen opens a socket. One in the file system is made under another name and
// moved into place with its permissions set, so that nobody connects who may
// not; it takes the place of one that nobody listens on any more.
func (s *Server) listen(address string, mode fs.FileMode) (net.Listener, error) {
	path, ok := socketPath(address)
	if !ok {
		return s.opt.Listen("tcp", address)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	making := path + ".new"
	if err := os.Remove(making); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	socket, err := s.opt.Listen("unix", making)
	if err != nil {
		return nil, err
	}
	if u, ok := socket.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it will not be called that
	}
	var made fs.FileInfo
	if err = os.Chmod(making, mode); err == nil {
		if made, err = os.Lstat(making); err == nil {
			err = os.Rename(making, path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, socket.Close(), os.Remove(making))
	}
	return &fileSocket{Listener: socket, path: path, made: made}, nil
}

// vacant reports why no socket can be made at path: somebody listens there, or
// something else is there.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s is there, and no socket", path)
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%s is in use", path), c.Close())
	case errors.Is(err, syscall.ECONNREFUSED): // left behind by a process that is gone
		return nil
	case errors.Is(err, fs.ErrNotExist): // gone just now
		return nil
	}
	return err
}

// A fileSocket listens in the file system, and removes its file when it is
// closed, unless another process has put its own there.
type fileSocket struct {
	net.Listener
	path string
	made fs.FileInfo
	once sync.Once
}

// Addr is the name that clients use.
func (f *fileSocket) Addr() net.Addr { return &net.UnixAddr{Name: f.path, Net: "unix"} }

// Close implements net.Listener.
func (f *fileSocket) Close() error {
	f.once.Do(func() {
		if info, err := os.Lstat(f.path); err == nil && os.SameFile(info, f.made) {
			_ = os.Remove(f.path) // a socket that is left behind is replaced by the next
		}
	})
	return f.Listener.Close()
}

// permit sets the permissions of a socket that stays open.
func (f *fileSocket) permit(mode fs.FileMode) error { return os.Chmod(f.path, mode) }
