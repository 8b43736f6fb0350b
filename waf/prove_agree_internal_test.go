package waf

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/gate"
)

// minProven is the share of the benign requests that the fast engine must prove
// under an ordinary policy, by its level of paranoia. All but a few are proven:
// that of fewer means that something is not understood any more.
var minProven = [...]float64{1: 0.995, 2: 0.985, 3: 0.985, 4: 0.985}

// maxSettled is the share of the requests that may be left to what the stock
// engine is not at one with itself about; of a few requests some more may.
const maxSettled = 0.03

// Sizes of the comparison: how many requests it takes in an ordinary run of the
// tests, in a short one, and with which seed.
const (
	ordinaryRequests = 9000
	shortRequests    = 500
	ordinarySeed     = 1
)

// wanted reads how many requests are to be compared, and the seed:
// DIFFERENTIAL_REQUESTS=100000 DIFFERENTIAL_SEED=7 go test -run TestEnginesAgree ./waf
func wanted(t testing.TB) (requests int, seed uint64) {
	t.Helper()
	requests, seed = ordinaryRequests, ordinarySeed
	if testing.Short() {
		requests = shortRequests
	}
	if s := os.Getenv("DIFFERENTIAL_REQUESTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("DIFFERENTIAL_REQUESTS=%s is no number of requests", s)
		}
		requests = n
	}
	if s := os.Getenv("DIFFERENTIAL_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("DIFFERENTIAL_SEED=%s is no seed", s)
		}
		seed = n
	}
	return requests, seed
}

// A corpus makes requests by number: the same number is the same request, and
// the same policy to judge it by.
type corpus struct {
	name string
	size int
	make func(i int) (tr *trial, contest string)
}

// chance is the source of what is random about one request of a corpus.
func chance(seed uint64, corpus string, i int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(corpus)) //nolint:errcheck // a hash never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()+uint64(i)))
}

// listed is a corpus of requests that are written down, each judged under as
// many policies as there is room for: first one by one in turn, then another.
func listed(name string, list []*trial, size int, seed uint64, under []string) corpus {
	step := 1
	if size < len(list) { // a part of it, another one with each seed
		step = (len(list) + size - 1) / size
		size = len(list) / step
	}
	size = min(size, len(list)*len(under))
	return corpus{name, size, func(i int) (*trial, string) {
		at := (i*step + int(seed)%step) % len(list)
		return list[at], under[(at+i*step/len(list)+int(seed))%len(under)]
	}}
}

// corpora are all, for so many requests in total.
func corpora(t testing.TB, requests int, seed uint64) []corpus {
	t.Helper()
	core, own, evasions := coreTrials(t), ownTrials(t), evasionTrials(t)
	written := slices.Concat(core, own, evasions)
	turn := func(i int) string { return contestNames[i%len(contestNames)] }
	base := func(r *rand.Rand) *trial {
		switch r.IntN(8) {
		case 0, 1, 2:
			return written[r.IntN(len(written))]
		case 3, 4:
			return placed(r)
		}
		return benign(r)
	}
	out := []corpus{
		// Half of the suite meets the policy that it was written for, and the
		// levels are first among the others.
		listed("core rule tests", core, requests*33/100, seed, []string{"suite", "1", "suite", "2", "suite", "3", "suite", "4", "high 4", "detect 4", "rules 3", "exclusions observed", "early", "observe", "own", "everything"}),
		listed("shipped rule tests", own, max(requests/100, 20), seed, []string{"suite", "4", "1", "2", "rules", "high 4", "3"}),
		listed("evasions", evasions, max(requests*4/100, 20), seed, []string{"1", "2", "4", "3", "rules", "own", "suite", "exclusions", "observe", "early"}),
		listed("special places", specialTrials(t), requests*6/100, seed, []string{"rules", "everything", "rules 3", "exclusions", "rules observed", "suite", "rules early", "own", "4", "own observed", "odd rules", "exclusions observed", "1"}),
		{"placed payloads", requests * 21 / 100, func(i int) (*trial, string) {
			r := chance(seed, "placed", i)
			if i < len(places)*len(encodings) {
				// The seed begins elsewhere, so that a small run of each sees other ones.
				return varied(t, r, eachPlaced(r, i+int(seed)*977)), turn(i)
			}
			return varied(t, r, placed(r)), turn(i)
		}},
		{"mutations", requests * 21 / 100, func(i int) (*trial, string) {
			r := chance(seed, "mutations", i)
			tr := base(r)
			if r.IntN(5) == 0 {
				tr = joined(r, tr, base(r))
			}
			return varied(t, r, mutate(r, tr)), turn(i)
		}},
		{"benign, any policy", requests * 4 / 100, func(i int) (*trial, string) {
			r := chance(seed, "any", i)
			return varied(t, r, benign(r)), turn(i)
		}},
	}
	for level := 1; level < len(minProven); level++ {
		out = append(out, corpus{fmt.Sprintf("benign, level %d", level), requests * 10 / 100 / (len(minProven) - 1), func(i int) (*trial, string) {
			return benignAt(chance(seed, "benign", i), level), strconv.Itoa(level)
		}})
	}
	return out
}

// TestEnginesAgree holds the fast engine to the stock one: what it proves, the
// stock one must be silent about, and what it finds must be what the stock one
// finds, to the last value and score.
func TestEnginesAgree(t *testing.T) {
	all := contests(t)
	requests, seed := wanted(t)
	began := time.Now()
	total := 0
	for _, c := range corpora(t, requests, seed) {
		t.Run(c.name, func(t *testing.T) {
			n := newTally(c.name)
			total += c.size
			compareAll(t, c, all, n)
			t.Logf("%s in %s", n, time.Since(began).Round(time.Second))
			if n.requests != c.size {
				t.Errorf("%d requests were compared, want %d", n.requests, c.size)
			}
			var level int
			if _, err := fmt.Sscanf(c.name, "benign, level %d", &level); err == nil && n.proven() < minProven[level] {
				t.Errorf("%.3f of the benign requests are proven, want %.3f", n.proven(), minProven[level])
			}
			if float64(n.settled) > maxSettled*float64(n.requests)+8 {
				t.Errorf("%d of %d requests were settled by asking the stock engine again, want fewer", n.settled, n.requests)
			}
		})
	}
	t.Logf("seed %d: %d requests in %s", seed, total, time.Since(began).Round(time.Second))
	if held := arena.engine.Held(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// compareAll compares a corpus, on all processors, and tells now and then how
// far it has come.
func compareAll(t *testing.T, c corpus, all map[string]*contest, n *tally) {
	t.Helper()
	var next atomic.Int64
	var workers sync.WaitGroup
	done := make(chan struct{})
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < c.size; i = int(next.Add(1)) - 1 {
				tr, policy := c.make(i)
				compareEngines(t, all[policy], tr, n)
			}
		})
	}
	go func() {
		workers.Wait()
		close(done)
	}()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			t.Logf("%s of %d", n, c.size)
		}
	}
}

// TestEnginesInAnyOrder judges requests in a random order on four goroutines,
// and demands what they came to one after the other: nothing that one request
// leaves behind may change another.
func TestEnginesInAnyOrder(t *testing.T) {
	all := contests(t)
	requests, seed := wanted(t)
	requests = min(max(requests/30, 100), 400)
	type verdict struct {
		action gate.Action
		reason gate.Reason
		status int
	}
	type asked struct {
		tr *trial
		by judge
	}
	var list []asked
	for _, c := range corpora(t, requests, seed) {
		for i := range c.size {
			tr, policy := c.make(i)
			list = append(list, asked{tr, all[policy].stock}, asked{tr, all[policy].fast})
		}
	}
	judged := func(a asked) verdict {
		req := a.tr.request(a.by.policy)
		tx := a.by.engine.Begin(req)
		v := tx.Request()
		if v.Passed() {
			s := seen{}
			s.body(req, a.tr.answer.respond(tx, &s))
		}
		tx.Close()
		return verdict{v.Action, v.Reason, v.Status}
	}
	want := make([]verdict, len(list))
	for i, a := range list {
		want[i] = judged(a)
	}
	for i := 0; i < len(want); i += 2 {
		if want[i] != want[i+1] {
			t.Errorf("%s: %v under the stock engine, %v under the fast one", list[i].tr.name, want[i], want[i+1])
		}
	}
	r := chance(seed, "order", 0)
	var workers sync.WaitGroup
	for range 4 {
		order := r.Perm(len(list))
		workers.Go(func() {
			for _, i := range order {
				if got := judged(list[i]); got != want[i] {
					t.Errorf("%s by %s: %v, want %v as before\n%s", list[i].tr.name, list[i].by.policy, got, want[i], list[i].tr)
				}
			}
		})
	}
	workers.Wait()
}

// TestDeterministicCorpora makes the same requests for the same seed, and others for another.
func TestDeterministicCorpora(t *testing.T) {
	text := func(seed uint64) (out []string) {
		for _, c := range corpora(t, 300, seed) {
			for i := range c.size {
				tr, policy := c.make(i)
				out = append(out, policy+" "+tr.String())
			}
		}
		return out
	}
	if !slices.Equal(text(1), text(1)) {
		t.Error("the same seed made other requests, want the same")
	}
	if slices.Equal(text(1), text(2)) {
		t.Error("another seed made the same requests, want others")
	}
}
