package ftw_test

import (
	"os"
	"testing"

	"github.com/corazawaf/coraza/v3"

	"sallyport/internal/ftw"
)

func TestCRSSetupIsSecLang(t *testing.T) {
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithDirectives("SecRuleEngine On\n" + ftw.CRSSetup +
		`SecRule TX:allowed_methods|TX:combined_file_sizes "@rx ^(GET HEAD POST OPTIONS|65535)$" "id:1,phase:1,deny,chain,t:none"
		 SecRule TX:max_num_args "@eq 255" "t:none"`))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	tx := w.NewTransaction()
	defer tx.Close()
	if tx.ProcessRequestHeaders() == nil {
		t.Error("the settings did not reach the transaction")
	}
}

// TestWireSetupIsTheSame holds the file that `make crs` loads into a gateway
// process to the set-up of the run in one process.
func TestWireSetupIsTheSame(t *testing.T) {
	got, err := os.ReadFile("../../testdata/crs/setup.conf")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != ftw.CRSSetup {
		t.Error("testdata/crs/setup.conf differs from CRSSetup")
	}
}
