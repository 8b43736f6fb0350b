//go:build linux

package heap

import (
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestGranted(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text + "\n")} }
	for _, tc := range []struct {
		rule   string
		groups string
		tree   fstest.MapFS
		want   int64
	}{
		{"nothing is known", "", nil, 0},
		{"no limit", "0::/a\n", fstest.MapFS{"a/memory.max": file("max")}, 0},
		{"a service", "0::/system.slice/sallyport.service\n", fstest.MapFS{"system.slice/sallyport.service/memory.max": file("1000"), "system.slice/memory.max": file("max")}, 1000},
		{"the slice around it grants less", "0::/system.slice/sallyport.service\n", fstest.MapFS{"system.slice/sallyport.service/memory.max": file("1000"), "system.slice/memory.max": file("500")}, 500},
		{"a container", "0::/\n", fstest.MapFS{"memory.max": file("1000")}, 1000},
		{"a container that sees the path outside", "0::/docker/x\n", fstest.MapFS{"memory.max": file("1000")}, 1000},
		{"version 1", "12:cpu,cpuacct:/b\n4:memory:/a\n1:name=systemd:/\n0::/\n", fstest.MapFS{"memory/a/memory.limit_in_bytes": file("1000"), "cpu/b/memory.limit_in_bytes": file("1")}, 1000},
		{"version 1 without a limit", "4:memory:/a\n", fstest.MapFS{"memory/a/memory.limit_in_bytes": file("9223372036854771712")}, 0},
		{"what is no number", "0::/a\n", fstest.MapFS{"a/memory.max": file("-5x")}, 0},
		{"what is no list of groups", "x\n::\n", fstest.MapFS{"memory.max": file("1000")}, 0},
		{"a path that leaves the tree", "0::/../../a\n", fstest.MapFS{"a/memory.max": file("1000")}, 1000},
	} {
		if got := grantedIn(tc.tree, tc.groups); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.rule, got, tc.want)
		}
	}
}

func TestTheOperatorDecidesAboutMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "1GiB")
	before := debug.SetMemoryLimit(-1)
	if n := Bound(); n != 0 || debug.SetMemoryLimit(-1) != before {
		t.Errorf("a limit of %d", n)
	}
	t.Setenv("GOMEMLIMIT", "")
	defer debug.SetMemoryLimit(before)
	if n, set := Bound(), debug.SetMemoryLimit(-1); n == 0 && set != before || n > 0 && set != n {
		t.Errorf("a limit of %d was told, and one of %d set", n, set)
	}
}
