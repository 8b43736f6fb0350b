package waf

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// TestReadGraphQL holds what rules see of a document.
func TestReadGraphQL(t *testing.T) {
	for doc, want := range map[string][]string{
		`{a}`:                                    {"graphql.names=a"},
		`{a(b:"c",d:1 e:-2.5e3,f:X)}`:            {"graphql.a.b=c", "graphql.a.d=1", "graphql.a.e=-2.5e3", "graphql.a.f=X", "graphql.names=a"},
		`{x:a(b:true){c(d:null){e}}}`:            {"graphql.a.b=true", "graphql.a.c.d=", "graphql.names=x,a,c,e"},
		`{a(b:[1,["c"],[]] d:{e:{f:"g"},h:{}})}`: {"graphql.a.b.0=1", "graphql.a.b.1.0=c", "graphql.a.b.2=", "graphql.a.d.e.f=g", "graphql.a.d.h=", "graphql.names=a"},
		`query Q($id:ID!="x",$l:[[Int!]!]!=[1] @d(e:"f")){a(b:$id)@include(if:false){c}}`: {
			"graphql.$id=x", "graphql.$l.0=1", "graphql.@d.e=f", "graphql.a.@include.if=false", "graphql.names=Q,$id,ID,$l,Int,@d,a,@include,c"},
		`mutation{login(u:"a\"\\\/\b\f\n\r\t\u0041\ud83d\ude00\u{1F600}"){t}}`: {"graphql.login.u=a\"\\/\b\f\n\r\tA😀😀", "graphql.names=login,t"},
		"{a(b:\"\"\"\n\n    one\r\n      two \\\"\"\" \n\n  \"\"\")}":          {"graphql.a.b=one\n  two \"\"\" ", "graphql.names=a"},
		`{a(b:"""x""")}`: {"graphql.a.b=x", "graphql.names=a"},
		`{a(b:"")}`:      {"graphql.a.b=", "graphql.names=a"},
		"\ufeff# \"comment\"\n,,subscription S @live {\ra # x\r}":                 {"graphql.comments= \"comment\"\n x", "graphql.names=S,@live,a"},
		`query{...F ...on T{a}...@skip(if:true){b}} fragment F on U @d{c(e:"f")}`: {"graphql.@skip.if=true", "graphql.c.e=f", "graphql.names=F,T,a,@skip,b,U,@d,c"},
		`"what it is" query A{a} """and""" query B{b}`:                            {"graphql.names=A,a,B,b"},
		`fragment on on on{on} query{query mutation fragment}`:                    {"graphql.names=on,query,mutation,fragment"},
		`fragment F($a:Int=1) on T{b} {...F(a:2)}`:                                {"graphql.$a=1", "graphql.a=2", "graphql.names=F,$a,Int,T,b"},
		`{a(){b{c}}}`: {"graphql.names=a,b,c"}, // more than the grammar allows
	} {
		facts := new(prover.Facts)
		to := newSink(facts, &bounds)
		if err := to.document(doc); err != nil || to.limit != "" || to.full {
			t.Errorf("%s: %v, limit %q, full %v", doc, err, to.limit, to.full)
		}
		slices.Sort(want)
		if got := arguments(facts); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", doc, got, want)
		}
	}
	// What is no document is left as it is.
	for _, text := range []string{
		"", " ", "red shoes", "query", "query about prices", "{", "{}", "{a", "{a}}", "{a(b:)}", "{a(b:1", `{a(b:"c)}`, "{a(b:\"c\nd\")}", `{a(b:"\x41")}`, `{a(b:"\u12")}`, `{a(b:"\u{110000}")}`, `{a(b:"\u{}")}`,
		`{a(b:"""c)}`, "{a:}", "{a@}", "{..a}", "{...}", "{...on}", "type A{b:C}", "schema{query:Q}", "fragment F{a}", "query($a){b}", "query($a:[B){c}", "query($a:B]){c}",
		`{"query":"a"}`, "{a;b}", "{a(b:$)}", "mutation M", "{a} b", "{a(b:{c})}", "{a(b:&)}", "select{a}", "{a(1:b)}", "{é}",
	} {
		facts := new(prover.Facts)
		to := newSink(facts, &bounds)
		if err := to.document(text); err == nil || to.limit != "" || to.full || len(arguments(facts)) > 0 {
			t.Errorf("%q is taken for a document: limit %q, %q", text, to.limit, arguments(facts))
		}
	}
}

// nest is a document with fields n deep.
func nest(n int) string { return strings.Repeat("{a", n) + strings.Repeat("}", n) }

// aliased is a document with n aliases.
func aliased(n int) string {
	doc := "{"
	for i := range n {
		doc += fmt.Sprintf("a%d:login(u:\"x\",p:\"%d\"){t}", i, i)
	}
	return doc + "}"
}

// quote writes a text as a JSON string.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestGraphQLLimits refuses documents that ask for more than the policy allows,
// whichever way they come, and adds up what comes in pieces.
func TestGraphQLLimits(t *testing.T) {
	e := miniature(t, gate.Enforce, hiding)
	array := func(n int, doc string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"query":`+quote(doc)+`},`, n), ",") + "]"
	}
	wrap := map[string]func(doc string) call{
		"query":   func(doc string) call { return get("/graphql?query=" + url.QueryEscape(doc)) },
		"graphql": func(doc string) call { return post("application/graphql", doc) },
		"json": func(doc string) call {
			return post("application/json", `{"operationName":null,"query":`+quote(doc)+`}`)
		},
		"batch":     func(doc string) call { return post("application/json", `[{"query":"{a}"},{"query":`+quote(doc)+`}]`) },
		"text":      func(doc string) call { return post("text/plain", `{"query":`+quote(doc)+`}`) },
		"form":      func(doc string) call { return post(formType, "query="+url.QueryEscape(doc)) },
		"multipart": func(doc string) call { return multi(field("query", doc) + last) },
		"upload spec": func(doc string) call {
			return multi(field("operations", `{"query":`+quote(doc)+`}`) + field("map", "{}") + last)
		},
	}
	for _, tc := range []struct{ name, bad, good string }{
		{"depth", nest(17), nest(16)},
		{"depth, very", nest(5000), nest(1)},
		{"depth of a fragment", "{a{...F}} fragment F on T " + nest(16), "{a{...F}} fragment F on T " + nest(15)},
		{"depth of an inline fragment", "{...on T" + nest(17) + "}", "{...on T" + nest(16) + "}"},
		{"inline fragments, very", strings.Repeat("{...on T", 2000) + "{a}" + strings.Repeat("}", 2000), strings.Repeat("{...on T", 50) + "{a}" + strings.Repeat("}", 50)},
		{"aliases", aliased(31), aliased(30)},
		{"aliases of a fragment, twice", "{...F ...F} fragment F on T " + aliased(16), "{...F ...F} fragment F on T " + aliased(15)},
		{"aliases that double", "{...A ...A} fragment A on T{...B ...B} fragment B on T{...C ...C} fragment C on T" + aliased(4), "{...A} fragment A on T{...B ...B} fragment B on T{...C ...C} fragment C on T" + aliased(4)},
		{"one of several operations", "query A" + aliased(1) + "query B" + aliased(31), "query A" + aliased(30) + "query B" + aliased(30)},
		{"a circle", "{...A} fragment A on T{...B} fragment B on T{c{...A}}", "{...A} fragment A on T{...B} fragment B on T{c}"},
		{"values nested", "{a(b:" + strings.Repeat("[", 65) + strings.Repeat("]", 65) + ")}", "{a(b:" + strings.Repeat("[", 64) + strings.Repeat("]", 64) + ")}"},
		{"a long number", "{a(b:" + strings.Repeat("1", maxNumber+1) + ")}", "{a(b:" + strings.Repeat("1", maxNumber) + ")}"},
		{"paths that grow", "{" + strings.Repeat("a", 9000) + "(b:[" + strings.Repeat("1,", 900) + "])}", "{" + strings.Repeat("a", 9000) + "(b:[1])}"},
	} {
		for way, send := range wrap {
			if way == "batch" && strings.Contains(tc.name, "aliases") {
				continue // counted together, below
			}
			run(e, send(tc.bad)).expect(t, tc.name+", "+way, gate.Refuse, gate.WAFGraphQLLimit)
			run(e, send(tc.good)).expect(t, tc.name+", "+way+", twin", gate.Pass, "")
		}
	}
	for _, tc := range []struct{ name, bad, good string }{
		{"operations", array(11, "{a}"), array(10, "{a}")},
		{"aliases of a batch", array(4, aliased(8)), array(3, aliased(10))},
		{"lines", strings.Repeat(`{"query":"{a}"}`+"\n", 11), strings.Repeat(`{"query":"{a}"}`+"\n", 10)},
	} {
		for _, contentType := range []string{"application/json", "application/x-ndjson"} {
			if contentType == "application/json" && tc.name == "lines" {
				continue
			}
			run(e, post(contentType, tc.bad)).expect(t, tc.name, gate.Refuse, gate.WAFGraphQLLimit)
			run(e, post(contentType, tc.good)).expect(t, tc.name+", twin", gate.Pass, "")
		}
	}
	run(miniature(t, gate.Watch, hiding), post("application/graphql", nest(17))).expect(t, "observed", gate.Observe, gate.WAFGraphQLLimit)
	many := "{a(b:[" + strings.Repeat("1,", defaultArguments+1) + "])}"
	run(e, post("application/graphql", many)).expect(t, "arguments", gate.Refuse, gate.WAFTooManyArguments)
	run(e, get("/?query="+url.QueryEscape(many))).expect(t, "arguments of the query", gate.Refuse, gate.WAFTooManyArguments)
	own := engineWith(t, func(p *Policy) { p.GraphQL = GraphQL{Depth: 2, Aliases: 1, Batch: 1} })
	run(own, post("application/json", `{"query":`+quote(nest(3))+`}`)).expect(t, "depth of the policy", gate.Refuse, gate.WAFGraphQLLimit)
	run(own, post("application/json", array(2, "{a}"))).expect(t, "batch of the policy", gate.Refuse, gate.WAFGraphQLLimit)
	run(own, post("application/json", `{"query":"{b:a{c}}"}`)).expect(t, "within the policy", gate.Pass, "")
}

// TestGraphQL sends attacks that only a reader of GraphQL sees, and what real
// clients send, to the whole rule set.
func TestGraphQL(t *testing.T) {
	e := engineWith(t, func(p *Policy) {
		p.ContentTypes = []string{"application/x-www-form-urlencoded", "multipart/form-data", "application/json", "application/graphql"}
	})
	wrap := map[string]func(doc string) call{
		"query":     func(doc string) call { return get("/graphql?query=" + url.QueryEscape(doc)) },
		"graphql":   func(doc string) call { return post("application/graphql", doc) },
		"json":      func(doc string) call { return post("application/json", `{"query":`+quote(doc)+`,"variables":{}}`) },
		"multipart": func(doc string) call { return multi(field("operations", `{"query":`+quote(doc)+`}`) + last) },
	}
	for name, doc := range map[string]string{
		"escapes":       `{a(b:"` + strings.ReplaceAll(escaped, `\/`, "/") + `"){c}}`,
		"code points":   `{a(b:"\u{3c}script\u{3E}alert(1)\u{3c}/script\u{3E}"){c}}`,
		"block string":  `mutation{a(b:"""` + "\n  1' OR '1'='1' UNION\n  SELECT password FROM users --\n" + `"""){c}}`,
		"in an object":  `mutation{a(b:{c:[{d:"\u003cscript\u003ealert(1)\u003c/script\u003e"}]}){c}}`,
		"in a default":  `query($a:String="\u003cscript\u003ealert(1)\u003c/script\u003e"){b(c:$a)}`,
		"in a comment":  "{a{b}} # <script>alert(1)</script>",
		"in a fragment": `{...F} fragment F on T{a(b:"\u003cscript\u003ealert(1)\u003c/script\u003e")}`,
	} {
		for way, send := range wrap {
			run(e, send(doc)).expect(t, name+", "+way, gate.Refuse, gate.WAFInboundScore)
		}
	}
	variables := `{"a":"` + escaped + `"}`
	run(e, get("/graphql?query="+url.QueryEscape("query($a:A){b}")+"&variables="+url.QueryEscape(variables))).expect(t, "variables in the query", gate.Refuse, gate.WAFInboundScore)
	run(e, post(formType, "query="+url.QueryEscape("query($a:A){b}")+"&variables="+url.QueryEscape(variables))).expect(t, "variables in a form", gate.Refuse, gate.WAFInboundScore)
	run(e, post("application/json", `{"query":"query($a:A){b}","variables":`+variables+`}`)).expect(t, "variables in JSON", gate.Refuse, gate.WAFInboundScore)

	names := strings.Fields("id name title user users select from where union and or order by limit password type passwd sort exec system cat sleep count version url email address city zip items total node edges cursor pageInfo hasNextPage __typename createdAt updatedAt insert update delete drop table")
	for name, doc := range map[string]string{
		"a login":       "mutation Login($user: String!, $password: String!) {\n  login(user: $user, password: $password) {\n    token\n    user { id name __typename }\n  }\n}\n",
		"a search":      `query Search { search(text: "red shoes and socks", first: 10, after: "Y3Vyc29yOjEw") @connection(key: "s") { edges { item { id title } } } }`,
		"the schema":    introspection,
		"many names":    "{" + strings.Join(names, " ") + "}",
		"a long string": "mutation { post(body: \"\"\"\n  Dear all,\n\n  we select the winners from the list where everybody can see it;\n  see https://shop.example.org/a?b=c.\n\"\"\") { id } }",
	} {
		run(e, post("application/graphql", doc)).expect(t, name, gate.Pass, "")
		run(e, post("application/json", `{"operationName":"A","variables":{"user":"ann","id":3},"query":`+quote(doc)+`}`)).expect(t, name+", json", gate.Pass, "")
	}
	run(e, get("/search?query=red+shoes&variables=none")).expect(t, "a search that is no GraphQL", gate.Pass, "")
	run(e, get("/graphql?operationName=A&variables="+url.QueryEscape(`{"id":3}`)+"&extensions="+url.QueryEscape(`{"persistedQuery":{"version":1,"sha256Hash":"abc"}}`))).expect(t, "a persisted query", gate.Pass, "")
	run(e, post("application/graphql", "{a")).expect(t, "a document that is none", gate.Refuse, gate.WAFBodyUnreadable)
	run(e, post("application/graphql", `{"query":"{a}"}`)).expect(t, "JSON called GraphQL", gate.Refuse, gate.WAFBodyType)
	run(e, post("application/graphql", `{a(b:"<script>alert(1)</script>"`)).expect(t, "an attack in a broken document", gate.Refuse, gate.WAFInboundScore)
	// The text of the documents can be left out, as docs/tune.md says.
	relaxed := engineWith(t, nil, `
SecRuleUpdateTargetById 932235 "!ARGS:json.query"
SecRuleUpdateTargetById 942190 "!ARGS:json.query"
SecRuleUpdateTargetById 942290 "!ARGS:json.query"
`)
	relay := `query Q($id: ID!) { user(id: $id) { name posts(first: 3) { edges { node { id title } } } } }`
	run(e, post("application/json", `{"query":`+quote(relay)+`}`)).expect(t, "relay", gate.Refuse, gate.WAFInboundScore)
	run(relaxed, post("application/json", `{"query":`+quote(relay)+`}`)).expect(t, "relay, relaxed", gate.Pass, "")
	union := `{user(id:"1' UNION SELECT password FROM users --"){name}}`
	run(relaxed, post("application/json", `{"query":`+quote(union)+`}`)).expect(t, "an attack, relaxed", gate.Refuse, gate.WAFInboundScore)
	// A document that is cut where no more is held shows what is there.
	head := engineWith(t, func(p *Policy) {
		p.Inspect, p.OverHead, p.ContentTypes = 4<<10, true, []string{"application/graphql"}
	})
	long := "{" + strings.Repeat("a ", 4<<10) + "}"
	run(head, post("application/graphql", long)).expect(t, "head", gate.Pass, "")
	run(head, post("application/graphql", `{a(b:"<script>alert(1)</script>")`+long)).expect(t, "head, attack in it", gate.Refuse, gate.WAFInboundScore)
}

// introspection is what tools ask to learn a schema.
const introspection = `query IntrospectionQuery { __schema { queryType { name } mutationType { name } types { ...FullType } directives { name description locations args { ...InputValue } } } }
fragment FullType on __Type { kind name description fields(includeDeprecated: true) { name args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason } inputFields { ...InputValue } interfaces { ...TypeRef } enumValues(includeDeprecated: true) { name } possibleTypes { ...TypeRef } }
fragment InputValue on __InputValue { name type { ...TypeRef } defaultValue }
fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }`

// FuzzGraphQL holds that the reader never fails on anything, that a document
// stays one when white space is put around it, and that its strings can be
// written and read again.
func FuzzGraphQL(f *testing.F) {
	for _, doc := range []string{
		`{a(b:"c")}`, introspection, aliased(3), nest(20), `query Q($a:[A!]=[{b:"\u{41}"}]@c){...F(d:1)@e ...on G{h:i}} fragment F on J{k}`,
		"{a(b:\"\"\"\n  c\n\td\\\"\"\"\n\"\"\")}", `{a(b:"\ud83d\ude00\ud83d")}`, `"x"{a}`, "{a(b:1.5e+3,c:-0,d:E,e:null,f:$g)}", "{a", `{a(b:"`, `{a(b:"""`, "\ufeff#\r{a}",
	} {
		f.Add(doc)
	}
	facts := new(prover.Facts)
	p := bounds
	p.GraphQL = GraphQL{Depth: 1000, Aliases: 1000, Batch: 10}
	read := func(doc string) ([][2]string, error) {
		facts.Reset()
		to := newSink(facts, &p)
		g := newGraphQLReader(doc, to)
		err := g.document()
		if err == nil {
			_, _, err = g.size(1000)
		}
		if err == nil && (g.i != len(doc) || len(g.whole) == 0) {
			panic("accepted without having read all of it")
		}
		return g.found, err
	}
	f.Fuzz(func(t *testing.T, doc string) {
		found, err := read(doc)
		again, errAgain := read(" \n" + doc + ",\n")
		if errors.Is(err, errCut) || errors.Is(err, errBound) || errors.Is(errAgain, errBound) {
			return
		}
		if (err == nil) != (errAgain == nil) || err == nil && !slices.Equal(found, again) {
			t.Fatalf("%q: %v %q, with white space around it %v %q", doc, err, found, errAgain, again)
		}
		for _, a := range found {
			if !utf8.ValidString(a[1]) || err != nil {
				return
			}
			back, err := read("{a(b:" + quote(a[1]) + ")}")
			if err != nil || len(back) != 1 || back[0][1] != a[1] {
				t.Fatalf("%q written and read again: %q, %v", a[1], back, err)
			}
		}
	})
}
