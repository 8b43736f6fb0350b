package gateway_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
)

// TestWarmEndsWithItsGeneration: the rules warm up while a generation serves, and
// when it is closed nobody works for it any more.
func TestWarmEndsWithItsGeneration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(file, []byte(`
listeners: [{address: "127.0.0.1:0"}]
pools: {app: {backends: [{name: one, url: "http://127.0.0.1:9"}]}}
routes: [{name: site, pool: app}]
admin: {address: ""}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	warming := func() bool {
		all := make([]byte, 4<<20)
		return strings.Contains(string(all[:runtime.Stack(all, true)]), ".(*Generation).warm")
	}
	for _, warm := range []bool{true, false} {
		g := gateway.New(gateway.Options{Load: func() (*config.Config, gate.Diagnostics) { return config.Load(file) }, Version: "test", Warm: warm, Log: zap.NewNop()})
		gen, err := g.Build(1)
		if err != nil {
			t.Fatal(err)
		}
		if warming() {
			t.Error("it warms up before it serves")
		}
		gen.Activate()
		if got := warming(); got != warm {
			t.Errorf("while it begins to serve it warms up: %t, want %t", got, warm)
		}
		if err := gen.Close(); err != nil {
			t.Error(err)
		}
		if warming() {
			t.Error("it warms up after its end")
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}
