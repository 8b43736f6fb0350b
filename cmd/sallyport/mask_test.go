package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestMaskCheck(t *testing.T) {
	leaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Node", "198.51.100.9")
		fmt.Fprintln(w, "at 198.51.100.9:8080")
	}))
	defer leaky.Close()
	tidy := httptest.NewServer(http.NotFoundHandler())
	defer tidy.Close()
	file := write(t, "mask.yaml", "pools: {app: {backends: [{url: \"http://198.51.100.9:8080\"}]}}\nroutes: [{name: all, pool: app}]\n")
	for _, tc := range []struct {
		rule string
		args []string
		code int
		out  string
		err  string
	}{
		{"what a site tells", []string{leaky.URL, "-c", file}, 1, "backend   body: 198.51.100.9:8080", ""},
		{"a field of the shipped list", []string{leaky.URL}, 1, "software  field X-Node: 198.51.100.9", ""},
		{"nothing", []string{tidy.URL + "/a/b", "-c", file}, 0, "nothing found", ""},
		{"by another name", []string{"http://shop.example.org/", "--connect", strings.TrimPrefix(tidy.URL, "http://")}, 0, "nothing found", ""},
		{"nobody answers", []string{"http://127.0.0.1:1/"}, 1, "", "answers nothing"},
		{"no URL", []string{"shop.example.org"}, 2, "", "is not a URL"},
		{"a URL with a password", []string{"http://u:p@shop.example.org/"}, 2, "", "is not a URL"},
		{"no argument", nil, 2, "", "needs a URL"},
		{"not an address", []string{tidy.URL, "--connect", "a"}, 2, "", "is not host:port"},
		{"a bad file", []string{tidy.URL, "-c", file + ".no"}, 1, "", "no such file"},
	} {
		code, out, err := sallyport(t, append([]string{"mask", "check"}, tc.args...)...)
		if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(err, tc.err) {
			t.Errorf("%s: %d\n%s%s\nwant %d with %q and %q", tc.rule, code, out, err, tc.code, tc.out, tc.err)
		}
	}
	code, out, _ := sallyport(t, "mask", "check", leaky.URL, "--json")
	var rep struct {
		URL       string
		Found     int
		Questions []struct {
			Found []struct{ Kind, Where, What string }
		}
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil || code != 1 || rep.Found == 0 || rep.Questions[0].Found[0].Kind == "" {
		t.Errorf("--json: %d, %v\n%s", code, err, out)
	}
}
