package workflows

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// functions are the module's functions with their arguments, by the names that the command line has for them.
func functions(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "ci", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, path := range files {
		if strings.HasSuffix(path, ".gen.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Recv == nil || !function.Name.IsExported() {
				continue
			}
			name := kebab(function.Name.Name)
			all[name] = append(all[name], "") // there it is, even without arguments
			for _, parameter := range function.Type.Params.List {
				for _, argument := range parameter.Names {
					all[name] = append(all[name], kebab(argument.Name))
				}
			}
		}
	}
	return all
}

// kebab is chart-repository-url of chartRepositoryURL.
func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

var (
	flag     = regexp.MustCompile(`^--([a-z-]+)`)
	variable = regexp.MustCompile(`\$([A-Z_]+)|env:([A-Z_]+)`)
	setting  = regexp.MustCompile(`(vars|secrets)\.([A-Z_]+)`)
)

// What the workflows call is there in the module, and what they pass is set in the step.
func TestCallsFitModule(t *testing.T) {
	known := functions(t)
	for _, w := range read(t) {
		for name, j := range w.Jobs {
			for _, s := range j.Steps {
				_, arguments, is := strings.Cut(s.Run, " call ")
				if !is || strings.Contains(arguments, "matrix.check") {
					continue
				}
				function := ""
				words := strings.Fields(arguments)
				for i, word := range words {
					if match := flag.FindStringSubmatch(word); match != nil {
						if !slices.Contains(known[function], match[1]) {
							t.Errorf("%s, job %s: %s of the module has no argument %s", w.name, name, function, match[0])
						}
					} else if known[word] != nil {
						function = word
					} else if i == 0 || !flag.MatchString(words[i-1]) {
						t.Errorf("%s, job %s: the module has no function %s", w.name, name, word)
					}
				}
				used := map[string]bool{}
				for _, match := range variable.FindAllStringSubmatch(s.Run, -1) {
					v := match[1] + match[2]
					used[v] = true
					if _, set := s.Env[v]; !set && !slices.Contains([]string{"GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_REF"}, v) {
						t.Errorf("%s, job %s: the step does not set %s", w.name, name, v)
					}
				}
				for v := range s.Env {
					if !used[v] {
						t.Errorf("%s, job %s: the step sets %s for nothing", w.name, name, v)
					}
				}
			}
		}
	}
	matrix := read(t)
	i := slices.IndexFunc(matrix, func(w workflow) bool { return w.name == "checks.yml" })
	for _, check := range matrix[i].Jobs["check"].Strategy.Matrix["check"] {
		for word := range strings.FieldsSeq(check) {
			if known[word] == nil {
				t.Errorf("checks.yml: the module has no function %s", word)
			}
		}
	}
}

// README's table of variables and secrets has those that the workflows read, with the argument that they are given as and what stands in for them.
func TestSettingsAreInReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ kind, argument, standIn string }
	rows := map[string]row{}
	for _, match := range regexp.MustCompile("(?m)^\\| (variable|secret) `([A-Z_]+)` \\| `--([a-z-]+)`[^|]* \\| (?:`([^`|]+)`)?[^|]* \\|$").FindAllStringSubmatch(string(readme), -1) {
		rows[match[2]] = row{map[string]string{"variable": "vars", "secret": "secrets"}[match[1]], match[3], match[4]}
	}
	found := map[string]bool{}
	for _, w := range read(t) {
		for name, j := range w.Jobs {
			for _, s := range j.Steps {
				for v, value := range s.Env {
					for _, match := range setting.FindAllStringSubmatch(value, -1) {
						found[match[2]] = true
						r, told := rows[match[2]]
						if !told || r.kind != match[1] {
							t.Errorf("%s, job %s reads %s, which README does not have in its table", w.name, name, match[0])
							continue
						}
						given := regexp.MustCompile(`--([a-z-]+) (?:"\$`+v+`"|env:`+v+`\b)`).FindAllStringSubmatch(s.Run, -1)
						if w.name == "release.yml" && (len(given) != 1 || given[0][1] != r.argument) {
							t.Errorf("%s, job %s gives %s as %v, README says --%s", w.name, name, v, given, r.argument)
						}
						if stands := standIn(value); w.name == "release.yml" && stands != r.standIn {
							t.Errorf("%s, job %s has %q stand in for %s, README %q", w.name, name, stands, v, r.standIn)
						}
					}
				}
			}
		}
	}
	for name := range rows {
		if !found[name] {
			t.Errorf("README has %s, which no workflow reads", name)
		}
	}
}

// standIn is what an expression comes to in Acme's fork when nothing is set, as README writes it.
func standIn(expression string) string {
	if match := regexp.MustCompile(`format\('([^']+)', ([^)]+)\)`).FindStringSubmatch(expression); match != nil {
		text := match[1]
		for i, argument := range strings.Split(match[2], ", ") {
			text = strings.ReplaceAll(text, "{"+string(rune('0'+i))+"}", map[string]string{
				"github.repository_owner": "<owner>", "github.repository": "<owner>/<repository>", "github.server_url": "https://github.com",
			}[argument])
		}
		return text
	}
	if match := regexp.MustCompile(`\|\| (github\.[a-z_]+) }}`).FindStringSubmatch(expression); match != nil {
		return match[1]
	}
	return ""
}
