package strict

import "time"

// Limits bound what one connection may send and how long it may take. A zero
// takes the default, except where the field says what zero means: nothing is
// ever unbounded because it was left out.
type Limits struct {
	MaxTarget int // bytes of the request target (http.max_target); default 16 KiB
	MaxHeader int // bytes of the whole head (http.max_header); default 64 KiB
	MaxFields int // field lines (http.max_fields); default 100
	// MaxStreams is how many requests an HTTP/2 connection may have open
	// (http2.max_streams), as net/http announces it; default 100.
	MaxStreams int
	// HeaderTimeout bounds the time from the first byte of a head to its last,
	// and from the opening of a connection to its first head
	// (http.header_timeout); default 10 s.
	HeaderTimeout time.Duration
	// IdleTimeout bounds the wait for the next request on a kept connection
	// (http.idle_timeout); default 75 s.
	IdleTimeout time.Duration
	// WriteRate is how many bytes a second a client has to read of what we
	// write, after WriteGrace (http.write_rate); 0: no limit; default 500.
	WriteRate int64
	// WriteGrace is how long a client may read nothing. Default 10 s.
	WriteGrace time.Duration
}

// orDefault fills in what was left out.
func (l Limits) orDefault() Limits {
	fill(&l.MaxTarget, 16<<10)
	fill(&l.MaxHeader, 64<<10)
	fill(&l.MaxFields, 100)
	fill(&l.MaxStreams, 100)
	fill(&l.HeaderTimeout, 10*time.Second)
	fill(&l.IdleTimeout, 75*time.Second)
	fill(&l.WriteGrace, 10*time.Second)
	return l
}

func fill[T int | time.Duration](v *T, fallback T) {
	if *v <= 0 {
		*v = fallback
	}
}
