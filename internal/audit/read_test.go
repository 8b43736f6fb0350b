package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/gate"
)

func line(i int) string {
	return fmt.Sprintf(`{"v":1,"id":"019aaf00-0000-7000-8000-%012d","action":"refuse","stage":"waf","reason":"waf.inbound_score","new_field":{"x":1}}`, i)
}

// TestRead holds that unknown fields are read over, that what is no record is
// told of, and that neither keeps the rest from being read.
func TestRead(t *testing.T) {
	t.Parallel()
	src := line(1) + "\n\n" + "garbage\n" + `{"hello":"world"}` + "\n" + strings.Repeat("x", 9<<20) + "\r\n" + line(2) + "\r\n" + line(3)
	var got []string
	err := audit.Read(strings.NewReader(src), func(e audit.Entry) error {
		if e.Err != nil {
			got = append(got, e.Err.Error())
		} else {
			got = append(got, e.Record.ID[len(e.Record.ID)-1:])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1", "broken line: invalid character 'g' looking for beginning of value", "broken line: not an audit record", "broken line: longer than 8388608 bytes", "2", "3"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %q, want %q", got, want)
	}
	stop := errors.New("enough")
	if err := audit.Read(strings.NewReader(src), func(audit.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Read returned %v, want the callback's error", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	text := line(1) + "\n" + line(12) + "\nbroken\n" + line(13) + "\n" + line(1) + "\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		rule, id string
		records  int
		want     string
	}{
		{"all records of a request", "019aaf00-0000-7000-8000-000000000001", 2, ""},
		{"letter case and blanks do not matter", " 019AAF00-0000-7000-8000-000000000013 ", 1, ""},
		{"a beginning that fits one id", "019aaf00-0000-7000-8000-000000000012", 1, ""},
		{"a beginning that fits two", "019aaf00-0000-7000", 0, "more than one id"},
		{"a beginning that is too short", "019aaf0", 0, "too short"},
		{"an id that is not there", "019aaf00-ffff", 0, audit.ErrNotFound.Error()},
	} {
		found, err := audit.Find(name, tc.id)
		if len(found) != tc.records || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %d records, %v; want %d and %q", tc.rule, len(found), err, tc.records, tc.want)
		}
	}
	if _, err := audit.Find(name+"x", "019aaf00-ffff"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a file that is not there: %v", err)
	}
}

func TestLast(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	var b strings.Builder
	const lines = 2000 // more than is read at once
	for i := range lines {
		b.WriteString(line(i) + "\n")
	}
	for _, end := range []string{"", line(lines)} {
		if err := os.WriteFile(name, []byte(b.String()+end), 0o600); err != nil {
			t.Fatal(err)
		}
		total := lines
		if end != "" {
			total++
		}
		for _, n := range []int{0, 1, 2, 1000, total, total + 5} {
			first, count := "", 0
			err := audit.Last(name, n, func(e audit.Entry) error {
				if count == 0 {
					first = e.Record.ID
				}
				count++
				return e.Err
			})
			want := min(n, total)
			if err != nil || count != want || want > 0 && !strings.HasSuffix(first, fmt.Sprintf("%012d", total-want)) {
				t.Errorf("the last %d of %d lines: %d, from %s, %v", n, total, count, first, err)
			}
		}
	}
}

// TestFollow follows a file through growth, half lines, rotation, and being cut.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(dir, "audit.jsonl")
		add := func(s string) {
			f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString(s); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		check := func(what, want string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if s := strings.Join(got, " "); s != want {
				t.Errorf("%s: got %q, want %q", what, s, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		follow := func(last int) {
			ended <- audit.Follow(ctx, name, last, func(e audit.Entry) error {
				if e.Err != nil {
					got = append(got, "broken")
				} else {
					got = append(got, strings.TrimLeft(e.Record.ID[24:], "0"))
				}
				return nil
			})
		}
		go follow(2)
		check("no file yet", "")
		add(line(1) + "\n")
		check("a new file is read from its beginning", "1")
		add(line(2) + "\n" + line(3)[:20])
		check("half a line waits", "1 2")
		add(line(3)[20:] + "\nbroken\n")
		check("until it is whole", "1 2 3 broken")
		add(line(4) + "\n")
		if err := os.Rename(name, name+".1"); err != nil {
			t.Fatal(err)
		}
		add(line(5) + "\n")
		check("rotation loses nothing", "1 2 3 broken 4 5")
		if err := os.Truncate(name, 0); err != nil {
			t.Fatal(err)
		}
		check("cut to nothing", "1 2 3 broken 4 5")
		add(line(6) + "\n")
		check("read anew", "1 2 3 broken 4 5 6")
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Follow returned %v after its context ended", err)
		}
		add(line(7) + "\n" + line(8) + "\n")
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		got = nil
		go follow(2)
		check("only the last lines of what is there", "7 8")
		add(line(9) + "\n")
		check("and what comes", "7 8 9")
		cancel()
		<-ended
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		got = nil
		go follow(0)
		check("none of what is there", "")
		add(line(10) + "\n")
		check("but what comes", "10")
		cancel()
		<-ended
	})
}

func TestFilter(t *testing.T) {
	t.Parallel()
	r := record(1, gate.Refuse)
	r.Route, r.Client.Country = "shop", "NL"
	r.WAF = &gate.RecordWAF{Matches: []gate.RecordMatch{{Rule: 942100}, {Rule: 949110}}}
	for _, tc := range []struct {
		rule  string
		query audit.Query
		want  bool
	}{
		{"nothing asked", audit.Query{}, true},
		{"one of the actions", audit.Query{Action: []string{"fail", "refuse"}}, true},
		{"none of the actions", audit.Query{Action: []string{"pass"}}, false},
		{"the stage", audit.Query{Stage: []string{"waf"}}, true},
		{"another stage", audit.Query{Stage: []string{"http"}}, false},
		{"the reason", audit.Query{Reason: []string{"waf.inbound_score"}}, true},
		{"the reason's words", audit.Query{Reason: []string{"inbound_score"}}, true},
		{"another reason", audit.Query{Reason: []string{"waf.rule"}}, false},
		{"the address", audit.Query{Client: []string{"203.0.113.7"}}, true},
		{"its prefix", audit.Query{Client: []string{"203.0.113.0/24"}}, true},
		{"the mapped address", audit.Query{Client: []string{"::ffff:203.0.113.7"}}, true},
		{"another prefix", audit.Query{Client: []string{"2001:db8::/32", "198.51.100.0/24"}}, false},
		{"the country", audit.Query{Client: []string{"nl"}}, true},
		{"another country", audit.Query{Client: []string{"BE"}}, false},
		{"the route", audit.Query{Route: []string{"shop"}}, true},
		{"another route", audit.Query{Route: []string{"blog"}}, false},
		{"the status", audit.Query{Status: []string{"403"}}, true},
		{"its class", audit.Query{Status: []string{"4xx"}}, true},
		{"a range", audit.Query{Status: []string{"400-403"}}, true},
		{"another class", audit.Query{Status: []string{"5XX"}}, false},
		{"a rule", audit.Query{Rule: []string{"949110"}}, true},
		{"a range of rules", audit.Query{Rule: []string{"942000-942999"}}, true},
		{"another rule", audit.Query{Rule: []string{"941100"}}, false},
		{"every field has to hold", audit.Query{Rule: []string{"942100"}, Status: []string{"200"}}, false},
	} {
		f, err := tc.query.Filter()
		if err != nil {
			t.Errorf("%s: %v", tc.rule, err)
			continue
		}
		if got := f.Wants(&r); got != tc.want {
			t.Errorf("%s: Wants = %v, want %v", tc.rule, got, tc.want)
		}
	}
	for _, tc := range []struct {
		rule  string
		query audit.Query
	}{
		{"an action that there is not", audit.Query{Action: []string{"block"}}},
		{"a stage that there is not", audit.Query{Stage: []string{"firewall"}}},
		{"a reason that there is not", audit.Query{Reason: []string{"waf.nothing"}}},
		{"no address", audit.Query{Client: []string{"203.0.113"}}},
		{"no status", audit.Query{Status: []string{"9xx"}}},
		{"no rule", audit.Query{Rule: []string{"sqli"}}},
	} {
		if _, err := tc.query.Filter(); err == nil {
			t.Errorf("%s: no error", tc.rule)
		}
	}
}
