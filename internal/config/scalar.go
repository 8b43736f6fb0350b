package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/proxy"
)

// choice accepts one of a closed set of words.
func choice[T ~string](words ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		if i := slices.Index(words, T(s)); i >= 0 {
			return words[i], nil
		}
		all := make([]string, len(words))
		for i, w := range words {
			all[i] = string(w)
		}
		hint := didYouMean(s, all)
		if hint == "" {
			hint = "write " + strings.Join(all, " or ")
		}
		return "", &problem{fmt.Sprintf("bad value %q", s), hint}
	}
}

// flag accepts one of two words and tells whether it was the second.
func flag(no, yes string) func(string) (bool, error) {
	return func(s string) (bool, error) {
		word, err := choice(no, yes)(s)
		return word == yes, err
	}
}

// integer accepts whole numbers from lo to hi.
func integer(lo, hi int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || s[0] == '+' {
			return 0, &problem{fmt.Sprintf("bad number %q", s), "write a whole number, without a unit"}
		}
		return n, within(n, lo, hi, strconv.Itoa)
	}
}

// within tells whether v lies between two bounds.
func within[T int | int64 | time.Duration](v, lo, hi T, write func(T) string) error {
	if v < lo {
		return &problem{"less than " + write(lo), fmt.Sprintf("write %s to %s", write(lo), write(hi))}
	}
	if v > hi {
		return &problem{"more than " + write(hi), fmt.Sprintf("write %s to %s", write(lo), write(hi))}
	}
	return nil
}

// duration accepts times from lo to hi, with their unit.
func duration(lo, hi time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, &problem{fmt.Sprintf("bad duration %q", s), "write a unit, as in 30s or 1m30s"}
		}
		return d, within(d, lo, hi, writeDuration)
	}
}

// writeDuration is how a duration is written: 1m30s, 1h.
func writeDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// The units of sizes, the largest first, so that a size is written with the
// largest that divides it.
const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// size accepts numbers of bytes from lo to hi, with their unit.
func size[T int | int64](lo, hi int64) func(string) (T, error) {
	return func(s string) (T, error) {
		n, err := parseSize(s)
		if err != nil {
			return 0, err
		}
		return T(n), within(n, lo, hi, writeSize)
	}
}

func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "BKMGTikmgtb ")
	bad := &problem{fmt.Sprintf("bad size %q", s), "write a number and B, KiB, MiB or GiB, as in 128KiB"}
	if s == "0" {
		return 0, nil
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !isDigits(digits) {
		return 0, bad
	}
	unit := int64(0)
	switch s[len(digits):] {
	case "B":
		unit = 1
	case "KiB":
		unit = kib
	case "MiB":
		unit = mib
	case "GiB":
		unit = gib
	}
	if unit == 0 || n > math.MaxInt64/unit {
		return 0, bad
	}
	return n * unit, nil
}

// writeSize is how a size is written: 128KiB, 500B.
func writeSize(n int64) string {
	switch {
	case n != 0 && n%gib == 0:
		return strconv.FormatInt(n/gib, 10) + "GiB"
	case n != 0 && n%mib == 0:
		return strconv.FormatInt(n/mib, 10) + "MiB"
	case n != 0 && n%kib == 0:
		return strconv.FormatInt(n/kib, 10) + "KiB"
	}
	return strconv.FormatInt(n, 10) + "B"
}

// byteRate accepts bytes a second, 0B/s for no limit.
func byteRate(s string) (int64, error) {
	amount, ok := strings.CutSuffix(s, "/s")
	n, err := parseSize(amount)
	if !ok || err != nil {
		return 0, &problem{fmt.Sprintf("bad byte rate %q", s), "write bytes a second, as in 500B/s; 0B/s for no limit"}
	}
	return n, within(n, 0, gib, func(n int64) string { return writeSize(n) + "/s" })
}

// A rate is a number of requests and the seconds they are counted over.
type rate struct {
	count float64
	per   float64
}

func (r rate) perSecond() float64 { return r.count / r.per }

func parseRate(s string) (rate, error) {
	amount, unit, _ := strings.Cut(s, "/")
	per := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	n, err := parseDecimal(amount)
	if err != nil || per == 0 {
		return rate{}, &problem{fmt.Sprintf("bad rate %q", s), "write a number per s, m or h, as in 100/s or 5/m"}
	}
	r := rate{n, per}
	if r.perSecond() <= 0 || r.perSecond() > 1e6 {
		return rate{}, &problem{fmt.Sprintf("rate %s is out of range", s), "write more than 0 and at most 1000000/s"}
	}
	return r, nil
}

// writeRate is how a number of requests a second is written, with the unit
// that makes it a whole number where there is one.
func writeRate(perSecond float64) string {
	for _, u := range []struct {
		unit string
		per  float64
	}{{"s", 1}, {"m", 60}, {"h", 3600}} {
		if n := math.Round(perSecond * u.per); n > 0 && n/u.per == perSecond {
			return strconv.FormatFloat(n, 'f', -1, 64) + "/" + u.unit
		}
	}
	return strconv.FormatFloat(perSecond, 'f', -1, 64) + "/s"
}

// parseDecimal accepts digits with one dot at most; no sign, no exponent.
func parseDecimal(s string) (float64, error) {
	if strings.ContainsFunc(s, func(c rune) bool { return c != '.' && (c < '0' || c > '9') }) {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(s, 64)
}

// percent accepts 0% to 100% and returns the share.
func percent(s string) (float64, error) {
	amount, ok := strings.CutSuffix(s, "%")
	n, err := parseDecimal(amount)
	if !ok || err != nil || n > 100 {
		return 0, &problem{fmt.Sprintf("bad percentage %q", s), "write 0% to 100%"}
	}
	return n / 100, nil
}

// writePercent is how a share is written.
func writePercent(share float64) string {
	for digits := 0; digits < 16; digits++ {
		s := strconv.FormatFloat(share*100, 'f', digits, 64)
		if n, err := parseDecimal(s); err == nil && n/100 == share {
			return s + "%"
		}
	}
	return strconv.FormatFloat(share*100, 'f', -1, 64) + "%"
}

// parsePrefix accepts an address or a prefix without host bits.
func parsePrefix(s string) (netip.Prefix, error) {
	bad := &problem{fmt.Sprintf("bad address or prefix %q", s), "write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"}
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" || a.Is4In6() {
			return netip.Prefix{}, bad
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, bad
	}
	if p != p.Masked() {
		return netip.Prefix{}, &problem{fmt.Sprintf("prefix %s has host bits set", s), fmt.Sprintf("did you mean %s?", p.Masked())}
	}
	return p, nil
}

// writePrefix is how a prefix is written: a single address without a length.
func writePrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// parseStatus accepts a status code or an inclusive range of them.
func parseStatus(s string) (proxy.StatusRange, error) {
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	bad := &problem{fmt.Sprintf("bad status range %q", s), "write 200 or 200-399, within 100 to 599"}
	if !isDigits(from) || !isDigits(to) || len(from) != 3 || len(to) != 3 {
		return proxy.StatusRange{}, bad
	}
	lo, _ := strconv.Atoi(from) // three digits
	hi, _ := strconv.Atoi(to)
	if lo < 100 || hi > 599 || lo > hi {
		return proxy.StatusRange{}, bad
	}
	return proxy.StatusRange{From: lo, To: hi}, nil
}

// writeStatus is how a range of status codes is written.
func writeStatus(r proxy.StatusRange) string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}
