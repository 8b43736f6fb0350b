package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"sallyport/internal/audit"
	"sallyport/internal/gate"
)

// record is a record as the handler makes them; i tells it from others.
func record(i int, action gate.Action) gate.Record {
	return gate.Record{
		V: gate.RecordVersion, Time: time.Date(2026, 11, 23, 2, 10, 0, 0, time.UTC), ID: fmt.Sprintf("019aaf00-0000-7000-8000-%012d", i),
		Action: action.String(), Stage: gate.StageWAF, Reason: gate.WAFInboundScore, Mode: gate.Enforce, Status: 403,
		Gateway: gate.RecordGateway{Host: "edge-1", Version: "0.1.0", Generation: 3}, Listener: ":8443",
		Client:   gate.RecordClient{IP: "203.0.113.7", Peer: "10.0.0.5:40122", ChosenBy: "peer"},
		Request:  gate.RecordRequest{Protocol: "HTTP/1.1", Method: "GET", Host: "shop.example.org", Target: "/?password=hunter2xyzzy"},
		Response: gate.RecordResponse{Status: 403, Bytes: 310},
	}
}

func open(t testing.TB, cfg audit.Config) *audit.Log {
	t.Helper()
	l, err := audit.New(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// entries reads a log back.
func entries(t testing.TB, name string) []audit.Entry {
	t.Helper()
	var all []audit.Entry
	if err := audit.ReadFile(name, func(e audit.Entry) error {
		e.Raw = bytes.Clone(e.Raw)
		all = append(all, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRelevance(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule string
		all  bool
		want string
	}{
		{"a pass is not relevant, unless only a part of it was judged, or the engines differ", false, "observe refuse fail undecided pass pass"},
		{"unless everything is logged", true, "pass observe refuse fail undecided pass pass pass"},
	} {
		name := filepath.Join(t.TempDir(), "audit.jsonl")
		l := open(t, audit.Config{Path: name, All: tc.all})
		for i, a := range []gate.Action{gate.Pass, gate.Observe, gate.Refuse, gate.Fail, gate.Undecided} {
			l.Record(record(i, a))
		}
		for i, w := range []gate.RecordWAF{{Inspected: "head"}, {Inspected: "none", Compared: true}, {Compared: true, Differs: true}} {
			r := record(5+i, gate.Pass)
			r.WAF = &w
			l.Record(r)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries(t, name) {
			got = append(got, e.Record.Action)
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: written are %q, want %q", tc.rule, s, tc.want)
		}
	}
}

// TestFile holds how the file is treated: made for its owner only, appended to,
// and never joined to a line that a crash cut short.
func TestFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	for i := range 2 {
		l := open(t, audit.Config{Path: name})
		l.Record(record(i, gate.Refuse))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	}
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("mode is %o, want 600", fi.Mode().Perm())
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"v":1,"id":"cut`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	l := open(t, audit.Config{Path: name})
	l.Record(record(2, gate.Refuse))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := entries(t, name)
	if len(all) != 4 || all[2].Err == nil || all[3].Err != nil || all[3].Record.ID != record(2, gate.Refuse).ID {
		t.Errorf("after a cut line: %d entries, want two records, the cut line, and a record: %+v", len(all), all)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tc := range []struct {
		rule string
		cfg  audit.Config
		want string
	}{
		{"a directory", audit.Config{Path: dir}, "is a directory"},
		{"a file that cannot be made", audit.Config{Path: filepath.Join(dir, "no", "audit.jsonl")}, "no such file"},
		{"a rules log that cannot be made", audit.Config{Path: filepath.Join(dir, "a"), RulesLog: filepath.Join(dir, "no", "rules.log")}, "open rules log"},
		{"one file for both", audit.Config{Path: filepath.Join(dir, "a"), RulesLog: filepath.Join(dir, "a")}, "one file"},
	} {
		if _, err := audit.New(tc.cfg, zap.NewNop()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.rule, err, tc.want)
		}
	}
}

// TestReopen holds that no record is lost around a rotation, and that each file
// holds whole lines.
func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "audit.jsonl")
	l := open(t, audit.Config{Path: name, Queue: 1 << 14})
	const turns, each = 5, 200
	for turn := range turns {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range each / 4 {
					l.Record(record(turn*each+w*each/4+i, gate.Refuse))
				}
			})
		}
		if err := os.Rename(name, filepath.Join(dir, fmt.Sprint("old-", turn))); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Reopen of a closed log: %v, want %v", err, audit.ErrClosed)
	}
	seen := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		for _, e := range entries(t, f) {
			if e.Err != nil {
				t.Errorf("%s holds a broken line: %v", f, e.Err)
			}
			seen[e.Record.ID] = true
		}
	}
	if len(files) != turns+1 || len(seen) != turns*each || l.Dropped() != 0 {
		t.Errorf("%d files hold %d records, %d dropped; want %d, %d, 0", len(files), len(seen), l.Dropped(), turns+1, turns*each)
	}
}

// TestReopenFails holds that writing goes on where it was.
func TestReopenFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, audit.Config{Path: filepath.Join(dir, "audit.jsonl")})
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("Reopen in a directory that is gone succeeded")
	}
	l.Record(record(1, gate.Refuse))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(entries(t, filepath.Join(dir+"2", "audit.jsonl"))); n != 1 {
		t.Errorf("%d records in the old file, want 1", n)
	}
}

// TestDeleted holds that a file that somebody deleted is made anew, and that
// records wait, and are counted in the end, as long as it cannot be.
func TestDeleted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "audit.jsonl")
	l := open(t, audit.Config{Path: name})
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	l.Record(record(1, gate.Refuse))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(entries(t, name)); n != 1 {
		t.Errorf("%d records in the new file, want 1", n)
	}

	l = open(t, audit.Config{Path: name})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.Record(record(2, gate.Refuse))
	if err := l.Close(); err == nil || l.Dropped() != 1 {
		t.Errorf("without its directory: %v, %d dropped, want an error and 1", err, l.Dropped())
	}
}

// TestBrokenOutput holds that an output that takes nothing costs records, each
// of which is counted, and never a request.
func TestBrokenOutput(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	core, logs := observer.New(zap.ErrorLevel)
	l, err := audit.New(audit.Config{Path: "/dev/full"}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		l.Record(record(i, gate.Refuse))
	}
	if err := l.Close(); err == nil {
		t.Error("Close says nothing of what could not be written")
	}
	if l.Dropped() != 10 {
		t.Errorf("Dropped() = %d, want 10", l.Dropped())
	}
	if n := logs.FilterMessage("audit log cannot be written").Len(); n != 1 {
		t.Errorf("said %d times in the operational log, want once", n)
	}
	l.Record(record(11, gate.Refuse))
	if l.Dropped() != 11 {
		t.Errorf("after Close: Dropped() = %d, want 11", l.Dropped())
	}
}

// TestRulesLog holds that lines are there when Record returns, of every record,
// in order and redacted.
func TestRulesLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "rules.log")
	l := open(t, audit.Config{Path: filepath.Join(dir, "audit.jsonl"), RulesLog: name})
	for i, action := range []gate.Action{gate.Pass, gate.Observe, gate.Refuse} {
		r := record(i, action)
		r.WAF = &gate.RecordWAF{Matches: []gate.RecordMatch{
			{Rule: 1, Variable: "ARGS:q", Value: "x", LogLine: fmt.Sprintf(`[client "192.0.2.1"] Coraza: Warning. a [file "f"] [id "%d"] [data "hunter2xyzzy"]`, i)},
			{Rule: 2, Variable: "ARGS:q", Value: "x"},
			{Rule: 3, Variable: "ARGS:q", Value: "x", LogLine: fmt.Sprintf(`[client "192.0.2.1"] Coraza: Warning. b [file "f"] [id "%d"] [data "2"]`, i)},
		}}
		l.Record(r)
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		if len(lines) != 2*(i+1) || !strings.Contains(lines[2*i], fmt.Sprintf(`. a [file "f"] [id "%d"]`, i)) || !strings.Contains(lines[2*i+1], ". b ") {
			t.Errorf("after record %d: %q", i, lines)
		}
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("a secret is in the rules log: %s", text)
		}
	}
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("after Reopen: %v, %v", fi, err)
	}
}

// TestOneKeyPerRun holds that without a key markers still hide what they stand
// for: another log makes others.
func TestOneKeyPerRun(t *testing.T) {
	t.Parallel()
	var targets []string
	for range 2 {
		name := filepath.Join(t.TempDir(), "audit.jsonl")
		l := open(t, audit.Config{Path: name})
		l.Record(record(1, gate.Refuse))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		targets = append(targets, entries(t, name)[0].Record.Request.Target)
	}
	if targets[0] == targets[1] || !strings.HasPrefix(targets[0], "/?password=[redacted:") {
		t.Errorf("targets are %q", targets)
	}
}

// TestEmptyLists holds that lists are lists and never null, for readers that
// take lists only.
func TestEmptyLists(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, audit.Config{Path: name})
	r := record(1, gate.Refuse)
	r.WAF = &gate.RecordWAF{}
	l.Record(r)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	raw := entries(t, name)[0].Raw
	if !json.Valid(raw) || strings.Contains(string(raw), "null") {
		t.Errorf("record is %s", raw)
	}
}
