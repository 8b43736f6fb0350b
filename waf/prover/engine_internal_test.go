package prover

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	engine "github.com/corazawaf/coraza/v3/experimental/plugins/macro"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"
)

// engineOf has the engine compile rules, and returns what begins a transaction; nil
// for what the engine does not take.
func engineOf(t testing.TB, rules string) func() engineState {
	t.Helper()
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithDirectives("SecRuleEngine On\nSecRxPreFilter Off\n" + rules))
	if err != nil {
		return nil
	}
	t.Cleanup(func() {
		w.(experimental.WAFCloser).Close() //nolint:errcheck // of a test
	})
	return func() engineState { return w.NewTransaction().(engineState) }
}

// An engineState is a transaction of the engine, with its variables.
type engineState interface {
	types.Transaction
	plugintypes.TransactionState
}

// TestMacros reads macros as the engine does, and makes the same of them.
func TestMacros(t *testing.T) {
	tx := engineOf(t, "")()
	defer tx.Close() //nolint:errcheck // of a test
	known := newTXState(map[string]string{"a": "1", "b": "", "c_d.e": "x%{tx.a}", "Big": "2"})
	for name, value := range known.values {
		tx.Variables().TX().Set(name, []string{value})
	}
	parts := []string{"%{", "%{", "}", "}", "tx", "TX", ".", ".", "a", "b", "c_d.e", "big", "BIG", "none", "%", "{", "-", " ", "é", "tx.a", "%{tx.a}", "%{TX.b}", "%{tx.none}", "request_method", "+", "[0]", "'"}
	r := rand.New(rand.NewPCG(1, 2))
	taken, same := 0, 0
	for i := range 20000 {
		var text string
		for range 1 + r.IntN(8) {
			text += parts[r.IntN(len(parts))]
		}
		m, ok := parseMacro(text)
		theirs, err := engine.NewMacro(text)
		if ok != (err == nil) {
			t.Fatalf("%q: ours %v, the engine's %v", text, ok, err)
		}
		if !ok {
			continue
		}
		taken++
		got, c := known.expand(m)
		if c == dynamic {
			continue
		}
		if same++; got != theirs.Expand(tx) {
			t.Fatalf("%d, %q: %q, the engine makes %q of it", i, text, got, theirs.Expand(tx))
		}
		if literal, plain := m.literal(); plain && literal != got || !strings.HasPrefix(got, m.prefix()) {
			t.Fatalf("%q is the literal %q, or begins with %q", text, literal, m.prefix())
		}
	}
	if taken < 1000 || same < 500 {
		t.Errorf("%d were taken, %d compared", taken, same)
	}
}

// TestSetVars does what setvar actions do in the engine, wherever it says that the
// outcome is certain.
func TestSetVars(t *testing.T) {
	names := []string{"a", "b", "A", "c", "d"}
	values := []string{"1", "2", "+1", "-1", "+3", "-", "+", "x", "+x", "-tx.a", "+tx.b", "+%{tx.a}", "-%{tx.b}", "%{tx.a}", "%{tx.none}", "x%{tx.c}y", "+%{tx.none}", "++1", "--2", "+-3", "0", "007", "+07", "9223372036854775807", "+9223372036854775807", "1.5", " 1", "+ 1"}
	r := rand.New(rand.NewPCG(3, 4))
	certain := 0
	for round := range 3000 {
		var rules, plain strings.Builder
		for id := 1; id <= 1+r.IntN(6); id++ {
			set := fmt.Sprintf("tx.%s=%s", names[r.IntN(len(names))], values[r.IntN(len(values))])
			if r.IntN(8) == 0 {
				set = "!" + set
			}
			fmt.Fprintf(&rules, "SecAction \"id:%d,phase:1,pass,nolog,setvar:'%s'\"\n", id, set)
			fmt.Fprintf(&plain, "- \"\" \"id:%d,phase:1,setvar:%s\"\n", id, set)
		}
		begin := engineOf(t, rules.String())
		if begin == nil {
			continue
		}
		tx := begin()
		tx.ProcessRequestHeaders()
		w := walkRules(sec(t, plain.String()), nil, nil)
		for _, name := range []string{"a", "b", "c", "d"} {
			value, set, c := w.state.get(name)
			theirs := tx.Variables().TX().Get(name)
			if c != firm {
				continue
			}
			if certain++; set != (len(theirs) > 0) || set && value != theirs[0] {
				t.Fatalf("%d: tx.%s is %q, %v; the engine has %q\n%s", round, name, value, set, theirs, rules.String())
			}
		}
		tx.Close() //nolint:errcheck // of a test
	}
	if certain < 5000 {
		t.Errorf("%d values were compared", certain)
	}
}

// knownOperators are the operators that are known here, by the engine's names.
var knownOperators = []string{
	"eq", "lt", "le", "gt", "ge", "within", "streq", "strmatch", "contains", "beginsWith", "endsWith", "detectSQLi", "detectXSS", "unconditionalMatch", "noMatch",
	"validateUtf8Encoding", "validateUrlEncoding", "ipMatch", "rx", "pm", "validateByteRange",
}

// compareTest returns what holds an operator with its argument against the
// engine's; nil where there is nothing to compare.
func compareTest(t *testing.T, which uint8, argument string) func(value string) {
	t.Helper()
	name := knownOperators[int(which>>1)%len(knownOperators)]
	if strings.ContainsAny(argument, "\"\\\r\n\x00") || strings.Contains(argument, "%{") || strings.TrimSpace(argument) != argument || strings.HasSuffix(argument, "'") {
		return nil // rule files hold them otherwise
	}
	not := which&1 != 0
	written := "@" + name
	if not {
		written = "!" + written
	}
	begin := engineOf(t, fmt.Sprintf("SecRule ARGS_GET:x \"%s %s\" \"id:1,phase:1,pass,log\"", written, argument))
	if begin == nil {
		return nil
	}
	o := Operator{Name: strings.ToLower(name), Argument: argument, Not: not}
	if o.Name == "pm" {
		o.List = strings.Split(strings.ToLower(argument), " ")
	}
	test, ok := o.single(argument)
	if !ok {
		return nil // it may match, for all that is known
	}
	return func(value string) {
		tx := begin()
		defer tx.Close() //nolint:errcheck // of a test
		tx.AddGetRequestArgument("x", value)
		tx.ProcessRequestHeaders()
		if got, want := test(value), len(tx.MatchedRules()) > 0; got != want {
			t.Errorf("%s %q of %q: %v, the engine says %v", written, argument, value, got, want)
		}
	}
}

// operands are what operators are compared over: arguments and values that sit at
// their edges.
var operands = []string{
	"", "0", "1", "-1", "+1", "01", " 1", "1 ", "1.0", "1e3", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "0x10", "١", "a", "a b", "A B c", "abc", "ABC", "b", "é", "ſ", "\xff", "%", "%4", "%41", "%zz", "%e", "a%", "%41%",
	"10.0.0.1", "10.0.0.0/8", "10.0.0.0/8,::1", "::1", "::ffff:10.0.0.1", "10.0.0.1/33", "10.0.0.256", "fe80::1%eth0", "010.0.0.1", "10.0.0.1, 192.0.2.0/24", "192.0.2.9", "2001:db8::/32", "2001:DB8::9", "/8", ",", "1.2.3",
	"1-5", "32-126", "0-255", "9,10,13,32-126", "97", "255-256", "5-1", "x", "-", "^a", "a$", "(?i)B", "[^a]", "a|b", "\t", "a\nb", "' or 1=1--", "<script>", "1' union select 1", "javascript:alert(1)", "*b*", "?",
}

// TestOperators compares every operator over all of them.
func TestOperators(t *testing.T) {
	compared := 0
	for which := range uint8(2 * len(knownOperators)) {
		for _, argument := range operands {
			compare := compareTest(t, which, argument)
			if compare == nil {
				continue
			}
			for _, value := range operands {
				compare(value)
				compared++
			}
		}
	}
	if compared < 50000 {
		t.Errorf("%d values were compared", compared)
	}
}

// FuzzTestsOfOperators compares what is made of operators with the engine's.
func FuzzTestsOfOperators(f *testing.F) {
	for i, argument := range operands {
		f.Add(uint8(i), argument, operands[(i*7)%len(operands)])
	}
	f.Fuzz(func(t *testing.T, which uint8, argument, value string) {
		if compare := compareTest(t, which, argument); compare != nil {
			compare(value)
		}
	})
}
