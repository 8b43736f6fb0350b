package strict

import "time"

// What an HTTP/2 connection may send that costs the sender nothing and us
// something (RFC 9113 section 10.5). A browser that leaves a page full of
// pictures takes back a hundred requests at once; a client that measures its
// line sends a PING with every piece of data. Both stay far below.
const (
	// resetsAtOnce is how many requests may be taken back, or lost through
	// broken streams, before others have been answered: each answer makes up
	// for one.
	resetsAtOnce    = 300
	resetsPerSecond = 10
	// idleAtOnce is how many frames may come that ask for nothing: PING,
	// SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown types. Content in
	// either direction, and requests, make up for some.
	idleAtOnce    = 1000
	idlePerSecond = 50
	// updatesPerPiece is how many WINDOW_UPDATE frames a piece of an answer
	// may be acknowledged with.
	updatesPerPiece = 4
	// maxLate is how many streams may be open beyond twice the limit, while
	// the client does not know yet that net/http has refused them.
	maxLate = 32
)

// An allowance is what is left of something that fills up again by itself and
// by being earned. It is not safe for concurrent use.
type allowance struct {
	left, most, perSecond float64
	at                    time.Time
}

func newAllowance(now time.Time, most, perSecond float64) allowance {
	return allowance{left: most, most: most, perSecond: perSecond, at: now}
}

// spend takes n, and reports false when there was less.
func (a *allowance) spend(now time.Time, n float64) bool {
	a.left = min(a.most, a.left+now.Sub(a.at).Seconds()*a.perSecond)
	a.at = now
	a.left -= n
	return a.left >= 0
}

// earn gives n back.
func (a *allowance) earn(n float64) { a.left = min(a.most, a.left+n) }
