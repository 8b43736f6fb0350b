package gate

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// NewID returns a fresh request id: a UUID version 7 (RFC 9562 section 5.7),
// so that ids sort by time and tell nothing else. The random part comes from
// the operating system; a client cannot guess another request's id.
func NewID(now time.Time) string {
	var u [16]byte
	rand.Read(u[6:]) // never fails: crypto/rand ends the process instead
	ms := uint64(now.UnixMilli())
	for i := 5; i >= 0; i-- {
		u[i] = byte(ms)
		ms >>= 8
	}
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80

	var s [36]byte
	hex.Encode(s[0:8], u[0:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:36], u[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
