// Package cores tells how many processors there are to compute on, and has Go's
// scheduler run a few goroutines more at once while long ones keep all of them.
//
// Go lets as many goroutines run as there are processors, and looks for what came
// in from the network when one of them has nothing to do. While long ones keep all
// of them, a request that takes a tenth of a millisecond waits up to ten: that is
// how long Go lets the others run. With a few to spare, somebody is always there to
// take what comes in, and the operating system shares the processors out, which it
// does in shorter turns. It is not for free: with little to do, goroutines to spare
// wake each other for nothing, which a small request pays for.
package cores

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// Long is how long Go lets a goroutine run while others wait.
	Long = 10 * time.Millisecond
	// spare is how many goroutines more run at once: one that takes what comes in,
	// and one while the garbage collector has the first.
	spare = 2
	// calm is how long nobody pressed before they are taken back.
	calm = 5 * time.Second
)

var (
	allowed atomic.Bool
	pressed atomic.Int64 // when somebody did last, since began
	number  atomic.Int64 // of processors while there are goroutines to spare; 0: there are none
	began   = time.Now()
)

// Number is how many processors there are to compute on: what the process may use
// of the machine, or of what its control group grants. It is at least 1, and safe
// for concurrent use.
func Number() int {
	if n := number.Load(); n > 0 {
		return int(n)
	}
	return runtime.GOMAXPROCS(0)
}

// Spare lets Press have goroutines to spare. It does nothing when GOMAXPROCS is set
// in the environment: the operator has decided.
func Spare() { allowed.Store(os.Getenv("GOMAXPROCS") == "") }

// Press tells that others wait for longer than Long for those that have much to do.
// Go then runs a few goroutines more at once than Number, until nobody has pressed
// for five seconds. It returns at once, does nothing where Spare has not been called,
// and is safe for concurrent use.
func Press() {
	if !allowed.Load() {
		return
	}
	pressed.Store(int64(time.Since(began)))
	if number.CompareAndSwap(0, int64(runtime.GOMAXPROCS(0))) {
		go widen() // ends by itself
	}
}

// widen has goroutines to spare until nobody presses any more.
func widen() {
	runtime.GOMAXPROCS(Number() + spare)
	for {
		left := calm - (time.Since(began) - time.Duration(pressed.Load()))
		if left <= 0 {
			break
		}
		time.Sleep(left)
	}
	runtime.SetDefaultGOMAXPROCS() // which follows the control group again
	number.Store(0)
}
