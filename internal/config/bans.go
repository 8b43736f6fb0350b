package config

import (
	"time"

	"sallyport/internal/gate"
	"sallyport/limiter"
)

// defaultBans is what bans is when it is left out.
func defaultBans() limiter.BanConfig {
	return limiter.BanConfig{
		Mode: gate.Off, Refusals: 50, Within: time.Minute, Weights: limiter.Weights{HTTP: 1, Limit: 1, WAF: 1},
		For: 5 * time.Minute, Max: 24 * time.Hour, MaxClients: 200000,
	}
}

// longestBan is how long a client may be kept out at most: who is to stay out
// for good belongs into geo.deny.
const longestBan = 90 * 24 * time.Hour

func (r *reader) bans(o *object, c *Config) {
	b := &c.Bans
	set(o, "mode", &b.Mode, choice(gate.Enforce, gate.Watch, gate.Off))
	o.section("after", func(o *object) {
		set(o, "refusals", &b.Refusals, integer(1, 1_000_000))
		set(o, "within", &b.Within, duration(time.Second, 24*time.Hour))
	})
	o.section("weights", func(o *object) {
		for _, w := range []struct {
			stage string
			of    *int
		}{{"http", &b.Weights.HTTP}, {"limit", &b.Weights.Limit}, {"waf", &b.Weights.WAF}} {
			set(o, w.stage, w.of, integer(0, 1_000_000))
		}
		if b.Weights == (limiter.Weights{}) {
			r.fail(o.path, "no refusal counts: nobody would ever be banned", "write mode: off to have no bans")
		}
	})
	set(o, "for", &b.For, duration(time.Second, longestBan))
	set(o, "max", &b.Max, duration(time.Second, longestBan))
	if b.Max < b.For {
		r.fail(o.join("max"), "less than bans.for", "write at least "+writeDuration(b.For))
	}
	set(o, "answer", &b.Close, flag("page", "close"))
	setList(o, "exempt", &b.Exempt, parsePrefix)
}

func (p *printer) bans(b limiter.BanConfig) {
	p.line(0, "bans:")
	p.line(1, "mode: %s", b.Mode)
	p.line(1, "after: {refusals: %d, within: %s}", b.Refusals, writeDuration(b.Within))
	p.line(1, "weights: {http: %d, limit: %d, waf: %d}", b.Weights.HTTP, b.Weights.Limit, b.Weights.WAF)
	p.line(1, "for: %s", writeDuration(b.For))
	p.line(1, "max: %s", writeDuration(b.Max))
	p.line(1, "answer: %s", pick(b.Close, "close", "page"))
	p.line(1, "exempt: %s", texts(b.Exempt, writePrefix))
}
