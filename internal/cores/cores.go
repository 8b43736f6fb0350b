// Package cores tells how many processors there are to compute on, and has Go's
// scheduler run a few more goroutines at once than that.
//
// Go lets as many goroutines run as there are processors, and looks for what came
// in from the network when one of them has nothing to do. While long ones keep all
// of them, a request that takes a tenth of a millisecond waits up to ten: that is
// how long Go lets the others run. With a few to spare, somebody is always there to
// take what comes in, and the operating system shares the processors out fairly,
// which it does in shorter turns.
package cores

import (
	"os"
	"runtime"
	"sync/atomic"
)

// spare is how many more goroutines run at once than there are processors: one
// that takes what comes in, and one while the garbage collector has the first.
const spare = 2

// spared is how many of GOMAXPROCS are no processors.
var spared atomic.Int64

// Number is how many processors there are to compute on: what the process may use
// of the machine, or of what its control group grants. It is at least 1.
func Number() int { return max(1, runtime.GOMAXPROCS(0)-int(spared.Load())) }

// Spare has Go run a few goroutines more at once than Number, which stays what it
// was. It does nothing when GOMAXPROCS is set in the environment: the operator has
// decided; nor when it was called before. Go does not follow a control group
// whose limit changes any more then.
func Spare() {
	if os.Getenv("GOMAXPROCS") != "" || !spared.CompareAndSwap(0, spare) {
		return
	}
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spare)
}
