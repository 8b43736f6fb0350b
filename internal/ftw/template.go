package ftw

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// maxBody bounds what a template may grow to.
const maxBody = 16 << 20

var errTooLong = errors.New("the body grows beyond 16 MiB")

// expand fills in the templates of a body, as in {{ "a" | repeat 1000 }}.
// Beside what text/template has, the functions of the reference runner that
// shape text are known: repeat, upper, lower, trim, replace, b64enc, b64dec.
func expand(s string) ([]byte, error) {
	if !strings.Contains(s, "{{") {
		return []byte(s), nil
	}
	t, err := template.New("data").Funcs(templateFuncs()).Parse(s)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	var b bounded
	if err := t.Execute(&b, nil); err != nil {
		return nil, fmt.Errorf("fill in template: %w", err)
	}
	return b.Bytes(), nil
}

// bounded is a buffer that takes maxBody bytes and no more.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxBody {
		return 0, errTooLong
	}
	return b.Buffer.Write(p)
}

// templateFuncs are the functions that a body's templates may call. The text
// comes last, so that it can be piped in.
func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"repeat": func(n int, s string) (string, error) {
			if n < 0 || len(s) > 0 && n > maxBody/len(s) {
				return "", errTooLong
			}
			return strings.Repeat(s, n), nil
		},
		"upper":   strings.ToUpper,
		"lower":   strings.ToLower,
		"trim":    strings.TrimSpace,
		"replace": func(from, to, s string) string { return strings.ReplaceAll(s, from, to) },
		"b64enc":  func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"b64dec": func(s string) (string, error) {
			b, err := base64.StdEncoding.DecodeString(s)
			return string(b), err
		},
	}
}
