package ftw

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"sallyport/internal/gate"
)

// requestID is the field in which the gateway names the record of a request.
const requestID = "X-Request-Id"

// A Runner runs tests against a target.
type Runner struct {
	Target Target
	// Parallel is how many tests run at once; 0: one.
	Parallel int
	// Timeout bounds one stage, from connecting to the record. Default 10 s.
	Timeout time.Duration
	// Progress, when not nil, is called after each test, one call at a time.
	Progress func(done, total int)
}

// Run runs the tests and returns their results in the order of the tests. When
// ctx ends, the tests that were not run are reported as failed.
func (r *Runner) Run(ctx context.Context, tests []*Test) *Summary {
	began := time.Now()
	results := make([]Result, len(tests))
	var mu sync.Mutex
	next, done := 0, 0
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1
	}
	var wg sync.WaitGroup
	for range max(r.Parallel, 1) {
		wg.Go(func() {
			for i := take(); i < len(tests); i = take() {
				results[i] = r.run(ctx, tests[i])
				if r.Progress != nil {
					mu.Lock()
					done++
					r.Progress(done, len(tests))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return summarize(results, time.Since(began))
}

// run runs one test, stage by stage.
func (r *Runner) run(ctx context.Context, t *Test) Result {
	began := time.Now()
	res := Result{Test: t.ID(), Desc: t.Desc, File: t.File, Line: t.Line, Kind: Skipped}
	if t.Disabled {
		return res
	}
	s := session{}
	for i := range t.Stages {
		s.stage(ctx, r, &t.Stages[i], &res)
		res.Stage = i + 1
		if res.Kind != Passed {
			break
		}
	}
	res.Took = time.Since(began)
	return res
}

// A session is what a stage hands to the stages after it.
type session struct {
	last    *reply
	target  string // of the last request, to resolve its redirect against
	cookies []*http.Cookie
}

// stage runs one stage and writes down how it came out.
func (s *session) stage(ctx context.Context, r *Runner, st *Stage, res *Result) {
	in, err := s.prepare(&st.Input)
	if err != nil {
		res.Kind, res.Details = Failed, []string{err.Error()}
		return
	}
	request := in.Bytes()
	attempts := 1
	if st.Output.RetryOnce {
		attempts = 2
	}
	for range attempts {
		answer, found, err := r.once(ctx, request)
		res.Status, res.Outcome = answer.status, found
		res.Kind, res.Details = st.Output.judge(&answer, found)
		if err != nil && !(st.Output.Error && res.Kind == Passed) {
			// Without a record nothing can be said about the rules.
			res.Kind, res.Details = Failed, append(res.Details, err.Error())
		}
		res.By = ""
		if res.Kind == Refused {
			res.By = found.Reason
		}
		s.remember(&in, &answer)
		if res.Kind == Passed {
			return
		}
	}
}

// once sends a request and finds the record of it.
func (r *Runner) once(ctx context.Context, request []byte) (reply, *Outcome, error) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := exchange(ctx, r.Target, request)
	if answer.err != nil {
		return answer, nil, nil // judged by the answer that did not come
	}
	id := answer.header.Get(requestID)
	if id == "" {
		return answer, nil, fmt.Errorf("the answer with status %d names no %s", answer.status, requestID)
	}
	found, err := r.Target.Outcome(ctx, id)
	if err != nil {
		return answer, nil, fmt.Errorf("find the record of %q: %w", id, err)
	}
	return answer, &found, nil
}

// prepare fills in what a stage takes from the stages before it.
func (s *session) prepare(in *Input) (Input, error) {
	out := *in
	if in.FollowRedirect {
		if s.last == nil || s.last.err != nil || s.last.status/100 != 3 {
			return out, fmt.Errorf("follow_redirect: the stage before was not redirected")
		}
		base := &url.URL{Scheme: "http", Host: "localhost"}
		if from, err := base.Parse(s.target); err == nil {
			base = from
		}
		to, err := base.Parse(s.last.header.Get("Location"))
		if err != nil {
			return out, fmt.Errorf("follow_redirect: %w", err)
		}
		out.URI = to.RequestURI()
		out.Headers = set(out.Headers, "Host", to.Host)
	}
	if len(s.cookies) > 0 && !has(out.Headers, "Cookie") {
		pairs := make([]string, len(s.cookies))
		for i, c := range s.cookies {
			pairs[i] = c.Name + "=" + c.Value
		}
		out.Headers = append(append([]gate.Field(nil), out.Headers...), gate.Field{Name: "Cookie", Value: strings.Join(pairs, "; ")})
	}
	return out, nil
}

// remember keeps what the stages after this one may need.
func (s *session) remember(in *Input, answer *reply) {
	s.last, s.target = answer, in.URI
	if in.SaveCookie && answer.err == nil {
		s.cookies = (&http.Response{Header: answer.header}).Cookies()
	}
}
