package strict

import "sync"

// Sizes of the buffers that are kept for the next connection. A tiny one keeps
// what has come of a head while the rest is waited for. Heads that are longer
// than a large one are rare and cost an allocation.
const (
	tinyBuffer  = 512
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

// A buffers is a pool of byte slices of one size.
type buffers struct {
	pool sync.Pool
	size int
}

var (
	tinyBuffers  = &buffers{size: tinyBuffer}
	smallBuffers = &buffers{size: smallBuffer}
	largeBuffers = &buffers{size: largeBuffer}
)

func (p *buffers) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, p.size)
	return &b
}

func (p *buffers) put(b *[]byte) { p.pool.Put(b) }

// A buffer holds what was read from the socket and not yet used. The zero
// buffer is empty and takes its memory when it is first needed.
type buffer struct {
	from *[]byte // where b is from, for the way back; nil: no memory yet
	b    []byte
	r, w int
}

func (u *buffer) len() int { return u.w - u.r }

func (u *buffer) bytes() []byte { return u.b[u.r:u.w] }

// drop takes n bytes off the front.
func (u *buffer) drop(n int) {
	if u.r += n; u.r == u.w {
		u.r, u.w = 0, 0
	}
}

// room returns the free space behind what is held, and makes some when there
// is none. What is held is bounded by whoever fills it: a line is refused when
// it is too long.
func (u *buffer) room() []byte {
	switch {
	case len(u.b) < smallBuffer: // none, or a tiny one
		u.move(smallBuffers.get())
	case u.r > 0 && len(u.b)-u.w < len(u.b)/2:
		u.w = copy(u.b, u.b[u.r:u.w])
		u.r = 0
	case u.w < len(u.b):
	case len(u.b) < largeBuffer:
		u.move(largeBuffers.get())
	default:
		more := make([]byte, 2*len(u.b))
		u.move(&more)
	}
	return u.b[u.w:]
}

// roomFor is room for at most n bytes.
func (u *buffer) roomFor(n int) []byte {
	b := u.room()
	return b[:min(n, len(b))]
}

// enlarge makes the buffer a large one, for bodies.
func (u *buffer) enlarge() {
	if len(u.b) < largeBuffer {
		u.move(largeBuffers.get())
	}
}

// shrink gives a large buffer back when nothing is left in it.
func (u *buffer) shrink() {
	if u.len() == 0 && len(u.b) > smallBuffer {
		u.release()
	}
}

// tuck keeps what is held in as little memory as it takes, for a wait.
func (u *buffer) tuck() {
	switch {
	case u.len() == 0:
		u.release()
	case u.len() <= tinyBuffer && len(u.b) > tinyBuffer:
		u.move(tinyBuffers.get())
	}
}

// move changes the memory.
func (u *buffer) move(to *[]byte) {
	n := copy(*to, u.bytes())
	u.recycle()
	*u = buffer{from: to, b: *to, w: n}
}

// release gives the memory back, and what it holds with it.
func (u *buffer) release() {
	u.recycle()
	*u = buffer{}
}

func (u *buffer) recycle() {
	switch len(u.b) {
	case tinyBuffer:
		tinyBuffers.put(u.from)
	case smallBuffer:
		smallBuffers.put(u.from)
	case largeBuffer:
		largeBuffers.put(u.from)
	}
}
