package ftw_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/ftw"
	"sallyport/internal/gate"
)

// appendTo adds text to a file in pieces, as a writer that was interrupted
// would.
func appendTo(t *testing.T, name string, pieces ...string) {
	t.Helper()
	for _, p := range pieces {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(p); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWireReadsTheFiles(t *testing.T) {
	dir := t.TempDir()
	audit, rules := filepath.Join(dir, "audit.json"), filepath.Join(dir, "rules.log")
	appendTo(t, audit, `{"v":1,"id":"old","action":"refuse"}`+"\n")
	appendTo(t, rules, "")
	w, err := ftw.OpenWire("127.0.0.1:1", audit, rules)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	line := func(id, rule, data string) string {
		return `[client "192.0.2.1"] Coraza: Warning. ` + data + ` [file "x.conf"] [line "46"] [id "` + rule + `"] [msg "m"] [data "[line \"1\"] [id \"5\"] [unique_id \"zz\"]"] [hostname "h"] [uri "/"] [unique_id "` + id + `"]` + "\n"
	}
	record := func(rec gate.Record) string {
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	matched := &gate.RecordWAF{Matches: []gate.RecordMatch{{Rule: 942100}, {Rule: 901001}}}
	appendTo(t, rules, line("b", "942100", `[line "7"] [id "7"] [unique_id "q"]`), "a line of something else\n", line("b", "949110", ""))
	full := record(gate.Record{V: 1, ID: "b", Action: "refuse", Stage: gate.StageWAF, Reason: gate.WAFInboundScore, WAF: matched})
	appendTo(t, audit, record(gate.Record{V: 1, ID: "a", Action: "refuse", Stage: gate.StageHTTP, Reason: gate.HTTPVersion}), full[:20], full[20:])

	if o, err := w.Outcome(t.Context(), "a"); err != nil || o.Reason != gate.HTTPVersion || len(o.Rules) != 0 {
		t.Errorf("Outcome(a) = %+v, %v, want a refusal by http.version", o, err)
	}
	o, err := w.Outcome(t.Context(), "b")
	if err != nil || o.Reason != gate.WAFInboundScore || len(o.Rules) != 2 || o.Rules[0] != 942100 || o.Rules[1] != 949110 || len(o.Lines) != 2 {
		t.Errorf("Outcome(b) = %+v, %v, want rules 942100 and 949110", o, err)
	}
	// Rules that matched without logging leave no line and are not waited for.
	appendTo(t, audit, record(gate.Record{V: 1, ID: "c", Action: "pass", WAF: matched}))
	if o, err := w.Outcome(t.Context(), "c"); err != nil || len(o.Rules) != 0 {
		t.Errorf("Outcome(c) = %+v, %v, want no rules", o, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.Outcome(ctx, "old"); err == nil {
		t.Error("Outcome(old) found a record from before the start")
	}
	appendTo(t, audit, "{broken\n")
	if _, err := w.Outcome(t.Context(), "d"); err == nil || !strings.Contains(err.Error(), "read audit log") {
		t.Errorf("Outcome after a broken line = %v, want the line blamed", err)
	}
}

func TestWireWithoutRulesLogTakesTheRecord(t *testing.T) {
	audit := filepath.Join(t.TempDir(), "audit.json")
	appendTo(t, audit, "")
	w, err := ftw.OpenWire("127.0.0.1:1", audit, "")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	appendTo(t, audit, `{"v":1,"id":"a","action":"observe","waf":{"matches":[{"rule":942100,"message":"m"}]}}`+"\n")
	if o, err := w.Outcome(t.Context(), "a"); err != nil || len(o.Rules) != 1 || o.Rules[0] != 942100 {
		t.Errorf("Outcome = %+v, %v, want rule 942100", o, err)
	}
}

func TestOpenWireNeedsItsFiles(t *testing.T) {
	dir := t.TempDir()
	audit := filepath.Join(dir, "audit.json")
	if _, err := ftw.OpenWire("127.0.0.1:1", audit, ""); err == nil {
		t.Error("OpenWire accepted a missing audit log")
	}
	appendTo(t, audit, "")
	if _, err := ftw.OpenWire("127.0.0.1:1", audit, filepath.Join(dir, "rules.log")); err == nil {
		t.Error("OpenWire accepted a missing rules log")
	}
}

func TestWireDials(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	audit := filepath.Join(t.TempDir(), "audit.json")
	appendTo(t, audit, "")
	w, err := ftw.OpenWire(l.Addr().String(), audit, "")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c, err := w.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
