package waf

import (
	"strconv"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// readHead reads the head of the request into the facts, as it was received:
// the raw target, and every field line in order, framing fields included. It
// needs no engine.
func (t *Transaction) readHead() {
	t.facts = factsPool.Get().(*prover.Facts)
	f, req, head := t.facts, t.req, t.req.Head
	f.Set(vars.UniqueID, req.ID)
	f.Set(vars.RemoteAddr, req.ClientText()) // empty where it is not known: a Unix socket has no address
	f.Set(vars.RemotePort, strconv.Itoa(int(req.Peer.Port())))
	f.Set(vars.ServerAddr, "")
	f.Set(vars.ServerPort, "0")
	f.Set(vars.ServerName, head.Host)
	readTarget(f, head, t.policy.Arguments)
	t.readQuery()
	t.readFields()
	kind, processor := typeKind(t.contentType)
	f.Set(vars.ReqbodyProcessor, processor)
	if t.kind = kindNone; hasBody(req) {
		t.kind = kind
	}
}

// readQuery adds to the parameters of the query what applications find
// besides.
func (t *Transaction) readQuery() {
	f := t.facts
	t.query = *newSink(f, t.policy)
	t.query.args = vars.ArgsGet
	if _, query, ok := strings.Cut(t.req.Head.Target, "?"); ok {
		if strings.ContainsAny(query, ".+%[") {
			for _, arg := range f.All(vars.ArgsGet) {
				if other := t.policy.rules.alias(arg.Key); other != "" {
					f.Add(vars.ArgsGet, other, arg.Value)
				}
			}
		}
		otherPairs(query, &t.query)
	}
	for _, name := range [...]string{charsetField, "query", "variables", "extensions"} {
		for _, arg := range f.All(vars.ArgsGet) {
			if prover.SameKey(arg.Key, name) {
				t.query.inspect(name, arg.Value)
			}
		}
	}
}

// readFields reads the field lines.
func (t *Transaction) readFields() {
	f, fields := t.facts, t.req.Head.Fields
	types := 0
	for i := range fields {
		name, value := fields[i].Name, fields[i].Value
		switch {
		case name == "":
			continue
		case strings.EqualFold(name, "Expect"):
			// The gateway itself answers 100-continue, the only expectation that
			// gets here, and the backend never sees the field (RFC 9110 section
			// 10.1.1). The Core Rule Set forbids it, which would refuse every
			// larger upload of common clients.
			continue
		case strings.EqualFold(name, "Content-Type"):
			if types++; types == 1 {
				t.contentType = value
			} else if value != t.contentType {
				t.typeClash = true
			}
		case strings.EqualFold(name, "Cookie"):
			t.cookies += cookies(value, t.policy.Arguments-t.cookies, func(name, value string) {
				f.Add(vars.RequestCookies, name, value)
				if other := t.policy.rules.alias(name); other != "" {
					f.Add(vars.RequestCookies, other, value)
				}
			})
		}
		f.Add(vars.RequestHeaders, name, value)
	}
}

// hasBody reports whether the request may have a body. Whether a body without
// a declared length is empty turns out when it is read.
func hasBody(req *gate.Request) bool {
	return req.Head.Length != 0 && !req.Head.Upgrade && req.HTTP != nil && !noBody(req.HTTP.Body)
}
