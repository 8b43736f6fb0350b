package cores

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestPress(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer allowed.Store(false)
	is := func(what string, procs int) {
		t.Helper()
		if synctest.Wait(); runtime.GOMAXPROCS(0) != procs || Number() != before {
			t.Errorf("%s: GOMAXPROCS %d, want %d; %d processors, want %d", what, runtime.GOMAXPROCS(0), procs, Number(), before)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		Press()
		is("not allowed", before)
		t.Setenv("GOMAXPROCS", "7")
		Spare()
		Press()
		is("the environment decides", before)
		t.Setenv("GOMAXPROCS", "")
		Spare()
		is("nobody has pressed", before)
		for range 3 {
			Press()
			is("pressed", before+spare)
			time.Sleep(calm - time.Millisecond)
		}
		is("pressed lately", before+spare)
		time.Sleep(2 * time.Millisecond)
		is("calm again", before)
		Press()
		is("and again", before+spare)
		time.Sleep(calm + time.Millisecond)
		is("and calm", before)
	})
}
