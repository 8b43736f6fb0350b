package injection_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sabotaged are the files in which the sabotage test changes the code.
var sabotaged = []string{"sql.go", "tokens.go", "fold.go", "html.go", "markup.go"}

// A saboteur puts changes into a file, all of them at once, each of which is
// made when its number is asked for.
type saboteur struct {
	fset    *token.FileSet
	info    *types.Info
	text    string // of the file
	base    int    // where the file begins in the set
	edits   []edit
	mutants []string // what each changes, by number
}

type edit struct {
	at     int
	text   string
	closes bool
}

// around puts text before and behind what is between two places.
func (s *saboteur) around(from, to token.Pos, before, behind string) {
	s.edits = append(s.edits, edit{int(from) - s.base, before, false}, edit{int(to) - s.base, behind, true})
}

// name gives a change its number.
func (s *saboteur) name(n ast.Node, what string) int {
	at := s.fset.Position(n.Pos())
	line := strings.Split(s.text, "\n")[at.Line-1]
	s.mutants = append(s.mutants, fmt.Sprintf("%s: %s: %s: %s", at.Filename, what,
		s.text[int(n.Pos())-s.base:int(n.End())-s.base], strings.TrimSpace(line)))
	return len(s.mutants) - 1
}

func (s *saboteur) call(n ast.Expr, function string, what ...string) {
	id := s.name(n, what[0])
	for _, w := range what[1:] {
		s.name(n, w)
	}
	s.around(n.Pos(), n.End(), fmt.Sprintf("%s(%d, ", function, id), ")")
}

// condition changes the parts of a condition.
func (s *saboteur) condition(e ast.Expr) {
	switch e := e.(type) {
	case nil:
		return
	case *ast.ParenExpr:
		s.condition(e.X)
		return
	case *ast.UnaryExpr:
		s.condition(e.X)
		return
	case *ast.BinaryExpr:
		if e.Op == token.LAND || e.Op == token.LOR {
			s.condition(e.X)
			s.condition(e.Y)
			return
		}
	}
	if v := s.info.Types[e]; v.Type == nil || !types.AssignableTo(v.Type, types.Typ[types.Bool]) || v.Value != nil {
		return
	}
	s.call(e, "sabotagedBool", "always", "never")
}

// list changes the statements of a block.
func (s *saboteur) list(stmts []ast.Stmt) {
	for _, stmt := range stmts {
		switch a := stmt.(type) {
		case *ast.AssignStmt:
			if a.Tok == token.DEFINE {
				continue
			}
		case *ast.IncDecStmt, *ast.ExprStmt, *ast.BranchStmt:
		default:
			continue
		}
		s.around(stmt.Pos(), stmt.End(), fmt.Sprintf("if !sabotagedSkip(%d) { ", s.name(stmt, "skipped")), " }")
	}
}

func (s *saboteur) loop(body *ast.BlockStmt) {
	s.edits = append(s.edits, edit{int(body.Lbrace) + 1 - s.base, " sabotagedStep(); ", false})
}

// choice makes a switch over values one over conditions.
func (s *saboteur) choice(n *ast.SwitchStmt) {
	value := ""
	if n.Tag != nil {
		value = fmt.Sprintf("tag%d", n.Pos())
		if n.Init != nil {
			value = s.text[int(n.Tag.Pos())-s.base : int(n.Tag.End())-s.base]
			s.around(n.Tag.Pos(), n.Tag.End(), "/*", "*/")
		} else {
			s.around(n.Tag.Pos(), n.Tag.End(), value+" := ", "; ")
		}
	}
	for _, clause := range n.Body.List {
		for _, e := range clause.(*ast.CaseClause).List {
			if value == "" {
				s.condition(e)
				continue
			}
			id := s.name(e, "always")
			s.name(e, "never")
			s.around(e.Pos(), e.End(), fmt.Sprintf("sabotagedBool(%d, %s == ", id, value), ")")
		}
	}
}

func (s *saboteur) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok != token.CONST && n.Tok != token.IMPORT && n.Tok != token.TYPE
	case *ast.ArrayType:
		return false
	case *ast.IfStmt:
		s.condition(n.Cond)
	case *ast.ForStmt:
		s.condition(n.Cond)
		s.loop(n.Body)
	case *ast.RangeStmt:
		s.loop(n.Body)
	case *ast.ReturnStmt:
		for _, e := range n.Results {
			// What a method returns tells whether there was a token; it is changed
			// where it is found out.
			if _, ok := e.(*ast.CallExpr); !ok {
				s.condition(e)
			}
		}
	case *ast.BlockStmt:
		s.list(n.List)
	case *ast.CaseClause:
		s.list(n.Body)
	case *ast.SwitchStmt:
		s.choice(n)
	case *ast.BasicLit:
		v := s.info.Types[n]
		if v.Type == nil || v.Value == nil {
			return true
		}
		switch {
		case v.Value.Kind() == constant.String && len(n.Value) > 2:
			s.call(n, "sabotagedText", "shorter")
		case types.AssignableTo(v.Type, types.Typ[types.Uint8]), types.AssignableTo(v.Type, types.Typ[types.Int]), types.AssignableTo(v.Type, types.Typ[types.Int32]):
			s.call(n, "sabotagedNumber["+types.Default(v.Type).Underlying().String()+"]", "larger", "smaller")
		}
	}
	return true
}

// partial imports the standard library, and takes other modules for empty.
type partial struct{ types.Importer }

func (p partial) Import(path string) (*types.Package, error) {
	if strings.Contains(path, ".") {
		return types.NewPackage(path, "libinjection"), nil
	}
	return p.Importer.Import(path)
}

// sabotage writes the changed files into dir, and returns the overlay for the
// compiler and what the changes are.
func sabotage(t *testing.T, dir string) (overlay string, mutants []string) {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range append([]string{"tables.go", "injection.go", "version.go"}, sabotaged...) {
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
	config := types.Config{Importer: partial{importer.ForCompiler(fset, "source", nil)}, Error: func(error) {}}
	_, _ = config.Check("injection", fset, files, info) // that the library is empty makes errors
	replace := make(map[string]string)
	for _, file := range files {
		name := fset.Position(file.Pos()).Filename
		if !slices.Contains(sabotaged, name) {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s := &saboteur{fset: fset, info: info, text: string(text), base: fset.File(file.Pos()).Base(), mutants: mutants}
		ast.Inspect(file, s.visit)
		mutants = s.mutants
		changed := filepath.Join(dir, name)
		if err := os.WriteFile(changed, []byte(s.apply()), 0o600); err != nil {
			t.Fatal(err)
		}
		full, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		replace[full] = changed
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay, mutants
}

// apply returns the text with the edits in it. What was put around a part of an
// expression is within what was put around the whole.
func (s *saboteur) apply() string {
	order := make([]int, len(s.edits))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := s.edits[a], s.edits[b]
		if c := cmp.Compare(x.at, y.at); c != 0 {
			return c
		}
		if x.closes != y.closes {
			if x.closes {
				return -1
			}
			return 1
		}
		if x.closes {
			return cmp.Compare(b, a)
		}
		return cmp.Compare(a, b)
	})
	var b strings.Builder
	at := 0
	for _, i := range order {
		e := s.edits[i]
		b.WriteString(s.text[at:e.at])
		b.WriteString(e.text)
		at = e.at
	}
	b.WriteString(s.text[at:])
	return b.String()
}

// unnoticedFile has the changes that change no answer, one a line: those that
// take a short cut away or let more through it, those to bytes that cannot be
// there, and those behind which the other ways to read a value find the same.
const unnoticedFile = "testdata/unnoticed.txt"

// TestSabotage changes the readers in many small ways, one at a time: it turns
// a condition, leaves a statement out, moves a number by one, shortens a text.
// The telling values must show each change, but for those that were looked at
// and found to change no answer. After a change of the readers, INJECTION_VALUES
// makes it look for more telling values, which it writes down, and for a change
// that is still not noticed a rule of the generator is missing or the list needs
// it.
func TestSabotage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the readers anew")
	}
	dir := t.TempDir()
	overlay, mutants := sabotage(t, dir)
	report := filepath.Join(dir, "survivors")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-tags", "sabotage", "-overlay", overlay, "-run", "^TestMutants$", "-count=1", "-timeout=2h", ".")
	cmd.Env = append(os.Environ(), "INJECTION_MUTANTS="+strconv.Itoa(len(mutants)), "INJECTION_REPORT="+report)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(unnoticedFile)
	if err != nil {
		t.Fatal(err)
	}
	allowed := make(map[string]int)
	for line := range strings.Lines(string(list)) {
		allowed[strings.TrimSuffix(line, "\n")]++
	}
	for _, field := range strings.Fields(string(text)) {
		id, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		if allowed[mutants[id]]--; allowed[mutants[id]] < 0 {
			t.Errorf("not noticed: %s", mutants[id])
		}
	}
	for name, n := range allowed {
		if n > 0 {
			t.Errorf("noticed, or not there: %s", name)
		}
	}
	t.Logf("%d changes, %d not noticed", len(mutants), len(strings.Fields(string(text))))
}
