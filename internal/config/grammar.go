package config

import (
	"fmt"
	"strings"

	"sallyport/internal/gate"
)

const nameHint = "use letters, digits, dot, dash and underscore, at most 64 of them"

// isName tells whether s can name a route, a pool, a policy, a limit or a
// backend: names appear in records, metrics and paths of keys.
func isName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(c rune) bool {
		return !isAlnum(c) && c != '.' && c != '-' && c != '_'
	})
}

func isAlnum(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isDigits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}

func isControl(c rune) bool { return c < ' ' || c >= 0x7f && c <= 0x9f }

// isToken tells whether s is a token (RFC 9110 section 5.6.2), as field names
// and methods are.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !isAlnum(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}

// isVariable tells whether s can be the name of an environment variable.
func isVariable(s string) bool {
	return s != "" && !isDigits(s[:1]) && !strings.ContainsFunc(s, func(c rune) bool { return !isAlnum(c) && c != '_' })
}

func parseName(s string) (string, error) {
	if !isName(s) {
		return "", &problem{fmt.Sprintf("bad name %q", s), nameHint}
	}
	return s, nil
}

// parseMethod accepts a method that the gateway may forward.
func parseMethod(s string) (string, error) {
	switch {
	case !isToken(s) || len(s) > 32:
		return "", &problem{fmt.Sprintf("bad method %q", s), ""}
	case s == "CONNECT" || s == "TRACE":
		return "", &problem{s + " is never forwarded", "remove it"}
	case s != strings.ToUpper(s):
		return "", &problem{fmt.Sprintf("bad method %q", s), fmt.Sprintf("methods are upper case; did you mean %s?", strings.ToUpper(s))}
	}
	return s, nil
}

// parseField accepts the name of a header field.
func parseField(s string) (string, error) {
	if !isToken(s) {
		return "", &problem{fmt.Sprintf("bad field name %q", s), "write a name such as X-Request-Id, without a colon"}
	}
	return s, nil
}

// parseWaiver accepts a reason that may be let pass: only those of the hygiene
// class are.
func parseWaiver(s string) (gate.Reason, error) {
	return parseHygiene(s, "%s cannot be waived: its class is %s")
}

// parseRefusal accepts a reason whose refusal may be asked for, likewise.
func parseRefusal(s string) (gate.Reason, error) {
	return parseHygiene(s, "%s cannot be asked for: its class is %s")
}

// parseHygiene accepts a reason of the hygiene class. What is said of another
// one is given as a format for it and its class.
func parseHygiene(s, other string) (gate.Reason, error) {
	var open []string
	for _, info := range gate.Reasons() {
		if info.Class == gate.ClassHygiene {
			open = append(open, string(info.Reason))
		}
		if string(info.Reason) != s {
			continue
		}
		if info.Class == gate.ClassHygiene {
			return info.Reason, nil
		}
		return "", &problem{fmt.Sprintf(other, s, info.Class), "only hygiene reasons can: see docs/reasons.md"}
	}
	hint := didYouMean(s, open)
	if hint == "" {
		hint = "see docs/reasons.md"
	}
	return "", &problem{fmt.Sprintf("no such reason %q", s), hint}
}

// parseMaskField accepts the name of a response field that may be dropped. The
// fields that frame an answer may not.
func parseMaskField(s string) (string, error) {
	switch strings.ToLower(s) {
	case "connection", "content-length", "content-type", "content-encoding", "transfer-encoding", "trailer", "upgrade":
		return "", &problem{fmt.Sprintf("field %s cannot be removed: clients could not read the answer", s), ""}
	}
	return parseField(s)
}

// parseText accepts any text but none at all.
func parseText(s string) (string, error) {
	if s == "" {
		return "", &problem{"an empty value", ""}
	}
	return s, nil
}
