package ftw_test

import (
	"testing"

	"sallyport/internal/ftw"
	"sallyport/internal/gate"
)

func TestInputBytes(t *testing.T) {
	post := func(headers []gate.Field, data string) ftw.Input {
		return ftw.Input{Method: "POST", URI: "/post", Version: "HTTP/1.1", Headers: headers, Data: []byte(data), Complete: true}
	}
	form := []gate.Field{{Name: "content-type", Value: "Application/X-WWW-Form-Urlencoded"}}
	for _, tc := range []struct {
		rule string
		in   ftw.Input
		want string
	}{
		{"a method that takes a body gets a length", post(nil, ""), "POST /post HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"},
		{"a body without a type is a form", post(nil, "a=b"),
			"POST /post HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\nContent-Length: 3\r\n\r\na=b"},
		{"a plain form is encoded", post(form, "a b=<x>&c&=d&"),
			"POST /post HTTP/1.1\r\ncontent-type: Application/X-WWW-Form-Urlencoded\r\nConnection: close\r\nContent-Length: 16\r\n\r\na+b=%3Cx%3E&c&=d"},
		{"an encoded form is left alone", post(form, "a=%3Cx> y"),
			"POST /post HTTP/1.1\r\ncontent-type: Application/X-WWW-Form-Urlencoded\r\nConnection: close\r\nContent-Length: 9\r\n\r\na=%3Cx> y"},
		{"a form that cannot be decoded is left alone", post(form, "a=<%zz"),
			"POST /post HTTP/1.1\r\ncontent-type: Application/X-WWW-Form-Urlencoded\r\nConnection: close\r\nContent-Length: 6\r\n\r\na=<%zz"},
		{"another type is left alone", post([]gate.Field{{Name: "Content-Type", Value: "text/plain"}}, "a=<x>"),
			"POST /post HTTP/1.1\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 5\r\n\r\na=<x>"},
		{"lines of a multipart body end in CRLF", post([]gate.Field{{Name: "Content-Type", Value: "multipart/form-data; boundary=b"}}, "--b\n\nx\n--b--\n"),
			"POST /post HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nConnection: close\r\nContent-Length: 17\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"},
		{"given fields are not repeated", post([]gate.Field{{Name: "content-length", Value: "1"}, {Name: "CONNECTION", Value: "keep-alive"}, {Name: "Content-Type", Value: "x"}}, "ab"),
			"POST /post HTTP/1.1\r\ncontent-length: 1\r\nCONNECTION: keep-alive\r\nContent-Type: x\r\n\r\nab"},
		{"nothing is added when completion is off", ftw.Input{Method: "POST", URI: "/", Version: "HTTP/1.1", Data: []byte("a=<")}, "POST / HTTP/1.1\r\n\r\na=<"},
		{"a raw request goes as it is", ftw.Input{Method: "POST", URI: "/", Version: "HTTP/1.1", Raw: []byte("x\n"), Complete: true}, "x\n"},
	} {
		if got := string(tc.in.Bytes()); got != tc.want {
			t.Errorf("%s: Bytes() = %q, want %q", tc.rule, got, tc.want)
		}
		if again := string(tc.in.Bytes()); again != tc.want {
			t.Errorf("%s: the second Bytes() = %q: building changed the input", tc.rule, again)
		}
	}
}
