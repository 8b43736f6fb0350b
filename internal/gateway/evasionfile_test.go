package gateway_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// An evasion is one row of testdata/evasions; its README tells the format.
type evasion struct {
	name string // file/case
	at   string // file:line, for messages
	// reason is why the attack is refused; rule, where the score decides, is how
	// the id of a rule begins that must be among those that matched.
	reason gate.Reason
	rule   string
	// removed is a field that must not reach the backend, where the attack
	// itself is not refused.
	removed string
	level2  bool // level 1 of the Core Rule Set lets it pass
	only    string
	raw     bool   // the body is sent as it is written
	pack    string // the coding that the bodies are put into
	chunk   int
	attack  message
	twin    message
}

// A message is one request of a row.
type message struct {
	method, target string
	fields         []gate.Field
	body           []byte
}

// evasions reads every row.
func evasions(t *testing.T) []*evasion {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "evasions", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no rows: %v", err)
	}
	var all []*evasion
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := readEvasions(filepath.Base(file), string(src))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rows...)
	}
	return all
}

func readEvasions(file, src string) (all []*evasion, err error) {
	var row *evasion
	lines := strings.Split(src, "\n")
	for i := 0; i < len(lines); i++ {
		at := fmt.Sprintf("%s:%d", file, i+1)
		if lines[i] == "" || lines[i][0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(lines[i], ":")
		value = strings.TrimSpace(value)
		if key == "case" {
			row = &evasion{name: strings.TrimSuffix(file, ".txt") + "/" + value, at: at, chunk: 5}
			all = append(all, row)
			continue
		}
		text := []string{value}
		if value == "" {
			for text = nil; i+1 < len(lines) && (lines[i+1] == "" || lines[i+1][0] == ' '); i++ {
				text = append(text, strings.TrimPrefix(lines[i+1], "  "))
			}
		}
		if row == nil {
			return nil, fmt.Errorf("%s: %q stands before the first case", at, key)
		}
		if err := row.key(key, text); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	for _, row := range all {
		row.attack.compress(row.pack)
		row.twin.compress(row.pack)
		if row.reason == "" && row.removed == "" || row.attack.method == "" || row.twin.method == "" {
			return nil, fmt.Errorf("%s: a case has refuse or removed, attack and twin", row.at)
		}
	}
	return all, nil
}

// key takes one key of a row.
func (e *evasion) key(key string, text []string) (err error) {
	switch value := strings.Join(text, "\n"); key {
	case "refuse":
		var reason string
		reason, e.rule, _ = strings.Cut(value, " ")
		if e.reason = gate.Reason(reason); e.reason.Info().Title == "" {
			return fmt.Errorf("unknown reason %q", reason)
		}
	case "removed":
		e.removed = value
	case "only":
		if e.only = value; value != "http1" && value != "h2" {
			return fmt.Errorf("only: http1 or h2, not %q", value)
		}
	case "send":
		if e.raw = value == "raw"; !e.raw {
			return fmt.Errorf("send: raw, not %q", value)
		}
	case "pack":
		if e.pack = value; value != "gzip" && value != "deflate" {
			return fmt.Errorf("pack: gzip or deflate, not %q", value)
		}
	case "level":
		if e.level2 = value == "2"; !e.level2 {
			return fmt.Errorf("level: 2, not %q", value)
		}
	case "chunk":
		e.chunk, err = strconv.Atoi(value)
	case "attack":
		e.attack, err = readRequest(text)
	case "twin":
		e.twin, err = readRequest(text)
	default:
		err = fmt.Errorf("unknown key %q", key)
	}
	return err
}

// readRequest reads METHOD TARGET, fields below it, and behind an empty line
// the body. Host, User-Agent, Accept and the length need not be written.
func readRequest(lines []string) (m message, err error) {
	unescaped := func(s string) string {
		b, e := wire.Unescape(s)
		if e != nil && err == nil {
			err = e
		}
		return string(b)
	}
	method, target, _ := strings.Cut(lines[0], " ")
	m.method, m.target = method, unescaped(target)
	lines = lines[1:]
	for len(lines) > 0 && lines[0] != "" {
		name, value, _ := strings.Cut(lines[0], ":")
		m.fields = append(m.fields, gate.Field{Name: unescaped(name), Value: unescaped(strings.TrimPrefix(value, " "))})
		lines = lines[1:]
	}
	m.body = []byte(unescaped(strings.Join(lines, "")))
	for _, f := range [...]gate.Field{{Name: "Host", Value: "shop.example"}, {Name: "User-Agent", Value: "Mozilla/5.0"}, {Name: "Accept", Value: "*/*"}} {
		if m.field(f.Name) == "" {
			m.fields = append(m.fields, f)
		}
	}
	return m, err
}

// compress puts the body into the coding.
func (m *message) compress(coding string) {
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b) // RFC 9110 section 8.4.1.2
	default:
		return
	}
	_, _ = w.Write(m.body) // into memory
	_ = w.Close()
	m.body = b.Bytes()
}

// field returns the first value of a field.
func (m *message) field(name string) string {
	for _, f := range m.fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// chunked reports whether the body goes in chunks.
func (m *message) chunked() bool { return strings.EqualFold(m.field("Transfer-Encoding"), "chunked") }

// http1 writes the request in HTTP/1.
func (m *message) http1(e *evasion) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", m.method, m.target)
	framed := false
	for _, f := range m.fields {
		b = fmt.Appendf(b, "%s: %s\r\n", f.Name, f.Value)
		framed = framed || strings.EqualFold(f.Name, "Content-Length") || strings.EqualFold(f.Name, "Transfer-Encoding")
	}
	if !framed && (len(m.body) > 0 || m.method == "POST") {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(m.body))
	}
	b = append(b, "\r\n"...)
	if !m.chunked() || e.raw {
		return append(b, m.body...)
	}
	for _, piece := range pieces(m.body, e.chunk) {
		b = fmt.Appendf(b, "%x\r\n%s\r\n", len(piece), piece)
	}
	return append(b, "0\r\n\r\n"...)
}

// pieces cuts b into pieces of n bytes.
func pieces(b []byte, n int) (all [][]byte) {
	for len(b) > n {
		all, b = append(all, b[:n]), b[n:]
	}
	if len(b) > 0 {
		all = append(all, b)
	}
	return all
}

// http2 writes the request in frames, as a case of the wire corpus. What has
// no place in HTTP/2 is left out, unless the row is for HTTP/2 alone.
func (m *message) http2(e *evasion) (wire.Case, error) {
	var b strings.Builder
	fmt.Fprint(&b, "protocol: h2\nexpect: 200\n--\nHEADERS 1 END_HEADERS")
	if len(m.body) == 0 {
		b.WriteString(" END_STREAM")
	}
	fmt.Fprintf(&b, "\n  :method: %s\n  :scheme: http\n  :authority: %s\n  :path: %s\n", m.method, visibly(m.field("Host")), visibly(m.target))
	for _, f := range m.fields {
		name := f.Name
		if e.only != "h2" {
			name = strings.ToLower(name)
		}
		switch {
		case strings.EqualFold(name, "Host"), e.only != "h2" && strings.EqualFold(name, "Transfer-Encoding"):
			continue
		case e.only == "h2" && (name == "User-Agent" || name == "Accept"):
			name = strings.ToLower(name) // filled in
		}
		fmt.Fprintf(&b, "  %s: %s\n", visibly(name), visibly(f.Value))
	}
	size := 16 << 10
	if m.chunked() && e.only == "" {
		size = e.chunk
	}
	parts := pieces(m.body, size)
	for i, piece := range parts {
		end := ""
		if i == len(parts)-1 {
			end = " END_STREAM"
		}
		fmt.Fprintf(&b, "DATA 1%s %s\n", end, hex.EncodeToString(piece))
	}
	return wire.Parse([]byte(b.String()))
}

// visibly writes bytes with the escapes of the wire corpus.
func visibly(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '\\' && c != ':' && c != '@' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}
