package limiter

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// verdict says what was decided: u refuses, or nobody does.
func (l *Limiter) verdict(d *draw, u *use) gate.Verdict {
	if u == nil && l.allHeaders && l.mode != gate.Watch {
		d.req.Budget = d.budget()
	}
	under := gate.Enforce
	var also []string
	for i := range d.uses {
		w := &d.uses[i]
		if !w.spared {
			continue
		}
		w.limit.seen.observed.Add(1)
		if u == nil {
			u, under = w, gate.Watch
			continue
		}
		also = append(also, d.describe(l, w))
	}
	if u == nil {
		return gate.Passes(gate.StageLimit)
	}
	l.root.total.refused.Add(1)
	if under == gate.Enforce {
		u.limit.seen.refused.Add(1)
	}
	reason, detail := gate.LimitOverBudget, d.describe(l, u)
	if u.worst.sub == none {
		reason = gate.LimitTableFull
	}
	if len(also) > 0 {
		detail += "; observed: " + strings.Join(also, ", ")
	}
	v := gate.Refusal(reason, under, detail)
	hit := u.hit(0)
	v.RetryAfter, v.Limit = hit.RetryAfter, &hit
	return v
}

// closed is the refusal of a limit that cannot be asked.
func (l *Limiter) closed(u *use) gate.Verdict {
	l.root.total.refused.Add(1)
	u.limit.seen.refused.Add(1)
	v := gate.Refusal(gate.LimitStoreDown, gate.Enforce, u.limit.Name)
	v.RetryAfter = brief
	return v
}

// budget is what clients are told of the limit that has least left.
func (d *draw) budget() *gate.LimitHit {
	var least *use
	left := math.Inf(1)
	for i := range d.uses {
		u := &d.uses[i]
		if u.limit.watch {
			continue
		}
		after := u.worst.left
		switch u.limit.usage {
		case spends:
			after -= float64(u.limit.cost)
		case counts:
			after--
		case charges:
		}
		if after < left {
			least, left = u, after
		}
	}
	if least == nil {
		return nil
	}
	hit := least.hit(max(0, left))
	return &hit
}

// hit describes the use's bucket with so much left in it.
func (u *use) hit(left float64) gate.LimitHit {
	k := &u.worst
	hit := gate.LimitHit{Name: u.limit.Name, Quota: k.size.burst, Remaining: int(left), Concurrent: u.limit.usage == counts}
	if k.wait > 0 {
		hit.RetryAfter = k.wait + 1 // rounded down so far
		hit.Reset = hit.RetryAfter
	}
	if u.limit.usage == counts {
		return hit
	}
	hit.Window = k.size.window()
	if k.wait == 0 && hit.Remaining < hit.Quota {
		hit.Reset = k.size.lack(left, hit.Remaining+1) + 1
	}
	return hit
}

// describe names, for the operator, the use's limit and who is over it.
func (d *draw) describe(l *Limiter, u *use) string {
	if u.worst.sub == none {
		return u.limit.Name + " of the keys beyond limiter.max_clients"
	}
	sub := &d.subs[u.worst.sub]
	who := d.name(u.limit, sub)
	if sub.key.bits == bitsText {
		switch by := u.limit.Key; by.Kind {
		case ByPath:
			who = "path " + clip(d.req.Path)
		default:
			who = string(by.Kind) + " " + by.Name
			if sum := l.digest(by.only(d.req.Head)); sum != "" {
				who += " #" + sum[:8]
			}
		}
	}
	return u.limit.Name + " of " + who
}

// name is the text of a key that is no text of the client's.
func (d *draw) name(lim *limit, sub *subject) string {
	switch sub.key.bits {
	case bitsCountry:
		if d.req.Place.Country == "" {
			return "an unknown country"
		}
		return d.req.Place.Country
	case bitsASN:
		if d.req.Place.ASN == 0 {
			return "an unknown network"
		}
		return "AS" + strconv.FormatUint(uint64(d.req.Place.ASN), 10)
	}
	who := sub.key.String()
	if lim.Key.Kind == ByClientRoute && d.req.Route != nil {
		who += " on route " + d.req.Route.Name
	}
	return who
}

// digest stands for a value from the client where the value itself, which may
// be a secret, must not be written. Nobody without the key can tell which
// value it is. Empty: there is no key.
func (l *Limiter) digest(value string) string {
	if len(l.secret) == 0 {
		return ""
	}
	mac := hmac.New(sha256.New, l.secret)
	mac.Write([]byte(value))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// clip bounds a text from the client for the record.
func clip(s string) string {
	const longest = 100
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
