package http1

import (
	"bytes"
	"testing"
)

// Each byte at each place is judged as by itself.
func TestIsValue(t *testing.T) {
	for length := range 25 {
		for at := range length {
			for c := range 256 {
				b := bytes.Repeat([]byte{'a', 0x80, ' ', '\t', 0xff, 0x7e, '!'}, 4)[:length]
				b[at] = byte(c)
				if want := c >= ' ' && c != 0x7f || c == '\t'; isValue(string(b)) != want {
					t.Fatalf("%q: %v", b, !want)
				}
			}
		}
	}
}
