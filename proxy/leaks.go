package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sallyport/internal/gate"
)

// What is done about the address of a backend that is found in an answer.
const (
	LeakRedact  = "redact"  // it is replaced by a name that says nothing
	LeakBlock   = "block"   // the answer is refused
	LeakObserve = "observe" // it passes
	LeakOff     = "off"     // nobody looks
)

// LeakConfig says what is done about addresses of backends in answers. Each is
// one of the four words above; all but off leave a record.
type LeakConfig struct {
	// Headers is about fields, of interim answers and trailers too. Default,
	// and empty: redact.
	Headers string
	// Bodies is about bodies of text. Default, and empty: observe.
	Bodies string
}

func (c LeakConfig) headers() string {
	if c.Headers == "" {
		return LeakRedact
	}
	return c.Headers
}

func (c LeakConfig) bodies() string {
	if c.Bodies == "" {
		return LeakObserve
	}
	return c.Bodies
}

// searches reports whether no byte of a body may pass unsearched.
func (c LeakConfig) searches() bool { return c.bodies() == LeakRedact || c.bodies() == LeakBlock }

// leakStandIn takes the place of what is redacted, the same for every backend.
// Nobody has such a name (RFC 6761 section 6.4), and it can stand wherever a
// host can.
const leakStandIn = "redacted.invalid"

// Where something was found, as records say it.
const (
	inHeader  = "header"
	inInterim = "interim"
	inTrailer = "trailer"
	inBody    = "body"
)

// maxLeaks bounds what a record lists of one answer.
const maxLeaks = 8

// A leakLog is what was found in the answer to one request.
type leakLog struct {
	found []gate.RecordLeak
	more  int // that are not listed
	// named remembers the answers of visit.named, one for each token.
	named map[string]bool
}

// note adds a find, each kind once with its count.
func (l *leakLog) note(where, name, token, action string, times int) {
	for i := range l.found {
		if f := &l.found[i]; f.Where == where && f.Name == name && f.Token == token && f.Action == action {
			f.Count += times
			return
		}
	}
	if len(l.found) >= maxLeaks {
		l.more += times
		return
	}
	l.found = append(l.found, gate.RecordLeak{Where: where, Name: name, Token: token, Action: action, Count: times})
}

// detail is one line about what was found.
func (l *leakLog) detail() string {
	f := l.found[0]
	what := f.Where
	if f.Name != "" {
		what += " " + f.Name
	}
	total := l.more
	for _, f := range l.found {
		total += f.Count
	}
	return fmt.Sprintf("%s in the %s; %d in all", f.Token, what, total)
}

// leaked keeps what was found for the record, where nothing was refused for
// it.
func (v *visit) leaked() {
	if len(v.leaks.found) > 0 {
		v.note(gate.Refusal(gate.MaskLeak, gate.Watch, v.leaks.detail()))
	}
}

// leakage is the verdict of an answer that must not pass.
func (h *Handler) leakage(where, name, token string) gate.Verdict {
	l := leakLog{}
	l.note(where, name, token, LeakBlock, 1)
	return gate.Refusal(gate.MaskLeak, h.mode, l.detail())
}

// named reports whether the client, or the configuration for every client to
// see, has named the token itself. Such a token is no secret, and to hide it
// would tell the client that it has guessed one.
func (v *visit) named(token leakToken) bool {
	yes, known := v.leaks.named[token.text]
	if !known {
		if yes = v.names(token); v.leaks.named == nil {
			v.leaks.named = map[string]bool{}
		}
		v.leaks.named[token.text] = yes
	}
	return yes
}

func (v *visit) names(token leakToken) bool {
	lower := token.shown
	authority := asciiLower(v.public().authority)
	host, _ := splitAuthority(authority)
	bare := strings.NewReplacer("[", "", "]", "").Replace
	if lower == bare(authority) || lower == bare(host) || v.site.names[lower] {
		return true
	}
	target := asciiLower(v.asked().Target)
	if strings.Contains(target, lower) || strings.Contains(target, token.text) {
		return true
	}
	plain, err := url.PathUnescape(target)
	return err == nil && strings.Contains(plain, lower)
}

// show adds the fields of an answer that the client may see to to, which holds
// nothing else, and looks for what the mask has not found. It returns the
// verdict of one that must not pass.
func (h *Handler) show(v *visit, p *pool, where string, to, from http.Header) gate.Verdict {
	through := v.lens(p)
	h.mask.copy(to, from, through)
	for _, name := range v.site.headers.Response.Remove {
		headerFields(to).remove(name)
	}
	action := v.site.mask.Leaks.headers()
	set := through.origin.leaks.tokens()
	if action == LeakOff || set.empty() {
		return gate.Passes(gate.StageMask)
	}
	if action == LeakBlock && h.mode == gate.Watch {
		action = LeakObserve
	}
	for name, values := range to {
		if !set.suspects(name) && !slices.ContainsFunc(values, set.suspects) {
			continue
		}
		switch found, whole := v.search(set, where, action, name, values); {
		case found == "" || action == LeakObserve:
		case action == LeakBlock:
			clear(to)
			return h.leakage(where, clipName(name), found)
		case whole || validators[name]:
			delete(to, name)
		}
	}
	return gate.Passes(gate.StageMask)
}

// search goes through the name and the values of a field, which it redacts in
// place where that is asked for. It returns a token that it has found, and
// whether one stands in the name, which cannot be edited.
func (v *visit) search(set *leakSet, where, action, name string, values []string) (found string, whole bool) {
	s := leakScanner{set: set, edit: func(token leakToken) (string, bool) {
		if v.named(token) {
			return "", false
		}
		found = token.shown
		v.leaks.note(where, clipName(name), token.shown, action, 1)
		return leakStandIn, action == LeakRedact
	}}
	s.feed(nil, []byte(name), true)
	whole = found != ""
	for i, value := range values {
		s.passes = 0
		if out := string(s.feed(nil, []byte(value), true)); out != value {
			values[i] = out
		}
	}
	return found, whole
}

// clipName bounds the name of a field in a record.
func clipName(name string) string { return name[:min(len(name), 64)] }

// validators are the fields that speak of the bytes of a body, and are no
// longer true when they or it have been edited.
var validators = map[string]bool{
	"Etag": true, "Content-Digest": true, "Repr-Digest": true, "Digest": true, "Content-Md5": true, "Accept-Ranges": true,
}

// unvalidated removes what an edited body has no more: its tag, its digests,
// its ranges and its length.
func unvalidated(header http.Header) {
	for name := range validators {
		delete(header, name)
	}
	delete(header, "Content-Length")
}
