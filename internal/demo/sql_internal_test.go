package demo

import (
	"strings"
	"testing"
	"time"
)

func TestQuery(t *testing.T) {
	s := newShop()
	for _, tc := range []struct{ rule, statement, want string }{
		{"a plain search", "SELECT id, name FROM products WHERE name LIKE '%iron%'", "2 Portcullis, iron"},
		{"a comparison of numbers", "select name from products where price < 100 and id > 4", "Arrow slit cover"},
		{"OR goes after AND", "SELECT id FROM products WHERE id = 1 OR id = 2 AND id = 3", "1"},
		{"parentheses and NOT", "SELECT id FROM products WHERE NOT (id = 1 OR id = 2) AND id <> 5", "3|4"},
		{"everything", "SELECT * FROM users WHERE name = 'bob'", "2 bob letmein bob@example.org"},
		{"a tautology", "SELECT id FROM users WHERE name = '' OR '1'='1' -- ' AND password = 'x'", "1|2|3"},
		{"a union", "SELECT id FROM products WHERE id = 1 UNION ALL SELECT password FROM users WHERE id = 3", "1|s3cr3t-of-the-keep"},
		{"comments within", "SELECT/**/id/* x */FROM products WHERE id=1 # rest", "1"},
		{"literals without a table", "SELECT 'a', 1, NULL", "a 1 "},
		{"a doubled quote", "SELECT 'it''s'", "it's"},
		{"one wildcard for one byte", "SELECT id FROM users WHERE name LIKE 'b_b'", "2"},
		{"a semicolon at the end", "SELECT 1;", "1"},
		{"a number alone is true", "SELECT id FROM users WHERE 1 AND id = 2;", "2"},
	} {
		_, rows, err := s.query(tc.statement)
		var lines []string
		for _, row := range rows {
			lines = append(lines, strings.Join(row, " "))
		}
		if got := strings.Join(lines, "|"); err != nil || got != tc.want {
			t.Errorf("%s: query(%q) = %q, %v, want %q", tc.rule, tc.statement, got, err, tc.want)
		}
	}
	for _, tc := range []struct{ rule, statement, want string }{
		{"a quote that does not end", "SELECT id FROM products WHERE name LIKE '%'%'", "near ''' at line 1"},
		{"a comment that does not end", "SELECT 1 /* x", "error in your SQL syntax"},
		{"another statement", "SELECT 1; DROP TABLE users", "near 'DROP TABLE users'"},
		{"an unknown column", "SELECT nothing FROM users", "Unknown column 'nothing'"},
		{"an unknown table", "SELECT 1 FROM secrets", "Table 'shop.secrets' doesn't exist"},
		{"unions of different widths", "SELECT 1 UNION SELECT 1, 2", "different number of columns"},
		{"words without a comma", "SELECT id name FROM users", "near 'name FROM users'"},
		{"nothing after WHERE", "SELECT id FROM users WHERE", "error in your SQL syntax"},
		{"too many parentheses", "SELECT 1 FROM users WHERE " + strings.Repeat("(", 5000), "error in your SQL syntax"},
		{"too many negations", "SELECT 1 FROM users WHERE " + strings.Repeat("NOT ", 3000), "error in your SQL syntax"},
		{"too many unions", "SELECT 1" + strings.Repeat(" UNION SELECT 1", 20), "error in your SQL syntax"},
		{"too many words", strings.Repeat("a ", 5000), "error in your SQL syntax"},
	} {
		if _, _, err := s.query(tc.statement); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: query(%.60q) = %v, want %q in it", tc.rule, tc.statement, err, tc.want)
		}
	}
}

func TestLikeIsQuick(t *testing.T) {
	began := time.Now()
	if like(strings.Repeat("a", 5000), strings.Repeat("%a", 2000)+"b") {
		t.Error("a pattern that ends in b matched a text of a alone")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a hostile pattern took %v, want far less than a second", took)
	}
}

func FuzzQuery(f *testing.F) {
	for _, q := range []string{"x", "' OR 1=1 -- ", "' UNION SELECT name, password, email FROM users -- ", "%' AND (SELECT", "'/**/||'1", "\xff'#"} {
		f.Add(q)
	}
	s := newShop()
	f.Fuzz(func(t *testing.T, q string) {
		columns, rows, err := s.query("SELECT id, name, price FROM products WHERE name LIKE '%" + q + "%'")
		if err != nil {
			return
		}
		if len(rows) > maxSelects*5 {
			t.Errorf("query with %q yields %d rows", q, len(rows))
		}
		for _, row := range rows {
			if len(row) != len(columns) {
				t.Errorf("query with %q yields a row of %d for %d columns", q, len(row), len(columns))
			}
		}
	})
}

func TestCommentsAreBounded(t *testing.T) {
	s := newShop()
	for range 10 * maxComments {
		s.add(strings.Repeat("x", 10*maxComment))
	}
	all := s.all()
	if len(all) != maxComments || len(all[0]) != maxComment {
		t.Errorf("%d comments of %d bytes are kept, want %d of %d", len(all), len(all[0]), maxComments, maxComment)
	}
}

func TestParseSize(t *testing.T) {
	for _, tc := range []struct {
		text string
		want int64
	}{{"", 1 << 20}, {"0", 0}, {"100", 100}, {"64KiB", 64 << 10}, {"3MiB", 3 << 20}, {"16GiB", 16 << 30}} {
		if got, err := parseSize(tc.text); err != nil || got != tc.want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", tc.text, got, err, tc.want)
		}
	}
	for _, text := range []string{"-1", "17GiB", "1TiB", "x", "9223372036854775807KiB", "MiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}
