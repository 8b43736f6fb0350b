package gate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// room is what one package may import of ours, and why it needs no more.
type room struct {
	may []string // "*": everything
	why string
}

// house is the table of ARCHITECTURE.md. A stage that imported another stage
// could no longer be judged, tested or replaced alone.
var house = map[string]room{
	"cmd/sallyport":     {[]string{"*"}, "it wires everything and decides nothing"},
	"internal/gate":     {nil, "the vocabulary depends on nobody who speaks it"},
	"internal/strict":   {[]string{"internal/gate"}, "the grammar is pure"},
	"internal/client":   {[]string{"internal/gate"}, "a stage"},
	"internal/geo":      {[]string{"internal/gate"}, "a stage"},
	"limiter":           {[]string{"internal/gate"}, "a stage"},
	"waf":               {[]string{"internal/gate", "internal/cores", "rules", "waf/coding", "waf/prover"}, "a stage, the rules that it ships with, what undoes compression, and what proves requests clean"},
	"waf/coding":        {nil, "it decodes bytes and knows nothing of requests"},
	"waf/prover":        {[]string{"waf/rx", "waf/transform", "waf/injection"}, "it reads rules and values, and runs nothing"},
	"waf/injection":     {nil, "functions of one value"},
	"waf/rx":            {nil, "a matcher that knows no rules"},
	"waf/transform":     {nil, "functions of one value"},
	"rules":             {nil, "files only"},
	"proxy":             {[]string{"internal/gate", "proxy/http1"}, "it meets the other stages as interfaces"},
	"proxy/http1":       {nil, "it speaks a protocol, and knows nothing of what is said"},
	"internal/audit":    {[]string{"internal/gate"}, "it takes records and asks nobody"},
	"internal/metrics":  {[]string{"internal/gate"}, "it takes records and plain numbers"},
	"internal/config":   {[]string{"internal/gate", "internal/client", "internal/geo", "limiter", "waf", "proxy", "internal/audit", "internal/server", "internal/strict"}, "it fills in the Config types of the stages"},
	"internal/gateway":  {[]string{"internal/gate", "internal/client", "internal/geo", "limiter", "waf", "proxy", "internal/audit", "internal/metrics", "internal/config", "internal/server", "internal/ftw"}, "it builds a generation from a configuration"},
	"internal/server":   {[]string{"internal/gate", "internal/strict"}, "it is given the function that builds a generation"},
	"internal/cores":    {nil, "it asks Go, whatever runs in the process"},
	"internal/heap":     {[]string{"internal/cores"}, "it watches the process, whatever runs in it"},
	"internal/ftw":      {[]string{"internal/gate"}, "it tests whatever target it is given"},
	"internal/demo":     {[]string{"internal/gate"}, "an application like any other"},
	"internal/wire":     {[]string{"internal/gate", "testdata"}, "it reads cases, and is given the connections that it plays them over"},
	"internal/selftest": {[]string{"internal/gate", "internal/wire"}, "it asks whatever address it is given"},
	"internal/unmask":   {[]string{"proxy"}, "it knows what the mask knows, and asks whatever address it is given"},
	"internal/testkit":  {[]string{"internal/gate"}, "only tests import it"},
	"internal/traffic":  {[]string{"internal/gate"}, "only tests and the bench import it"},

	"internal/bench":       {[]string{"internal/traffic"}, "it measures processes, and asks them as anybody does"},
	"internal/bench/stock": {nil, "it is what the gateway is measured beside"},
}

// confined says which packages may import a third-party module. A module that
// is imported in one place can be replaced in one place.
var confined = map[string][]string{
	"github.com/corazawaf/coraza/v3":             {"waf", "waf/prover", "internal/bench/stock"}, // in the prover: the numbers of its variables
	"github.com/corazawaf/libinjection-go":       {"waf/injection"},                             // what the engine runs
	"github.com/maypok86/otter/v2":               {"waf/prover"},                                // a cache that values which come once do not empty
	"github.com/corazawaf/coraza-coreruleset/v4": {"waf", "cmd/sallyport", "internal/bench", "internal/bench/stock"},
	"github.com/klauspost/compress":              {"waf/coding"}, // zstd, which the standard library lacks; a faster deflate
	"github.com/andybalholm/brotli":              {"waf/coding"}, // br, which it lacks too
	"rsc.io/binaryregexp":                        {"waf/rx"},     // what the engine runs patterns of bytes with
	"golang.org/x/time":                          {"limiter"},
	"golang.org/x/crypto":                        {"proxy"}, // XChaCha20-Poly1305, which the standard library does not have
	"golang.org/x/net/http2":                     {"internal/strict", "internal/wire"},
	"golang.org/x/net/html":                      {"waf/transform"}, // the entities that the engine knows
	"golang.org/x/net/idna":                      {"internal/config"},
	"golang.org/x/net/dns":                       {"proxy"},
	"github.com/redis/go-redis/v9":               {"limiter"},
	"github.com/oschwald/geoip2-golang":          {"internal/geo"},
	"github.com/prometheus":                      {"internal/metrics"},
	"github.com/goccy/go-yaml":                   {"internal/config", "internal/ftw"},
	"github.com/spf13/cobra":                     {"cmd/sallyport"},
	"github.com/coreos/go-systemd":               {"internal/server"},
	"github.com/pires/go-proxyproto":             {"internal/server"},
	"github.com/maxmind/mmdbwriter":              {"internal/testkit"},
	// Clients and servers that tests put around a gateway; the gateway is neither.
	"google.golang.org/grpc":     {},
	"github.com/coder/websocket": {},
}

type listed struct {
	ImportPath                         string
	Dir                                string
	GoFiles, CgoFiles                  []string
	Imports, TestImports, XTestImports []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,CgoFiles,Imports,TestImports,XTestImports", "sallyport/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, "sallyport/")
		all = append(all, p)
	}
}

func TestLayering(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		seen[p.ImportPath] = true
		r, ok := house[p.ImportPath]
		if !ok {
			t.Errorf("package %s is not in the table of the house; add it here and in ARCHITECTURE.md", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			ours, ok := strings.CutPrefix(imp, "sallyport/")
			switch {
			case !ok:
				for module, homes := range confined {
					if (imp == module || strings.HasPrefix(imp, module+"/")) && !slices.Contains(homes, p.ImportPath) {
						t.Errorf("%s imports %s, which belongs to %v only", p.ImportPath, imp, homes)
					}
				}
			case ours == "internal/testkit", ours == "internal/traffic" && p.ImportPath != "internal/bench":
				t.Errorf("%s imports %s outside a test", p.ImportPath, ours)
			case !slices.Contains(r.may, "*") && !slices.Contains(r.may, ours):
				t.Errorf("%s imports %s, but it may import %v of ours: %s", p.ImportPath, ours, r.may, r.why)
			}
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo; the binary is static", p.ImportPath)
		}
	}
	for name := range house {
		if !seen[name] {
			t.Errorf("the table of the house names %s, which does not exist", name)
		}
	}
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range house {
		if !strings.Contains(string(text), "| `"+name+"` |") {
			t.Errorf("ARCHITECTURE.md has no row for %s", name)
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	for _, p := range packages(t) {
		var with []string
		for _, f := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil {
				with = append(with, f)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s has %d package comments (%v), want 1", p.ImportPath, len(with), with)
		}
	}
}

func TestNoReplacedModules(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("\nreplace ")) {
		t.Error("go.mod replaces a module; a build elsewhere would differ from ours")
	}
}
