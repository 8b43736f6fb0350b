package strict

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkChunked(b *testing.B) {
	for _, size := range []int{16, 16 << 10} {
		name := fmt.Sprintf("%dB", size)
		if size >= 1<<10 {
			name = fmt.Sprintf("%dKiB", size>>10)
		}
		b.Run(name, func(b *testing.B) {
			n := max(1, (64<<10)/size)
			src := []byte(strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("x", size)), n) + "0\r\n\r\n")
			dst := make([]byte, n*size+1)
			b.SetBytes(int64(n * size))
			b.ReportAllocs()
			for b.Loop() {
				d := decoder{lim: Limits{}.orDefault()}
				w, r, f := d.decode(dst, src)
				if w != n*size || r != len(src) || f.reason != "" || !d.done {
					b.Fatalf("decode = %d, %d, %v", w, r, f)
				}
			}
		})
	}
}
