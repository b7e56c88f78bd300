package chart

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// small is a chart with a subchart, and a branch of each sort.
var small = map[string]string{
	"Chart.yaml":                  "apiVersion: v2\nname: small\nversion: 0.1.0\nappVersion: \"7\"\n",
	"values.yaml":                 "enabled: false\nnames: []\nport: 0\nsub:\n  ready: true\n",
	"charts/sub/Chart.yaml":       "apiVersion: v2\nname: sub\nversion: 0.1.0\n",
	"charts/sub/values.yaml":      "ready: false\ntext: \"\"\n",
	"charts/sub/templates/s.yaml": "{{ if .Values.ready }}ready: {{ .Values.text | quote }}{{ end }}\n",
	"templates/_helpers.tpl": `{{- define "small.name" -}}
{{ .Values.name | default .Release.Name }}
{{- end }}
{{- define "small.unused" }}x{{ end }}`,
	"templates/a.yaml": `{{- $found := lookup "v1" "Secret" .Release.Namespace "key" }}
name: {{ include "small.name" . }}
{{- if .Values.enabled }}
on: {{ ternary "install" "upgrade" .Release.IsInstall }}
{{- else if $found }}
found: {{ $found.data.key }}
{{- end }}
{{- range .Values.names }}
- {{ . }}
{{- else }}
none: true
{{- end }}
{{- with .Values.port }}
port: {{ . }}
{{- end }}
{{- with .Values.sub }}{{ .ready }}{{ end }}
{{- if eq (.Values.port | default 80 | int) 1 }}{{ fail "port 1 is taken" }}{{ end }}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}
monitored: true
{{- end }}
`,
	"templates/NOTES.txt": "{{ include \"small.name\" . }}\n",
}

func writeChart(t *testing.T, files ...map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, set := range files {
		for name, text := range set {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func cover(t *testing.T, dir string) []string {
	t.Helper()
	cases, err := ReadSuites(dir)
	if err != nil {
		t.Fatal(err)
	}
	coverage, err := Cover(t.Context(), dir, cases)
	if err != nil {
		t.Fatal(err)
	}
	var missed []string
	for _, branch := range coverage.Missed {
		missed = append(missed, branch.String())
	}
	return missed
}

func TestCoverNamesBranchesNeverTaken(t *testing.T) {
	dir := writeChart(t, small, map[string]string{"tests/a_test.yaml": `suite: a
templates: [a.yaml]
tests:
  - it: has defaults
    asserts: [{isNull: {path: on}}]
`})
	want := []string{
		`charts/sub/templates/s.yaml:1: if .Values.ready is never true`,
		`charts/sub/templates/s.yaml:1: if .Values.ready is never false`,
		`templates/_helpers.tpl:2: .Values.name | default .Release.Name is always needed`,
		`templates/_helpers.tpl:4: "small.unused" is never included`,
		`templates/a.yaml:3: if .Values.enabled is never true`,
		`templates/a.yaml:4: ternary "install" "upgrade" .Release.IsInstall is never true`,
		`templates/a.yaml:4: ternary "install" "upgrade" .Release.IsInstall is never false`,
		`templates/a.yaml:5: if $found is never true`,
		`templates/a.yaml:8: range .Values.names has never an element`,
		`templates/a.yaml:13: with .Values.port is never set`,
		`templates/a.yaml:17: .Values.port | default 80 | int is always needed`,
		`templates/a.yaml:17: if eq (.Values.port | default 80 | int) 1 is never true`,
		`templates/a.yaml:18: if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" is never true`,
	}
	if diff := cmp.Diff(want, cover(t, dir)); diff != "" {
		t.Errorf("missed (-want +got):\n%s", diff)
	}
}

// suites take each branch of small but one, each by another means that suites have.
var suites = map[string]string{
	"tests/values/on.yaml": "enabled: true\n",
	"tests/a_test.yaml": `suite: a
templates: [a.yaml]
set: {name: fixed}
tests:
  - it: is on
    values: [values/on.yaml]
    set: {"names[0]": one, port: 2}
    asserts: [{equal: {path: on, value: install}}]
  - it: is upgraded
    set: {enabled: true}
    release: {upgrade: true}
    asserts: [{equal: {path: on, value: upgrade}}]
  - it: finds a secret
    set: {name: null}
    kubernetesProvider:
      scheme: {v1/Secret: {gvr: {version: v1, resource: secrets}, namespaced: true}}
      objects:
        - {apiVersion: v1, kind: Secret, metadata: {name: key, namespace: NAMESPACE}, data: {key: a}}
    asserts: [{equal: {path: found, value: a}}]
  - it: refuses a port
    set: {port: 1}
    asserts: [{failedTemplate: {errorMessage: port 1 is taken}}]
  - it: is monitored
    capabilities: {minorVersion: 30, apiVersions: [monitoring.coreos.com/v1]}
    asserts: [{equal: {path: monitored, value: true}}]
  - it: is not looked at
    skip: {reason: later}
    set: {other: true}
    asserts: [{exists: {path: x}}]
`,
	"charts/sub/tests/s_test.yaml": `suite: s
templates: [s.yaml]
tests:
  - it: is ready
    asserts: [{exists: {path: ready}}]
---
suite: s
templates: [s.yaml]
tests:
  - it: is not ready
    set: {ready: false}
    asserts: [{hasDocuments: {count: 0}}]
`,
}

func TestCoverReadsSuites(t *testing.T) {
	dir := writeChart(t, small, suites)
	if diff := cmp.Diff([]string{`templates/_helpers.tpl:4: "small.unused" is never included`}, cover(t, dir)); diff != "" {
		t.Errorf("missed (-want +got):\n%s", diff)
	}
	cases, err := ReadSuites(dir)
	if err != nil {
		t.Fatal(err)
	}
	without, err := WithoutSuite(dir, cases)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"templates/NOTES.txt"}, without); diff != "" {
		t.Errorf("without a suite (-want +got):\n%s", diff)
	}
}

func TestCoverRefusesCaseThatFails(t *testing.T) {
	suite := strings.Replace(suites["tests/a_test.yaml"], "failedTemplate: {errorMessage: port 1 is taken}", "exists: {path: name}", 1)
	dir := writeChart(t, small, map[string]string{"tests/a_test.yaml": suite, "tests/values/on.yaml": ""})
	cases, err := ReadSuites(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Cover(t.Context(), dir, cases); err == nil || !strings.Contains(err.Error(), "a_test.yaml: a: refuses a port") ||
		!strings.Contains(err.Error(), "port 1 is taken") {
		t.Errorf("error %v, want the case and the message in it", err)
	}
}

// Instrumented templates render to what they did before.
func TestInstrumentKeepsOutput(t *testing.T) {
	dir := writeChart(t, small, suites)
	cases, err := ReadSuites(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(cases, Case{Name: "defaults"}) {
		var branches []Branch
		want, plainErr := render(t.Context(), dir, c, nil, nil)
		got, err := render(t.Context(), dir, c, func(name string, data []byte) ([]byte, error) {
			text, err := instrument(name, string(data), nil, &branches)
			return []byte(text), err
		}, counting(make([]bool, 100)))
		if (err != nil) != c.Fails || (plainErr != nil) != c.Fails {
			t.Errorf("%s: fails with %v, instrumented with %v", c.Name, plainErr, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-plain +instrumented):\n%s", c.Name, diff)
		}
		if files := slices.Sorted(maps.Keys(got)); !c.Fails && len(files) == 0 {
			t.Errorf("%s rendered nothing", c.Name)
		}
	}
}

func TestSetPath(t *testing.T) {
	for path, want := range map[string]any{
		"a":             map[string]any{"a": 1},
		"a.b":           map[string]any{"a": map[string]any{"b": 1}},
		"a[1].b":        map[string]any{"a": []any{nil, map[string]any{"b": 1}}},
		`a["c.d/e"].f`:  map[string]any{"a": map[string]any{"c.d/e": map[string]any{"f": 1}}},
		`a.b["c-d"][0]`: map[string]any{"a": map[string]any{"b": map[string]any{"c-d": []any{1}}}},
	} {
		got, err := setPath(path, 1)
		if diff := cmp.Diff(want, any(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", path, err, diff)
		}
	}
	for _, path := range []string{"", "[0]", "a]"} {
		if got, err := setPath(path, 1); err == nil {
			t.Errorf("%q is taken for %v", path, got)
		}
	}
}
