package proxy

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"sallyport/internal/gate"
)

// A sticky seals cookies that tell which backend a client went to. What is
// sealed has one length and another nonce every time, so that nobody outside
// can tell two backends apart, count them, or learn a name; and it is bound to
// the pool, so that it says nothing to another one. The nonces of
// XChaCha20-Poly1305 are long enough to be drawn at random for ever.
type sticky struct {
	name  string
	lasts time.Duration
	aead  cipher.AEAD
	pool  []byte // authenticated with every cookie
}

const (
	markSize   = 16 // bytes of a backend's mark
	sealedSize = 1 + 8 + markSize
	// sealVersion is the first byte of what is sealed.
	sealVersion = 1
)

// A mark stands for a backend in a cookie. It is made of the name, so that
// sessions outlive a change of the address.
type mark [markSize]byte

func markOf(backend string) mark {
	sum := sha256.Sum256([]byte(backend))
	return mark(sum[:markSize])
}

// newSticky returns nil when the pool asks for no cookie. Without a secret the
// key is one of this pool: its cookies are foreign to every other.
func newSticky(cfg PoolConfig, secret []byte) (*sticky, error) {
	if cfg.Sticky.Cookie == "" {
		return nil, nil
	}
	if len(secret) == 0 {
		secret = make([]byte, sha256.Size)
		rand.Read(secret) //nolint:errcheck // never fails: it ends the program instead
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "sticky cookies", chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive the key of sticky cookies: %w", err)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("sticky cookies: %w", err)
	}
	return &sticky{name: cfg.Sticky.Cookie, lasts: cfg.Sticky.For, aead: aead, pool: []byte(cfg.Name)}, nil
}

// seal returns a value for the cookie.
func (s *sticky) seal(m mark, now time.Time) string {
	plain := make([]byte, 0, sealedSize)
	plain = append(plain, sealVersion)
	plain = binary.BigEndian.AppendUint64(plain, uint64(now.Add(s.lasts).Unix()))
	plain = append(plain, m[:]...)
	sealed := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+sealedSize+chacha20poly1305.Overhead)
	rand.Read(sealed) //nolint:errcheck // never fails: it ends the program instead
	sealed = s.aead.Seal(sealed, sealed, plain, s.pool)
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// open returns the mark in a cookie, and when it ends. It reports false for
// what was not sealed here, or has ended.
func (s *sticky) open(value string, now time.Time) (m mark, ends time.Time, ok bool) {
	const length = chacha20poly1305.NonceSizeX + sealedSize + chacha20poly1305.Overhead
	var room [length]byte
	if base64.RawURLEncoding.DecodedLen(len(value)) != length {
		return m, ends, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(room[:], []byte(value)); err != nil {
		return m, ends, false
	}
	nonce, sealed := room[:chacha20poly1305.NonceSizeX], room[chacha20poly1305.NonceSizeX:]
	plain, err := s.aead.Open(sealed[:0], nonce, sealed, s.pool)
	if err != nil || plain[0] != sealVersion {
		return m, ends, false
	}
	ends = time.Unix(int64(binary.BigEndian.Uint64(plain[1:])), 0)
	return mark(plain[9:]), ends, now.Before(ends)
}

// cookie is the value of Set-Cookie. The browser forgets it when it ends; when
// it does not, the end is inside.
func (s *sticky) cookie(m mark, now time.Time, secure bool) string {
	text := s.name + "=" + s.seal(m, now) + "; Path=/; HttpOnly; SameSite=Lax"
	if secure {
		text += "; Secure"
	}
	return text
}

// recall takes the sticky cookies out of the request, and learns from that of
// its pool which backend the client went to. The rules and the backend see none
// of them, not those of other pools nor those that are no good.
func (h *Handler) recall(v *visit) gate.Verdict {
	if len(h.cookies) == 0 {
		return gate.Passes(gate.StagePool)
	}
	p := v.arm
	now := time.Now()
	v.req.Head.Fields = withoutCookies(v.req.Head.Fields, func(name, value string) bool {
		if p.sticky != nil && name == p.sticky.name && v.ask.own == nil {
			v.ask.own, v.renew = p.recall(value, now)
		}
		return slices.Contains(h.cookies, name)
	})
	return gate.Passes(gate.StagePool)
}

// recall returns the backend that a cookie names, nil when it names none that
// is still there, and whether the cookie is past the middle of its time.
func (p *pool) recall(value string, now time.Time) (own *backend, renew bool) {
	m, ends, ok := p.sticky.open(value, now)
	if !ok {
		return nil, false
	}
	i := slices.IndexFunc(p.backends, func(b *backend) bool { return b.mark == m })
	if i < 0 {
		return nil, false
	}
	return p.backends[i], ends.Sub(now) < p.sticky.lasts/2
}

// withoutCookies returns the fields without the cookies that drop names. It
// copies when it changes anything; what is left of a field stays as it was.
func withoutCookies(fields []gate.Field, drop func(name, value string) bool) []gate.Field {
	var out []gate.Field // nil: nothing is dropped so far
	for i, f := range fields {
		rest, dropped := f.Value, false
		if strings.EqualFold(f.Name, "Cookie") {
			rest, dropped = withoutPairs(f.Value, drop)
		}
		if dropped && out == nil {
			out = append(make([]gate.Field, 0, len(fields)), fields[:i]...)
		}
		if out != nil && (!dropped || rest != "") {
			out = append(out, gate.Field{Name: f.Name, Value: rest})
		}
	}
	if out == nil {
		return fields
	}
	return out
}

// withoutPairs drops pairs of a Cookie field (RFC 6265 section 4.2.1), each
// with the semicolon and the white space that part it from the next one.
func withoutPairs(cookies string, drop func(name, value string) bool) (rest string, dropped bool) {
	var kept strings.Builder
	left := cookies
	for more := true; more; {
		var pair string
		at := left
		pair, left, more = strings.Cut(left, ";")
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if drop(strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t")) {
			dropped = true
			continue
		}
		if more {
			pair = at[:len(pair)+1]
		}
		kept.WriteString(pair)
	}
	if !dropped {
		return cookies, false
	}
	return strings.Trim(kept.String(), "; \t"), true
}

// stick gives the client a cookie for the backend that has answered, unless
// its own will do. One whose own backend was only full keeps its cookie, and
// one of a backend that is draining is not renewed.
func (v *visit) stick(a *attempt, header http.Header) {
	p := a.pool
	if p.sticky == nil {
		return
	}
	now := time.Now()
	p.mu.Lock()
	keeps := v.keeps(a.b)
	p.mu.Unlock()
	if keeps {
		return
	}
	header["Set-Cookie"] = append(slices.Clip(header["Set-Cookie"]), p.sticky.cookie(a.b.mark, now, v.scheme() == "https"))
}

// keeps reports whether the client's cookie will do. The lock is held.
func (v *visit) keeps(answered *backend) bool {
	switch own := v.ask.own; own {
	case nil:
		return false
	case answered:
		return !v.renew || own.draining
	default:
		return own.may(unsafe, time.Now()) && !slices.Contains(v.ask.tried, own)
	}
}
