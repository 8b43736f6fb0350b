package waf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// variableWords say what the variables hold that rules look at.
var variableWords = map[string]string{
	"ARGS": "parameters, of the query and the body", "ARGS_GET": "parameters of the query", "ARGS_POST": "parameters of the body",
	"ARGS_NAMES": "names of parameters", "ARGS_GET_NAMES": "names of parameters of the query", "ARGS_POST_NAMES": "names of parameters of the body",
	"ARGS_COMBINED_SIZE": "bytes of all parameters together",
	"REQUEST_COOKIES":    "cookies", "REQUEST_COOKIES_NAMES": "names of cookies", "REQUEST_HEADERS": "header fields of the request", "REQUEST_HEADERS_NAMES": "names of header fields",
	"REQUEST_FILENAME": "the path", "REQUEST_BASENAME": "the last part of the path", "REQUEST_URI": "path and query", "REQUEST_URI_RAW": "the target as it was sent",
	"REQUEST_LINE": "the request line", "REQUEST_METHOD": "the method", "REQUEST_PROTOCOL": "the version of HTTP", "QUERY_STRING": "the query as it was sent",
	"REQUEST_BODY": "the body as text", "REQUEST_BODY_LENGTH": "the length of the body", "XML": "text and attributes of an XML body", "REQUEST_XML": "text and attributes of an XML body",
	"FILES": "names of uploaded files", "FILES_NAMES": "names of file fields", "FILES_COMBINED_SIZE": "bytes of all files together", "MULTIPART_PART_HEADERS": "header lines of the parts of a form",
	"REQBODY_ERROR": "whether the body could not be read", "MULTIPART_STRICT_ERROR": "whether a form broke the rules of its format", "REQBODY_PROCESSOR": "how the body is read",
	"REMOTE_ADDR": "the address of the client", "RESPONSE_BODY": "the body of the response", "RESPONSE_HEADERS": "header fields of the response", "RESPONSE_STATUS": "the status of the response",
	"TX": "what earlier rules noted down", "MATCHED_VAR": "the value that matched before", "MATCHED_VARS": "the values that matched before", "MATCHED_VARS_NAMES": "where they were found", "MATCHED_VAR_NAME": "where it was found",
	"UNIQUE_ID": "the id of the request", "DURATION": "the time since the request came",
}

// operatorWords continue "matches when one of them …", with the argument after
// them, or without one.
var operatorWords = map[string]string{
	"rx": "fits the pattern", "pm": "has one of the words, in any case:", "pmfromfile": "has one of the words, in any case, of the list", "pmf": "has one of the words, in any case, of the list",
	"pmfromdataset": "has one of the words, in any case, of the data set", "contains": "contains", "containsword": "contains the word", "strmatch": "contains", "streq": "is", "beginswith": "begins with",
	"endswith": "ends with", "within": "is a part of", "eq": "is the number", "ge": "is at least", "gt": "is more than", "le": "is at most", "lt": "is less than",
	"detectsqli": "looks like SQL to libinjection", "detectxss": "looks like a script to libinjection", "ipmatch": "is one of the addresses", "ipmatchfromfile": "is one of the addresses of the list", "ipmatchf": "is one of the addresses of the list",
	"validatebyterange": "has a byte outside", "validateurlencoding": "has a broken percent escape", "validateutf8encoding": "is not UTF-8",
	"unconditionalmatch": "is there, whatever it holds", "nomatch": "never does", "restpath": "is a path of the form", "validatenid": "is a national number of", "validateschema": "breaks the schema",
}

// Explain tells in words what the rule of a policy does, and how to keep it
// from one thing that it must not look at.
func (r *RuleInfo) Explain(policy string, p Policy) string {
	var b strings.Builder
	fmt.Fprintf(&b, "rule %d: %s\n", r.ID, cmp.Or(r.Message, "no message"))
	fmt.Fprintf(&b, "%s:%d, %s", r.File, r.Line, phaseWords[min(max(r.Phase, 1), 5)])
	if r.Severity != "" {
		fmt.Fprintf(&b, ", severity %s", r.Severity)
	}
	if r.Paranoia > 0 {
		fmt.Fprintf(&b, ", paranoia level %d", r.Paranoia)
	}
	b.WriteByte('\n')
	if len(r.Tags) > 0 {
		fmt.Fprintf(&b, "tags: %s\n", strings.Join(r.Tags, ", "))
	}
	for _, line := range r.state(policy, p) {
		b.WriteString(line + "\n")
	}
	for i, l := range r.Links {
		b.WriteByte('\n')
		if i > 0 {
			b.WriteString("and then, of the same request:\n")
		}
		l.explain(&b)
	}
	fmt.Fprintf(&b, "\nOn a match: %s.\n", r.effect(policy, p))
	r.advise(&b, policy, p)
	b.WriteString("\nSource:\n")
	for _, l := range r.Links {
		fmt.Fprintf(&b, "\n# %s:%d\n%s\n", r.File, l.Line, l.Source)
	}
	return b.String()
}

var phaseWords = [...]string{1: "phase 1 (the head of the request)", 2: "phase 2 (the whole request)", 3: "phase 3 (the head of the response)", 4: "phase 4 (the whole response)", 5: "phase 5 (after the answer)"}

// state tells whether the rule runs under the policy, and what was taken from
// it.
func (r *RuleInfo) state(policy string, p Policy) []string {
	var out []string
	switch detects := max(p.Paranoia, p.DetectionParanoia); {
	case r.Removed != "":
		out = append(out, fmt.Sprintf("It does not run in policy %s: %s removes it.", policy, r.Removed))
	case r.Paranoia > detects:
		out = append(out, fmt.Sprintf("It does not run in policy %s, whose paranoia is %d.", policy, detects))
	case r.Paranoia > p.Paranoia:
		out = append(out, fmt.Sprintf("It runs in policy %s and scores nothing there: paranoia is %d, detection_paranoia %d.", policy, p.Paranoia, detects))
	}
	for _, at := range r.Changed {
		out = append(out, at+" changes it.")
	}
	for _, x := range r.Excluded {
		out = append(out, "excluded by "+x)
	}
	if r.Unproven != "" {
		out = append(out, fmt.Sprintf("It keeps requests of policy %s from being proven: %s.", policy, r.Unproven))
	}
	return out
}

// explain writes what one link looks at and when it matches.
func (l LinkInfo) explain(b *strings.Builder) {
	if len(l.Variables) == 0 {
		b.WriteString("It looks at nothing and always matches.\n")
		return
	}
	b.WriteString("It looks at\n")
	for _, v := range l.Variables {
		name, key, _ := strings.Cut(strings.TrimLeft(v, "&!"), ":")
		words := cmp.Or(variableWords[name], "see the manual of SecLang")
		if key != "" && key != "/*" {
			words += ", of them " + key
		}
		if strings.HasPrefix(v, "!") {
			words = "but not this one"
		} else if strings.HasPrefix(v, "&") {
			words = "how many there are of: " + words
		}
		fmt.Fprintf(b, "  %-32s %s\n", v, words)
	}
	if len(l.Transformations) > 0 {
		fmt.Fprintf(b, "decodes each value first (%s)\n", strings.Join(l.Transformations, ", "))
	}
	does := cmp.Or(operatorWords[strings.ToLower(l.Operator)], "matches @"+l.Operator)
	if l.Argument != "" {
		does += " " + l.Argument
	}
	if l.Negated {
		does = "does not do this: " + does
	}
	fmt.Fprintf(b, "and matches when one of them %s\n", does)
}

// effect tells what a match comes to.
func (r *RuleInfo) effect(policy string, p Policy) string {
	var out []string
	if r.Score > 0 {
		of, key, threshold := "the request", "inbound_threshold", p.InboundThreshold
		if r.Phase >= 3 {
			of, key, threshold = "the response", "outbound_threshold", p.OutboundThreshold
		}
		if r.Paranoia > p.Paranoia {
			out = append(out, "it is recorded")
		} else {
			out = append(out, fmt.Sprintf("%d points to the score of %s, which is refused at %d (policies.%s.%s)", r.Score, of, threshold, policy, key))
		}
	}
	switch r.Decision {
	case "deny", "drop":
		out = append(out, "it is refused at once")
	case "redirect":
		out = append(out, "the client is sent elsewhere")
	case "allow":
		out = append(out, "the rules below are skipped")
	}
	if len(out) == 0 {
		return "nothing is decided; it notes something down for other rules, or for the record"
	}
	return strings.Join(out, ", and ")
}

// advise writes an exclusion to begin with.
func (r *RuleInfo) advise(b *strings.Builder, policy string, p Policy) {
	if what := machinery(r.ID); what != "" {
		fmt.Fprintf(b, "\nIt cannot be excluded: %s.\n", what)
		return
	}
	fmt.Fprintf(b, "\nTo let one thing past it, put this into a file of policies.%s.exclusions, with the variable that the\nrecord names as the target, and what of route, path and methods fits:\n\n", policy)
	fmt.Fprintf(b, "exclusions:\n  - rule: %d\n", r.ID)
	if target := r.target(); target != "" {
		fmt.Fprintf(b, "    target: %s\n", target)
	}
	if len(p.Routes) > 0 {
		fmt.Fprintf(b, "    route: %s\n", p.Routes[0])
	}
	b.WriteString("    path: /where/it/happens\n    methods: [GET, POST]\n    reason: what it takes for an attack, and why it is none\n    owner: who is asked about it\n")
	fmt.Fprintf(b, "    expires: %s\n", time.Now().AddDate(0, 3, 0).UTC().Format(time.DateOnly))
}

// target is one that an exclusion of the rule may name: a parameter where it
// looks at any.
func (r *RuleInfo) target() string {
	var found []string
	for _, l := range r.Links {
		for _, v := range l.Variables {
			name, key, _ := strings.Cut(v, ":")
			several, known := targets[name]
			switch {
			case !known: // counted, excepted or none of the client's
			case key != "" && !strings.HasPrefix(key, "/") && several:
				found = append(found, v)
			case several:
				found = append(found, name+":NAME")
			default:
				found = append(found, name)
			}
		}
	}
	switch {
	case slices.Contains(found, "ARGS:NAME"):
		return "ARGS:NAME"
	case len(found) > 0:
		return found[0]
	}
	return ""
}
