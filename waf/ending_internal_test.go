package waf

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// TestTheHeadIsHandedOnAsReceived holds what rules see of a head: the target
// that the backend gets byte for byte, every field line in its order, and the
// fields that net/http keeps for itself.
func TestTheHeadIsHandedOnAsReceived(t *testing.T) {
	c := call{method: "POST", target: "/a%2Fb//c;d=e?x=%41+1&&=;y=%zz", body: "a=b", chunked: true, client: "2001:db8::7", fields: []gate.Field{
		{Name: "hOST", Value: "shop.example.org"}, {Name: "X-A", Value: "1"}, {Name: "Transfer-Encoding", Value: "chunked"},
		{Name: "x-a", Value: " 2\t"}, {Name: "X-A", Value: "1"}, {Name: "Content-Type", Value: formType}, {Name: "Connection", Value: "keep-alive"}}}
	_, tx, v := begin(miniature(t, gate.Enforce, hiding), c)
	defer tx.Close()
	vars := tx.run.tx.Variables()
	for name, got := range map[string][2]string{
		"REQUEST_URI_RAW":  {vars.RequestURIRaw().Get(), c.target},
		"REQUEST_URI":      {vars.RequestURI().Get(), c.target},
		"REQUEST_LINE":     {vars.RequestLine().Get(), "POST " + c.target + " HTTP/1.1"},
		"REQUEST_METHOD":   {vars.RequestMethod().Get(), "POST"},
		"REQUEST_PROTOCOL": {vars.RequestProtocol().Get(), "HTTP/1.1"},
		"QUERY_STRING":     {vars.QueryString().Get(), "x=%41+1&&=;y=%zz"},
		"REMOTE_ADDR":      {vars.RemoteAddr().Get(), "2001:db8::7"},
		"SERVER_NAME":      {vars.ServerName().Get(), "shop.example.org"},
		"ARGS_GET:x":       {strings.Join(vars.ArgsGet().Get("x"), "|"), "A 1"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s = %q, want %q", name, got[0], got[1])
		}
	}
	for name, want := range map[string][]string{
		"host": {"shop.example.org"}, "transfer-encoding": {"chunked"}, "x-a": {"1", " 2\t", "1"}, "connection": {"keep-alive"}, "content-type": {formType},
	} {
		if got := vars.RequestHeaders().Get(name); !slices.Equal(got, want) {
			t.Errorf("REQUEST_HEADERS:%s = %q, want %q", name, got, want)
		}
	}
	if !v.Passed() {
		t.Errorf("it is refused: %v", v)
	}
}

// TestEveryEndIsLogged runs phase 5, where a rule may log, however a request
// ends, and gives back what was held.
func TestEveryEndIsLogged(t *testing.T) {
	const rules = `
SecRule ARGS:do "@streq deny1" "id:1,phase:1,deny"
SecRule ARGS:do "@streq deny2" "id:2,phase:2,deny"
SecRule ARGS:do "@streq deny3" "id:3,phase:3,deny"
SecRule ARGS:do "@streq deny4" "id:4,phase:4,deny"
SecRule ARGS:do "@streq drop" "id:5,phase:2,drop"
SecRule ARGS:do "@streq redirect" "id:6,phase:1,redirect:/sorry"
SecRule ARGS:do "@streq allow" "id:7,phase:1,allow,nolog"
SecAction "id:9,phase:5,pass,log,msg:'the end'"
`
	long := strings.Repeat("x", 1<<20)
	cut := post(formType, "")
	cut.source = failing{errors.New("reset")}
	with := func(c call, do string) call { c.target = "/?do=" + do; return c }
	for _, mode := range []gate.Mode{gate.Enforce, gate.Watch} {
		e := miniature(t, mode, rules)
		ended := func(name string, in gate.Inspection) {
			t.Helper()
			if !slices.ContainsFunc(in.Hits, func(h gate.RuleHit) bool { return h.Rule == 9 }) {
				t.Errorf("%s, %s: phase 5 did not run: %+v", mode, name, in.Hits)
			}
			if n := e.Held(); n != 0 {
				t.Errorf("%s, %s: %d bytes are held", mode, name, n)
			}
		}
		for name, c := range map[string]call{
			"a pass": get("/"), "deny in phase 1": get("/?do=deny1"), "deny in phase 2": with(post(formType, "a=b"), "deny2"),
			"deny in phase 3": get("/?do=deny3"), "deny in phase 4": get("/?do=deny4"), "drop": get("/?do=drop"), "redirect": get("/?do=redirect"),
			"allow": with(post(formType, "a=b"), "allow"), "a body too large": post(formType, long), "a body that cannot be read": post("application/json", "{"),
			"a body that breaks off": cut, "an upload": multi(file("f", "a.txt", long) + last), "an upload that breaks": multi(file("f", "a.txt", long)),
			"too many arguments": get("/?" + strings.Repeat("a&", 2000)),
		} {
			ended(name, run(e, c).result)
		}
		ended("nothing asked", e.Begin(post(formType, long).request()).Close())
		_, tx, _ := begin(e, multi(file("f", "a.txt", long)+last))
		ended("an upload that nobody reads", tx.Close())
		_, tx, _ = begin(e, get("/?do=deny3"))
		tx.Response(&http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody})
		ended("a response that is refused", tx.Close())
	}
}

// TestNothingIsWrittenToADisk sends bodies beyond all bounds at which the
// engine itself would begin a temporary file.
func TestNothingIsWrittenToADisk(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	e := miniature(t, gate.Enforce, hiding)
	long := strings.Repeat("x", 900<<10)
	files := 0
	for _, c := range []call{post(formType, "a="+long), post("application/json", `["`+long+`"]`), post("text/plain", long), multi(field("a", long) + file("f", "a.txt", long+long) + last)} {
		req, tx, v := begin(e, c)
		if !v.Passed() {
			t.Errorf("%v, want a pass", v)
		}
		if _, err := io.Copy(io.Discard, req.HTTP.Body); err != nil {
			t.Error(err)
		}
		found, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		files += len(found)
		tx.Close()
	}
	if files != 0 {
		t.Errorf("%d temporary files, want none", files)
	}
}

// TestWhatTheConfigurationOwns holds every directive, control, action and
// operator that must not be in a rule file to a refusal with a remedy, in any
// letter case.
func TestWhatTheConfigurationOwns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.conf")
	refused := func(line string) {
		t.Helper()
		p := standard()
		p.RulesAfter = []string{writeFile(t, file, line)}
		_, diags, err := planFor("default", p)
		if err != nil {
			t.Fatal(err)
		}
		if len(diags) == 0 || diags[0].Warning || diags[0].Hint == "" || diags[0].Line != 1 {
			t.Errorf("%s: %v, want it refused with a remedy", line, diags)
		}
	}
	for name := range owned {
		refused(strings.ToUpper(name) + " On")
	}
	for name := range ownedControls {
		refused(`SecAction "id:1,phase:1,pass,nolog,ctl:` + strings.ToUpper(name) + `=Off"`)
		refused(`SecRuleUpdateActionById 942100 "pass,ctl:` + name + `=Off"`)
	}
	for name := range ownedActions {
		refused(`SecAction "id:1,phase:1,pass,nolog,` + name + `:a=b"`)
	}
	for name := range ownedOperators {
		refused(`SecRule ARGS "@` + name + ` a" "id:1,deny"`)
		refused(`SecRule ARGS "!@` + strings.ToUpper(name) + ` a" "id:1,deny"`)
	}
	for _, pasted := range []string{"SecRuleEngine", "SecRequestBodyAccess", "SecRequestBodyLimit", "SecRequestBodyLimitAction", "SecResponseBodyAccess", "SecResponseBodyLimit",
		"SecResponseBodyMimeType", "SecAuditEngine", "SecAuditLog", "SecAuditLogParts", "SecAuditLogType", "SecAuditLogStorageDir", "SecAuditLogFormat", "SecDebugLog",
		"SecDebugLogLevel", "SecUploadDir", "SecUploadKeepFiles", "SecTmpDir", "SecDataDir", "SecArgumentsLimit", "SecIgnoreRuleCompilationErrors", "SecDefaultAction"} {
		if _, ok := owned[strings.ToLower(pasted)]; !ok {
			t.Errorf("%s is not among what the configuration owns", pasted)
		}
	}
}
