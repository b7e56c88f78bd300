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
	Env         map[string]string
	Jobs        map[string]job
}

type job struct {
	If             string
	Needs          string
	Uses           string
	Secrets        string
	Environment    string
	RunsOn         string `yaml:"runs-on"`
	TimeoutMinutes int    `yaml:"timeout-minutes"`
	Strategy       struct{ Matrix map[string][]string }
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

// A job is a checkout, the Dagger command, and one call of the pipeline, or another workflow. Whatever else it did nobody could run or test
// elsewhere.
func TestEachJobIsOneCall(t *testing.T) {
	for _, w := range read(t) {
		for name, j := range w.Jobs {
			if j.Uses != "" || name == "keep-alive" {
				continue // see TestCalledWorkflows and TestSchedulesAreKeptAlive
			}
			for _, problem := range problems(j) {
				t.Errorf("%s, job %s: %s", w.name, name, problem)
			}
		}
	}
}

// call is one call of the module, which may show in the job's summary what it comes to.
var call = regexp.MustCompile(`^(?:\.github/summary )?dagger --progress plain call [^|&;<>` + "`" + `()\n]+\n?$`)

const (
	setUp     = "./.github/actions/dagger"
	workflows = "./.github/workflows/"
)

func problems(j job) []string {
	var found []string
	if j.If != "" {
		found = append(found, "it decides with if: "+j.If)
	}
	if len(j.Env) > 0 {
		found = append(found, "each of its steps, and each action, has its variables: give them to the step that needs them")
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
	if want := []string{"actions/checkout", setUp, "run"}; !slices.Equal(kinds, want) {
		found = append(found, "its steps are "+strings.Join(kinds, ", ")+", want "+strings.Join(want, ", "))
	}
	return found
}

func TestProblemsAreFound(t *testing.T) {
	good := func() job {
		return job{Steps: []step{
			{Uses: "actions/checkout@0"}, {Uses: setUp},
			{Run: `.github/summary dagger --progress plain call release --version "$VERSION" markdown`, Env: map[string]string{"VERSION": "7.0.1"}},
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
		"a second command":  func(j *job) { j.Steps[2].Run = "dagger --progress plain call lint && curl example.org" },
		"a pipe":            func(j *job) { j.Steps[2].Run = "dagger --progress plain call lint | grep ok" },
		"a second line":     func(j *job) { j.Steps[2].Run = "dagger --progress plain call lint\necho done" },
		"a subshell":        func(j *job) { j.Steps[2].Run = "dagger --progress plain call release --version $(cat version)" },
		"a job's variable":  func(j *job) { j.Env = map[string]string{"GITHUB_TOKEN": "${{ github.token }}"} },
		"an expression":     func(j *job) { j.Steps[2].Run = "dagger --progress plain call release --version ${{ inputs.version }}" },
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
			if strings.Contains(line, "uses:") && !strings.Contains(line, "uses: ./.github/") && !pinned.MatchString(line) {
				t.Errorf("%s: not pinned by commit with the version beside it: %s", w.name, line)
			}
		}
	}
}

// What a pull request from a fork can start has no secret and may write nothing.
func TestPermissions(t *testing.T) {
	releases := []string{"contents", "issues", "packages", "security-events"}
	allowed := map[string][]string{
		"acceptance.yml": {"issues"},
		"checks.yml":     nil,
		"ci.yml":         nil,
		"main.yml":       releases,
		"release.yml":    releases,
		"schedule.yml":   append([]string{"actions"}, releases...),
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
		if len(w.Env) > 0 {
			t.Errorf("%s: all its steps have its variables: give them to the step that needs them", w.name)
		}
		_, fromForks := w.On["pull_request"]
		for name, j := range w.Jobs {
			if j.Uses == "" && (j.TimeoutMinutes == 0 || j.RunsOn != "ubuntu-24.04") {
				t.Errorf("%s, job %s: no time-out, or a runner that changes by itself: %s", w.name, name, j.RunsOn)
			}
			for scope, access := range j.Permissions {
				if access == "write" && !slices.Contains(writes, scope) {
					t.Errorf("%s, job %s may write %s", w.name, name, scope)
				}
			}
			for _, s := range j.Steps {
				if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != false {
					t.Errorf("%s, job %s leaves the token in the checkout", w.name, name)
				}
				if text, err := yaml.Marshal(s.Env); fromForks && (err != nil || strings.Contains(string(text), "secrets.") || strings.Contains(string(text), "token")) {
					t.Errorf("%s, job %s has a secret: %s", w.name, name, text)
				}
			}
			if fromForks && j.Secrets != "" {
				t.Errorf("%s, job %s hands secrets on", w.name, name)
			}
		}
		if _, target := w.On["pull_request_target"]; target {
			t.Errorf("%s runs a fork's sources with this repository's secrets", w.name)
		}
	}
}

// A workflow that another one calls gets what it needs: permissions, for GitHub starts it with no more than those of its caller, and a group that the
// caller does not hold, for else it waits for itself.
func TestCalledWorkflows(t *testing.T) {
	all := map[string]workflow{}
	for _, w := range read(t) {
		all[w.name] = w
	}
	for _, caller := range all {
		for name, j := range caller.Jobs {
			if j.Uses == "" {
				continue
			}
			file, local := strings.CutPrefix(j.Uses, workflows)
			called, known := all[file]
			if _, callable := called.On["workflow_call"]; !local || !known || !callable {
				t.Errorf("%s, job %s: there is no workflow %s that can be called", caller.name, name, j.Uses)
				continue
			}
			if called.Concurrency["group"] == caller.Concurrency["group"] {
				t.Errorf("%s, job %s: %s has the same concurrency group", caller.name, name, file)
			}
			for _, does := range called.Jobs {
				for scope, access := range does.Permissions {
					if has := j.Permissions[scope]; has != access && has != "write" && (access != "read" || caller.Permissions[scope] != "read") {
						t.Errorf("%s, job %s: %s needs %s: %s, and is called with %q", caller.name, name, file, scope, access, has)
					}
				}
				for _, s := range does.Steps {
					if text, err := yaml.Marshal(s.Env); err != nil || strings.Contains(string(text), "secrets.") && j.Secrets != "inherit" {
						t.Errorf("%s, job %s: %s takes secrets, and is called without them", caller.name, name, file)
					}
				}
			}
		}
	}
}

// All releases are made by one job, whose runs wait for one another, in an environment that an owner can protect; those of main after the checks.
func TestReleases(t *testing.T) {
	for _, w := range read(t) {
		for name, j := range w.Jobs {
			for _, s := range j.Steps {
				if !strings.Contains(s.Run, " release ") || strings.Contains(s.Run, "--dry-run ") {
					continue
				}
				if w.name != "release.yml" || w.Concurrency["group"] != "release" || w.Concurrency["cancel-in-progress"] != false || j.Environment != "release" {
					t.Errorf("%s, job %s releases outside of the group and the environment: %v, %q", w.name, name, w.Concurrency, j.Environment)
				}
			}
		}
		if release := w.Jobs["release"]; w.name == "main.yml" && (w.Jobs[release.Needs].Uses != workflows+"checks.yml" || release.Uses != workflows+"release.yml") {
			t.Errorf("main releases without the checks: %+v", release)
		}
	}
}

// GitHub turns a schedule off after 60 days without a commit: each has to be kept alive.
func TestSchedulesAreKeptAlive(t *testing.T) {
	var scheduled, kept []string
	for _, w := range read(t) {
		if _, is := w.On["schedule"]; is {
			scheduled = append(scheduled, w.name)
		}
		j, is := w.Jobs["keep-alive"]
		if !is {
			continue
		}
		kept = append(kept, j.Strategy.Matrix["workflow"]...)
		if _, often := w.On["schedule"]; !often || len(j.Permissions) != 1 || j.Permissions["actions"] != "write" || len(j.Steps) != 1 ||
			j.Steps[0].Run != `gh api --method PUT "repos/$GITHUB_REPOSITORY/actions/workflows/$WORKFLOW/enable"` {
			t.Errorf("%s keeps nothing alive: %+v", w.name, j)
		}
	}
	slices.Sort(kept)
	if !slices.Equal(scheduled, kept) {
		t.Errorf("schedules of %q, and %q are kept alive", scheduled, kept)
	}
}
