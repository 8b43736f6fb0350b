package waf

import (
	"fmt"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// The ids of the rules that Sallyport ships.
const (
	firstOwnID = 88000000
	lastOwnID  = 88000999
)

// owned are the directives that belong to the configuration, each with what
// to use instead. A rule file that could set them could switch the firewall
// off, or write what clients send to a disk.
var owned = map[string]string{
	"secruleengine":                  "use policies.NAME.mode",
	"secrequestbodyaccess":           "use policies.NAME.request_body",
	"secrequestbodylimit":            "use policies.NAME.request_body.inspect",
	"secrequestbodynofileslimit":     "use policies.NAME.request_body.inspect",
	"secrequestbodyinmemorylimit":    "use policies.NAME.request_body.inspect; nothing is spilled to a disk",
	"secrequestbodylimitaction":      "use policies.NAME.request_body.over",
	"secrequestbodyjsondepthlimit":   "use policies.NAME.request_body.json_depth",
	"secresponsebodyaccess":          "use policies.NAME.response_body.inspect",
	"secresponsebodylimit":           "use policies.NAME.response_body.limit",
	"secresponsebodylimitaction":     "use policies.NAME.response_body.limit",
	"secresponsebodyjsondepthlimit":  "remove it; the depth is bounded",
	"secresponsebodymimetype":        "use policies.NAME.response_body.inspect",
	"secresponsebodymimetypesclear":  "use policies.NAME.response_body.inspect",
	"secargumentslimit":              "use policies.NAME.request_body.arguments",
	"secargumentseparator":           "remove it; the separator is &",
	"secauditengine":                 "use audit.log",
	"secauditlog":                    "use audit.path",
	"secauditlog2":                   "use audit.path",
	"secauditlogtype":                "use audit.path",
	"secauditlogformat":              "use audit.path",
	"secauditlogparts":               "use audit.log",
	"secauditlogstoragedir":          "use audit.path",
	"secauditlogdirmode":             "use audit.path",
	"secauditlogfilemode":            "use audit.path",
	"secauditlogrelevantstatus":      "use audit.log",
	"secdebuglog":                    "use log.level",
	"secdebugloglevel":               "use log.level",
	"secuploaddir":                   "remove it; uploads are never stored",
	"secuploadkeepfiles":             "remove it; uploads are never stored",
	"secuploadfilemode":              "remove it; uploads are never stored",
	"secuploadfilelimit":             "remove it; uploads are never stored",
	"sectmpdir":                      "remove it; nothing is written to a disk",
	"secdatadir":                     "remove it; nothing is written to a disk",
	"secignorerulecompilationerrors": "remove it; a rule that does not compile keeps the gateway from starting",
	"secrxprefilter":                 "remove it; it makes rules miss what they are there for",
	"secdefaultaction":               "write the action into each rule; the default is \"log,auditlog,pass\" in every phase",
	"secremoterules":                 "copy the rules into a file",
	"secremoterulesfailaction":       "copy the rules into a file",
	"secserversignature":             "use mask; Server is never passed on",
	"seccollectiontimeout":           "use limits; there are no persistent collections",
}

// ignored are the directives that the engine accepts and does nothing with.
var ignored = map[string]bool{
	"seccookieformat": true, "secunicodemap": true, "secrulescript": true, "secruleperftime": true,
	"secruleupdatetargetbymsg": true, "secconnengine": true, "secconnreadstatelimit": true, "secconnwritestatelimit": true,
	"secpcrematchlimit": true, "secpcrematchlimitrecursion": true, "sechttpblkey": true, "secgsblookupdb": true,
	"sechashengine": true, "sechashkey": true, "sechashparam": true, "sechashmethodrx": true, "sechashmethodpm": true,
	"secwebappid": true, "secsensorid": true,
}

// plain are the directives that rule files are made of.
var plain = map[string]bool{
	"secrule": true, "secaction": true, "secmarker": true, "seccomponentsignature": true, "secdataset": true,
	"secruleremovebyid": true, "secruleremovebytag": true,
	"secruleupdatetargetbyid": true, "secruleupdatetargetbytag": true, "secruleupdateactionbyid": true,
}

// ownedControls are the run-time switches that belong to the configuration,
// in lower case.
var ownedControls = map[string]string{
	"ruleengine":                "give the requests a route of their own, with a policy in another mode",
	"requestbodyaccess":         "give the requests a route of their own, with another policy",
	"requestbodylimit":          "use policies.NAME.request_body.inspect",
	"responsebodyaccess":        "use policies.NAME.response_body.inspect",
	"responsebodylimit":         "use policies.NAME.response_body.limit",
	"responsebodyprocessor":     "use policies.NAME.response_body.inspect",
	"forceresponsebodyvariable": "use policies.NAME.response_body.inspect",
	"auditengine":               "use audit.log",
	"auditlogparts":             "use audit.log",
	"debugloglevel":             "use log.level",
	"hashengine":                "remove it; the engine does nothing with it",
	"hashenforcement":           "remove it; the engine does nothing with it",
}

// ownedActions are actions that the engine accepts and does not carry out.
var ownedActions = map[string]string{
	"initcol":   "there are no persistent collections; use limits",
	"expirevar": "there are no persistent collections; use limits",
	"exec":      "remove it; no program is run",
	"setenv":    "remove it; the environment is not changed",
}

// ownedOperators are operators that do not belong on the path of a request.
var ownedOperators = map[string]string{
	"inspectfile": "no program is run for a request, and no upload is stored",
	"rbl":         "no name server is asked for a request; use geo.deny",
	"geolookup":   "use geo and its country and ASN databases",
}

// check judges one directive of an operator's file by itself. core says that
// the file is one of a Core Rule Set.
func check(d directive, core bool) gate.Diagnostics {
	if hint, ok := owned[d.name]; ok {
		return gate.Diagnostics{d.at("the configuration owns "+firstWord(d.raw), hint)}
	}
	if d.name == "secruleremovebymsg" { // it panics on the first rule without a message
		return gate.Diagnostics{d.at("the engine cannot remove rules by their message", "remove them by id or by tag")}
	}
	if ignored[d.name] {
		w := d.at("the engine does nothing with "+firstWord(d.raw), "remove it")
		w.Warning = true
		return gate.Diagnostics{w}
	}
	if !plain[d.name] {
		return gate.Diagnostics{d.at(fmt.Sprintf("unknown directive %q", firstWord(d.raw)), "")}
	}
	if d.name != "secrule" && d.name != "secaction" && d.name != "secruleupdateactionbyid" {
		return nil
	}
	return checkRule(d, core)
}

// checkRule judges the operator and the actions of a rule.
func checkRule(d directive, core bool) gate.Diagnostics {
	var diags gate.Diagnostics
	r := parseRule(d)
	if d.name == "secruleupdateactionbyid" {
		_, list, _ := strings.Cut(strings.TrimSpace(d.args), " ")
		r = rule{actions: parseActions(unquote(strings.TrimSpace(list)))}
	}
	if hint, ok := ownedOperators[strings.ToLower(r.operator)]; ok {
		diags = append(diags, d.at("the operator @"+r.operator+" is not available", hint))
	}
	for _, a := range r.actions {
		if core && harmless(a) {
			continue
		}
		if hint, ok := ownedActions[a.name]; ok {
			diags = append(diags, d.at("the action "+a.name+" is not available", hint))
		}
		switch a.name {
		case "noauditlog":
			if !core {
				w := d.at("noauditlog does nothing: the gateway writes its own audit record", "remove it; audit.log says which requests are recorded")
				w.Warning = true
				diags = append(diags, w)
			}
		case "ctl":
			diags = append(diags, checkControl(d, a.value)...)
		case "setvar":
			if name, _, _ := strings.Cut(a.value, "="); name+"=" == a.value {
				diags = append(diags, d.at("setvar:"+a.value+" has no value", "write one, or setvar:!"+strings.TrimPrefix(name, "!")+" to remove the variable"))
			}
		case "t":
			if a.value != "none" && strings.EqualFold(a.value, "none") {
				w := d.at("t:"+a.value+" takes no transformation out: the engine knows none in lower case only", "write t:none")
				w.Warning = true
				diags = append(diags, w)
			}
		case "status":
			if n, err := strconv.Atoi(a.value); err != nil || n < 200 || n > 599 {
				diags = append(diags, d.at(fmt.Sprintf("status %q is not a final HTTP status", a.value), "use a number from 200 to 599"))
			}
		case "redirect":
			if strings.ContainsAny(a.value, "\r\n\x00") || strings.Contains(a.value, "%{") {
				diags = append(diags, d.at("the target of a redirect is taken as it is written", "write a plain URL or path without macros"))
			}
		}
	}
	if r.phase() == phaseLogging {
		for _, a := range r.actions {
			if a.name == "deny" || a.name == "drop" || a.name == "redirect" {
				w := d.at("a rule of phase 5 refuses nothing: the answer has been sent by then", "write it for an earlier phase, or pass")
				w.Warning = true
				diags = append(diags, w)
			}
		}
	}
	if strings.Count(strings.ReplaceAll(r.list, `\'`, ""), "'")%2 == 1 {
		diags = append(diags, d.at("a quote in the actions is not closed", "write another ' at its end, or \\' for one that is meant"))
	}
	return diags
}

// checkControl judges one ctl action.
func checkControl(d directive, value string) gate.Diagnostics {
	name, to, _ := strings.Cut(value, "=")
	if hint, ok := ownedControls[strings.ToLower(strings.TrimSpace(name))]; ok {
		return gate.Diagnostics{d.at("the configuration owns ctl:"+name, hint)}
	}
	if strings.EqualFold(name, "requestBodyProcessor") {
		if _, ok := kinds[strings.ToUpper(to)]; !ok {
			return gate.Diagnostics{d.at(fmt.Sprintf("unknown body processor %q", to), "use URLENCODED, MULTIPART, JSON, XML or RAW")}
		}
	}
	return nil
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}
