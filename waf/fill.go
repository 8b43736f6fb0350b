package waf

import (
	"strings"

	"sallyport/internal/gate"
)

// fill hands the head of a request to the engine, as it was received: the raw
// target, and every field line in order, framing fields included. It does not
// run a phase.
func (t *Transaction) fill() {
	req, head, vars := t.req, t.req.Head, t.tx.Variables()
	client := ""
	if req.Client.IsValid() { // else it is not known: a Unix socket has no address
		client = req.Client.String()
	}
	t.tx.ProcessConnection(client, int(req.Peer.Port()), "", 0)
	t.tx.SetServerName(head.Host)
	t.tx.ProcessURI(head.Target, head.Method, head.Proto)
	t.fillQuery()
	for i := range head.Fields {
		name, value := head.Fields[i].Name, head.Fields[i].Value
		if strings.EqualFold(name, "Expect") {
			// The gateway itself answers 100-continue, the only expectation that
			// gets here, and the backend never sees the field (RFC 9110 section
			// 10.1.1). The Core Rule Set forbids it, which would refuse every
			// larger upload of common clients.
			continue
		}
		if !strings.EqualFold(name, "Cookie") {
			t.tx.AddRequestHeader(own(name), value)
			continue
		}
		// The engine's own reader of cookies lets cookies of one name share
		// the string of the name, so this field is added past it.
		vars.RequestHeaders().Add(own(name), value)
		t.cookies += cookies(value, t.policy.Arguments-t.cookies, func(name, value string) {
			vars.RequestCookies().Add(own(name), value)
			if other := t.policy.rules.alias(name); other != "" {
				vars.RequestCookies().Add(other, value)
			}
		})
	}
	t.kind, t.contentType = kindNone, ""
	types := 0
	values(head.Fields, "Content-Type", func(value string) {
		if types++; types == 1 {
			t.contentType = value
		} else if value != t.contentType {
			t.typeClash = true
		}
	})
	kind, processor := typeKind(t.contentType)
	put(vars.RequestBodyProcessor(), processor)
	if hasBody(req) {
		t.kind = kind
	}
}

// fillQuery adds to the parameters that the engine has found in the target what
// applications find besides.
func (t *Transaction) fillQuery() {
	vars := t.tx.Variables()
	// Parameters without a name share one string in the engine; see own.
	if nameless := vars.ArgsGet().Get(""); len(nameless) > 1 {
		vars.ArgsGet().Remove("")
		for _, value := range nameless {
			vars.ArgsGet().Add(own(""), value)
		}
	}
	t.query = newSink(vars, t.policy)
	t.query.args = vars.ArgsGet()
	if _, query, ok := strings.Cut(t.req.Head.Target, "?"); ok {
		if strings.ContainsAny(query, ".+%[") {
			for _, arg := range vars.ArgsGet().FindAll() {
				if other := t.policy.rules.alias(arg.Key()); other != "" {
					vars.ArgsGet().Add(other, arg.Value())
				}
			}
		}
		otherPairs(query, t.query)
	}
	for _, name := range [...]string{charsetField, "query", "variables", "extensions"} {
		for _, value := range vars.ArgsGet().Get(name) {
			t.query.inspect(name, value)
		}
	}
}

// hasBody reports whether the request may have a body. Whether a body without
// a declared length is empty turns out when it is read.
func hasBody(req *gate.Request) bool {
	return req.Head.Length != 0 && !req.Head.Upgrade && req.HTTP != nil && !noBody(req.HTTP.Body)
}
