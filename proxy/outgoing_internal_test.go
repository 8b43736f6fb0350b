package proxy

import (
	"net/http"
	"net/textproto"
	"reflect"
	"strings"
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

// listOf reads lines.
func listOf(lines ...string) fieldList {
	var list fieldList
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		list.add(name, value)
	}
	return list
}

// net/http takes fields by name, and has its own mind about some.
func TestFieldsForNetHTTP(t *testing.T) {
	for _, tc := range []struct {
		rule string
		list fieldList
		want http.Header
	}{
		{"nothing", nil, http.Header{"User-Agent": {""}}},
		{"a name in two spellings is one", listOf("x-a: 1", "b: 2", "X-A: 3", "User-Agent: ua"), http.Header{"x-a": {"1", "3"}, "b": {"2"}, "User-Agent": {"ua"}}},
		{"two User-Agents", listOf("User-Agent: a", "user-agent: b"), http.Header{"user-agent": {"a", "b"}, "User-Agent": {""}}},
		{"an empty User-Agent", listOf("User-Agent: "), http.Header{"user-agent": {""}, "User-Agent": {""}}},
	} {
		if got := tc.list.header(); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.rule, got, tc.want)
		}
	}
}

func TestFieldListRemoves(t *testing.T) {
	list := listOf("X-A: 1", "x_a: 2", "X-Ab: 3", "x-a: 4", "Xa: 5")
	list.remove("X-A")
	if want := listOf("X-Ab: 3", "Xa: 5"); !reflect.DeepEqual(list, want) {
		t.Errorf("%v is left, want %v", list, want)
	}
}
