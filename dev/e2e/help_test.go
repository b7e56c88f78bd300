package e2e_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What `dagger call --help` prints is the doc comments: each function has an example, each argument says what it is.
func TestHelp(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(root, "ci"))
	if err != nil {
		t.Fatal(err)
	}
	functions := 0
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || name == "dagger.gen.go" {
			continue
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, filepath.Join(root, "ci", name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		commented := map[int]bool{} // lines that a comment ends on
		for _, group := range file.Comments {
			commented[files.Position(group.End()).Line] = true
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || !function.Name.IsExported() || function.Recv == nil && function.Name.Name != "New" {
				continue
			}
			functions++
			// A list of functions shows the first line alone.
			first, rest, _ := strings.Cut(function.Doc.Text(), "\n")
			if !strings.HasSuffix(first, ".") || rest != "" && !strings.HasPrefix(rest, "\n") || strings.HasPrefix(first, function.Name.Name+" ") {
				t.Errorf("%s: the help of %s does not begin with one sentence in a line of its own, without its name in Go: %q",
					files.Position(function.Pos()), function.Name.Name, first)
			}
			if !strings.Contains(function.Doc.Text(), "Example") || !strings.Contains(function.Doc.Text(), "dagger call ") {
				t.Errorf("%s: %s has no example", files.Position(function.Pos()), function.Name.Name)
			}
			for _, parameter := range function.Type.Params.List {
				for _, argument := range parameter.Names {
					if position := files.Position(argument.Pos()); argument.Name != "ctx" && !commented[position.Line-1] {
						t.Errorf("%s: argument %s of %s says not what it is", position, argument.Name, function.Name.Name)
					}
				}
			}
		}
	}
	if functions < 20 {
		t.Errorf("found %d functions", functions)
	}
}
