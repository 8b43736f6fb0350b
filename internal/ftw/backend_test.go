package ftw_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/internal/ftw"
)

func TestBackend(t *testing.T) {
	for _, tc := range []struct {
		rule, method, target, body string
		status                     int
		want                       string
	}{
		{"any other path is an empty 200", "POST", "/post", "a=b", 200, ""},
		{"an unclean path is an empty 200", "GET", "/a//../b", "", 200, ""},
		{"a body is reflected", "POST", "/reflect", `{"body": "<?php"}`, 200, "<?php"},
		{"a trailing slash makes no difference", "POST", "/reflect/", `{"body": "x"}`, 200, "x"},
		{"a status is reflected", "POST", "/reflect", `{"status": 503, "body": "down"}`, 503, "down"},
		{"an encoded body is decoded", "POST", "/reflect", `{"encodedBody": "AAH/"}`, 200, "\x00\x01\xff"},
		{"body goes before encodedBody", "POST", "/reflect", `{"body": "x", "encodedBody": "AAH/"}`, 200, "x"},
		{"reflection needs POST", "GET", "/reflect", "", 200, ""},
		{"what is not JSON", "POST", "/reflect", "<%= 1 %>", 400, "the body is not a reflection in JSON\n"},
		{"a status that is none", "POST", "/reflect", `{"status": 199}`, 400, "the status is not between 200 and 599\n"},
		{"what is not base64", "POST", "/reflect", `{"encodedBody": "%"}`, 400, "encodedBody is not base64\n"},
		{"a body over the bound", "POST", "/reflect", strings.Repeat(" ", 5<<20), 400, "cannot read the body\n"},
	} {
		w := httptest.NewRecorder()
		ftw.Backend().ServeHTTP(w, httptest.NewRequest(tc.method, tc.target, strings.NewReader(tc.body)))
		if w.Code != tc.status || w.Body.String() != tc.want {
			t.Errorf("%s: %s %s = %d %q, want %d %q", tc.rule, tc.method, tc.target, w.Code, w.Body.String(), tc.status, tc.want)
		}
	}
	w := httptest.NewRecorder()
	ftw.Backend().ServeHTTP(w, httptest.NewRequest("POST", "/reflect", strings.NewReader(`{"headers": {"X-Powered-By": "PHP/5"}}`)))
	if got := w.Header().Get("X-Powered-By"); got != "PHP/5" {
		t.Errorf("reflected header = %q, want PHP/5", got)
	}
	w = httptest.NewRecorder()
	ftw.Backend().ServeHTTP(w, httptest.NewRequest("GET", "/capabilities", nil))
	if !strings.Contains(w.Body.String(), "/reflect") {
		t.Errorf("capabilities = %q, want /reflect named", w.Body.String())
	}
}
