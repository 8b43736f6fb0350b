package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the processor time, user and system, that a process of this user
// has spent in all its threads. Its clock counts nanoseconds where
// /proc/PID/stat counts hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	const scheduled = 2 // the kind of clock, in the lowest bits
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// residentMemory is how much of a process is in memory.
func residentMemory(pid int) (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for l := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(l, ":")
		into := map[string]*int{"VmRSS": &m.now, "VmHWM": &m.most}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")); err != nil {
			return m, err
		}
	}
	return m, nil
}
