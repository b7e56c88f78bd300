// Package workflows has no code: its tests keep the GitHub workflows what they are meant to be, a checkout and one call of Dagger a job.
package workflows

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const root = "../.."

type workflow struct {
	name        string
	On          map[string]any
	Permissions map[string]string
	Concurrency map[string]any
	Defaults    struct{ Run struct{ Shell string } }
	Jobs        map[string]job
}

type job struct {
	If             string
	RunsOn         string `yaml:"runs-on"`
	TimeoutMinutes int    `yaml:"timeout-minutes"`
	Permissions    map[string]string
	Env            map[string]string
	Steps          []step
}

type step struct {
	If, Uses, Run, Shell string
	With                 map[string]any
	Env                  map[string]string
}

func read(t *testing.T) []workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("workflows: %v, %v", files, err)
	}
	var all []workflow
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := workflow{name: filepath.Base(file)}
		if err := yaml.Unmarshal(data, &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, w)
	}
	return all
}

// A job is a checkout, the Dagger command, and one call of the pipeline. Whatever else it did nobody could run or test elsewhere.
func TestEachJobIsOneCall(t *testing.T) {
	for _, w := range read(t) {
		for name, j := range w.Jobs {
			for _, problem := range problems(j) {
				t.Errorf("%s, job %s: %s", w.name, name, problem)
			}
		}
	}
}

// call is one call of the module, which may copy what it prints to the job's summary.
var call = regexp.MustCompile(`^dagger --(?:silent|progress plain) call [^|&;<>` + "`" + `()\n]+(?: \|& tee -a "\$GITHUB_STEP_SUMMARY")?\n?$`)

func problems(j job) []string {
	var found []string
	if j.If != "" {
		found = append(found, "it decides with if: "+j.If)
	}
	var kinds []string
	for _, s := range j.Steps {
		kind, _, _ := strings.Cut(s.Uses, "@")
		if s.Uses == "" {
			kind = "run"
			if !call.MatchString(s.Run) {
				found = append(found, "it runs something else than one call of Dagger: "+s.Run)
			}
			// What GitHub puts in there becomes part of the script.
			if strings.Contains(strings.ReplaceAll(s.Run, "${{ matrix.check }}", ""), "${{") {
				found = append(found, "an expression within a script: "+s.Run)
			}
		}
		if s.If != "" || s.Shell != "" {
			found = append(found, "a step decides for itself: "+s.If+s.Shell)
		}
		kinds = append(kinds, kind)
	}
	if want := []string{"actions/checkout", "dagger/dagger-for-github", "run"}; !slices.Equal(kinds, want) {
		found = append(found, "its steps are "+strings.Join(kinds, ", ")+", want "+strings.Join(want, ", "))
	}
	return found
}

func TestProblemsAreFound(t *testing.T) {
	good := func() job {
		return job{Steps: []step{
			{Uses: "actions/checkout@0"}, {Uses: "dagger/dagger-for-github@0"},
			{Run: `dagger --silent call release --version "$VERSION" markdown |& tee -a "$GITHUB_STEP_SUMMARY"`},
		}}
	}
	if found := problems(good()); len(found) > 0 {
		t.Errorf("a good job has %v", found)
	}
	for name, spoil := range map[string]func(*job){
		"another step":      func(j *job) { j.Steps = append(j.Steps, step{Run: "make test"}) },
		"two calls":         func(j *job) { j.Steps = append(j.Steps, j.Steps[2]) },
		"no call":           func(j *job) { j.Steps = j.Steps[:2] },
		"another action":    func(j *job) { j.Steps[0].Uses = "actions/setup-go@0" },
		"a condition":       func(j *job) { j.Steps[2].If = "always()" },
		"a job's condition": func(j *job) { j.If = "github.event_name == 'push'" },
		"a second command":  func(j *job) { j.Steps[2].Run = "dagger --silent call lint && curl example.org" },
		"a pipe":            func(j *job) { j.Steps[2].Run = "dagger --silent call lint | grep ok" },
		"a second line":     func(j *job) { j.Steps[2].Run = "dagger --silent call lint\necho done" },
		"a subshell":        func(j *job) { j.Steps[2].Run = "dagger --silent call release --version $(cat version)" },
		"an expression":     func(j *job) { j.Steps[2].Run = "dagger --silent call release --version ${{ inputs.version }}" },
	} {
		j := good()
		spoil(&j)
		if len(problems(j)) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
}

var pinned = regexp.MustCompile(`^\s*- uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)

func TestActionsArePinned(t *testing.T) {
	for _, w := range read(t) {
		data, err := os.ReadFile(filepath.Join(root, ".github", "workflows", w.name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(data), "\n") {
			if strings.Contains(line, "uses:") && !pinned.MatchString(line) {
				t.Errorf("%s: not pinned by commit with the version beside it: %s", w.name, line)
			}
		}
	}
}

// What a pull request from a fork can start has no secret and may write nothing.
func TestPermissions(t *testing.T) {
	allowed := map[string][]string{
		"acceptance.yml": {"issues"},
		"ci.yml":         nil,
		"release.yml":    {"packages", "security-events"},
		"schedule.yml":   {"issues", "packages", "security-events"},
	}
	for _, w := range read(t) {
		writes, known := allowed[w.name]
		if !known {
			t.Errorf("%s: say here what it may write", w.name)
		}
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
			t.Errorf("%s: permissions %v, want contents: read, and more by job", w.name, w.Permissions)
		}
		if w.Concurrency["group"] == nil {
			t.Errorf("%s has no concurrency group", w.name)
		}
		if w.Defaults.Run.Shell != "bash" {
			t.Errorf("%s: without shell: bash, a failure before a pipe goes unnoticed", w.name)
		}
		_, fromForks := w.On["pull_request"]
		for name, j := range w.Jobs {
			if j.TimeoutMinutes == 0 || j.RunsOn != "ubuntu-24.04" {
				t.Errorf("%s, job %s: no time-out, or a runner that changes by itself: %s", w.name, name, j.RunsOn)
			}
			for scope, access := range j.Permissions {
				if access == "write" && !slices.Contains(writes, scope) {
					t.Errorf("%s, job %s may write %s", w.name, name, scope)
				}
			}
			if j.Steps[0].With["persist-credentials"] != false {
				t.Errorf("%s, job %s leaves the token in the checkout", w.name, name)
			}
			if text, err := yaml.Marshal(j.Env); fromForks && (err != nil || strings.Contains(string(text), "secrets.") || strings.Contains(string(text), "token")) {
				t.Errorf("%s, job %s has a secret: %s", w.name, name, text)
			}
		}
		if _, target := w.On["pull_request_target"]; target {
			t.Errorf("%s runs a fork's sources with this repository's secrets", w.name)
		}
	}
}

// Scheduled and manual releases, and those of tags, wait for one another.
func TestReleasesShareAGroup(t *testing.T) {
	for _, w := range read(t) {
		if w.name == "ci.yml" || w.name == "acceptance.yml" {
			continue
		}
		if w.Concurrency["group"] != "release" || w.Concurrency["cancel-in-progress"] != false {
			t.Errorf("%s has concurrency %v", w.name, w.Concurrency)
		}
	}
}
