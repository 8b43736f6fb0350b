package audit_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/gate"
)

// shown is a record with something in every field.
func shown() gate.Record {
	offset, mark := 17, 4
	return gate.Record{
		V: 1, Time: time.Date(2026, 11, 23, 2, 10, 0, 123456000, time.UTC), ID: "019aaf00-0000-7000-8000-000000000001",
		Action: "refuse", Stage: gate.StageWAF, Reason: gate.WAFInboundScore, Mode: gate.Enforce, Status: 403,
		Detail: "a detail", Offset: &offset, Excerpt: "near\x00here", Mark: &mark,
		Gateway: gate.RecordGateway{Host: "edge-1", Version: "0.1.0", Generation: 3}, Listener: ":8443",
		Client: gate.RecordClient{IP: "203.0.113.7", Peer: "10.0.0.5:40122", ChosenBy: "X-Forwarded-For", Country: "NL", ASN: 64500},
		TLS:    &gate.RecordTLS{Version: "1.3", SNI: "shop.example.org"},
		Request: gate.RecordRequest{Protocol: "HTTP/1.1", Method: "POST", Host: "shop.example.org", Target: "/login?id=1%27+OR+1%3D1--",
			Headers: []gate.RecordField{{Name: "User-Agent", Value: "curl/8 1' or 1=1"}}, Bytes: 41, ClientID: "theirs"},
		Route: "shop", Policy: "default", Ruleset: "sha256:4c1f",
		WAF: &gate.RecordWAF{Score: 5, Threshold: 5, Inspected: "full", ResponseInspected: "none", Run: gate.RunGuided, Compared: true, Differs: true, Excluded: []int{920100, 920200}, Matches: []gate.RecordMatch{
			{Rule: 942100, Severity: "critical", Paranoia: 1, Score: 5, Message: "SQL injection", Data: "Matched Data: or 1=1 found within ARGS:id: 1' or 1=1--",
				Variable: "ARGS:id", Value: "1' or 1=1--", File: "942.conf", Line: 46, Tags: []string{"attack-sqli"}},
			{Rule: 949110, Variable: "TX:blocking_inbound_anomaly_score", Value: "5"},
		}},
		Limit:    &gate.RecordLimit{Name: "per-client", RetryAfter: 12},
		Pool:     &gate.RecordPool{Name: "app", Backend: "app-1", Status: 200, Attempts: 2},
		Response: gate.RecordResponse{Status: 403, Bytes: 310},
		Observed: []gate.RecordObserved{{Stage: gate.StageHTTP, Reason: gate.HTTPPathDots, Detail: "x"}},
		Tunnel:   &gate.RecordTunnel{Received: 1, Sent: 2, Seconds: 3},
		Micros:   map[string]int64{"total": 1710, "waf": 140, "strict": 9, "pool": 1500},
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	const want = `refused with 403: waf.inbound_score, the anomaly score of the request reached the threshold
id        019aaf00-0000-7000-8000-000000000001
time      2026-11-23 02:10:00.123456 UTC
detail    a detail
near      near»\x00«here (byte 17)
client    203.0.113.7 NL AS64500, named by X-Forwarded-For from 10.0.0.5:40122
tls       1.3 shop.example.org
listener  :8443
request   POST shop.example.org HTTP/1.1, 41 bytes of body
target    /login?id=1%27+»OR+1%3D1«--
headers   User-Agent: curl/8 1' »or 1=1«
their id  theirs
route     shop, policy default (sha256:4c1f)
mode      enforce
observed  http.path_dots, x
rules     score 5 of 5, request body judged: full, response body judged: none, run: guided
          942100 critical SQL injection (+5) PL1
            ARGS:id = 1' »or 1=1«--
            942.conf:46  attack-sqli
          949110
            TX:blocking_inbound_anomaly_score = 5
engines   all rules found something else than the fast engine; the gateway's log tells what
excluded  920100 920200
limit     per-client, again in 12 s
backend   app/app-1 answered 200, 2 attempts
answer    403, 310 bytes
tunnel    1 bytes in, 2 bytes out, 3 s
took      strict 9µs, waf 140µs, pool 1.5ms, total 1.7ms
gateway   edge-1, version 0.1.0, generation 3
follows   OWASP CRS rule 949110
stops     What the matches in the record name.
next      Look at the matches; exclude the parameter from the rule if it is a false positive.
          If it is a false positive, in a file of policies.default.rules_after:
            SecRuleUpdateTargetById 942100 "!ARGS:id"
`
	r := shown()
	var plain, coloured bytes.Buffer
	if err := audit.Show(&plain, &r, false); err != nil {
		t.Fatal(err)
	}
	if plain.String() != want {
		t.Errorf("Show writes\n%s\nwant\n%s", plain.String(), want)
	}
	if err := audit.Show(&coloured, &r, true); err != nil {
		t.Fatal(err)
	}
	bare := regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(coloured.String(), "")
	if bare != strings.NewReplacer("»", "", "«", "").Replace(want) {
		t.Errorf("without its colours, Show writes\n%s", bare)
	}
	if !strings.Contains(coloured.String(), "\x1b[7mOR+1%3D1\x1b[0m") {
		t.Error("the matched bytes are not marked in colour")
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule string
		make func(*gate.Record)
		want string
	}{
		{"engines that differ", func(r *gate.Record) {
			*r = gate.Record{V: 1, Action: "pass", Stage: gate.StagePool, Status: 200, Client: r.Client, Request: gate.RecordRequest{Method: "GET", Host: "a", Target: "/"}, WAF: r.WAF}
		}, " pass    200 203.0.113.7 NL GET a/ engines differ "},
		{"a refusal by rules", func(r *gate.Record) { r.Pool, r.Tunnel, r.WAF.Differs = nil, nil, false },
			" refuse  403 203.0.113.7 NL POST shop.example.org/login?id=1%27+OR+1%3D1-- waf.inbound_score 5/5 942100@ARGS:id 949110@TX:blocking_inbound_anomaly_score 1.7ms 019aaf00-0000-7000-8000-000000000001"},
		{"many rules are counted", func(r *gate.Record) {
			r.Pool, r.Tunnel, r.WAF.Differs, r.Client.Country, r.WAF.Matches = nil, nil, false, "", []gate.RecordMatch{{Rule: 1}, {Rule: 1}, {Rule: 2}, {Rule: 3}, {Rule: 4}, {Rule: 5}, {Rule: 6}}
		}, " refuse  403 203.0.113.7 POST shop.example.org/login?id=1%27+OR+1%3D1-- waf.inbound_score 5/5 1 2 3 4 +2 1.7ms 019aaf00-0000-7000-8000-000000000001"},
		{"a refusal by a limit", func(r *gate.Record) {
			r.WAF, r.Pool, r.Tunnel, r.Stage, r.Reason, r.Status = nil, nil, nil, gate.StageLimit, gate.LimitOverBudget, 429
		}, " refuse  429 203.0.113.7 NL POST shop.example.org/login?id=1%27+OR+1%3D1-- limit.over_budget per-client, again in 12 s 1.7ms 019aaf00-0000-7000-8000-000000000001"},
		{"a pass", func(r *gate.Record) {
			*r = gate.Record{V: 1, Action: "pass", Stage: gate.StagePool, Status: 200, Client: gate.RecordClient{IP: "2001:db8::1"}, Request: gate.RecordRequest{Method: "GET", Host: "a", Target: "/"}, Pool: shown().Pool}
		}, " pass    200 2001:db8::1 GET a/ from app/app-1 "},
		{"the end of a tunnel", func(r *gate.Record) {
			*r = gate.Record{V: 1, Event: "closed", Action: "pass", Status: 101, Client: r.Client, Request: gate.RecordRequest{Method: "GET", Host: "a", Target: "/ws"}, Tunnel: r.Tunnel}
		}, " closed  101 203.0.113.7 NL GET a/ws in 1 B out 2 B 3 s "},
		{"losses", func(r *gate.Record) { *r = gate.Record{V: 1, Event: "dropped", Action: "fail", Lost: 7} }, " dropped 7 records were not written"},
		{"a client that nobody names", func(r *gate.Record) {
			*r = gate.Record{V: 1, Action: "pass", Stage: gate.StagePool, Status: 200, Client: gate.RecordClient{Peer: "unix", ChosenBy: gate.ByPeer}, Request: gate.RecordRequest{Method: "GET", Host: "a", Target: "/"}}
		}, " pass    200 unknown GET a/ "},
		{"a connection without a request", func(r *gate.Record) {
			*r = gate.Record{V: 1, Action: "refuse", Stage: gate.StageHTTP, Reason: gate.HTTPNoHead, Detail: "nothing came", Client: gate.RecordClient{IP: "192.0.2.1"}}
		}, " refuse  --- 192.0.2.1   http.no_head (nothing came) "},
	} {
		r := shown()
		tc.make(&r)
		if got := audit.Line(&r, false); len(got) < 12 || got[12:] != tc.want {
			t.Errorf("%s: Line = %q, want %q after the time", tc.rule, got, tc.want)
		}
	}
}

// TestPrintIsSafe holds that nothing from traffic reaches a terminal as it is,
// wherever in a record it stands.
func TestPrintIsSafe(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b]0;x\x07\r\nb\u202ec\u009bd\u200be\xff\x7f"
	r := shown()
	for _, p := range []*string{
		&r.ID, &r.Event, &r.Action, &r.Detail, &r.Excerpt, &r.Gateway.Host, &r.Gateway.Version, &r.Listener, &r.Client.IP, &r.Client.Peer, &r.Client.ChosenBy, &r.Client.Country,
		&r.TLS.Version, &r.TLS.SNI, &r.Request.Protocol, &r.Request.Method, &r.Request.Host, &r.Request.Target, &r.Request.ClientID, &r.Request.Headers[0].Name, &r.Request.Headers[0].Value,
		&r.Route, &r.Policy, &r.WAF.Inspected, &r.WAF.ResponseInspected, &r.WAF.Matches[0].Message, &r.WAF.Matches[0].Data, &r.WAF.Matches[0].Variable, &r.WAF.Matches[0].Value,
		&r.WAF.Matches[0].File, &r.WAF.Matches[0].Tags[0], &r.WAF.Matches[0].Severity, &r.Limit.Name, &r.Pool.Name, &r.Pool.Backend, &r.Observed[0].Detail,
	} {
		*p += evil
	}
	r.Reason, r.Observed[0].Reason = "x."+evil, "x."+evil
	r.Micros[evil] = 1
	var page bytes.Buffer
	if err := audit.Show(&page, &r, false); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{strings.ReplaceAll(page.String(), "\n", ""), audit.Line(&r, false)} {
		if i := strings.IndexFunc(text, func(c rune) bool {
			return c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x202e || c == 0x200b || c == 0xfffd
		}); i >= 0 {
			t.Errorf("printed as it is: %q", text[max(0, i-40):i+10])
		}
	}
	if got, want := audit.Printable(evil), `a\x1b]0;x\x07\x0d\x0ab\u202ec\u009bd\u200be\xff\x7f`; got != want {
		t.Errorf("Printable = %s, want %s", got, want)
	}
}

// FuzzShow renders whatever may stand in a log, and looks for what a terminal
// would obey.
func TestShowMarksTheRefusedByte(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule, excerpt string
		mark          int
		escaped       bool
		want          string
	}{
		{"a byte", "ab c", 2, false, "near      ab» «c (byte 90)"},
		{"the first one", "abc", 0, false, "near      »a«bc (byte 90)"},
		{"a control", "a\rb", 1, false, `near      a»\x0d«b (byte 90)`},
		{"one that was escaped", `a\xffb`, 1, true, `near      a»\xff«b (byte 90)`},
		{"a character", "aéb", 1, false, "near      a»é«b (byte 90)"},
		{"what stands in for a secret", "a: [redacted:01234567]\r", 3, false, `near      a: »[redacted:01234567]«\x0d (byte 90)`},
		{"the end", "abc", 3, false, "near      abc»« (byte 90)"},
		{"none, in an older record", "abc", -1, false, "near      abc (byte 90)"},
		{"one out of range", "abc", 4, false, "near      abc (byte 90)"},
		{"no excerpt", "", 0, false, "at        byte 90"},
	} {
		offset := 90
		r := gate.Record{Action: "refuse", Offset: &offset, Excerpt: tc.excerpt, Escaped: tc.escaped}
		if tc.mark >= 0 && tc.excerpt != "" {
			r.Mark = &tc.mark
		}
		var out bytes.Buffer
		if err := audit.Show(&out, &r, false); err != nil || !strings.Contains(out.String(), "\n"+tc.want+"\n") {
			t.Errorf("%s: %v, %s, want a line %q", tc.rule, err, out.String(), tc.want)
		}
	}
}

func FuzzShow(f *testing.F) {
	r := shown()
	line, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"v":1}`))
	f.Add([]byte(`{"v":1,"event":"dropped","lost":3,"micros":{"\u001b[m":-1}}`))
	f.Add([]byte(`{"v":1,"reason":"waf.rule","waf":{"matches":[{"rule":1,"variable":"ARGS:\u202e","value":"%4\u0000","data":"Matched Data: %41% found within "}]},"request":{"target":"%2541%u0041&#x41;"}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		err := audit.Read(bytes.NewReader(line), func(e audit.Entry) error {
			if e.Err != nil {
				return nil
			}
			for _, colour := range []bool{false, true} {
				var page bytes.Buffer
				if err := audit.Show(&page, &e.Record, colour); err != nil {
					return err
				}
				for _, text := range []string{strings.ReplaceAll(page.String(), "\n", ""), audit.Line(&e.Record, colour)} {
					bare := regexp.MustCompile("\x1b\\[[0-9]m|\x1b\\[3[0-9]m").ReplaceAllString(text, "")
					if strings.ContainsFunc(bare, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x202e }) {
						t.Errorf("printed as it is: %q", bare)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
