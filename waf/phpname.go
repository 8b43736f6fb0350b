package waf

import "strings"

// PHP files a parameter under another name than the one that was sent: without
// the spaces before it, up to a NUL, with an underscore for a dot, a space and
// a bracket that is not closed. A rule that is written for $_GET["user_id"]
// would never see ?user.id=1. So where rules name parameters, what is sent
// under any name that PHP turns into one of theirs is shown under theirs too.

// renamed is the name under which PHP files a parameter or cookie; the same
// unless there is something to change.
func renamed(name string) string {
	if !strings.ContainsAny(name, " .[\x00") {
		return name
	}
	name, _, _ = strings.Cut(strings.TrimLeft(name, " "), "\x00")
	base, keys := name, ""
	if at := strings.IndexByte(name, '['); at > 0 && strings.IndexByte(name[at:], ']') > 0 {
		base, keys = name[:at], name[at:]
	}
	return underscores.Replace(base) + keys
}

var underscores = strings.NewReplacer(" ", "_", ".", "_", "[", "_")

// argumentNames are names of parameters and cookies, in lower case.
type argumentNames struct {
	known   map[string]bool
	lengths uint64 // a bit for each length that some have, the last for all from there on
}

// add adds a name, which is in lower case.
func (a *argumentNames) add(name string) {
	if a.known == nil {
		a.known = map[string]bool{}
	}
	a.known[name] = true
	a.lengths |= lengthBit(len(name))
}

func lengthBit(n int) uint64 { return 1 << min(n, 63) }

// namedArguments are the parameters and cookies that rules name and that PHP
// may file others under.
func namedArguments(sources []source) (named argumentNames) {
	for _, s := range sources {
		for _, d := range s.directives {
			if d.name != "secrule" {
				continue
			}
			for variable := range strings.SplitSeq(parseRule(d).variables, "|") {
				collection, key, _ := strings.Cut(variable, ":")
				switch strings.ToUpper(strings.TrimLeft(collection, "&")) {
				case "ARGS", "ARGS_GET", "ARGS_POST", "REQUEST_COOKIES":
					if key = strings.ToLower(strings.Trim(key, "'")); key != "" && key[0] != '/' {
						named.add(key)
					}
				}
			}
		}
	}
	return named
}

// alias returns the name that rules have for what is sent under another one;
// empty when they have none.
func (r *ruleset) alias(name string) string {
	if r.named.lengths == 0 {
		return ""
	}
	var effects uint8
	for i := range len(name) {
		effects |= namings[name[i]]
	}
	if effects&renames == 0 {
		return ""
	}
	if effects&foreign == 0 { // else it may be longer in lower case
		filed := strings.TrimLeft(name, " ")
		if end := strings.IndexByte(filed, 0); end >= 0 {
			filed = filed[:end]
		}
		if r.named.lengths&lengthBit(len(filed)) == 0 {
			return ""
		}
	}
	if other := renamed(name); other != name && r.named.known[strings.ToLower(other)] {
		return other
	}
	return ""
}

// What bytes do to a name that has them.
const (
	renames = 1 << iota // PHP may file it under another
	foreign             // its case is not that of ASCII
)

// namings are the effects of each byte.
var namings = func() (n [256]uint8) {
	for _, c := range " .[\x00" {
		n[c] = renames
	}
	for c := 0x80; c < len(n); c++ {
		n[c] = foreign
	}
	return n
}()
