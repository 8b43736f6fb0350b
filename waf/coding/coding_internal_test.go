package coding

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// encode writes content in a coding.
func encode(tb testing.TB, c Coding, content string) []byte {
	tb.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch c {
	case Gzip:
		w = gzip.NewWriter(&b)
	case Deflate:
		w = zlib.NewWriter(&b)
	case Brotli:
		w = brotli.NewWriterLevel(&b, 5)
	case Zstd:
		e, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
		if err != nil {
			tb.Fatal(err)
		}
		w = e
	}
	if _, err := io.WriteString(w, content); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// decode reads a whole body.
func decode(c Coding, coded []byte) (string, error) {
	r := NewReader(c, bytes.NewReader(coded), Limits{})
	defer r.Close()
	content, err := io.ReadAll(r)
	return string(content), err
}

// gzipMember makes a member with the given flags and optional fields.
func gzipMember(tb testing.TB, flags byte, fields, content string) []byte {
	tb.Helper()
	plain := encode(tb, Gzip, content)
	head := bytes.Clone(plain[:10])
	head[3] = flags
	return append(append(head, fields...), plain[10:]...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

var samples = map[string]string{
	"empty": "", "one byte": "x", "a form": "a=1&b=hello+world&c=%3Cscript%3E",
	"text":       strings.Repeat("the quick brown fox jumps over the lazy dog. ", 4000),
	"repetitive": strings.Repeat("0", 900<<10),
	"random":     noise(300 << 10),
	"mixed":      noise(100<<10) + strings.Repeat("ab", 200<<10) + noise(70<<10),
}

// noise cannot be made smaller.
func noise(n int) string {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	r.Read(b) //nolint:errcheck // it never fails
	return string(b)
}

// TestContent reads back what was written, however the bytes arrive.
func TestContent(t *testing.T) {
	for _, c := range All {
		for name, content := range samples {
			coded := encode(t, c, content)
			for how, src := range map[string]io.Reader{
				"whole": bytes.NewReader(coded), "with its end": iotest.DataErrReader(bytes.NewReader(coded)), "halves": iotest.HalfReader(bytes.NewReader(coded)),
				"bytes": iotest.OneByteReader(bytes.NewReader(coded)),
			} {
				r := NewReader(c, src, Limits{})
				got, err := io.ReadAll(iotest.HalfReader(r))
				if err != nil || string(got) != content {
					t.Errorf("%s, %s, in %s: %d bytes, %v, want %d", c, name, how, len(got), err, len(content))
				}
				if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("%s, %s: %d, %v after the end", c, name, n, err)
				}
				r.Close()
				r.Close()
			}
		}
	}
}

// TestStrict refuses whatever is not one member, and nothing else.
func TestStrict(t *testing.T) {
	const text = "a=1&b=2"
	raw := encode(t, Deflate, text)
	raw = raw[2 : len(raw)-4]
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}
	extra := func(n int) string {
		return string(binary.LittleEndian.AppendUint16(nil, uint16(n))) + strings.Repeat("x", n)
	}
	crc := func(head []byte) string {
		return string(binary.LittleEndian.AppendUint16(nil, uint16(crc32.ChecksumIEEE(head))))
	}
	flipped := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
	for _, tc := range []struct {
		name  string
		c     Coding
		coded []byte
		want  string // the beginning of the error; empty: it is accepted
	}{
		{"gzip", Gzip, encode(t, Gzip, text), ""},
		{"gzip with a file name", Gzip, gzipMember(t, gzipName, "form.txt\x00", text), ""},
		{"gzip with everything", Gzip, gzipMember(t, gzipText|gzipExtra|gzipName|gzipComment, extra(6)+"n\x00c\x00", text), ""},
		{"gzip, text", Gzip, gzipMember(t, gzipText, "", text), ""},
		{"gzip, an empty name", Gzip, gzipMember(t, gzipName, "\x00", text), ""},
		{"gzip with a checksum of its header", Gzip, gzipMember(t, 2, crc(gzipMember(t, 2, "", text)[:10]), text), "a gzip header with flags"},
		{"gzip, reserved flag 5", Gzip, gzipMember(t, 1<<5, "", text), "a gzip header with flags"},
		{"gzip, reserved flag 6", Gzip, gzipMember(t, 1<<6, "", text), "a gzip header with flags"},
		{"gzip, reserved flag 7", Gzip, gzipMember(t, 1<<7, "", text), "a gzip header with flags"},
		{"gzip, another method", Gzip, flipped(encode(t, Gzip, text), 2), "not gzip"},
		{"gzip, a name as long as is allowed", Gzip, gzipMember(t, gzipName, strings.Repeat("n", maxGzipHeader)+"\x00", text), ""},
		{"gzip, a longer one", Gzip, gzipMember(t, gzipName, strings.Repeat("n", maxGzipHeader+1)+"\x00", text), "a gzip header that is too long"},
		{"gzip, a long extra field", Gzip, gzipMember(t, gzipExtra, extra(maxGzipHeader+1), text), "a gzip header that is too long"},
		{"gzip, both together", Gzip, gzipMember(t, gzipExtra|gzipComment, extra(maxGzipHeader)+"c\x00", text), "a gzip header that is too long"},
		{"gzip, a wrong checksum", Gzip, flipped(encode(t, Gzip, text), -5), "a wrong checksum"},
		{"gzip, a wrong length", Gzip, flipped(encode(t, Gzip, text), -4), "a wrong checksum"},
		{"two members", Gzip, join(encode(t, Gzip, text), encode(t, Gzip, text)), "something after the end"},
		{"an empty member after it", Gzip, join(encode(t, Gzip, text), encode(t, Gzip, "")), "something after the end"},
		{"gzip and a zero", Gzip, join(encode(t, Gzip, text), []byte{0}), "something after the end"},
		{"gzip and a line end", Gzip, join(encode(t, Gzip, text), []byte("\n")), "something after the end"},
		{"something before gzip", Gzip, join([]byte("\n"), encode(t, Gzip, text)), "not gzip"},
		{"zlib called gzip", Gzip, encode(t, Deflate, text), "not gzip"},
		{"plain text called gzip", Gzip, []byte("a=1&b=2&c=3"), "not gzip"},
		{"nothing at all called gzip", Gzip, nil, "cut off"},

		{"zlib", Deflate, encode(t, Deflate, text), ""},
		{"raw deflate", Deflate, raw, "not zlib"},
		{"gzip called deflate", Deflate, encode(t, Gzip, text), "not zlib"},
		{"zlib with a dictionary", Deflate, []byte{0x78, 0xbb, 0, 0, 0, 1, 3, 0, 0, 0, 0, 1}, "zlib with a preset dictionary"},
		{"zlib, a wrong check", Deflate, flipped(encode(t, Deflate, text), 1), "not zlib"},
		{"zlib, a window of 64 KiB", Deflate, join([]byte{0x88, 0x1c}, encode(t, Deflate, text)[2:]), "not zlib"},
		{"zlib, a small window", Deflate, join([]byte{0x08, 0x1d}, encode(t, Deflate, text)[2:]), ""},
		{"zlib, a wrong checksum", Deflate, flipped(encode(t, Deflate, text), -1), "a wrong checksum"},
		{"two zlib streams", Deflate, join(encode(t, Deflate, text), encode(t, Deflate, text)), "something after the end"},
		{"zlib and a byte", Deflate, join(encode(t, Deflate, text), []byte{0}), "something after the end"},
		{"a reserved block type", Deflate, []byte{0x78, 0x9c, 7, 0, 0}, "not valid"},

		{"brotli", Brotli, encode(t, Brotli, text), ""},
		{"two brotli streams", Brotli, join(encode(t, Brotli, text), encode(t, Brotli, text)), ""},
		{"brotli and a byte", Brotli, join(encode(t, Brotli, text), []byte{0}), ""},
		{"a window beyond RFC 7932", Brotli, []byte{0x11, 0x1e, 0}, "a window that RFC 7932"},
		{"plain text called brotli", Brotli, []byte("a=1&b=2&c=3"), "not valid"},
		{"nothing at all called brotli", Brotli, nil, "cut off"},
		{"an empty brotli stream", Brotli, []byte{0x06}, ""},

		{"zstd", Zstd, encode(t, Zstd, text), ""},
		{"zstd, a wrong checksum", Zstd, flipped(encode(t, Zstd, text), -1), "not valid"},
		{"two zstd frames", Zstd, join(encode(t, Zstd, text), encode(t, Zstd, text)), "something after the end"},
		{"a skippable frame after it", Zstd, join(encode(t, Zstd, text), skippable), "something after the end"},
		{"a skippable frame before it", Zstd, join(skippable, encode(t, Zstd, text)), "a zstd frame without content"},
		{"a skippable frame alone", Zstd, skippable, "a zstd frame without content"},
		{"zstd and a byte", Zstd, join(encode(t, Zstd, text), []byte{0}), "something after the end"},
		{"zstd with a dictionary", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 1, 0x09, 0, 0, 'x'}, "zstd with a dictionary"},
		{"zstd without one, raw", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 0x09, 0, 0, 'x'}, ""},
		{"zstd, a reserved bit", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x28, 1, 0x09, 0, 0, 'x'}, "not zstd"},
		{"zstd, a reserved block", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 0x0f, 0, 0, 'x'}, "not valid"},
		{"zstd, another length than it says", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 2, 0x09, 0, 0, 'x'}, "not valid"},
		{"zstd, a window of 8 MiB", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 0x09, 0, 0, 'x'}, ""},
		{"zstd, a larger window", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13<<3 | 1, 0x09, 0, 0, 'x'}, "a window of 9437184 bytes"},
		{"zstd, a larger segment", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 1, 0, 0x80, 0, 0x09, 0, 0, 'x'}, "a window of 8388609 bytes"},
		{"gzip called zstd", Zstd, encode(t, Gzip, text), "not zstd"},
		{"nothing at all called zstd", Zstd, nil, "cut off"},
	} {
		if strings.Contains(tc.name, "two brotli") || tc.name == "brotli and a byte" {
			tc.want = "not valid: brotli: excessive input"
		}
		got, err := decode(tc.c, tc.coded)
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v, want it accepted", tc.name, err)
			}
			continue
		}
		if _, ours := errors.AsType[*Error](err); !ours || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %q, %v, want %q", tc.name, got, err, tc.want)
		}
	}
}

// TestCut refuses every body that was cut off, wherever, and returns nothing
// of it that is not in the whole.
func TestCut(t *testing.T) {
	const text = "a=1&b=hello&c=hello+hello+hello&d=%3Cscript%3Ealert(1)%3C/script%3E"
	for _, c := range All {
		coded := encode(t, c, text)
		for at := range len(coded) {
			got, err := decode(c, coded[:at])
			if !errors.Is(err, errCut) || !strings.HasPrefix(text, got) {
				t.Errorf("%s, cut at %d of %d: %q, %v, want it refused as cut off", c, at, len(coded), got, err)
			}
			for _, more := range []byte{0, '\n', 0xff} {
				if _, err := decode(c, append(bytes.Clone(coded), more)); err == nil {
					t.Errorf("%s with %d behind it is accepted", c, more)
				}
			}
		}
	}
}

// zeros are n zero bytes.
type zeros int64

// Read makes the next ones.
func (z *zeros) Read(p []byte) (int, error) {
	if *z == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), int64(*z))
	clear(p[:n])
	*z -= zeros(n)
	return int(n), nil
}

// bomb is size zero bytes in a coding.
func bomb(tb testing.TB, c Coding, size int64) []byte {
	tb.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch c {
	case Gzip:
		w, _ = gzip.NewWriterLevel(&b, gzip.BestSpeed)
	case Deflate:
		w, _ = zlib.NewWriterLevel(&b, zlib.BestSpeed)
	case Brotli:
		w = brotli.NewWriterLevel(&b, 2)
	case Zstd:
		w, _ = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	}
	z := zeros(size)
	if _, err := io.Copy(w, &z); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// TestBombs stops at the ratio, long before the end.
func TestBombs(t *testing.T) {
	for _, c := range All {
		b := bomb(t, c, 64<<20)
		r := NewReader(c, bytes.NewReader(b), Limits{})
		n, err := io.Copy(io.Discard, r)
		if !errors.Is(err, errRatio) || n > RatioFloor+Ratio*int64(len(b))+64<<10 {
			t.Errorf("%s: %d bytes out of %d, %v, want %v", c, n, len(b), err, errRatio)
		}
		r.Close()
		if got, err := decode(c, bomb(t, c, RatioFloor)); err != nil || len(got) != RatioFloor {
			t.Errorf("%s: %d bytes of zeros: %v", c, RatioFloor, err)
		}
		// One inside another is decoded once.
		inner := bomb(t, c, 1<<20)
		if got, err := decode(c, encode(t, c, string(inner))); err != nil || got != string(inner) {
			t.Errorf("%s: a nested one: %d bytes, %v", c, len(got), err)
		}
	}
}

// TestMemory asks for what a decoder takes, before it takes it, and returns
// the answer.
func TestMemory(t *testing.T) {
	spent := errors.New("spent")
	for c, window := range map[Coding]int64{Gzip: deflateWindow, Deflate: deflateWindow, Brotli: 4 << 20, Zstd: 8 << 20} {
		coded := encode(t, c, samples["text"])
		if c == Zstd {
			coded = []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 0x09, 0, 0, 'x'}
		}
		asked := int64(0)
		r := NewReader(c, bytes.NewReader(coded), Limits{Memory: func(n int64) error { asked += n; return nil }})
		if _, err := io.Copy(io.Discard, r); err != nil || asked != window+overheads[c] {
			t.Errorf("%s: asked for %d bytes, %v, want %d", c, asked, err, window+overheads[c])
		}
		r.Close()
		r = NewReader(c, bytes.NewReader(coded), Limits{Memory: func(int64) error { return spent }})
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, spent) {
			t.Errorf("%s: %v, want what the memory says", c, err)
		}
		r.Close()
		r = NewReader(c, bytes.NewReader(coded), Limits{Most: window + overheads[c] - 1})
		if _, err := io.Copy(io.Discard, r); err == nil || !strings.HasPrefix(err.Error(), "a decoder needs") {
			t.Errorf("%s: %v, want it refused", c, err)
		}
		r.Close()
		r = NewReader(c, bytes.NewReader(coded), Limits{Most: window + overheads[c]})
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("%s, with as much as it needs: %v", c, err)
		}
		r.Close()
	}
}

// TestBrotliWindow reads the sizes of RFC 7932 section 9.1.
func TestBrotliWindow(t *testing.T) {
	for bits := 10; bits <= 24; bits++ {
		var b bytes.Buffer
		w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 5, LGWin: bits})
		io.WriteString(w, samples["mixed"]) //nolint:errcheck // a buffer takes everything
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		asked := int64(0)
		r := NewReader(Brotli, &b, Limits{Memory: func(n int64) error { asked = n; return nil }})
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(got) != samples["mixed"] || asked-overheads[Brotli] != 1<<bits {
			t.Errorf("%d bits: %d bytes, %v, window %d", bits, len(got), err, asked-overheads[Brotli])
		}
	}
}

// TestSourceErrors returns an error of the source as it is.
func TestSourceErrors(t *testing.T) {
	gone := errors.New("gone")
	for _, c := range All {
		coded := encode(t, c, samples["mixed"])
		for _, at := range []int{0, 1, 5, len(coded) / 2, len(coded) - 1, len(coded)} {
			r := NewReader(c, io.MultiReader(bytes.NewReader(coded[:at]), iotest.ErrReader(gone)), Limits{})
			got, err := io.ReadAll(r)
			if err != gone || !strings.HasPrefix(samples["mixed"], string(got)) { //nolint:errorlint // as it is
				t.Errorf("%s, gone at %d: %d bytes, %v", c, at, len(got), err)
			}
			r.Close()
		}
	}
}

// lenient decodes as much as a backend could get out of coded bytes.
func lenient(c Coding, coded []byte) []byte {
	var r io.Reader
	var err error
	src := bytes.NewReader(coded)
	switch c {
	case Gzip:
		r, err = gzip.NewReader(src)
	case Deflate:
		r, err = zlib.NewReader(src)
	case Brotli:
		r = brotli.NewReader(src)
	case Zstd:
		r, err = zstd.NewReader(src, zstd.WithDecoderConcurrency(1))
	}
	if err != nil {
		return nil
	}
	got, _ := io.ReadAll(r) // as far as it goes
	return got
}

// TestSettled holds the promise that lets coded bytes go on before all were
// read: nobody gets more out of the settled ones than was returned already.
func TestSettled(t *testing.T) {
	for _, c := range All {
		for name, content := range samples {
			if name == "random" {
				content = noise(3 << 20)
			}
			coded := encode(t, c, content)
			for _, step := range []int{1 << 10, 32 << 10} {
				r := NewReader(c, iotest.HalfReader(bytes.NewReader(coded)), Limits{})
				buf, out, last := make([]byte, step), 0, int64(0)
				for {
					n, err := r.Read(buf)
					out += n
					if s := r.Settled(); s != last {
						last = s
						if got := lenient(c, coded[:s]); len(got) > out {
							t.Fatalf("%s, %s: %d settled bytes decode to %d, and %d were returned", c, name, s, len(got), out)
						}
					}
					if err != nil {
						break
					}
				}
				r.Close()
				if behind := int64(len(coded)) - last; name == "random" && behind > 2*lags[c] {
					t.Errorf("%s: %d of %d bytes are not settled at the end", c, behind, len(coded))
				}
			}
		}
	}
}

// FuzzReader compares verdict and content with decoders that are not ours, and
// with ourselves when bytes arrive one by one.
func FuzzReader(f *testing.F) {
	for _, c := range All {
		for _, content := range []string{"", "a=1&b=2", strings.Repeat("ab", 300)} {
			coded := encode(f, c, content)
			f.Add(string(c), coded)
			f.Add(string(c), append(bytes.Clone(coded), coded...))
			f.Add(string(c), coded[:len(coded)-1])
		}
	}
	f.Add("gzip", gzipMember(f, gzipName|gzipExtra, "\x01\x00xn\x00", "x"))
	f.Fuzz(func(t *testing.T, name string, coded []byte) {
		c, ok := Named(name)
		if !ok || len(coded) > 1<<16 {
			return
		}
		got, err := decode(c, coded)
		r := NewReader(c, iotest.OneByteReader(bytes.NewReader(coded)), Limits{})
		slow, slowErr := io.ReadAll(r)
		r.Close()
		if (err == nil) != (slowErr == nil) || err == nil && string(slow) != got {
			t.Fatalf("%s: %d bytes, %v; byte by byte %d, %v", c, len(got), err, len(slow), slowErr)
		}
		if errors.Is(err, errRatio) {
			return
		}
		want, refErr := reference(c, coded)
		switch {
		case err == nil && (refErr != nil || want != got):
			t.Fatalf("%s: accepted as %q; another decoder says %q, %v", c, got, want, refErr)
		case err != nil && refErr == nil && !particular(err):
			t.Fatalf("%s: refused with %v; another decoder says %q", c, err, want)
		}
	})
}

// particular reports whether an error is one of strictness or of a bound, which
// other decoders do not share.
func particular(err error) bool {
	for _, what := range []string{"a gzip header", "a window", "a zstd frame without", "something after", "zstd with"} {
		if strings.HasPrefix(err.Error(), what) {
			return true
		}
	}
	return false
}

// reference decodes with other means: one member, and nothing behind it.
func reference(c Coding, coded []byte) (string, error) {
	src := bytes.NewReader(coded)
	var r io.Reader
	switch c {
	case Gzip:
		g, err := gzip.NewReader(src)
		if err != nil {
			return "", err
		}
		g.Multistream(false)
		r = g
	case Deflate:
		z, err := zlib.NewReader(src)
		if err != nil {
			return "", err
		}
		r = z
	case Brotli:
		r = brotli.NewReader(src)
	case Zstd:
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return "", err
		}
		defer d.Close()
		got, err := d.DecodeAll(coded, nil)
		if len(coded) == 0 { // no frame is fewer than one
			err = io.ErrUnexpectedEOF
		}
		return string(got), err
	}
	got, err := io.ReadAll(io.LimitReader(r, 64<<20))
	if err == nil && src.Len() > 0 {
		err = fmt.Errorf("%d bytes behind it", src.Len())
	}
	return string(got), err
}

// BenchmarkReader decodes a form of 64 KiB. An idle decoder is reused.
func BenchmarkReader(b *testing.B) {
	content := samples["text"][:64<<10]
	for _, c := range All {
		coded := encode(b, c, content)
		b.Run(string(c), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(content)))
			buf := make([]byte, 32<<10)
			for b.Loop() {
				r := NewReader(c, bytes.NewReader(coded), Limits{})
				for {
					if _, err := r.Read(buf); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				r.Close()
			}
		})
	}
}
