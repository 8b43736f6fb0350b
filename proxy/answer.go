package proxy

import (
	"encoding/json"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/gate"
)

// retryLater is what a client is told with 503 when nothing better is known.
const retryLater = 5 * time.Second

// refuse answers a request that did not pass. It is the only place that
// writes a refusal, and nothing that it writes depends on a backend or on an
// error's text. When the head of another answer is gone already it does
// nothing, and the caller cuts the connection.
func (h *Handler) refuse(v *visit, verdict gate.Verdict) {
	if v.rw.status != 0 || verdict.Reason == gate.PoolClientGone {
		return
	}
	status := verdict.Status
	if status < 300 || status > 599 {
		status = http.StatusInternalServerError
	}
	header := v.fresh()
	switch status {
	case http.StatusMethodNotAllowed: // RFC 9110 section 15.5.6
		header["Allow"] = []string{h.allowed(v)}
	case http.StatusTooManyRequests:
		rateLimit(header, verdict.Limit)
		retryAfter(header, max(verdict.RetryAfter, time.Second))
	case http.StatusServiceUnavailable:
		wait := verdict.RetryAfter
		if wait <= 0 {
			wait = retryLater
		}
		retryAfter(header, wait)
	}
	if verdict.Location != "" && status < 400 {
		header["Location"] = []string{verdict.Location}
	}
	v.page(status, verdict.Close)
}

// allowed is the value of Allow for the request.
func (h *Handler) allowed(v *visit) string {
	if v.site != nil {
		return v.site.allow
	}
	return allowValue(h.methods, nil)
}

func retryAfter(header http.Header, wait time.Duration) {
	header["Retry-After"] = []string{strconv.Itoa(seconds(wait))}
}

// rateLimit tells the client which budget it has used up, in the fields of
// the httpapi working group's draft on rate limits. Only what is known is
// told.
func rateLimit(header http.Header, hit *gate.LimitHit) {
	if hit == nil || hit.Name == "" {
		return
	}
	name := structured(hit.Name)
	value := name + ";r=" + strconv.Itoa(max(0, hit.Remaining))
	if reset := max(hit.Reset, hit.RetryAfter); reset > 0 {
		value += ";t=" + strconv.Itoa(seconds(reset))
	}
	header["Ratelimit"] = []string{value}
	switch policy := name + ";q=" + strconv.Itoa(hit.Quota); {
	case hit.Quota <= 0:
	case hit.Concurrent:
		header["Ratelimit-Policy"] = []string{policy + `;qu="concurrent-requests"`}
	case hit.Window > 0:
		header["Ratelimit-Policy"] = []string{policy + ";w=" + strconv.Itoa(seconds(hit.Window))}
	}
}

// structured renders a string of RFC 9651 section 3.3.3.
func structured(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < 0x20 || c > 0x7e:
			b.WriteByte('?')
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			fallthrough
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// fresh returns the header of an answer of our own: nothing that was already
// taken over from a backend may stay in it.
func (v *visit) fresh() http.Header {
	header := v.rw.Header()
	clear(header)
	return header
}

// page writes an answer of our own: its body depends on the status and the
// request id only. The caller has made the header fresh, and may have added to
// it.
func (v *visit) page(status int, end bool) {
	v.resume()
	header := v.rw.Header()
	if _, told := header["Ratelimit"]; !told {
		rateLimit(header, v.req.Budget)
	}
	header["X-Request-Id"] = []string{v.req.ID}
	header["Cache-Control"] = []string{"no-store"}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	v.site.protect(v, header)
	if v.http1() && (end || v.unread()) {
		header["Connection"] = []string{"close"}
	}
	if kind, _ := v.req.Head.Get("Content-Type"); hasPrefixFold(kind, "application/grpc") {
		v.grpc(header, hasPrefixFold(kind, "application/grpc-web"), status)
		return
	}
	var body []byte
	if acceptsHTML(v.req.Head) {
		header["Content-Type"] = []string{"text/html; charset=utf-8"}
		if own, ok := v.pages[status]; ok {
			body = own.render(v.req.ID)
		} else {
			body = htmlPage(status, v.req.ID)
		}
	} else {
		header["Content-Type"] = []string{"application/problem+json"}
		body = problem(status, v.req.ID)
	}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	v.rw.WriteHeader(status)
	if v.req.Head.Method != http.MethodHead {
		if _, err := v.rw.Write(body); err != nil {
			return
		}
	}
	v.answered = true
}

// grpc answers in the form that gRPC clients understand: status 200, and the
// outcome in fields that stand for trailers when there is no body.
func (v *visit) grpc(header http.Header, web bool, status int) {
	header["Content-Type"] = []string{"application/grpc"}
	if web {
		header["Content-Type"] = []string{"application/grpc-web"}
	}
	header["Grpc-Status"] = []string{strconv.Itoa(grpcStatus(status))}
	header["Grpc-Message"] = []string{title(status) + " (request " + v.req.ID + ")"}
	header["Content-Length"] = []string{"0"}
	v.rw.WriteHeader(http.StatusOK)
	v.answered = true
}

// grpcStatus is the gRPC status code nearest to an HTTP status.
func grpcStatus(status int) int {
	switch status {
	case http.StatusBadRequest:
		return 3 // invalid argument
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return 4 // deadline exceeded
	case http.StatusForbidden:
		return 7 // permission denied
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge:
		return 8 // resource exhausted
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusMisdirectedRequest:
		return 12 // unimplemented
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return 14 // unavailable
	}
	if status >= 500 {
		return 13 // internal
	}
	return 2 // unknown
}

// acceptsHTML reports whether a browser asks. Everybody else gets a problem
// document.
func acceptsHTML(head *gate.Head) bool {
	accept, _ := head.Get("Accept")
	return strings.Contains(strings.ToLower(accept), "text/html")
}

// problem is a problem document of RFC 9457.
func problem(status int, id string) []byte {
	doc, err := json.Marshal(struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Detail    string `json:"detail"`
		RequestID string `json:"request_id"`
	}{"about:blank", title(status), status, advice(status), id})
	if err != nil {
		return nil // strings and a number always encode
	}
	return append(doc, '\n')
}

func htmlPage(status int, id string) []byte {
	name := html.EscapeString(title(status))
	return []byte("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">" +
		"<title>" + name + "</title></head>\n<body><h1>" + name + "</h1>\n<p>" + html.EscapeString(advice(status)) + "</p>\n" +
		"<p>Request id: <code>" + html.EscapeString(id) + "</code></p></body></html>\n")
}

func title(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	if status >= 500 {
		return "Server Error"
	}
	return "Refused"
}

// advice tells the client what to do about a status.
func advice(status int) string {
	switch status {
	case http.StatusForbidden:
		return "This request is not allowed. If you think that it should be, tell the operator of this site the request id."
	case http.StatusNotFound:
		return "There is nothing at this address. Check it for mistakes."
	case http.StatusMethodNotAllowed:
		return "This method is not allowed here. Use one that the Allow field names."
	case http.StatusRequestTimeout:
		return "The request took too long to arrive. Send it again over a better connection."
	case http.StatusRequestEntityTooLarge:
		return "The request is larger than what is accepted here. Send less."
	case http.StatusRequestURITooLong:
		return "The address is too long. Send a shorter one."
	case http.StatusUnsupportedMediaType:
		return "This form of content is not accepted here. Send it without a content encoding."
	case http.StatusRequestedRangeNotSatisfiable:
		return "Parts of this cannot be sent. Ask for the whole, without the Range field."
	case http.StatusExpectationFailed:
		return "The expectation cannot be met. Send the request without the Expect field."
	case http.StatusMisdirectedRequest:
		return "This name is not served here. Check the address, or open a new connection for it."
	case http.StatusTooManyRequests:
		return "Too many requests. Wait for as long as the Retry-After field says, then try again."
	case http.StatusRequestHeaderFieldsTooLarge:
		return "The header fields of the request are too large. Delete the cookies of this site, then try again."
	case http.StatusNotImplemented:
		return "The request needs something that is not available here. Send it in another way."
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "The site cannot answer at the moment. Try again in a little while."
	case http.StatusHTTPVersionNotSupported:
		return "This version of HTTP is not spoken here. Use HTTP/1.1 or HTTP/2."
	}
	switch {
	case status >= 500:
		return "Something went wrong. Try again later, or tell the operator of this site the request id."
	case status >= 400:
		return "The request was not understood. Check it, then try again."
	}
	return "Go on at the address that the Location field names."
}

// hasPrefixFold compares ASCII text without regard to letter case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
