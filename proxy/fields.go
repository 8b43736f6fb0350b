package proxy

import (
	"net/http"
	"net/textproto"
	"strings"

	"sallyport/proxy/http1"
)

// A fieldList holds the field lines of a request to a backend, in the order in
// which they are sent.
type fieldList []http1.Field

func (l *fieldList) add(name, value string) { *l = append(*l, http1.Field{Name: name, Value: value}) }

// remove removes a field in every spelling that a server may take for it.
func (l *fieldList) remove(name string) {
	kept := (*l)[:0]
	for _, f := range *l {
		if !sameField(f.Name, name) {
			kept = append(kept, f)
		}
	}
	*l = kept
}

// sameField reports whether a server may take one name for the other.
func sameField(have, name string) bool {
	return len(have) == len(name) && (strings.EqualFold(have, name) || strings.EqualFold(strings.ReplaceAll(have, "_", "-"), name))
}

type spelling struct{ canonical, key string }

// header is the list as net/http takes it. Fields of one name stay in order, in
// the spelling that the name came with first.
func (l fieldList) header() http.Header {
	out := make(http.Header, len(l))
	var room [32]spelling
	spelled := room[:0]
	for _, f := range l {
		canonical, key := textproto.CanonicalMIMEHeaderKey(f.Name), f.Name
		for i := range spelled {
			if spelled[i].canonical == canonical {
				key = spelled[i].key
				break
			}
		}
		if _, again := out[key]; !again {
			spelled = append(spelled, spelling{canonical, key})
		}
		out[key] = append(out[key], f.Value)
	}
	userAgent(out)
	return out
}

// userAgent keeps net/http from adding a User-Agent of its own, and from
// dropping all but the first of several: it writes the canonical spelling by
// its own rules, any other as it is.
func userAgent(out http.Header) {
	const key = "User-Agent"
	values := out[key]
	if len(values) == 1 && values[0] != "" {
		return
	}
	if len(values) > 0 {
		out["user-agent"] = values
	}
	out[key] = []string{""}
}

// headerFields are the fields of an answer, to be changed as those of a request.
type headerFields http.Header

func (h headerFields) add(name, value string) { h[name] = append(h[name], value) }

func (h headerFields) remove(name string) {
	for have := range h {
		if sameField(have, name) {
			delete(h, have)
		}
	}
}
