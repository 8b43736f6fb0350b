package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer answers on loopback, by UDP and TCP, with what it is told.
type nameServer struct {
	addr string

	mu       sync.Mutex
	answer   func(q dnsmessage.Question, b *dnsmessage.Builder) dnsmessage.RCode
	truncate bool // datagrams
	asked    map[string]int
}

func serveNames(t *testing.T) *nameServer {
	t.Helper()
	s := &nameServer{asked: map[string]int{}}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = udp.LocalAddr().String()
	tcp, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Skip(err) // somebody else has the port
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(s.reply("udp", buf[:n]), from)
		}
	})
	serving.Go(func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err == nil {
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, query); err == nil {
					out := s.reply("tcp", query)
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
				}
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_, _ = udp.Close(), tcp.Close()
		serving.Wait()
	})
	return s
}

func (s *nameServer) reply(network string, query []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	s.asked[network]++
	head := dnsmessage.Header{ID: h.ID, Response: true, Truncated: s.truncate && network == "udp"}
	build := func(code dnsmessage.RCode, full bool) (dnsmessage.RCode, []byte) {
		head.RCode = code
		b := dnsmessage.NewBuilder(nil, head)
		_, _ = b.StartQuestions(), b.Question(q)
		_ = b.StartAnswers()
		if full {
			code = s.answer(q, &b)
		}
		out, _ := b.Finish()
		return code, out
	}
	code, out := build(dnsmessage.RCodeSuccess, !head.Truncated)
	if code != dnsmessage.RCodeSuccess {
		_, out = build(code, false)
	}
	return out
}

func (s *nameServer) say(answer func(q dnsmessage.Question, b *dnsmessage.Builder) dnsmessage.RCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *nameServer) resolver() resolver {
	return resolver{func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.addr)
	}}
}

// has answers with addresses, each with its time in seconds.
func has(ttl uint32, addrs ...string) func(dnsmessage.Question, *dnsmessage.Builder) dnsmessage.RCode {
	return func(q dnsmessage.Question, b *dnsmessage.Builder) dnsmessage.RCode {
		for _, a := range addrs {
			addr := netip.MustParseAddr(a)
			h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: ttl}
			switch {
			case addr.Is4() && q.Type == dnsmessage.TypeA:
				_ = b.AResource(h, dnsmessage.AResource{A: addr.As4()})
			case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
				_ = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: addr.As16()})
			}
		}
		return dnsmessage.RCodeSuccess
	}
}

func fails(code dnsmessage.RCode) func(dnsmessage.Question, *dnsmessage.Builder) dnsmessage.RCode {
	return func(dnsmessage.Question, *dnsmessage.Builder) dnsmessage.RCode { return code }
}

func TestLookup(t *testing.T) {
	s := serveNames(t)
	alias := func(q dnsmessage.Question, b *dnsmessage.Builder) dnsmessage.RCode {
		target := dnsmessage.MustNewName("real.test.")
		_ = b.CNAMEResource(dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 7}, dnsmessage.CNAMEResource{CNAME: target})
		if q.Type == dnsmessage.TypeA {
			_ = b.AResource(dnsmessage.ResourceHeader{Name: target, Class: dnsmessage.ClassINET, TTL: 60}, dnsmessage.AResource{A: [4]byte{192, 0, 2, 9}})
		}
		return dnsmessage.RCodeSuccess
	}
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf("192.0.2.%d", i+1)
	}
	for _, tc := range []struct {
		rule     string
		answer   func(dnsmessage.Question, *dnsmessage.Builder) dnsmessage.RCode
		truncate bool
		addrs    int
		ttl      time.Duration
		fails    bool
	}{
		{"both families", has(42, "192.0.2.1", "2001:db8::1"), false, 2, 42 * time.Second, false},
		{"a time of zero is not kept for longer than must be", has(0, "192.0.2.1"), false, 1, time.Second, false},
		{"the alias counts too", alias, false, 1, 7 * time.Second, false},
		{"by TCP, when it does not fit", has(33, many...), true, 200, 33 * time.Second, false},
		{"no such name", fails(dnsmessage.RCodeNameError), false, 0, 0, true},
		{"a server in trouble", fails(dnsmessage.RCodeServerFailure), false, 0, 0, true},
		{"a name without addresses", has(60), false, 0, 0, true},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			s.say(tc.answer)
			s.mu.Lock()
			s.truncate = tc.truncate
			s.mu.Unlock()
			addrs, ttl, err := s.resolver().lookup(t.Context(), "app.sallyport.test")
			if len(addrs) != tc.addrs || ttl != tc.ttl || (err != nil) != tc.fails {
				t.Errorf("%d addresses for %v, %v; want %d for %v", len(addrs), ttl, err, tc.addrs, tc.ttl)
			}
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked["tcp"] == 0 {
		t.Error("nothing went by TCP")
	}
}

func TestHowLongAddressesAreKept(t *testing.T) {
	type found struct {
		addrs []netip.Addr
		ttl   time.Duration
		err   error
	}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	none := errors.New("not found")
	steps := []struct {
		found
		next time.Duration // until the next lookup
		list string
		gone int64 // times so far
	}{
		{found{nil, 0, none}, 5 * time.Second, "", 0},
		{found{[]netip.Addr{one, two, one}, 20 * time.Second, nil}, 20 * time.Second, "192.0.2.1 192.0.2.2", 0},
		{found{[]netip.Addr{two, one}, time.Hour, nil}, 5 * time.Minute, "192.0.2.2 192.0.2.1", 0},
		{found{nil, 0, none}, 5 * time.Second, "192.0.2.2 192.0.2.1", 0},
		{found{nil, 0, nil}, 5 * time.Second, "192.0.2.2 192.0.2.1", 0},
		{found{[]netip.Addr{two}, time.Millisecond, nil}, time.Second, "192.0.2.2", 1},
		{found{[]netip.Addr{netip.AddrFrom16(one.As16())}, 0, nil}, 30 * time.Second, "192.0.2.1", 2},
	}
	synctest.Test(t, func(t *testing.T) {
		n := newName(0, "app.test:80")
		var asked atomic.Int64
		var gone atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		var keeping sync.WaitGroup
		keeping.Go(func() {
			n.keep(ctx, func(_ context.Context, host string) ([]netip.Addr, time.Duration, error) {
				f := steps[min(asked.Add(1), int64(len(steps)))-1].found
				return f.addrs, f.ttl, f.err
			}, func(left bool) {
				if left {
					gone.Add(1)
				}
			}, zap.NewNop())
		})
		for i, step := range steps {
			synctest.Wait()
			if got := strings.Join(n.addresses(), " "); got != step.list || gone.Load() != step.gone || asked.Load() != int64(i+1) {
				t.Fatalf("step %d, lookup %d: addresses %q, %d times gone; want %q, %d", i, asked.Load(), got, gone.Load(), step.list, step.gone)
			}
			time.Sleep(step.next - time.Nanosecond)
			synctest.Wait()
			if asked.Load() != int64(i+1) {
				t.Fatalf("step %d: asked again too early", i)
			}
			time.Sleep(time.Nanosecond)
		}
		stop()
		keeping.Wait()
	})
}

// placed is a backend that answers with the address that it was asked at, on
// the same port of several addresses.
func placed(t *testing.T, addrs ...string) (port string, conns func(string) int64) {
	t.Helper()
	open := map[string]*atomic.Int64{}
	for _, a := range addrs {
		l, err := net.Listen("tcp", net.JoinHostPort(a, port))
		if port == "" {
			l, err = net.Listen("tcp", net.JoinHostPort(a, "0"))
		}
		if err != nil {
			t.Skip(err) // no such address here, or somebody else has the port
		}
		_, port, _ = net.SplitHostPort(l.Addr().String())
		count := new(atomic.Int64)
		open[a] = count
		b := &httptest.Server{Listener: l, Config: &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, a) }),
			ConnState: func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateNew:
					count.Add(1)
				case http.StateClosed, http.StateHijacked:
					count.Add(-1)
				case http.StateActive, http.StateIdle:
				}
			},
		}}
		b.Start()
		t.Cleanup(b.Close)
	}
	return port, func(a string) int64 { return open[a].Load() }
}

func TestEveryAddressOfAName(t *testing.T) {
	const one, two, dead = "127.0.0.1", "127.0.0.2", "127.0.0.3"
	port, conns := placed(t, one, two)
	s := serveNames(t)
	s.say(has(1, one, two, dead))
	p, err := newPool(PoolConfig{
		Name: "app", Backends: []BackendConfig{{Name: "a", URL: &url.URL{Scheme: "http", Host: "app.sallyport.test:" + port}}},
		Timeout: TimeoutConfig{Connect: 5 * time.Second},
	}, make([]byte, 32), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	p.lookup = s.resolver().lookup
	p.start()
	t.Cleanup(p.close)
	ask := func() string {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.backends[0].authority()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := p.transport.RoundTrip(r)
		if err != nil {
			t.Fatalf("a request fails: %v", err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	count := map[string]int{}
	for range 30 {
		count[ask()]++
	}
	if count[one] < 10 || count[two] < 10 {
		t.Errorf("asked %v", count)
	}
	if got := p.status(time.Now()).Backends[0].Addresses; !slices.Equal(slices.Sorted(slices.Values(got)), []string{one, two, dead}) {
		t.Errorf("the status tells of %v", got)
	}
	s.say(has(1, two))
	until("its idle connections are closed", func() bool { return conns(one) == 0 })
	for range 10 {
		if got := ask(); got != two {
			t.Errorf("asked %s, which is gone", got)
		}
	}
	s.say(fails(dnsmessage.RCodeNameError))
	until("the name is not found", func() bool {
		p.backends[0].dns.mu.Lock()
		defer p.backends[0].dns.mu.Unlock()
		return p.backends[0].dns.err != nil
	})
	for range 10 {
		if got := ask(); got != two {
			t.Errorf("asked %s", got)
		}
	}
}

func TestANameThatIsNeverFound(t *testing.T) {
	s := serveNames(t)
	s.say(fails(dnsmessage.RCodeNameError))
	p, err := newPool(PoolConfig{
		Name: "app", Backends: []BackendConfig{{Name: "a", URL: &url.URL{Scheme: "http", Host: "app.sallyport.test:80"}}},
		Timeout: TimeoutConfig{Connect: 5 * time.Second},
	}, make([]byte, 32), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	p.lookup = s.resolver().lookup
	p.start()
	t.Cleanup(p.close)
	c, err := p.transport.(*transports).dial.plain(t.Context(), p.backends[0].authority())
	if notFound, ok := errors.AsType[*net.DNSError](err); !ok || !notFound.IsNotFound {
		t.Errorf("%v, %v", c, err)
	}
}

// TestNameOfACertificate: a backend is verified by its name, not by the address
// that the name stands for.
func TestNameOfACertificate(t *testing.T) {
	n := newName(3, "app.internal:443")
	n.learn([]netip.Addr{netip.MustParseAddr("2001:db8::7")}, 0, nil, zap.NewNop())
	key := n.pick()
	if named([]*name{newName(0, "x:1"), n}, key) != n || named([]*name{newName(0, "x:1")}, key) != nil || named([]*name{n}, "app.internal:443") != nil {
		t.Errorf("the key %q does not lead back to the name", key)
	}
	if u, err := url.Parse("https://" + key + "/"); err != nil || u.Host != key {
		t.Errorf("the key %q is no authority: %v", key, err)
	}
	for _, addr := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		if newName(0, addr) != nil {
			t.Errorf("%s is taken for a name", addr)
		}
	}
}

// TestNamesOverAReload: what a name stood for is known to the next
// configuration, whose name servers may not answer.
func TestNamesOverAReload(t *testing.T) {
	fleet := NewFleet()
	next := func() *pool {
		p, err := newPool(PoolConfig{
			Name: "app", Backends: []BackendConfig{{Name: "a", URL: &url.URL{Scheme: "http", Host: "app.sallyport.test:80"}}},
		}, make([]byte, 32), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		fleet.adopt([]*pool{p})
		return p
	}
	first := next()
	found := make(chan struct{})
	first.lookup = func(context.Context, string) ([]netip.Addr, time.Duration, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, time.Minute, nil
	}
	fleet.use([]*pool{first}, func(change) {})
	go func() {
		defer close(found)
		for first.status(time.Now()); ; time.Sleep(time.Millisecond) {
			first.mu.Lock()
			known := len(first.backends[0].addrs)
			first.mu.Unlock()
			if known > 0 {
				return
			}
		}
	}()
	<-found
	second := next()
	second.lookup = func(context.Context, string) ([]netip.Addr, time.Duration, error) { return nil, 0, errNoAddress }
	fleet.use([]*pool{second}, func(change) {})
	first.close()
	t.Cleanup(second.close)
	if got := second.backends[0].dns.addresses(); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("the next configuration knows %v", got)
	}
}
