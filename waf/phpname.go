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

// namedArguments are the parameters and cookies that rules name and that PHP
// may file others under, in lower case.
func namedArguments(sources []source) map[string]bool {
	named := map[string]bool{}
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
						named[key] = true
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
	if len(r.named) == 0 {
		return ""
	}
	if other := renamed(name); other != name && r.named[strings.ToLower(other)] {
		return other
	}
	return ""
}
