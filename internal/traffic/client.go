package traffic

import (
	"fmt"
	"strings"

	"sallyport/internal/gate"
)

// A purpose is what a browser asks for; its fields tell.
type purpose int

const (
	document purpose = iota // a page
	submit                  // a form that is sent
	asset                   // a picture, a style, a script, a font
	call                    // fetch or XMLHttpRequest
)

// An agent is a kind of client.
type agent struct {
	name    string // User-Agent, with %d for the version
	major   [2]int // the versions around
	brand   string // of sec-ch-ua; empty: it does not send them
	system  string
	mobile  bool
	headers func(*source, *agent, purpose) []gate.Field
}

var agents = []agent{
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", [2]int{128, 142}, "Google Chrome", "Windows", false, chromium},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", [2]int{128, 142}, "Google Chrome", "macOS", false, chromium},
	{"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Mobile Safari/537.36", [2]int{128, 142}, "Google Chrome", "Android", true, chromium},
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%[1]d.0.0.0 Safari/537.36 Edg/%[1]d.0.0.0", [2]int{128, 142}, "Microsoft Edge", "Windows", false, chromium},
	{"Mozilla/5.0 (X11; Linux x86_64; rv:%[1]d.0) Gecko/20100101 Firefox/%[1]d.0", [2]int{128, 145}, "", "", false, gecko},
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:%[1]d.0) Gecko/20100101 Firefox/%[1]d.0", [2]int{128, 145}, "", "", false, gecko},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%d.1 Safari/605.1.15", [2]int{17, 26}, "", "", false, webkit},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%d.5 Mobile/15E148 Safari/604.1", [2]int{17, 26}, "", "", true, webkit},
}

var tongues = []string{"en-GB,en;q=0.9", "en-US,en;q=0.5", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "fr-FR,fr;q=0.9,en;q=0.8", "ja,en-US;q=0.7,en;q=0.3", "pl,en;q=0.8", "tr-TR,tr;q=0.9"}

const (
	page     = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
	pageFF   = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	picture  = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

// dest is what Sec-Fetch-Mode and Sec-Fetch-Dest say, and Accept.
func dest(p purpose, document string) (mode, dest, accept string) {
	switch p {
	case asset:
		return "no-cors", "image", picture
	case call:
		return "cors", "empty", "application/json, text/plain, */*"
	}
	return "navigate", "document", document
}

// chromium are the fields of Chrome and its kin, in their order.
func chromium(s *source, a *agent, p purpose) []gate.Field {
	version := s.between(a.major[0], a.major[1])
	mode, dest, accept := dest(p, page)
	f := []gate.Field{{Name: "Host", Value: Host}, {Name: "Connection", Value: "keep-alive"}}
	if p == document && s.chance(40) {
		f = append(f, gate.Field{Name: "Cache-Control", Value: "max-age=0"})
	}
	mobile := "?0"
	if a.mobile {
		mobile = "?1"
	}
	f = append(f,
		gate.Field{Name: "sec-ch-ua", Value: fmt.Sprintf(`"Chromium";v="%d", "%s";v="%d", "Not=A?Brand";v="24"`, version, a.brand, version)},
		gate.Field{Name: "sec-ch-ua-mobile", Value: mobile}, gate.Field{Name: "sec-ch-ua-platform", Value: `"` + a.system + `"`})
	if mode == "navigate" {
		f = append(f, gate.Field{Name: "Upgrade-Insecure-Requests", Value: "1"})
	}
	f = append(f, gate.Field{Name: "User-Agent", Value: fmt.Sprintf(a.name, version)}, gate.Field{Name: "Accept", Value: accept},
		gate.Field{Name: "Sec-Fetch-Site", Value: "same-origin"}, gate.Field{Name: "Sec-Fetch-Mode", Value: mode})
	if mode == "navigate" {
		f = append(f, gate.Field{Name: "Sec-Fetch-User", Value: "?1"})
	}
	return append(f, gate.Field{Name: "Sec-Fetch-Dest", Value: dest}, gate.Field{Name: "Referer", Value: s.referer()},
		gate.Field{Name: "Accept-Encoding", Value: "gzip, deflate, br, zstd"}, gate.Field{Name: "Accept-Language", Value: pick(s, tongues)},
		gate.Field{Name: "Cookie", Value: s.cookies()})
}

// gecko are the fields of Firefox.
func gecko(s *source, a *agent, p purpose) []gate.Field {
	mode, dest, accept := dest(p, pageFF)
	f := []gate.Field{{Name: "Host", Value: Host}, {Name: "User-Agent", Value: fmt.Sprintf(a.name, s.between(a.major[0], a.major[1]))},
		{Name: "Accept", Value: accept}, {Name: "Accept-Language", Value: pick(s, tongues)}, {Name: "Accept-Encoding", Value: "gzip, deflate, br, zstd"},
		{Name: "Connection", Value: "keep-alive"}, {Name: "Referer", Value: s.referer()}, {Name: "Cookie", Value: s.cookies()}}
	if mode == "navigate" {
		f = append(f, gate.Field{Name: "Upgrade-Insecure-Requests", Value: "1"})
	}
	f = append(f, gate.Field{Name: "Sec-Fetch-Dest", Value: dest}, gate.Field{Name: "Sec-Fetch-Mode", Value: mode}, gate.Field{Name: "Sec-Fetch-Site", Value: "same-origin"})
	if mode == "navigate" {
		f = append(f, gate.Field{Name: "Sec-Fetch-User", Value: "?1"})
	}
	return append(f, gate.Field{Name: "Priority", Value: "u=0, i"})
}

// webkit are the fields of Safari.
func webkit(s *source, a *agent, p purpose) []gate.Field {
	mode, dest, accept := dest(p, pageFF)
	return []gate.Field{{Name: "Host", Value: Host}, {Name: "Accept", Value: accept}, {Name: "Sec-Fetch-Site", Value: "same-origin"}, {Name: "Cookie", Value: s.cookies()},
		{Name: "Sec-Fetch-Dest", Value: dest}, {Name: "Accept-Language", Value: pick(s, tongues)}, {Name: "Sec-Fetch-Mode", Value: mode},
		{Name: "User-Agent", Value: fmt.Sprintf(a.name, s.between(a.major[0], a.major[1]))}, {Name: "Referer", Value: s.referer()},
		{Name: "Accept-Encoding", Value: "gzip, deflate, br"}, {Name: "Connection", Value: "keep-alive"}}
}

// browser are the fields of a browser that asks for something.
func (s *source) browser(p purpose) []gate.Field {
	a := &agents[s.IntN(len(agents))]
	return a.headers(s, a, p)
}

// app are the fields of a mobile application or a script that calls an API.
func (s *source) app() []gate.Field {
	f := []gate.Field{{Name: "Host", Value: Host}}
	switch s.IntN(4) {
	case 0:
		f = append(f, gate.Field{Name: "User-Agent", Value: fmt.Sprintf("okhttp/4.%d.0", s.between(9, 12))}, gate.Field{Name: "Accept", Value: jsonType})
	case 1:
		f = append(f, gate.Field{Name: "User-Agent", Value: fmt.Sprintf("ShopApp/%d CFNetwork/1568.%d.1 Darwin/24.%d.0", s.between(100, 900), s.between(100, 300), s.between(0, 5))},
			gate.Field{Name: "Accept", Value: "*/*"}, gate.Field{Name: "Accept-Language", Value: pick(s, tongues)})
	case 2:
		f = append(f, gate.Field{Name: "User-Agent", Value: fmt.Sprintf("Shop/%d.%d (Android %d; Pixel 8; sdk %d)", s.between(2, 9), s.between(0, 30), s.between(11, 16), s.between(30, 36))},
			gate.Field{Name: "Accept", Value: "application/json, */*"}, gate.Field{Name: "X-Device-Id", Value: s.uuid()})
	default:
		f = append(f, gate.Field{Name: "User-Agent", Value: fmt.Sprintf("curl/8.%d.0", s.between(1, 16))}, gate.Field{Name: "Accept", Value: "*/*"})
	}
	if s.chance(60) {
		f = append(f, gate.Field{Name: "Authorization", Value: "Bearer " + s.jwt()})
	}
	return append(f, gate.Field{Name: "Accept-Encoding", Value: "gzip"})
}

// referer is the page that a request comes from.
func (s *source) referer() string {
	base := "https://" + Host + "/"
	switch s.IntN(5) {
	case 0:
		return base
	case 1:
		return base + "search?q=" + escape(s.query()) + "&page=" + s.digits(1)
	case 2:
		return "https://www.search.example/"
	}
	return base + pick(s, sections) + "/" + s.slug()
}

// cookies are what a site and its measuring have left in a browser.
func (s *source) cookies() string {
	c := []string{
		fmt.Sprintf("_ga=GA1.1.%s.%d", s.digits(9), s.unix()),
		fmt.Sprintf("_ga_%s=GS1.1.%d.%d.1.%d.%d.0.0", strings.ToUpper(s.hex(10)), s.unix(), s.between(1, 40), s.unix(), s.between(0, 59)),
	}
	switch s.IntN(3) {
	case 0:
		c = append(c, "sid="+s.base64url(32))
	case 1:
		c = append(c, "session="+s.jwt())
	default:
		c = append(c, "PHPSESSID="+s.hex(26), "XSRF-TOKEN="+s.base64url(40))
	}
	for _, more := range []string{
		"cart=" + s.digits(6), "theme=" + pick(s, []string{"dark", "light"}), "lang=" + pick(s, []string{"en", "de", "fr", "ja", "pt-BR"}),
		"consent=" + s.base64url(24), fmt.Sprintf("_fbp=fb.1.%d%s.%s", s.unix(), s.digits(3), s.digits(10)), "seen=" + s.digits(2) + "." + s.digits(3),
	} {
		if s.chance(50) {
			c = append(c, more)
		}
	}
	s.Shuffle(len(c), func(i, j int) { c[i], c[j] = c[j], c[i] })
	return strings.Join(c, "; ")
}
