package metrics_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/metrics"
)

// scrape returns the series and their values, without those of the Go runtime
// and the process.
func scrape(t testing.TB, m *metrics.Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	series := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if ok {
			name += "}"
		} else {
			name, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		if strings.HasPrefix(name, "sallyport_") {
			series[name] = value
		}
	}
	return series
}

func want(t *testing.T, series map[string]string, name, value string) {
	t.Helper()
	if got := series[name]; got != value {
		t.Errorf("%s = %q, want %q", name, got, value)
	}
}

func refusal() gate.Record {
	return gate.Record{
		V: 1, Action: "refuse", Stage: gate.StageWAF, Reason: gate.WAFInboundScore, Status: 403,
		Response: gate.RecordResponse{Status: 403},
		WAF:      &gate.RecordWAF{Inspected: "full", Run: gate.RunGuided, Compared: true, Differs: true, Matches: []gate.RecordMatch{{Rule: 942100}, {Rule: 949110}}},
		Observed: []gate.RecordObserved{{Stage: gate.StageHTTP, Reason: gate.HTTPPathDots}},
		Spent:    []gate.Span{{Stage: "strict", Took: 9 * time.Microsecond}, {Stage: "waf", Took: 140 * time.Microsecond}, {Stage: "total", Took: 171 * time.Microsecond}},
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	m := metrics.New("0.1.0")
	m.Record(refusal())
	m.Record(refusal())
	m.Record(gate.Record{Action: "pass", Stage: gate.StagePool, Response: gate.RecordResponse{Status: 204}, Spent: []gate.Span{{Stage: "total", Took: 2 * time.Second}}})
	m.Record(gate.Record{Action: "refuse", Stage: gate.StageHTTP, Reason: gate.HTTPNoHead})
	// The end of a tunnel and the audit log's own records are no requests.
	m.Record(gate.Record{Event: "closed", Action: "pass", Stage: gate.StagePool, Response: gate.RecordResponse{Status: 101}})
	m.Record(gate.Record{Event: "dropped", Action: "fail", Stage: gate.StageGateway, Lost: 3})
	s := scrape(t, m)
	want(t, s, `sallyport_requests_total{action="refuse",reason="waf.inbound_score",stage="waf"}`, "2")
	want(t, s, `sallyport_requests_total{action="pass",reason="",stage="pool"}`, "1")
	want(t, s, `sallyport_requests_total{action="refuse",reason="http.no_head",stage="http"}`, "1")
	want(t, s, `sallyport_requests_total{action="fail",reason="",stage="gateway"}`, "")
	want(t, s, `sallyport_observed_total{reason="http.path_dots",stage="http"}`, "2")
	want(t, s, `sallyport_response_status_total{class="4xx"}`, "2")
	want(t, s, `sallyport_response_status_total{class="2xx"}`, "1")
	want(t, s, `sallyport_response_status_total{class="none"}`, "1")
	want(t, s, `sallyport_response_status_total{class="1xx"}`, "")
	want(t, s, `sallyport_waf_rule_hits_total{rule="942100"}`, "2")
	want(t, s, `sallyport_waf_request_bodies_total{inspected="full"}`, "2")
	want(t, s, `sallyport_request_duration_seconds_count`, "3")
	want(t, s, `sallyport_request_duration_seconds_bucket{le="0.0005"}`, "2")
	want(t, s, `sallyport_request_duration_seconds_bucket{le="2.5"}`, "3")
	want(t, s, `sallyport_stage_duration_seconds_count{stage="waf"}`, "2")
	want(t, s, `sallyport_stage_duration_seconds_bucket{stage="strict",le="1e-05"}`, "2")
	for _, w := range []gate.RecordWAF{{Run: gate.RunProven}, {Run: gate.RunProven, Compared: true}, {Run: gate.RunFull}, {Run: gate.RunGuided, Compared: true, Differs: true}, {}} {
		m.Record(gate.Record{Action: "pass", Stage: gate.StagePool, Policy: "default", WAF: &w})
		m.Record(gate.Record{Action: "pass", Stage: gate.StagePool, Policy: "gone", WAF: &w})
		m.Policy("default", true)
	}
	m.Policy("fast", false)
	m.Policy("quiet", true)
	s = scrape(t, m)
	want(t, s, `sallyport_waf_requests_total{policy="default",run="proven"}`, "1") // the first came before there was such a policy
	want(t, s, `sallyport_waf_requests_total{policy="default",run="full"}`, "1")
	want(t, s, `sallyport_waf_requests_total{policy="default",run="guided"}`, "1")
	want(t, s, `sallyport_waf_requests_total{policy="other",run="proven"}`, "3")
	want(t, s, `sallyport_waf_compared_total{policy="default"}`, "2")
	want(t, s, `sallyport_waf_differences_total{policy="default"}`, "1")
	want(t, s, `sallyport_waf_differences_total{policy="other"}`, "3") // and the refusals above
	want(t, s, `sallyport_waf_differences_total{policy="quiet"}`, "0")
	want(t, s, `sallyport_waf_differences_total{policy="fast"}`, "")
	m.Route("shop", "app")
	m.Route("shop", "canary")
	for pool, n := range map[string]int{"app": 3, "canary": 1, "gone": 2} {
		for range n {
			r := refusal()
			r.Route, r.Pool, r.Response.Status = "shop", &gate.RecordPool{Name: pool}, 200
			r.Mask = &gate.RecordMask{Leaks: []gate.RecordLeak{{Where: "header", Action: "redact", Count: 2}}}
			m.Record(r)
		}
	}
	s = scrape(t, m)
	want(t, s, `sallyport_route_requests_total{class="2xx",pool="app",route="shop"}`, "3")
	want(t, s, `sallyport_route_requests_total{class="2xx",pool="canary",route="shop"}`, "1")
	want(t, s, `sallyport_route_requests_total{class="2xx",pool="other",route="other"}`, "2")
	want(t, s, `sallyport_route_duration_seconds_count{pool="canary",route="shop"}`, "1")
	want(t, s, `sallyport_mask_leaks_total{action="redact",where="header"}`, "12")
	for name := range s {
		if strings.HasPrefix(name, "sallyport_build_info{") && strings.Contains(name, `version="0.1.0"`) {
			return
		}
	}
	t.Error("sallyport_build_info does not tell the version")
}

// TestClientsMakeNoSeries holds that nothing that a client or a defect chooses
// becomes a label.
func TestClientsMakeNoSeries(t *testing.T) {
	t.Parallel()
	m := metrics.New("0.1.0")
	m.Record(refusal())
	before := len(scrape(t, m))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				x := fmt.Sprintf("evil-%d-%d\xff\n", w, i)
				r := refusal()
				r.ID, r.Detail, r.Route, r.Policy, r.Listener = x, x, x, x, x
				r.Client = gate.RecordClient{IP: x, Peer: x, Country: x}
				r.Request = gate.RecordRequest{Protocol: x, Method: x, Host: x, Target: x, ClientID: x, Headers: []gate.RecordField{{Name: x, Value: x}}}
				r.WAF.Inspected, r.WAF.Run, r.WAF.Compared, r.WAF.Differs = x, x, true, true
				r.WAF.Matches = []gate.RecordMatch{{Rule: 1_000_000 + w*500 + i, Variable: x, Value: x, Severity: x, Tags: []string{x}}}
				r.Pool = &gate.RecordPool{Name: x, Backend: x}
				r.Mask = &gate.RecordMask{Leaks: []gate.RecordLeak{{Where: x, Name: x, Token: x, Action: x, Count: 1}}}
				r.Limit = &gate.RecordLimit{Name: x}
				m.Record(r)
				r = refusal()
				r.Action, r.Stage, r.Reason, r.Response.Status = x, gate.Stage(x), gate.Reason(x), 1000+i
				r.Observed = []gate.RecordObserved{{Stage: gate.Stage(x), Reason: gate.Reason(x)}}
				r.Spent = []gate.Span{{Stage: x, Took: time.Microsecond}}
				m.Record(r)
			}
		})
	}
	wg.Wait()
	s := scrape(t, m)
	rules := 0
	for name := range s {
		if strings.Contains(name, "evil") {
			t.Errorf("a client made the series %s", name)
		}
		if strings.HasPrefix(name, "sallyport_waf_rule_hits_total{") {
			rules++
		}
	}
	if rules != 301 {
		t.Errorf("%d series of rules, want 300 and other", rules)
	}
	// "other" for action, stage and reason, for what was observed, for the
	// class, for bodies, and the buckets of one more stage; for a pair of route
	// and pool with its buckets, and for leaks.
	if grown := len(s) - before; grown > 300+4+20+12 {
		t.Errorf("%d new series", grown)
	}
	want(t, s, `sallyport_requests_total{action="other",reason="other",stage="other"}`, "2000")
	want(t, s, `sallyport_response_status_total{class="other"}`, "2000")
	want(t, s, `sallyport_waf_rule_hits_total{rule="other"}`, "1702")
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	m := metrics.New("0.1.0")
	if s := scrape(t, m); s["sallyport_connections"] != "" {
		t.Error("there are connections before anybody observes")
	}
	built := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	m.Observe(func() metrics.Snapshot { return metrics.Snapshot{Generation: 1} })
	m.Observe(func() metrics.Snapshot {
		return metrics.Snapshot{
			Generation: 3, InFlight: 4, Connections: 5, AuditDropped: 6, WAFHeld: 7, WAFMemory: 8,
			Pools: []metrics.PoolSnapshot{{Name: "app", Retries: 41, Waiting: 42, Full: 43, Timeouts: 44, Backends: []metrics.BackendSnapshot{
				{Name: "app-1", Up: true, InFlight: 2, Weight: 3, Draining: true, Latency: 250 * time.Millisecond, Requests: 45, Failures: 46}, {Name: "app-2", Ejected: true}, {Name: "app-2", Up: true}, {Name: "odd\xff"},
			}}, {Name: "app", Retries: 1}},
			Bans: metrics.BanSnapshot{Active: 31, Turned: 32, Evicted: 33, Untracked: 34},
			Limiter: metrics.LimiterSnapshot{
				Clients: 9, Evicted: 10, Overflowed: 11,
				Limits: []metrics.LimitSnapshot{{Name: "login", Keys: 21, Refused: 22, Observed: 23, Evicted: 24, Overflowed: 25}, {Name: "login", Keys: 1}},
				Store:  &metrics.StoreSnapshot{Up: true, Asked: 26, Failed: 27, Changes: 28},
			},
			Geo: []metrics.GeoSnapshot{{Database: "country", Built: built}, {Database: "country", Built: built}, {Database: "asn", Problem: true}},
			// A path may hold what no label can.
			GeoMaxAge: 24 * time.Hour, GeoLists: []metrics.GeoListSnapshot{{Path: "/l/a\xff.txt", Entries: 14}, {Path: "/l/b.txt", Problem: true}, {Path: "/l/b.txt"}},
			Reloads: metrics.ReloadSnapshot{Succeeded: 12, Failed: 13, LastOK: true, LastGood: built},
		}
	})
	s := scrape(t, m)
	for name, value := range map[string]string{
		"sallyport_config_generation": "3", "sallyport_requests_in_flight": "4", "sallyport_connections": "5", "sallyport_audit_dropped_total": "6",
		"sallyport_waf_held_bytes": "7", "sallyport_waf_memory_bytes": "8",
		`sallyport_backend_up{backend="app-1",pool="app"}`: "1", `sallyport_backend_requests_in_flight{backend="app-1",pool="app"}`: "2",
		`sallyport_backend_up{backend="app-2",pool="app"}`: "0", `sallyport_backend_ejected{backend="app-2",pool="app"}`: "1",
		`sallyport_backend_up{backend="odd?",pool="app"}`:      "0",
		`sallyport_backend_weight{backend="app-1",pool="app"}`: "3", `sallyport_backend_draining{backend="app-1",pool="app"}`: "1",
		`sallyport_backend_latency_seconds{backend="app-1",pool="app"}`: "0.25", `sallyport_backend_latency_seconds{backend="app-2",pool="app"}`: "",
		`sallyport_backend_attempts_total{backend="app-1",pool="app"}`: "45", `sallyport_backend_failures_total{backend="app-1",pool="app"}`: "46",
		`sallyport_pool_retries_total{pool="app"}`: "41", `sallyport_pool_queue_waiting{pool="app"}`: "42",
		`sallyport_pool_queue_full_total{pool="app"}`: "43", `sallyport_pool_queue_timeouts_total{pool="app"}`: "44",
		"sallyport_bans_active": "31", "sallyport_bans_connections_closed_total": "32", "sallyport_bans_evictions_total": "33", "sallyport_bans_untracked_total": "34",
		`sallyport_limit_keys{limit="login"}`: "21", `sallyport_limit_refused_total{limit="login"}`: "22", `sallyport_limit_observed_total{limit="login"}`: "23",
		`sallyport_limit_evictions_total{limit="login"}`: "24", `sallyport_limit_overflows_total{limit="login"}`: "25",
		"sallyport_limiter_store_up": "1", "sallyport_limiter_store_asked_total": "26", "sallyport_limiter_store_failed_total": "27", "sallyport_limiter_store_changes_total": "28",
		"sallyport_limiter_clients": "9", "sallyport_limiter_evictions_total": "10", "sallyport_limiter_overflows_total": "11",
		`sallyport_geo_database_build_timestamp_seconds{database="country"}`: "1.7934912e+09", `sallyport_geo_database_build_timestamp_seconds{database="asn"}`: "",
		`sallyport_geo_database_age_seconds{database="asn"}`: "", "sallyport_geo_database_max_age_seconds": "86400",
		`sallyport_geo_database_problem{database="country"}`: "0", `sallyport_geo_database_problem{database="asn"}`: "1",
		`sallyport_geo_list_entries{list="/l/a?.txt"}`: "14", `sallyport_geo_list_problem{list="/l/a?.txt"}`: "0",
		`sallyport_geo_list_entries{list="/l/b.txt"}`: "0", `sallyport_geo_list_problem{list="/l/b.txt"}`: "1",
		`sallyport_config_reloads_total{result="taken"}`: "12", `sallyport_config_reloads_total{result="kept_old"}`: "13",
		"sallyport_config_last_reload_success": "1", "sallyport_config_last_reload_success_timestamp_seconds": "1.7934912e+09",
	} {
		want(t, s, name, value)
	}
	// The age goes on while the test runs.
	age, err := strconv.ParseFloat(s[`sallyport_geo_database_age_seconds{database="country"}`], 64)
	if since := time.Since(built).Seconds(); err != nil || age > since || age < since-60 {
		t.Errorf("the database is %v s old, want %v", age, since)
	}
}

// TestNames holds the form of names, which dashboards hold on to, and that each
// has a help text.
func TestNames(t *testing.T) {
	t.Parallel()
	m := metrics.New("0.1.0")
	m.Record(refusal())
	m.Observe(func() metrics.Snapshot {
		return metrics.Snapshot{
			Pools: []metrics.PoolSnapshot{{Name: "app", Backends: []metrics.BackendSnapshot{{Name: "app-1", Latency: 1}}}},
			Geo:   []metrics.GeoSnapshot{{Database: "asn", Built: time.Unix(1, 0)}}, Reloads: metrics.ReloadSnapshot{LastGood: time.Unix(1, 0)},
		}
	})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	form := regexp.MustCompile(`^sallyport_[a-z_]+$`)
	names := 0
	for line := range strings.Lines(text) {
		name, ok := strings.CutPrefix(line, "# TYPE ")
		if !ok || !strings.HasPrefix(name, "sallyport_") {
			continue
		}
		name, kind, _ := strings.Cut(strings.TrimSpace(name), " ")
		names++
		if !form.MatchString(name) || (kind == "counter") != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, kind)
		}
		if !strings.Contains(text, "# HELP "+name+" ") {
			t.Errorf("%s has no help", name)
		}
	}
	if names < 23 {
		t.Errorf("%d metrics, want 23 at least", names)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("%s is missing", name)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	m := metrics.New("0.1.0")
	m.Route("site", "app")
	pass := gate.Record{Action: "pass", Stage: gate.StagePool, Route: "site", Pool: &gate.RecordPool{Name: "app"}, Response: gate.RecordResponse{Status: 200}, WAF: &gate.RecordWAF{}}
	for i, stage := range []string{"strict", "client", "ban", "route", "geo", "limit", "waf", "pool", "total"} {
		pass.Spent = append(pass.Spent, gate.Span{Stage: stage, Took: time.Duration(i) * 10 * time.Microsecond})
	}
	for name, r := range map[string]gate.Record{"pass": pass, "refusal": refusal()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Record(r)
			}
		})
	}
}

// TestDocumented holds docs/metrics.md to what is served, in both directions.
func TestDocumented(t *testing.T) {
	t.Parallel()
	m := metrics.New("0.1.0")
	m.Observe(func() metrics.Snapshot {
		return metrics.Snapshot{
			Pools:   []metrics.PoolSnapshot{{Name: "app", Backends: []metrics.BackendSnapshot{{Name: "one", Latency: 1}}}},
			Limiter: metrics.LimiterSnapshot{Limits: []metrics.LimitSnapshot{{Name: "login"}}, Store: &metrics.StoreSnapshot{}},
			Geo:     []metrics.GeoSnapshot{{Database: "country", Built: time.Unix(1, 0)}}, GeoLists: []metrics.GeoListSnapshot{{Path: "a"}},
			Reloads: metrics.ReloadSnapshot{LastGood: time.Unix(1, 0)},
		}
	})
	m.Record(refusal())
	leak := refusal()
	leak.Pool, leak.Mask = &gate.RecordPool{Name: "app"}, &gate.RecordMask{Leaks: []gate.RecordLeak{{Where: "body", Action: "redact", Count: 1}}}
	m.Record(leak)
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for series := range scrape(t, m) {
		name, _, _ := strings.Cut(series, "{")
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, part)
		}
		served[name] = true
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/metrics.md does not name %s", name)
		}
	}
	for _, name := range regexp.MustCompile("`(sallyport_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		if !served[name[1]] {
			t.Errorf("docs/metrics.md names %s, which is not served", name[1])
		}
	}
}
