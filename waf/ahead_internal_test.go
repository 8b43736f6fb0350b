package waf

import (
	"io"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// A watched body tells whether the engine has begun when it is read first.
type watched struct {
	io.Reader
	t     *Transaction
	reads int
	began bool
}

func (w *watched) Read(p []byte) (int, error) {
	if w.reads++; w.reads == 1 {
		w.began = w.t.run.tx != nil
	}
	return w.Reader.Read(p)
}

func (*watched) Close() error { return nil }

// A client that sends a body slowly takes no transaction of the engine
// meanwhile, but where the rules have to say first whether it may send one.
func TestTheEngineWaitsForTheBody(t *testing.T) {
	e := policies(t, map[string]func(*Policy){
		"default": func(*Policy) {},
		"early":   func(p *Policy) { p.EarlyBlocking, p.Engine = true, StockEngine },
		"small":   func(p *Policy) { p.Inspect = 8 },
		"stock":   func(p *Policy) { p.Engine = StockEngine },
	})
	multipart := "multipart/form-data; boundary=b"
	for _, tc := range []struct {
		rule, policy, contentType, body string
		began                           bool
		verdict                         gate.Action
	}{
		{"a form", "default", formType, "a=harmless", false, gate.Pass},
		{"an attack in a form", "default", formType, "a=1' UNION SELECT password FROM users--", false, gate.Refuse},
		{"a form, all rules", "stock", formType, "a=harmless", false, gate.Pass},
		{"JSON", "default", "application/json", `{"a":1}`, false, gate.Pass},
		{"early blocking", "early", formType, "a=harmless", true, gate.Pass},
		{"a form with files", "stock", multipart, "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--b--\r\n", true, gate.Pass},
		{"announced as too large", "small", formType, "a=harmless", false, gate.Refuse},
	} {
		req := post(tc.contentType, tc.body).under(tc.policy).request()
		tx := e.Begin(req)
		body := &watched{Reader: strings.NewReader(tc.body), t: tx}
		req.HTTP.Body = body
		if v := tx.Request(); v.Action != tc.verdict {
			t.Errorf("%s: %v %s %s", tc.rule, v.Action, v.Reason, v.Detail)
		}
		if body.began != tc.began {
			t.Errorf("%s: the engine had begun: %v, want %v", tc.rule, body.began, tc.began)
		}
		if tc.verdict == gate.Pass {
			if got, err := io.ReadAll(req.HTTP.Body); string(got) != tc.body || err != nil {
				t.Errorf("%s: the body reads %q, %v", tc.rule, got, err)
			}
		}
		tx.Close()
	}
}
