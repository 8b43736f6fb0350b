package strict_test

import (
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"

	"sallyport/internal/strict"
	"sallyport/internal/testkit"
)

// A turn is one request of a pipelined sequence, and how it must be answered.
type turn struct {
	method string
	raw    string // %d stands for its number
	status int
	body   string // that the handler must have read
	last   bool   // nothing after it is answered
}

// Bodies hold what would be an answer out of turn if it were read as a request.
const decoy = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Id: 99\r\n\r\n"

// turns are the kinds of requests that a sequence is made of.
var turns = []turn{
	{"GET", "GET /%d HTTP/1.1\r\nHost: a\r\nX-Id: %[1]d\r\n\r\n", 200, "", false},
	{"HEAD", "HEAD /%d HTTP/1.1\r\nHost: a\r\nX-Id: %[1]d\r\n\r\n", 200, "", false},
	{"GET", "\r\nGET http://a/%d HTTP/1.1\r\nX-Id: %[1]d\r\nHost: A:80\r\n\r\n", 200, "", false},
	{"OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Id: %d\r\n\r\n", 200, "", false},
	{"GET", "GET /%%zz HTTP/1.1\r\nHost: a\r\nX-Id: %d\r\n\r\n", 200, "", false},
	{"GET", "GET /%d HTTP/1.0\r\nConnection: keep-alive\r\nX-Id: %[1]d\r\n\r\n", 200, "", false},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 45\r\nX-Id: %[1]d\r\n\r\n" + decoy, 200, decoy, false},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX-Id: %[1]d\r\n\r\n", 200, "", false},
	{"PUT", "PUT /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Id: %[1]d\r\n\r\n2d;q=\"0\"\r\n" + decoy + "\r\n3\r\nend\r\n0\r\nX-Id: 99\r\n\r\n", 200, decoy + "end", false},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 45\r\nX-Id: %[1]d\r\n\r\n" + decoy, 200, decoy, false},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTransfer-Encoding: Chunked\r\nX-Id: %[1]d\r\n\r\n0\r\n\r\n", 200, "", false},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 45\r\nX-Unread: 1\r\nX-Id: %[1]d\r\n\r\n" + decoy, 200, "", false},
	{"HEAD", "HEAD /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 45\r\nX-Id: %[1]d\r\n\r\n" + decoy, 200, decoy, false},
	{"GET", "GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Id: %[1]d\r\n\r\n", 200, "", true},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 45\r\nX-Unread: 1\r\nX-Id: %[1]d\r\n\r\n" + decoy, 200, "", true},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nX-Id: %[1]d\r\n\r\n0\r\n\r\n", 400, "", true},
	{"HEAD", "HEAD /%d HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Id: %[1]d\r\n\r\n", 400, "", true},
	{"GET", "GET /%d HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\nX-Id: %[1]d\r\n\r\n", 400, "", true},
	{"GET", "GET /%d HTTP/1.1\nHost: a\n\n", 400, "", true},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Id: %[1]d\r\n\r\n3\r\nabc0\r\n\r\n", 400, "", true},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Id: %[1]d\r\n\r\n3;\r\nabc\r\n0\r\n\r\n", 400, "", true},
	{"POST", "POST /%d HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 3\r\nX-Id: %[1]d\r\n\r\nabc", 417, "", true},
}

// echo answers with the id that stands in the judged head, and with a sum of
// the body.
func echo(w http.ResponseWriter, r *http.Request) {
	head := guardOf(r).Head(r)
	id, _ := head.Get("X-Id")
	if _, unread := head.Get("X-Unread"); unread && head.Rejection == nil {
		w.Header().Set("X-Id", id)
		w.Header().Set("X-Sum", sum(""))
		_, _ = io.WriteString(w, id)
		return
	}
	if head.Rejection == nil {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			w.Header().Set("X-Id", id)
			w.Header().Set("X-Sum", sum(string(body)))
			_, _ = io.WriteString(w, id)
			return
		}
		refuse(w, guardOf(r).BodyError().Verdict)
		return
	}
	refuse(w, head.Rejection.Verdict(""))
}

func sum(body string) string { return fmt.Sprint(crc32.ChecksumIEEE([]byte(body))) }

// FuzzPairing sends pipelined sequences of accepted, refused and broken
// requests through a real server behind the guard, cut anywhere: each answer
// belongs to its request, and nothing after a refusal is answered.
func FuzzPairing(f *testing.F) {
	all := make([]byte, 0, len(turns))
	for i := range turns {
		f.Add([]byte{byte(i), 0}, uint64(i))
		f.Add([]byte{6, byte(i), 0, byte(i)}, uint64(i))
		f.Add([]byte{8, byte(i), byte(i), 11, 0}, uint64(i))
		if !turns[i].last {
			all = append(all, byte(i))
		}
	}
	f.Add(all, uint64(1))
	f.Add(append(all, 16), uint64(2))
	addr := serve(f, http.HandlerFunc(echo), strict.Limits{}, strict.Hooks{})
	f.Fuzz(func(t *testing.T, script []byte, seed uint64) {
		if len(script) > 40 {
			return
		}
		var raw strings.Builder
		whole := seed&1 == 0
		for i, kind := range script {
			next := turns[int(kind)%len(turns)]
			fmt.Fprintf(&raw, next.raw, i)
			if next.last && next.status == 200 && !whole {
				break // what is still on its way when the server has closed may reset the connection
			}
		}
		conn := testkit.DialRaw(t, addr)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			if whole {
				conn.Send([]byte(raw.String()))
			} else {
				conn.SendCut([]byte(raw.String()), seed, 1+int(seed>>1)%30)
			}
			conn.HalfClose()
		}()
		defer func() { <-sent }()
		for i, kind := range script {
			want := turns[int(kind)%len(turns)]
			got, err := conn.Answer(want.method)
			if err != nil {
				t.Fatalf("turn %d of %v: %v", i, script, err)
			}
			switch {
			case got.Status != want.status:
				t.Fatalf("turn %d of %v is answered %d, want %d", i, script, got.Status, want.status)
			case want.status != 200:
				if got.Header.Get("X-Reason") == "" || !got.Close {
					t.Fatalf("turn %d of %v is refused without a reason, or without an end", i, script)
				}
			case got.Header.Get("X-Id") != fmt.Sprint(i) || got.Header.Get("X-Sum") != sum(want.body):
				t.Fatalf("turn %d of %v got the answer of %s, body %s", i, script, got.Header.Get("X-Id"), got.Header.Get("X-Sum"))
			}
			if want.last {
				break
			}
		}
		if !conn.AtEnd() {
			t.Fatalf("%v: the server did not close", script)
		}
	})
}
