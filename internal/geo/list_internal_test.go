package geo

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
)

// clock is when the lists of these tests are read.
var clock = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func readList(text string) (*list, error) {
	l := &list{hasASN: true, watched: watched{path: "list"}, key: "geo.deny_files"}
	return l, l.read([]byte(text), nil, clock)
}

func TestListForms(t *testing.T) {
	for _, tc := range []struct {
		rule, line string
		addr       string // "" : none
		asn        uint32
		end        string // until when, as 2006-01-02; empty: for ever
	}{
		{"an address", "192.0.2.7", "192.0.2.7", 0, ""},
		{"a prefix", "192.0.2.0/24", "192.0.2.255", 0, ""},
		{"an IPv6 address", "2001:db8::7", "2001:db8::7", 0, ""},
		{"an IPv6 prefix", "2001:DB8::/32", "2001:db8:ffff::1", 0, ""},
		{"a network", "AS64496", "", 64496, ""},
		{"a network in lower case", "as4294967295", "", 4294967295, ""},
		{"blanks around", " \t192.0.2.7 \t", "192.0.2.7", 0, ""},
		{"a Windows line end", "192.0.2.7\r", "192.0.2.7", 0, ""},
		{"a comment", "192.0.2.7 # a scanner", "192.0.2.7", 0, ""},
		{"a comment without a blank", "192.0.2.7#x", "192.0.2.7", 0, ""},
		{"a comment as in published lists", "192.0.2.0/24 ; SBL1", "192.0.2.1", 0, ""},
		{"the last day", "192.0.2.7 until 2027-01-31", "192.0.2.7", 0, "2027-02-01"},
		{"today counts", "AS64496\tuntil\t2026-11-27 # today", "", 64496, "2026-11-28"},
		{"yesterday does not", "192.0.2.7 until 2026-11-26", "", 0, ""},
		{"a comment alone", "# nothing", "", 0, ""},
		{"an empty line", "", "", 0, ""},
	} {
		l, err := readList(tc.line + "\n")
		if err != nil {
			t.Errorf("%s: %q: %v", tc.rule, tc.line, err)
			continue
		}
		v := l.current.Load()
		if tc.addr != "" && !v.prefixes.Contains(netip.MustParseAddr(tc.addr)) {
			t.Errorf("%s: %q does not name %s", tc.rule, tc.line, tc.addr)
		}
		if _, ok := v.asns[tc.asn]; tc.asn != 0 && !ok {
			t.Errorf("%s: %q does not name AS%d", tc.rule, tc.line, tc.asn)
		}
		if want := tc.addr != "" || tc.asn != 0; (v.size() == 1) != want || v.size() > 1 {
			t.Errorf("%s: %q gives %d entries", tc.rule, tc.line, v.size())
		}
		switch {
		case tc.end == "" && len(v.expires) > 0:
			t.Errorf("%s: %q ends at %s", tc.rule, tc.line, v.expires[0].end)
		case tc.end != "" && (len(v.expires) != 1 || v.expires[0].end.Format(time.DateOnly) != tc.end):
			t.Errorf("%s: %q ends as %v, want %s", tc.rule, tc.line, v.expires, tc.end)
		}
	}
}

func TestListRefuses(t *testing.T) {
	for _, tc := range []struct{ rule, text, want string }{
		{"nothing at all", "", "list: geo.deny_files: is empty; write a comment line if that is meant: a download that failed looks the same"},
		{"host bits", "# x\n10.0.0.1/8\n", "list:2:1: geo.deny_files: prefix 10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?"},
		{"everybody", "0.0.0.0/0", "list:1:1: geo.deny_files: prefix 0.0.0.0/0 names everybody; write it in geo.deny or geo.allow if that is meant"},
		{"every IPv6 address", "::/0", "list:1:1: geo.deny_files: prefix ::/0 names everybody; write it in geo.deny or geo.allow if that is meant"},
		{"a word", "\n  deny all", `list:2:3: geo.deny_files: bad entry "deny"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496`},
		{"a country", "NL", `list:1:1: geo.deny_files: bad entry "NL"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496`},
		{"a length too many", "192.0.2.0/33", `list:1:1: geo.deny_files: bad entry "192.0.2.0/33"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496`},
		{"a mapped prefix, which could never match", "::ffff:10.0.0.0/104", `list:1:1: geo.deny_files: bad entry "::ffff:10.0.0.0/104"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496`},
		{"a zone", "fe80::1%eth0", `list:1:1: geo.deny_files: bad entry "fe80::1%eth0"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496`},
		{"a range", "10.0.0.1-10.0.0.9", `list:1:1: geo.deny_files: bad entry "10.0.0.1-10.0.0.9"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496`},
		{"network zero", "AS0", `list:1:1: geo.deny_files: bad network number "AS0"; write AS1 to AS4294967295`},
		{"a network too large", "AS4294967296", `list:1:1: geo.deny_files: bad network number "AS4294967296"; write AS1 to AS4294967295`},
		{"two on a line", "192.0.2.1 192.0.2.2", `list:1:11: geo.deny_files: "192.0.2.2" after the entry; write the last day after the entry, as in until 2027-01-31, and a comment after #`},
		{"a day that there is not", "192.0.2.1  until  2026-02-30", `list:1:19: geo.deny_files: bad date "2026-02-30"; write the last day after the entry, as in until 2027-01-31`},
		{"a day missing", "192.0.2.1 until", `list:1:16: geo.deny_files: bad date ""; write the last day after the entry, as in until 2027-01-31`},
		{"a binary file", "\x7fELF\x00\x01", "list: geo.deny_files: is not text; write one prefix or network a line"},
		{"bytes that are no text", "\xff\xfe1", `list:1:1: geo.deny_files: bad entry "\xff\xfe1"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496`},
		{"two mistakes", "x\n192.0.2.1\ny\n", "list:1:1: geo.deny_files: bad entry \"x\"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496\n" +
			"list:3:1: geo.deny_files: bad entry \"y\"; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496"},
	} {
		l, err := readList(tc.text)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: %q:\n%v\nwant\n%s", tc.rule, tc.text, err, tc.want)
		}
		if l.current.Load() != nil {
			t.Errorf("%s: %q was taken", tc.rule, tc.text)
		}
	}
}

func TestListComplaintsAreBounded(t *testing.T) {
	_, err := readList(strings.Repeat("nonsense\n", 1000) + strings.Repeat("x", 1<<16))
	ds, _ := err.(gate.Diagnostics)
	if len(ds) != maxComplaints+1 || ds[maxComplaints].What != "981 more lines are wrong" {
		t.Errorf("%d diagnostics, the last %q", len(ds), ds[len(ds)-1])
	}
	if _, err := readList(strings.Repeat("x", 1<<16)); len(err.Error()) > 300 {
		t.Errorf("a diagnostic of %d bytes", len(err.Error()))
	}
}

func TestListWithoutDatabase(t *testing.T) {
	l := &list{watched: watched{path: "list"}}
	err := l.read([]byte("192.0.2.1\nAS64496\n"), nil, clock)
	if err == nil || !strings.Contains(err.Error(), "list:2:1: a network number, but no database") {
		t.Errorf("a network without a database: %v", err)
	}
	if err := l.read([]byte("192.0.2.1\n"), nil, clock); err != nil {
		t.Errorf("a prefix needs no database: %v", err)
	}
}

// Of two lines for the same network the one that counts longer is kept, in
// whatever order they stand, and covered prefixes are no matter.
func TestListRepetitions(t *testing.T) {
	lines := []string{"192.0.2.0/24 until 2026-12-01", "192.0.2.0/24 until 2026-12-31", "192.0.2.0/25 until 2026-12-15", "AS64496 until 2026-12-01", "AS64496"}
	addr := netip.MustParseAddr("192.0.2.1")
	for range 20 {
		rand.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		l, err := readList(strings.Join(lines, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		v := l.current.Load()
		if v.size() != 3 || v.entries != 5 || len(v.expires) != 2 {
			t.Errorf("%q: %d entries of %d, %d with an end", lines, v.size(), v.entries, len(v.expires))
		}
		s := v.set
		for day, want := range map[int]bool{1: true, 14: true, 15: true, 16: true, 31: true, 32: false} {
			now := time.Date(2026, 12, day, 0, 0, 0, 0, time.UTC)
			after := s
			if s.due(now) {
				after = s.without(now)
			}
			if after.prefixes.Contains(addr) != want || len(after.asns) != 1 {
				t.Errorf("%q: in on day %d: %t, want %t; %d networks", lines, day, !want, want, len(after.asns))
			}
		}
		if !s.prefixes.Contains(addr) {
			t.Error("the set in use was changed")
		}
	}
}

// Lists match what a search through all their lines finds.
func TestListMatchesASearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() netip.Addr {
		if rng.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{192, 0, byte(rng.IntN(4)), byte(rng.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(rng.IntN(4)), byte(rng.IntN(256))})
	}
	for range 50 {
		var prefixes []netip.Prefix
		var text strings.Builder
		for range rng.IntN(40) {
			a := random()
			p, _ := a.Prefix(16 + rng.IntN(a.BitLen()-15))
			prefixes = append(prefixes, p)
			fmt.Fprintln(&text, p)
		}
		text.WriteString("#\n")
		l, err := readList(text.String())
		if err != nil {
			t.Fatal(err)
		}
		s := side{key: newSet("geo.deny"), lists: []*list{l}}
		for range 500 {
			a, want := random(), false
			for _, p := range prefixes {
				want = want || p.Contains(a)
			}
			if got := s.prefix(a) != nil; got != want {
				t.Errorf("%s: %t, want %t, in\n%s", a, got, want, text.String())
			}
		}
	}
}

func FuzzList(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24 until 2027-01-31 # c\nAS64496\n", "x\n;\n\r\n", "\uFEFF2001:db8::1", "AS", "1.2.3.4 until", "10.0.0.1/8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := readList(text)
		if (err == nil) != (l.current.Load() != nil) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil {
			ds, ok := err.(gate.Diagnostics)
			if !ok || len(ds) == 0 || len(ds) > maxComplaints+1 {
				t.Fatalf("%q: %v", text, err)
			}
			lines := strings.Split(text, "\n")
			for _, d := range ds {
				if strings.ContainsAny(d.String(), "\n\r\x00\x1b") || d.Line > len(lines) || d.Line > 0 && d.Column > len(lines[d.Line-1])+1 {
					t.Fatalf("%q: %q", text, d)
				}
			}
			return
		}
		v := l.current.Load()
		if v.size() > v.entries || v.prefixes.Contains(netip.IPv6Unspecified()) && v.prefixes.Contains(netip.MustParseAddr("ffff::")) {
			t.Fatalf("%q: %d entries of %d", text, v.size(), v.entries)
		}
		for p, at := range v.prefixes.All() {
			if !strings.Contains(strings.Split(text, "\n")[at-1], "/") && !p.IsSingleIP() {
				t.Fatalf("%q: %s in line %d", text, p, at)
			}
		}
	})
}

// manyPrefixes is a list of a million different prefixes: three in four IPv4,
// from /16 to /32, as in published lists most of them long.
func manyPrefixes(n int) string {
	rng := rand.New(rand.NewPCG(7, 7))
	seen := make(map[netip.Prefix]bool, n)
	var b strings.Builder
	for len(seen) < n {
		var p netip.Prefix
		if rng.IntN(4) > 0 {
			var a [4]byte
			for i := range a {
				a[i] = byte(rng.Uint32())
			}
			p, _ = netip.AddrFrom4(a).Prefix(min(32, 16+rng.IntN(40)))
		} else {
			var a [16]byte
			for i := range a {
				a[i] = byte(rng.Uint32())
			}
			a[0], a[1] = 0x2a, a[1]&0x0f
			p, _ = netip.AddrFrom16(a).Prefix(29 + rng.IntN(36))
		}
		if !seen[p] {
			seen[p] = true
			fmt.Fprintln(&b, p)
		}
	}
	return b.String()
}

const million = 1_000_000

// BenchmarkListLoad reads a million prefixes, and tells how much memory they
// take once they are in use.
func BenchmarkListLoad(b *testing.B) {
	text := []byte(manyPrefixes(million))
	l := &list{watched: watched{path: "list"}}
	b.SetBytes(int64(len(text)))
	began := testkit.CPU(b)
	for b.Loop() {
		if err := l.read(text, nil, clock); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(testkit.CPU(b)-began)/float64(b.N), "cpu-ns/op")
	before := heap()
	l.current.Store(nil)
	b.ReportMetric(float64(before-heap())/million, "B/prefix")
}

// BenchmarkListMatch asks a list of a million prefixes about random addresses,
// which are not in the processor's caches, beside a list of ten.
func BenchmarkListMatch(b *testing.B) {
	for _, n := range []int{10, million} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := listOf(b, manyPrefixes(n))
			l.path = "list"
			s, err := newRuleset("geo", Rules{DenyFiles: []string{"list"}}, map[string]*list{"list": l})
			if err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(3, 3))
			subjects := make([]subject, 1<<16)
			for i := range subjects {
				v := rng.Uint32()
				subjects[i].addr = netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
				if i%4 == 0 {
					subjects[i].addr = netip.AddrFrom16([16]byte{0x2a, byte(v & 0x0f), byte(v >> 8), byte(v >> 16), byte(v >> 24), byte(i)})
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			hits := 0
			began := testkit.CPU(b)
			for i := 0; b.Loop(); i++ {
				if s.judge(&subjects[i&(1<<16-1)]).level == deniedPrefix {
					hits++
				}
			}
			b.ReportMetric(float64(testkit.CPU(b)-began)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(100*float64(hits)/float64(b.N), "%hits")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
