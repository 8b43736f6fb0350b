package testkit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// OutgoingFlaws lists what no backend may be sent, whatever the client sent:
// two framings, lines that some readers see otherwise, fields of the client's
// own connection, forwarding fields that are not ours alone.
func OutgoingFlaws(stream []byte) []string {
	src := bytes.NewReader(stream)
	r := bufio.NewReader(src)
	var flaws []string
	for {
		at := len(stream) - src.Len() - r.Buffered()
		req, err := http.ReadRequest(r)
		if err != nil {
			return flaws
		}
		head, _, _ := bytes.Cut(stream[at:], []byte("\r\n\r\n"))
		flaws = append(flaws, headFlaws(string(head))...)
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return flaws
		}
	}
}

// headFlaws is OutgoingFlaws for one head.
func headFlaws(head string) []string {
	var flaws []string
	count := map[string]int{}
	first, fields, _ := strings.Cut(head, "\r\n")
	for l := range strings.SplitSeq(fields, "\r\n") {
		name, value, ok := strings.Cut(strings.ToLower(l), ":")
		if !ok || strings.ContainsAny(name, " \t\r\n\x00") || strings.ContainsAny(value, "\r\n\x00") {
			flaws = append(flaws, fmt.Sprintf("the line %q", l))
		}
		count[name]++
	}
	for name := range count {
		if slices.Contains([]string{"expect", "trailer", "keep-alive", "proxy", "proxy-connection", "proxy-authorization", "http2-settings", "forwarded"}, name) {
			flaws = append(flaws, "the field "+name)
		}
	}
	switch {
	case !strings.HasSuffix(first, " HTTP/1.1"):
		flaws = append(flaws, fmt.Sprintf("the version in %q", first))
	case count["content-length"]+count["transfer-encoding"] > 1, count["host"] != 1:
		flaws = append(flaws, fmt.Sprintf("the framing or hosts of %q", head))
	case count["x-forwarded-for"] != 1, count["x-real-ip"] != 1, count["x-forwarded-proto"] != 1, count["x-request-id"] != 1, count["x-forwarded-host"] > 1:
		flaws = append(flaws, fmt.Sprintf("the forwarding fields of %q", head))
	case count["connection"]+count["upgrade"] > 0 && !strings.Contains(head, "\r\nConnection: Upgrade\r\n"):
		flaws = append(flaws, fmt.Sprintf("the connection fields of %q", head))
	case count["te"] > 0 && !strings.Contains(strings.ToLower(head), "application/grpc"):
		flaws = append(flaws, "TE without gRPC")
	}
	return flaws
}
