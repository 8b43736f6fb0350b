package selftest

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestReadMessage(t *testing.T) {
	t.Parallel()
	const post = "POST /in HTTP/1.1\r\nHost: a\r\n"
	for _, tc := range []struct {
		rule, in string
		want     Message
		size     int // 0: all
	}{
		{"a request without a body", "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n", Message{Method: "GET", Target: "/a?b"}, 0},
		{"what follows is left alone", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", Message{Method: "GET", Target: "/"}, 27},
		{"a length", post + "Content-Length: 5\r\n\r\nhello", Message{Method: "POST", Target: "/in", Body: "hello"}, 0},
		{"chunks", post + "transfer-encoding: Chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", Message{Method: "POST", Target: "/in", Body: "hello"}, 0},
		{"the wish to close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Message{Method: "GET", Target: "/", Close: true}, 0},
		{"HTTP/1.0 closes and needs no host", "GET / HTTP/1.0\r\n\r\n", Message{Method: "GET", Target: "/", Close: true}, 0},
		{"HTTP/1.0 may be kept alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Message{Method: "GET", Target: "/"}, 0},
	} {
		got, size, err := readMessage([]byte(tc.in))
		if tc.size == 0 {
			tc.size = len(tc.in)
		}
		got.Fields = nil
		if !reflect.DeepEqual(got, tc.want) || size != tc.size || err != nil {
			t.Errorf("%s: readMessage(%q) = %+v, %d, %v, want %+v, %d", tc.rule, tc.in, got, size, err, tc.want, tc.size)
		}
		for n := range tc.size {
			if _, _, err := readMessage([]byte(tc.in)[:n]); !errors.Is(err, errIncomplete) {
				t.Errorf("%s: the first %d bytes are %v, want incomplete", tc.rule, n, err)
			}
		}
	}
}

func TestReadMessageTellsTheFields(t *testing.T) {
	t.Parallel()
	m, _, err := readMessage([]byte("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a:  2 \r\n\r\n"))
	if want := map[string]string{"host": "a", "x-a": "1, 2"}; err != nil || !reflect.DeepEqual(m.Fields, want) {
		t.Errorf("fields %q, %v, want %q", m.Fields, err, want)
	}
}

func TestReadMessageCallsEverythingElseOdd(t *testing.T) {
	t.Parallel()
	const post, chunked = "POST /in HTTP/1.1\r\nHost: a\r\n", "POST /in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for rule, in := range map[string]string{
		"a bare LF":                  "GET / HTTP/1.1\nHost: a\r\n\r\n",
		"a bare CR":                  "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
		"an empty line first":        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"a head without end":         "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", maxCapturedHead),
		"four words":                 "GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
		"a method with a colon":      "GET: / HTTP/1.1\r\nHost: a\r\n\r\n",
		"an 8-bit byte in a target":  "GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
		"no target":                  "GET  HTTP/1.1\r\nHost: a\r\n\r\n",
		"another version":            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"no host":                    "GET / HTTP/1.1\r\n\r\n",
		"two hosts":                  "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"no colon":                   "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
		"a space before the colon":   "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
		"a folded value":             "GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n",
		"a control":                  "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
		"both framings":              post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"the same length twice":      post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		"a length with a sign":       post + "Content-Length: +5\r\n\r\nhello",
		"a length with a zero":       post + "Content-Length: 05\r\n\r\nhello",
		"a huge length":              post + "Content-Length: 99999999\r\n\r\nhello",
		"another coding":             post + "Transfer-Encoding: gzip, chunked\r\n\r\n",
		"a coding in HTTP/1.0":       "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a chunk extension":          chunked + "5;a=b\r\nhello\r\n0\r\n\r\n",
		"a chunk size with a prefix": chunked + "0x5\r\nhello\r\n0\r\n\r\n",
		"a chunk size of nine":       chunked + "000000005\r\nhello\r\n0\r\n\r\n",
		"an empty chunk size":        chunked + "\r\nhello\r\n0\r\n\r\n",
		"a huge chunk":               chunked + "ffffff\r\nhello",
		"data that is too long":      chunked + "5\r\nhello!\r\n0\r\n\r\n",
		"a trailer":                  chunked + "0\r\nX: y\r\n\r\n",
	} {
		_, _, err := readMessage([]byte(in))
		if _, ok := errors.AsType[oddError](err); !ok {
			t.Errorf("%s: readMessage(%.80q) = %v, want it to be odd", rule, in, err)
		}
	}
}

// FuzzReadMessage holds the reader to its word: it takes no more than there is,
// and what follows a message changes nothing about it.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add([]byte("POST /in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Add([]byte("POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, size, err := readMessage(in)
		if err != nil {
			return
		}
		if size <= 0 || size > len(in) {
			t.Fatalf("took %d of %d bytes", size, len(in))
		}
		again, other, err := readMessage(append(in[:size:size], "\r\nGET / HTTP/1.1\r\n\r\n"...))
		if !reflect.DeepEqual(again, m) || other != size || err != nil {
			t.Fatalf("with more behind it: %+v, %d, %v, want %+v, %d", again, other, err, m, size)
		}
	})
}
