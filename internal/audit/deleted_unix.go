//go:build unix

package audit

import (
	"os"
	"syscall"
)

// deleted reports whether an open file has no name any more, so that what is
// written to it is lost. One that was moved away still has one.
func deleted(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink == 0
}
