//go:build unix

package testkit

import (
	"syscall"
	"testing"
)

// CPU is the processor time that the process has used, in nanoseconds: on a
// busy machine it says more than the clock.
func CPU(b testing.TB) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
