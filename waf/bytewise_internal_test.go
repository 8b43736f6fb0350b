package waf

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// bytewise reads the content of parts as formReader once did: byte by byte, and
// with nothing but the delimiter in mind. It is slow and plain, to compare with.
type bytewise struct{ formReader }

func (f *bytewise) feed(b []byte) {
	for len(b) > 0 {
		n := 0
		switch f.state {
		case formStart:
			n = f.start(b)
		case formAfter:
			n = f.after(b)
		case formHead:
			n = f.head(b)
		case formBody:
			n = f.body(b)
		case formEnd:
			n = f.end(b)
		case formLost:
			n = len(b)
		}
		f.total += int64(n)
		b = b[n:]
	}
}

func (f *bytewise) body(b []byte) int {
	if f.matched == 0 {
		n := 0
		for n < len(b) && b[n] != '\r' && b[n] != '\n' {
			n++
		}
		f.data(b[:n])
		if n == len(b) {
			return n
		}
		if f.matched, f.ending = 1, breakCRLF; b[n] == '\n' {
			f.matched, f.ending = 2, breakLF
		}
		return n + 1
	}
	if f.matched == 1 && b[0] == '-' {
		f.matched, f.ending = 2, breakCR
	}
	if b[0] != f.delimiter[f.matched] {
		f.mismatch()
		return 0
	}
	if f.matched++; f.matched == len(f.delimiter) {
		f.state, f.line = formAfter, f.line[:0]
		if f.ending != breakCRLF {
			f.lose(errors.New("a boundary without a CRLF of its own before it"))
		}
	}
	return 1
}

func (f *bytewise) mismatch() {
	switch dashes := f.delimiter[2:max(2, f.matched)]; f.ending {
	case breakCRLF:
		f.data(f.delimiter[:f.matched])
	case breakLF:
		f.data(f.delimiter[1:f.matched])
	case breakCR:
		f.data(f.delimiter[:1])
		f.data(dashes)
	case breakNone:
		f.data(dashes)
	}
	f.matched = 0
}

func (f *bytewise) data(b []byte) {
	p := &f.parts[len(f.parts)-1]
	p.size += int64(len(b))
	if p.file() {
		f.content += int64(len(b))
		b = b[:min(len(b), fileSample-len(p.data))]
	}
	p.data = append(p.data, b...)
}

// told is all that a reader tells of what it has seen so far.
type told struct {
	State                formState
	Matched              int
	Ending               lineBreak
	Line                 string
	Parts                []formPart
	Content, Total, Held int64
	Epilogue             int
	InFile               bool
	Defect               string
}

func (f *formReader) told() told {
	defect := ""
	if f.defect != nil {
		defect = f.defect.Error()
	}
	ending := f.ending
	if f.matched == 0 {
		ending = breakCRLF // of what did not match
	}
	return told{f.state, f.matched, ending, string(f.line), f.parts, f.content, f.total, f.held(), f.epilogue, f.inFile(), defect}
}

// holdReaders feeds a body in pieces, of sizes that next returns, to both
// readers, and fails where they do not agree after each piece and at the end.
// It returns what the form is found to be.
func holdReaders(tb testing.TB, boundary, body string, next func() int) *formReader {
	tb.Helper()
	f, err := newFormReader(`multipart/form-data; boundary="`+boundary+`"`, 20)
	if err != nil {
		tb.Fatal(err)
	}
	slow := &bytewise{*f}
	slow.delimiter, slow.line = bytes.Clone(f.delimiter), nil
	var cuts []int
	agree := func() {
		if got, want := f.told(), slow.told(); !reflect.DeepEqual(got, want) {
			tb.Fatalf("%q, cut at %v:\ngot  %+v\nwant %+v", body, cuts, got, want)
		}
	}
	for at := 0; at < len(body); {
		end := min(at+max(1, next()), len(body))
		// Nothing of a piece may be kept: its bytes are others from there on.
		piece := []byte(body[at:end])
		f.feed(piece)
		for i := range piece {
			piece[i] = '!'
		}
		slow.feed([]byte(body[at:end]))
		at = end
		cuts = append(cuts, at)
		agree()
	}
	if got, want := fmt.Sprint(f.finish()), fmt.Sprint(slow.finish()); got != want {
		tb.Fatalf("%q, cut at %v: ends in %s, want %s", body, cuts, got, want)
	}
	agree()
	return f
}

// TestBytewise compares the reader of forms with the one that goes byte by byte,
// for whatever nearly is a boundary, whole and in pieces of every size.
func TestBytewise(t *testing.T) {
	const head = "--bo\r\nContent-Disposition: form-data; name=a"
	const fileHead = head + "; filename=f"
	for _, content := range []string{
		"", "v", "\r\n", "\n", "\r", "-", "--", "--bo", "bo", "\r\n--b", "\r\n--bO", "\r\n-", "\n--b", "\r--b", "\r\r\n--b", "\r\n\r\n--b\r\n--b",
		"v\n--bo", "v\r--bo", "v\r\r--bo", "v\n\n--bo", "v\n\r--bo", "v\r\n\n--bo", "v\r\n\r--bo", "v--bo", "v--bo\r\n", "--bo--bo--bo", "\r\nv--bo", "\r\n--b--bo", "\r\n----bo", "\r\n--b\n--bo",
		"--bo\r\n\r\nv", "v\r\n--bov", "v\r\n--bo-v", "v\r\n--bo\rv", "v\r\n--bo--\r\nv", "v\r\n--bo--\r\n\r\n\r\n",
		"v\r\n" + fileHead + "\r\n\r\nw", "v\r\n" + head + "\r\n\r\n\r\n--bo", "v\n" + fileHead + "\r\n\r\nw", "\r\n" + head + "\r\n\r\n--b",
		strings.Repeat("-", 600), strings.Repeat("\r\n", 300), strings.Repeat("\n-", 300) + "\r", strings.Repeat("v", 511) + "\r\n--b" + strings.Repeat("v", 9),
	} {
		for _, of := range []string{head, fileHead} {
			body := of + "\r\n\r\n" + content + "\r\n--bo--\r\n"
			for cut := 1; cut <= len(body); cut += 1 + cut/6 {
				holdReaders(t, "bo", body, func() int { return cut })
				first := cut
				holdReaders(t, "bo", body, func() int { n := first; first = len(body); return n })
			}
		}
	}
}

// fragments are what bodies are made of that may confuse a reader of forms. A
// fragment that holds an asterisk has a beginning of the boundary in its place.
var fragments = []string{
	"\r", "\n", "\r\n", "-", "--", "\r\n--", "\n--", "\r--", "*", "--*", "\r\n--*", "\n--*", "\r--*", "\r\n--*--", "\r\n--*\r\n", "v", "\r\n\r\n", "\x00",
	"\r\n--*\r\nContent-Disposition: form-data; name=a; filename=f\r\n\r\n", "\r\n--*\r\nContent-Disposition: form-data; name=a\r\n\r\n", "X: y\r\n",
}

// TestBytewiseRandom does the same with bodies made of such fragments and cut
// at random, under boundaries of all lengths.
func TestBytewiseRandom(t *testing.T) {
	rounds := 10000
	if testing.Short() {
		rounds = 1000
	}
	r := rand.New(rand.NewPCG(1, 2))
	ends, parts := map[formState]int{}, 0
	for range rounds {
		boundary := strings.Repeat("-", r.IntN(3)) + "bounD-bounD_0123456789012345678901234567890123456789012345678901234"[:1+r.IntN(67)]
		var b strings.Builder
		if b.WriteString("--" + boundary + "\r\nContent-Disposition: form-data; name=a"); r.IntN(2) == 0 {
			b.WriteString("; filename=f")
		}
		b.WriteString("\r\n\r\n")
		for range r.IntN(30) {
			whole := boundary
			if r.IntN(3) == 0 {
				whole = boundary[:r.IntN(len(boundary)+1)]
			}
			switch fragment := fragments[r.IntN(len(fragments))]; {
			case r.IntN(20) == 0:
				b.WriteString(strings.Repeat(strings.ReplaceAll(fragment, "*", whole), r.IntN(20)))
			case r.IntN(20) == 0:
				b.WriteString(strings.Repeat("v", r.IntN(600)))
			default:
				b.WriteString(strings.ReplaceAll(fragment, "*", whole))
			}
		}
		if r.IntN(3) > 0 {
			b.WriteString("\r\n--" + boundary + "--\r\n")
		}
		most := 1 + r.IntN(1+r.IntN(200))
		f := holdReaders(t, boundary, b.String(), func() int { return 1 + r.IntN(most) })
		ends[f.state]++
		parts += len(f.parts)
	}
	if ends[formEnd] < rounds/20 || ends[formLost] < rounds/20 || parts < rounds {
		t.Errorf("of %d bodies %v ended so, with %d parts", rounds, ends, parts)
	}
}

// FuzzBytewise does it with any body.
func FuzzBytewise(f *testing.F) {
	for i, fragment := range fragments {
		for _, name := range []string{"a", "a; filename=f"} {
			for _, boundary := range []string{"b", "-bb"} {
				head := "--" + boundary + "\r\nContent-Disposition: form-data; name=" + name + "\r\n\r\n"
				f.Add(boundary, head+"v"+strings.ReplaceAll(fragment, "*", boundary)+strings.ReplaceAll(fragment, "*", "-")+"\r\n--"+boundary+"--\r\n", uint64(i))
			}
		}
	}
	f.Fuzz(func(t *testing.T, boundary, body string, seed uint64) {
		if _, err := newFormReader(`multipart/form-data; boundary="`+boundary+`"`, 1); err != nil {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		most := 1 + r.IntN(1+len(body))
		holdReaders(t, boundary, body, func() int { return 1 + r.IntN(most) })
		holdReaders(t, boundary, body, func() int { return len(body) })
	})
}

// BenchmarkFormReader reads a file of 200 KB as it comes: noise, text, lines
// that are short, and what nearly are boundaries; beside the reader that goes
// byte by byte.
func BenchmarkFormReader(b *testing.B) {
	const size = 200 << 10
	repeat := func(s string) []byte { return []byte(strings.Repeat(s, size/len(s))) }
	for _, tc := range []struct {
		name    string
		content []byte
	}{
		{"noise", []byte(noise(size))}, {"text", repeat("It was a bright cold day - or was it? - when the well-known clocks struck thirteen.\n")},
		{"dashes", repeat("-")}, {"lines", repeat("\r\n")}, {"near", repeat("\r\n--WebKitFormBoundary0123456789abcdee")}, {"inline", repeat(" --WebKitFormBoundary0123456789abcdef")},
	} {
		feed := func(f interface{ feed([]byte) }) {
			f.feed([]byte("--WebKitFormBoundary0123456789abcdef\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\n"))
			for rest := tc.content; len(rest) > 0; {
				n := min(uploadChunk, len(rest))
				f.feed(rest[:n])
				rest = rest[n:]
			}
		}
		made := func(b *testing.B) *formReader {
			f, err := newFormReader("multipart/form-data; boundary=WebKitFormBoundary0123456789abcdef", 20)
			if err != nil {
				b.Fatal(err)
			}
			return f
		}
		b.Run(tc.name+"/fast", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				feed(made(b))
			}
		})
		b.Run(tc.name+"/bytewise", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				feed(&bytewise{*made(b)})
			}
		})
	}
}
