package cores

import (
	"runtime"
	"testing"
)

func TestSpare(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer func() {
		spared.Store(0)
		runtime.GOMAXPROCS(before)
	}()
	if Number() != before {
		t.Fatalf("%d processors, GOMAXPROCS is %d", Number(), before)
	}
	t.Setenv("GOMAXPROCS", "7")
	if Spare(); runtime.GOMAXPROCS(0) != before || Number() != before {
		t.Errorf("GOMAXPROCS %d, %d processors, although the environment decides; were %d", runtime.GOMAXPROCS(0), Number(), before)
	}
	t.Setenv("GOMAXPROCS", "")
	for range 2 {
		if Spare(); runtime.GOMAXPROCS(0) != before+spare || Number() != before {
			t.Errorf("GOMAXPROCS %d, %d processors, want %d and %d", runtime.GOMAXPROCS(0), Number(), before+spare, before)
		}
	}
}
