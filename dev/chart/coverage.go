package chart

import (
	"context"
	"fmt"
	"slices"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// Coverage is which branches of a chart's templates the cases have taken.
type Coverage struct {
	// Branches is how many there are.
	Branches int
	// Missed are those never taken, by file and line.
	Missed []Branch
}

// Cover renders the cases of the chart in dir with Helm's engine and tells which branches none of them takes. A case that fails to render
// although it is not meant to is an error.
func Cover(ctx context.Context, dir string, cases []Case) (Coverage, error) {
	loaded, err := loader.Load(dir)
	if err != nil {
		return Coverage{}, err
	}
	var branches []Branch
	instrumented := map[string][]byte{}
	if err := eachTemplate(loaded, "", func(name string, file *common.File, of *chart.Chart) error {
		text, err := instrument(name, string(file.Data), of.Values, &branches)
		instrumented[name] = []byte(text)
		return err
	}); err != nil {
		return Coverage{}, err
	}
	taken := make([]bool, len(branches))
	funcs := counting(taken)
	for _, c := range cases {
		_, err := render(ctx, dir, c, func(name string, _ []byte) ([]byte, error) { return instrumented[name], nil }, funcs)
		if err != nil && !c.Fails {
			return Coverage{}, fmt.Errorf("render %s: %w", c.Name, err)
		}
	}
	coverage := Coverage{Branches: len(branches)}
	for i, branch := range branches {
		if !taken[i] {
			coverage.Missed = append(coverage.Missed, branch)
		}
	}
	slices.SortStableFunc(coverage.Missed, func(a, b Branch) int {
		if a.File != b.File {
			return slices.Compare([]string{a.File}, []string{b.File})
		}
		return a.Line - b.Line
	})
	return coverage, nil
}

// counting are the functions that instrumented templates call; they note in taken which branches were taken.
func counting(taken []bool) template.FuncMap {
	functions := sprig.TxtFuncMap()
	empty := functions["empty"].(func(any) bool)
	plain := functions["default"].(func(any, ...any) any)
	derive := functions["derivePassword"].(func(uint32, string, string, string, string) string)
	derived := map[string]string{}
	note := func(i int, first bool) {
		if !first {
			i++
		}
		taken[i] = true
	}
	return template.FuncMap{
		// It is slow by design, and always gives the same.
		"derivePassword": func(counter uint32, kind, password, user, site string) string {
			key := fmt.Sprintf("%d %q %q %q %q", counter, kind, password, user, site)
			if derived[key] == "" {
				derived[key] = derive(counter, kind, password, user, site)
			}
			return derived[key]
		},
		coveredFunc: func(i int) string {
			taken[i] = true
			return ""
		},
		defaultFunc: func(i int, instead any, given ...any) any {
			note(i, len(given) == 0 || empty(given[0]))
			return plain(instead, given...)
		},
		ternaryFunc: func(i int, yes, no any, condition bool) any {
			note(i, condition)
			if condition {
				return yes
			}
			return no
		},
	}
}

// WithoutSuite are the templates of the chart in dir that no case names.
func WithoutSuite(dir string, cases []Case) ([]string, error) {
	loaded, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	var without []string
	err = eachTemplate(loaded, "", func(name string, _ *common.File, _ *chart.Chart) error {
		if !isPartial(name) && !slices.ContainsFunc(cases, func(c Case) bool { return c.isAbout(name) }) {
			without = append(without, name)
		}
		return nil
	})
	return without, err
}
