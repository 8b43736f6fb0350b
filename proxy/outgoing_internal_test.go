package proxy

import (
	"net/textproto"
	"testing"

	"sallyport/internal/gate"
)

// What is usual is nothing that a rule is about, and no header of an operator's.
func TestUsualFieldsSimplyGoOn(t *testing.T) {
	names := []string{"Accept", "Cookie", "Content-Type", "Sec-Ch-Ua", "X-Requested-With", "Authorization"}
	for name := range requestFates {
		names = append(names, name)
	}
	for _, name := range names {
		_, ruled := requestFates[name]
		if usual(name) && (ruled || gate.ForwardingField(name) || textproto.CanonicalMIMEHeaderKey(name) != name) {
			t.Errorf("%s is usual", name)
		}
		if !usual(name) && !ruled {
			t.Errorf("%s is not usual", name)
		}
		if h := (&Handler{clientHeader: name}); !ruled && h.fateOf(name) != forwarding {
			t.Errorf("%s names the client, and goes on for everybody", name)
		}
	}
}
