package geo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

const (
	// maxList bounds the size of a list in bytes, maxEntries the number of its
	// entries. A million IPv4 prefixes are 16 MB.
	maxList    = 64 << 20
	maxEntries = 2_000_000
	// maxComplaints is how many bad lines of one list are told of one by one.
	maxComplaints = 20
)

// A list is one file of prefixes and networks, and the newest sound version of
// it. tick belongs to one goroutine, everything else may be called by many.
type list struct {
	watched
	key     string // of the configuration that names it first
	hasASN  bool   // a database of networks is there
	current atomic.Pointer[listVersion]
}

// A listVersion is what one reading of the file says.
type listVersion struct {
	*set
	entries int // that were written
	loaded  time.Time
}

// load puts the version that the file holds into use, if all of it is sound.
// An error is gate.Diagnostics.
func (l *list) load(now time.Time) error {
	data, info, err := readFile(l.path, maxList)
	if err != nil {
		return l.fault(err.Error(), "")
	}
	return l.read(data, info, now)
}

func (l *list) fault(what, hint string) gate.Diagnostics {
	return gate.Diagnostics{{File: l.path, Path: l.key, What: what, Hint: hint}}
}

func (l *list) read(data []byte, info fs.FileInfo, now time.Time) error {
	if len(data) == 0 {
		return l.fault("is empty", "write a comment line if that is meant: a download that failed looks the same")
	}
	p := &listParser{set: newSet(l.path), now: now, hasASN: l.hasASN, key: l.key, ends: map[uint32]time.Time{}}
	p.set.line = true
	p.parse(data)
	if p.bad > len(p.complaints) {
		p.complaints = append(p.complaints, gate.Diagnostic{File: l.path, Path: l.key, What: fmt.Sprintf("%d more lines are wrong", p.bad-len(p.complaints))})
	}
	if len(p.complaints) > 0 {
		return p.complaints
	}
	p.finish()
	l.current.Store(&listVersion{set: p.set, entries: p.entries, loaded: now})
	l.take(info)
	return nil
}

// tick takes up a new version of the file, and lets entries end.
func (l *list) tick(log *zap.Logger, now time.Time) {
	l.poll(log, func() error {
		err := l.load(now)
		if err == nil {
			log.Info("network list reloaded", zap.String("path", l.path), zap.Int("entries", l.current.Load().entries))
		}
		return inOneLine(err)
	})
	if v := l.current.Load(); v.due(now) {
		l.current.Store(&listVersion{set: v.without(now), entries: v.entries, loaded: v.loaded})
	}
}

// inOneLine makes one line of many problems: the first, and how many more.
func inOneLine(err error) error {
	ds, ok := errors.AsType[gate.Diagnostics](err)
	if !ok {
		return err
	}
	first := ds[0]
	text := first.What
	if first.Line > 0 {
		text = fmt.Sprintf("line %d: %s", first.Line, text)
	}
	if len(ds) > 1 {
		text += fmt.Sprintf(", and %d problems more", len(ds)-1)
	}
	return errors.New(text)
}

func (l *list) describe() List {
	v := l.current.Load()
	return List{Path: l.path, Entries: v.size(), Written: v.entries, Loaded: v.loaded, Problem: l.trouble()}
}

// A listParser reads the lines of a list.
//
//	203.0.113.0/24              # a comment
//	2001:db8::7
//	AS64496 until 2027-01-31
//
// One entry a line: an address, a prefix or a network; "until" and the last day
// on which it counts, in UTC; a comment from # or ; on.
type listParser struct {
	set        *set
	now        time.Time
	hasASN     bool
	key        string
	entries    int
	ends       map[uint32]time.Time // by line, of the entries that have an end
	bad        int
	complaints gate.Diagnostics
	line       uint32
}

func (p *listParser) parse(data []byte) {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if bytes.IndexByte(data, 0) >= 0 {
		p.bad++
		p.complaints = append(p.complaints, gate.Diagnostic{File: p.set.name, Path: p.key, What: "is not text", Hint: "write one prefix or network a line"})
		return
	}
	for rest := string(data); rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		p.line++
		p.parseLine(line)
		if p.entries > maxEntries {
			p.complain(0, fmt.Sprintf("more than %d entries", maxEntries), "")
			return
		}
	}
}

// complain notes what is wrong at a byte of the line.
func (p *listParser) complain(at int, what, hint string) {
	p.bad++
	if len(p.complaints) < maxComplaints {
		p.complaints = append(p.complaints, gate.Diagnostic{
			File: p.set.name, Line: int(p.line), Column: at + 1, Path: p.key, What: what, Hint: hint,
		})
	}
}

const (
	blanks    = " \t\r"
	untilForm = "write the last day after the entry, as in until 2027-01-31"
)

func (p *listParser) parseLine(line string) {
	if i := strings.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	line = strings.TrimRight(line, blanks)
	entry := strings.TrimLeft(line, blanks)
	if entry == "" {
		return
	}
	start := len(line) - len(entry)
	rest := ""
	if i := strings.IndexAny(entry, blanks); i >= 0 {
		entry, rest = entry[:i], entry[i:]
	}
	e := expiry{at: p.line}
	what, hint := parseEntry(entry, &e)
	if what == "" && e.asn != 0 && !p.hasASN {
		what, hint = "a network number, but no database that knows networks", "name one in geo.asn"
	}
	if what != "" {
		p.complain(start, what, hint)
		return
	}
	if rest != "" {
		var ok bool
		if e.end, ok = p.parseUntil(rest, start+len(entry)); !ok {
			return
		}
	}
	p.entries++
	p.add(e)
}

// parseUntil reads what stands after an entry, and returns the moment from
// which on the entry does not count.
func (p *listParser) parseUntil(rest string, start int) (time.Time, bool) {
	text := strings.TrimLeft(rest, blanks)
	at := start + len(rest) - len(text)
	word, date := text, ""
	if i := strings.IndexAny(text, blanks); i >= 0 {
		word, date = text[:i], strings.TrimLeft(text[i:], blanks)
	}
	if word != "until" {
		p.complain(at, fmt.Sprintf("%q after the entry", clip(word)), untilForm+", and a comment after #")
		return time.Time{}, false
	}
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		p.complain(at+len(text)-len(date), fmt.Sprintf("bad date %q", clip(date)), untilForm)
		return time.Time{}, false
	}
	return day.AddDate(0, 0, 1), true
}

// add puts an entry into the set, unless it has ended. Of two for the same
// network the one that counts longer is kept.
func (p *listParser) add(e expiry) {
	if !e.end.IsZero() && !p.now.Before(e.end) {
		return
	}
	var have uint32
	var twice bool
	if e.asn != 0 {
		have, twice = p.set.asns[e.asn]
	} else {
		have, twice = p.set.prefixes.Get(e.prefix)
	}
	if twice {
		end, ends := p.ends[have]
		if !ends || !e.end.IsZero() && !e.end.After(end) {
			return
		}
		delete(p.ends, have)
	}
	if e.asn != 0 {
		p.set.asns[e.asn] = e.at
	} else {
		p.set.prefixes.Insert(e.prefix, e.at)
	}
	if !e.end.IsZero() {
		p.ends[e.at] = e.end
		p.set.expires = append(p.set.expires, e)
	}
}

// finish makes the set ready for use.
func (p *listParser) finish() {
	p.set.expires = slices.DeleteFunc(p.set.expires, func(e expiry) bool {
		_, ends := p.ends[e.at]
		return !ends // another line says the same for longer
	})
	slices.SortStableFunc(p.set.expires, compareEnds)
	p.set.narrow = p.set.namesPrivate()
}

// parseEntry reads an address, a prefix or a network, and returns what is wrong
// with it.
func parseEntry(s string, e *expiry) (what, hint string) {
	const form = "write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or AS64496"
	if len(s) > 2 && (s[0] == 'A' || s[0] == 'a') && (s[1] == 'S' || s[1] == 's') && !strings.ContainsAny(s, ":.") {
		n, err := strconv.ParseUint(s[2:], 10, 32)
		if err != nil || n == 0 || s[2] == '0' {
			return fmt.Sprintf("bad network number %q", clip(s)), "write AS1 to AS4294967295"
		}
		e.asn = uint32(n)
		return "", ""
	}
	var a netip.Addr
	var err error
	if strings.IndexByte(s, '/') < 0 {
		a, err = netip.ParseAddr(s)
		e.prefix = netip.PrefixFrom(a, a.BitLen()) // which drops a zone
	} else {
		e.prefix, err = netip.ParsePrefix(s)
		a = e.prefix.Addr()
	}
	switch p := e.prefix; {
	case err != nil || a.Zone() != "" || a.Is4In6():
		return fmt.Sprintf("bad entry %q", clip(s)), form
	case p != p.Masked():
		return fmt.Sprintf("prefix %s has host bits set", s), fmt.Sprintf("did you mean %s?", p.Masked())
	case p.Bits() == 0:
		return fmt.Sprintf("prefix %s names everybody", s), "write it in geo.deny or geo.allow if that is meant"
	}
	return "", ""
}

// clip bounds what a diagnostic repeats of a line.
func clip(s string) string {
	const longest = 64
	if len(s) > longest {
		return s[:longest] + "…"
	}
	return s
}
