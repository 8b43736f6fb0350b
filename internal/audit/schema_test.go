package audit_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/kaptinlin/jsonschema"

	"sallyport/internal/audit"
	"sallyport/internal/gate"
)

const (
	schemaFile = "../../docs/audit.schema.json"
	docFile    = "../../docs/audit.md"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestSchema holds what the log writes against the schema that is documented,
// and the schema against what it must not take.
func TestSchema(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, audit.Config{Path: name, All: true})
	full, bytes := shown(), record(3, gate.Refuse)
	full.Event, full.Lost = "closed", 3
	bytes.Request.Target = "/\xff"
	bytes.WAF = &gate.RecordWAF{}
	for _, r := range []gate.Record{full, record(1, gate.Pass), record(2, gate.Fail), bytes} {
		l.Record(r)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := entries(t, name)
	if len(all) != 4 {
		t.Fatalf("%d records, want 4", len(all))
	}
	for _, e := range all {
		if result := schema.Validate(e.Raw); !result.IsValid() {
			t.Errorf("%s does not hold to the schema: %v", e.Raw, result.Errors)
		}
		// Each breach of the schema must be found, or this test finds nothing.
		for _, breach := range [][2]string{
			{`"v":1`, `"v":2`}, {`"action":"`, `"action":"x`}, {`"status":403`, `"status":"403"`}, {`"headers":[`, `"headers":[1,`}, {`"micros":{`, `"micros":{"x":"y",`}, {`"ip":`, `"ips":`},
		} {
			broken := strings.Replace(string(e.Raw), breach[0], breach[1], 1)
			broken = strings.Replace(broken, ",]", "]", 1)
			broken = strings.Replace(broken, ",}", "}", 1)
			if schema.Validate([]byte(broken)).IsValid() {
				t.Errorf("the schema takes %s", broken)
			}
		}
	}
}

// TestDocumented holds the document and the schema to every field of a record.
func TestDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	table := string(doc)[strings.Index(string(doc), "## Fields"):strings.Index(string(doc), "## Redaction")]
	var walk func(ty reflect.Type, path string, schema map[string]any)
	walk = func(ty reflect.Type, path string, schema map[string]any) {
		for ty.Kind() == reflect.Pointer || ty.Kind() == reflect.Slice {
			if ty.Kind() == reflect.Slice {
				schema, _ = schema["items"].(map[string]any)
			}
			ty = ty.Elem()
		}
		if ty.Kind() != reflect.Struct || ty == reflect.TypeFor[gate.Record]() && path != "" || ty.PkgPath() == "time" {
			return
		}
		properties, _ := schema["properties"].(map[string]any)
		known := map[string]bool{}
		for i := range ty.NumField() {
			field := ty.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			known[name] = true
			full := strings.TrimPrefix(path+"."+name, ".")
			if !strings.Contains(table, "`"+name+"`") && !strings.Contains(table, "."+name+"`") && !strings.Contains(table, "`"+name+".") {
				t.Errorf("%s does not name %s", docFile, full)
			}
			sub, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("%s does not know %s", schemaFile, full)
				continue
			}
			walk(field.Type, full, sub)
		}
		for name := range properties {
			if !known[name] {
				t.Errorf("%s knows %s.%s, which no record has", schemaFile, path, name)
			}
		}
	}
	walk(reflect.TypeFor[gate.Record](), "", schema)
}

// TestDocumentedExamples holds the records in the document to the schema.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	schema := compileSchema(t)
	blocks := strings.Split(string(doc), "```json\n")[1:]
	if len(blocks) < 2 {
		t.Fatalf("%d examples, want at least 2", len(blocks))
	}
	for _, block := range blocks {
		example, _, _ := strings.Cut(block, "```")
		if result := schema.Validate([]byte(example)); !result.IsValid() {
			t.Errorf("%s does not hold to the schema: %v", example, result.Errors)
		}
	}
}
