package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mark is what each request of TestRequestsDoNotMix is known by.
var mark = regexp.MustCompile(`mark-[0-9]+-[0-9]+-end`)

// TestRequestsDoNotMix: memory is used again for one request after the other,
// on many connections at once. What one has sent is never found in the record,
// the answer or the request of another.
func TestRequestsDoNotMix(t *testing.T) {
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var b bytes.Buffer
		fmt.Fprintf(&b, "%s %s %s", r.Method, r.RequestURI, body)
		_ = r.Header.Write(&b)
		w.Header()["X-Marks"] = slices.Compact(slices.Sorted(slices.Values(mark.FindAllString(b.String(), -1))))
		if n := len(body) % 3; n == 0 { // in parts, of a length that nobody knows
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
		}
		_, _ = w.Write(b.Bytes())
	}), strings.Replace(small, "limits: [{name: per-client, rate: 10/s, burst: 20}]", "limits: []", 1))

	kinds := []func(id string) string{
		func(id string) string { return "GET /" + id + "?q=" + id + "\nCookie: a=" + id + "\nX-Own: " + id },
		func(id string) string { return "GET /short" + "\nX-Own: " + id },
		func(id string) string { return "GET /?q=" + id + "%27%20UNION%20SELECT%20password%20FROM%20users--" },
		func(id string) string {
			return "POST /form\nContent-Type: application/x-www-form-urlencoded\n\nname=" + id + "&text=" + strings.Repeat("many+words+", 20) + id
		},
		func(id string) string {
			return "POST /api\nContent-Type: application/json\n\n{\"" + id + "\": [\"" + id + "\", {\"a\": \"<script>alert(1)</script> " + id + "\"}]}"
		},
		func(id string) string {
			return "POST /file\nContent-Type: multipart/form-data; boundary=b\n\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"" + id + ".txt\"\r\n\r\n" +
				strings.Repeat(id+"\n", 200) + "\r\n--b--\r\n"
		},
	}
	var clients sync.WaitGroup
	for c := range 6 {
		clients.Go(func() {
			conn, err := net.Dial("tcp", e.address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			br := bufio.NewReader(conn)
			for n := range 60 {
				id := fmt.Sprintf("mark-%d-%d-end", c, n)
				head, body, _ := strings.Cut(kinds[(c+n)%len(kinds)](id), "\n\n")
				first, rest, _ := strings.Cut(head, "\n")
				request := first + " HTTP/1.1\r\nHost: localhost\r\n"
				if rest != "" {
					request += strings.ReplaceAll(rest, "\n", "\r\n") + "\r\n"
				}
				if body != "" {
					request += fmt.Sprintf("Content-Length: %d\r\n", len(body))
				}
				if _, err := io.WriteString(conn, request+"\r\n"+body); err != nil {
					t.Error(err)
					return
				}
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != 200 && resp.StatusCode != 403 {
					t.Errorf("status %d, %v", resp.StatusCode, err)
				}
				if resp.StatusCode == 200 && strings.Join(resp.Header["X-Marks"], ",") != id {
					t.Errorf("the backend was sent %q, want %q alone", resp.Header["X-Marks"], id)
				}
				for _, found := range mark.FindAllString(string(got)+fmt.Sprint(resp.Header), -1) {
					if found != id {
						t.Errorf("the answer to %s holds %s", id, found)
					}
				}
				record, err := json.Marshal(e.notes.find(t, resp.Header.Get("X-Request-Id")))
				if err != nil {
					t.Error(err)
				}
				seen := mark.FindAllString(string(record), -1)
				if (c+n)%len(kinds) < 3 && len(seen) == 0 {
					t.Errorf("the record of %s does not hold it", id)
				}
				for _, found := range seen {
					if found != id {
						t.Errorf("the record of %s holds %s", id, found)
					}
				}
			}
		})
	}
	clients.Wait()
}
