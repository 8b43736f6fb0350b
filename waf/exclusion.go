package waf

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/gate"
)

// An Exclusion keeps rules from judging: from looking at one target, or at
// all, for the requests that it names or for every one of its policy.
type Exclusion struct {
	// First and Last are the ids of the rules (rule), both included; the same
	// for one rule. 0 where Tag selects them.
	First, Last int
	// Tag selects the rules that carry it (tag).
	Tag string
	// Target is what they no longer look at (target). The zero Target is all:
	// the rules do not run.
	Target Target
	// Route is the name of the only route that it holds for (route). Empty:
	// every one.
	Route string
	// Path is a prefix of the paths that it holds for, on segment borders, or
	// "=/path" for one (path); canonical, as routes have them. Empty: every
	// one. It does not hold where a server that decodes once more than the
	// gateway might find another path.
	Path string
	// Methods are the methods that it holds for (methods). Empty: every one.
	Methods []string
	// Reason and Owner are for people (reason, owner).
	Reason, Owner string
	// Ends is when it ceases to hold (expires: the end of that day, UTC). The
	// zero time is never.
	Ends time.Time
	// At is where its fields were written, under their names; "" is the
	// exclusion as a whole.
	At map[string]gate.Diagnostic
}

// A Target is what a rule looks at: a variable, or one of its values.
type Target struct {
	Variable string // as SecLang calls it
	Key      string // of one value; empty: all of them
	// Pattern finds keys instead, whatever their case (RE2 syntax).
	Pattern string
}

// String writes the target as SecLang does.
func (t Target) String() string {
	switch {
	case t.Pattern != "":
		return t.Variable + ":/" + t.Pattern + "/"
	case t.Key != "":
		return t.Variable + ":" + t.Key
	}
	return t.Variable
}

// targets are the variables that clients and backends fill, and rules look
// at; true: they hold several values by name.
var targets = map[string]bool{
	"ARGS": true, "ARGS_GET": true, "ARGS_POST": true, "ARGS_NAMES": true, "ARGS_GET_NAMES": true, "ARGS_POST_NAMES": true,
	"REQUEST_COOKIES": true, "REQUEST_COOKIES_NAMES": true, "REQUEST_HEADERS": true, "REQUEST_HEADERS_NAMES": true,
	"MULTIPART_PART_HEADERS": true, "RESPONSE_HEADERS": true,
	"FILES": false, "FILES_NAMES": false, "XML": false, "QUERY_STRING": false, "REQUEST_BODY": false, "REQUEST_FILENAME": false, "REQUEST_BASENAME": false,
	"REQUEST_LINE": false, "REQUEST_URI": false, "REQUEST_URI_RAW": false, "RESPONSE_BODY": false,
}

const maxKey = 256 // bytes of a key or a pattern

// ParseTarget reads a target as rules and records write it: ARGS, ARGS:name or
// ARGS:/pattern/.
func ParseTarget(s string) (Target, error) {
	name, key, keyed := strings.Cut(s, ":")
	name = strings.ToUpper(name)
	if name == "REQUEST_XML" { // what the engine calls it in records
		name = "XML"
	}
	several, known := targets[name]
	switch {
	case !known:
		return Target{}, fmt.Errorf("%q is no variable that an exclusion can name; write one as a record shows it, such as ARGS:comment, REQUEST_COOKIES:id or REQUEST_HEADERS:Referer", name)
	case !keyed, name == "XML" && key == "/*":
		return Target{Variable: name}, nil
	case !several:
		return Target{}, fmt.Errorf("%s has no values by name; remove what follows the colon", name)
	case key == "":
		return Target{}, errors.New("no name after the colon; write one, or remove the colon")
	case len(key) > maxKey:
		return Target{}, fmt.Errorf("a name of more than %d bytes", maxKey)
	case strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return Target{}, errors.New("a control character in the name")
	}
	if key[0] != '/' || key[len(key)-1] != '/' || len(key) == 1 {
		return Target{Variable: name, Key: key}, nil
	}
	pattern := key[1 : len(key)-1]
	if pattern == "" {
		return Target{}, errors.New("an empty pattern")
	}
	if _, err := keyPattern(pattern); err != nil {
		return Target{}, fmt.Errorf("a pattern that does not compile: %w", err)
	}
	return Target{Variable: name, Pattern: pattern}, nil
}

// keyPattern compiles a pattern for keys, which the engine has in lower case.
func keyPattern(pattern string) (*regexp.Regexp, error) { return regexp.Compile("(?i)" + pattern) }

// ParseRules reads the id of a rule, or two with a dash between them.
func ParseRules(s string) (first, last int, err error) {
	bad := fmt.Errorf("bad rule %q; write an id such as 942100, or a range such as 942100-942199", s)
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	for _, digits := range []string{from, to} {
		if digits == "" || len(digits) > 9 || strings.Trim(digits, "0123456789") != "" || digits[0] == '0' {
			return 0, 0, bad
		}
	}
	first, _ = strconv.Atoi(from) // digits
	last, _ = strconv.Atoi(to)
	if first > last {
		return 0, 0, bad
	}
	return first, last, nil
}

var tagForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./+-]{0,99}$`)

// ParseTag reads the tag of rules.
func ParseTag(s string) (string, error) {
	if !tagForm.MatchString(s) {
		return "", fmt.Errorf("bad tag %q; write one as rules have it, such as attack-sqli", s)
	}
	return s, nil
}

// at is a diagnostic about one of its fields.
func (x *Exclusion) at(field, what, hint string) gate.Diagnostic {
	d, ok := x.At[field]
	if !ok {
		d = x.At[""]
	}
	d.What, d.Hint = what, hint
	return d
}

// rules names what it selects, for people.
func (x *Exclusion) rules() string {
	switch {
	case x.Tag != "":
		return "tag " + x.Tag
	case x.First == x.Last:
		return fmt.Sprintf("rule %d", x.First)
	}
	return fmt.Sprintf("rules %d-%d", x.First, x.Last)
}

// selects reports whether a rule is one of those that it names.
func (x *Exclusion) selects(e *entry) bool {
	if x.Tag != "" {
		return slices.Contains(e.tags(), x.Tag)
	}
	return x.First <= e.id && e.id <= x.Last
}

// validate refuses what ParseTarget and its like would not have made. What is
// handed to the engine as text has been through here.
func (x *Exclusion) validate() error {
	if x.Tag != "" {
		if _, err := ParseTag(x.Tag); err != nil {
			return err
		}
	} else if x.First < 1 || x.Last < x.First {
		return fmt.Errorf("no rules %d-%d", x.First, x.Last)
	}
	if x.Target == (Target{}) {
		return nil
	}
	again, err := ParseTarget(x.Target.String())
	if err == nil && again != x.Target {
		err = fmt.Errorf("bad target %q", x.Target)
	}
	return err
}

// holdsFor reports whether the request is one of those that it names.
func (x *Exclusion) holdsFor(req *gate.Request) bool {
	if x.Route != "" && (req.Route == nil || req.Route.Name != x.Route) || len(x.Methods) > 0 && !slices.Contains(x.Methods, req.Head.Method) {
		return false
	}
	return x.Path == "" || under(x.Path, req.Path)
}

// under reports whether the path is the one that the prefix names or lies
// below it, for whatever server reads it: one that decodes slashes before it
// resolves dot segments, or decodes twice, finds /admin in /search/..%2Fadmin.
func under(prefix, path string) bool {
	if exact, ok := strings.CutPrefix(prefix, "="); ok {
		return path == exact
	}
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		return false
	}
	for _, escape := range [...]string{"%2F", "%5C", "%25", `\`} {
		if strings.Contains(rest, escape) {
			return false
		}
	}
	return true
}
