package chart

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common/util"
	"sigs.k8s.io/yaml"
)

// Case is one rendering of the chart: a test of a suite, or a set of values.
type Case struct {
	// Name tells people which it is: the file and the test.
	Name string
	// Values are those given to the chart, as in a values file.
	Values map[string]any
	// Release, Chart and Capabilities stand for what Helm tells the templates; what is empty has a default.
	Release      Release
	Chart        Metadata
	Capabilities Capabilities
	// Objects are those that the function lookup finds.
	Objects []map[string]any
	// Templates are those that the case is about, by their path in the chart, with * for anything; none stands for all.
	Templates []string
	// Fails is set when the rendering may fail, for a test says so.
	Fails bool
}

// Release is the release that a chart is rendered for.
type Release struct {
	Name, Namespace string
	Revision        int
	Upgrade         bool
}

// Metadata is what of Chart.yaml is replaced.
type Metadata struct{ Version, AppVersion string }

// Capabilities is what the cluster is said to have.
type Capabilities struct {
	MajorVersion, MinorVersion any
	APIVersions                []string
}

// settings is what a suite and a test of it have in common.
type settings struct {
	Values             []string
	Set                map[string]any
	Templates          []string
	Release            Release
	Chart              Metadata
	Capabilities       Capabilities
	KubernetesProvider struct{ Objects []map[string]any }
	Skip               struct{ Reason string }
}

type suite struct {
	settings
	Suite string
	Tests []struct {
		settings
		It       string
		Template string
		Asserts  []map[string]any
	}
}

// ReadSuites reads the suites of helm-unittest that the chart in dir and its subcharts have, as far as they say what is rendered. Tests
// that are skipped are left out.
func ReadSuites(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "tests", "*_test.yaml"))
	if err != nil {
		return nil, err
	}
	subcharts, err := filepath.Glob(filepath.Join(dir, "charts", "*", "tests", "*_test.yaml"))
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, file := range append(files, subcharts...) {
		found, err := readSuiteFile(dir, file)
		if err != nil {
			return nil, fmt.Errorf("read suite %s: %w", file, err)
		}
		cases = append(cases, found...)
	}
	return cases, nil
}

var documents = regexp.MustCompile(`(?m)^---.*$`)

func readSuiteFile(dir, file string) ([]Case, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	// The path in the chart of the chart that the suite belongs to: "" or "charts/mariadb/".
	route, err := filepath.Rel(dir, filepath.Dir(filepath.Dir(file)))
	if err != nil {
		return nil, err
	}
	route = strings.TrimPrefix(filepath.ToSlash(route)+"/", "./")
	var cases []Case
	for _, text := range documents.Split(string(data), -1) {
		var s suite
		if err := yaml.Unmarshal([]byte(text), &s); err != nil {
			return nil, err
		}
		for _, test := range s.Tests {
			if s.Skip.Reason != "" || test.Skip.Reason != "" {
				continue
			}
			c := Case{
				Name: fmt.Sprintf("%s%s: %s: %s", route, filepath.Base(file), s.Suite, test.It),
				Release: Release{
					Name: cmp.Or(test.Release.Name, s.Release.Name), Namespace: cmp.Or(test.Release.Namespace, s.Release.Namespace),
					Revision: cmp.Or(test.Release.Revision, s.Release.Revision), Upgrade: test.Release.Upgrade || s.Release.Upgrade,
				},
				Chart: Metadata{Version: cmp.Or(test.Chart.Version, s.Chart.Version), AppVersion: cmp.Or(test.Chart.AppVersion, s.Chart.AppVersion)},
				Capabilities: Capabilities{
					MajorVersion: cmp.Or(test.Capabilities.MajorVersion, s.Capabilities.MajorVersion),
					MinorVersion: cmp.Or(test.Capabilities.MinorVersion, s.Capabilities.MinorVersion),
					APIVersions:  slices.Concat(s.Capabilities.APIVersions, test.Capabilities.APIVersions),
				},
				Objects: slices.Concat(test.KubernetesProvider.Objects, s.KubernetesProvider.Objects),
				Fails:   slices.ContainsFunc(test.Asserts, func(a map[string]any) bool { return a["failedTemplate"] != nil }),
			}
			templates := test.Templates
			if test.Template != "" {
				templates = []string{test.Template}
			}
			if len(templates) == 0 {
				templates = s.Templates
			}
			for _, t := range templates {
				c.Templates = append(c.Templates, route+templatePath(t))
			}
			if len(templates) == 0 && route != "" {
				c.Templates = []string{route + "**"}
			}
			if c.Values, err = suiteValues(filepath.Dir(file), route, s.settings, test.settings); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			cases = append(cases, c)
		}
	}
	return cases, nil
}

// templatePath is the path in its chart of a template as suites name it: the directory templates may be left out.
func templatePath(name string) string {
	for _, prefix := range []string{"templates/", "charts/", "crds/", "**"} {
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	return "templates/" + name
}

// suiteValues are the values of a test: the files of the suite and of the test, then what both set; the later wins.
func suiteValues(dir, route string, layers ...settings) (map[string]any, error) {
	values := map[string]any{}
	for _, layer := range layers {
		for _, name := range layer.Values {
			given, err := readValues(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			values = util.MergeTables(scoped(route, given), values)
		}
	}
	for _, layer := range layers {
		for path, value := range layer.Set {
			given, err := setPath(path, value)
			if err != nil {
				return nil, err
			}
			values = util.MergeTables(scoped(route, given), values)
		}
	}
	return values, nil
}

// scoped puts the values of a subchart where its parent has them.
func scoped(route string, values map[string]any) map[string]any {
	if _, name, ok := strings.Cut(strings.TrimSuffix(route, "/"), "charts/"); ok {
		outer := map[string]any{name: values}
		if global, ok := values["global"]; ok {
			outer["global"] = global
		}
		return outer
	}
	return values
}

func readValues(file string) (map[string]any, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("values %s: %w", file, err)
	}
	return values, nil
}

// step is one step of a path such as a.b[0]["c.d/e"].
var step = regexp.MustCompile(`^(?:\[(\d+)\]|\[["']?([^\]"']+)["']?\]|\.?([^.\[\]]+))`)

// setPath returns values with one value at the path.
func setPath(path string, value any) (map[string]any, error) {
	var steps [][]string
	for rest := path; rest != ""; {
		match := step.FindStringSubmatch(rest)
		if match == nil {
			return nil, fmt.Errorf("set %q: cannot read the path from %q on", path, rest)
		}
		steps, rest = append(steps, match), rest[len(match[0]):]
	}
	for _, s := range slices.Backward(steps) {
		if s[1] == "" {
			value = map[string]any{s[2] + s[3]: value}
			continue
		}
		index, err := strconv.Atoi(s[1])
		if err != nil {
			return nil, fmt.Errorf("set %q: %w", path, err)
		}
		list := make([]any, index+1)
		list[index] = value
		value = list
	}
	values, ok := value.(map[string]any)
	if !ok || path == "" {
		return nil, fmt.Errorf("set %q: a path begins with a key", path)
	}
	return values, nil
}
