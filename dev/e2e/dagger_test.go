package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"

	"opennebula-kube/dev/cli"
	"opennebula-kube/dev/sandbox"
)

// TestDagger works with the Dagger module on a real engine, against a sandbox that containers reach.
func TestDagger(t *testing.T) {
	d := startDagger(t)
	t.Run("engine", d.testEngine)
	t.Run("same as the command line", d.testSame)
	t.Run("image", d.testImage)
	t.Run("release", d.testRelease)
	t.Run("report", d.testReport)
	t.Run("readme", d.testReadme)
	t.Run("errors", d.testErrors)
	t.Run("checks", d.testChecks)
}

// daggerWorld is a sandbox, and a module that works in it.
type daggerWorld struct {
	*world
	// module is the directory of the module's sources; scanner is an image with Trivy, golang one with Go.
	module, scanner, golang string
}

// startDagger starts a sandbox that containers reach, or skips the test.
func startDagger(t testing.TB) *daggerWorld {
	t.Helper()
	needDagger(t)
	w := startWith(t, sandbox.Options{Host: privateAddress(t), RegistryPort: daggerRegistryPort})
	w.needPulls(t)
	return &daggerWorld{world: w, module: root, scanner: w.scannerImage(t), golang: w.golangImage(t)}
}

// testSame wants from each function what the embedded command line prints.
func (d *daggerWorld) testSame(t *testing.T) {
	upstream := d.upstreamArgs()
	for _, c := range [][]string{
		append([]string{"releases", "--format", "table"}, upstream...),
		append([]string{"releases", "--format", "json"}, upstream...),
		append([]string{"detect-version"}, upstream...),
		append([]string{"detect-version", "--line", "7.0"}, upstream...),
		append([]string{"detect-version", "--constraint", "<7.0.2"}, upstream...),
		append(append([]string{"plan"}, d.planArgs("same")...), "--line", "7.0"),
		append([]string{"plan", "--format", "json"}, d.planArgs("same")...),
		{"chart", "lint"},
	} {
		t.Run(strings.Join(c[:2], " "), func(t *testing.T) {
			want, got := strings.TrimSpace(typed(t, c...)), strings.TrimSpace(d.call(t, c...))
			if got != want {
				t.Errorf("Dagger prints\n%s\nthe command line\n%s", got, want)
			}
		})
	}
	t.Run("chart publish", func(t *testing.T) {
		repository, changed := t.TempDir(), filepath.Join(t.TempDir(), "changed")
		images, _ := d.repository("dagger-chart")
		pushAny(t, images, "7.2.0-1")
		arguments := append([]string{"chart", "publish", "--registry", images, "--chart-repository", repository}, upstream...)
		d.call(t, append(arguments, "repository", "export", "--path", changed)...)
		if index := readFile(t, filepath.Join(changed, "index.yaml")); !strings.Contains(index, chartArchive(t)) {
			t.Errorf("the chart is not in the repository that comes back:\n%s", index)
		}
		readFile(t, filepath.Join(changed, chartArchive(t)))
	})
	t.Run("chart package", func(t *testing.T) {
		dir := t.TempDir()
		arguments := append([]string{"chart", "package", "--line", "7.0"}, upstream...)
		path := strings.TrimSpace(typed(t, append(slices.Clone(arguments), "--output", dir)...))
		d.call(t, append(append([]string{"-o", filepath.Join(dir, "dagger.tgz")}, arguments...), "archive")...)
		if want, got := readFile(t, path), readFile(t, filepath.Join(dir, "dagger.tgz")); got != want {
			t.Error("Dagger packages the chart in other bytes than the command line")
		}
	})
}

// chartArchive is the name of the chart's archive, which has the version that the sources have.
func chartArchive(t *testing.T) string {
	t.Helper()
	metadata, err := chartutil.LoadChartfile(filepath.Join(root, "chart/opennebula/Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return "opennebula-" + metadata.Version + ".tgz"
}

// planArgs are what a plan is told, for a repository of its own.
func (d *daggerWorld) planArgs(name string) []string {
	image, _ := d.repository(name)
	return d.releaseOptions(image)
}

// testChecks runs the checks that do not run all of these tests again, and spoils what one of them looks after.
func (d *daggerWorld) testChecks(t *testing.T) {
	d.call(t, "generated")
	d.call(t, "chart", "test")
	spoilt := *d
	spoilt.module = t.TempDir()
	spoilt.copySources(t, spoilt.module)
	generated, err := os.OpenFile(filepath.Join(spoilt.module, "ci", "dagger.gen.go"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := generated.WriteString("\n// by hand\n"); err != nil {
		t.Fatal(err)
	}
	if err := generated.Close(); err != nil {
		t.Fatal(err)
	}
	if output, err := spoilt.tryCall(t, "generated"); err == nil || !strings.Contains(output, "ci/dagger.gen.go") || !strings.Contains(output, "dagger develop") {
		t.Errorf("generated code that was edited: %v\n%s", err, output)
	}
}

func (d *daggerWorld) testErrors(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"a version that is not there": {append([]string{"detect-version", "--version", "9.9.9"}, d.upstreamArgs()...), []string{"9.9.9", "7.2.0"}},
		"no registry":                 {append([]string{"release", "--base-image", d.BaseImage}, d.upstreamArgs()...), []string{"--registry", "--dry-run"}},
		"half a login":                {append([]string{"plan", "--username", "me"}, d.planArgs("half")...), []string{"--username", "--password"}},
		"a fingerprint that is none": {
			append(append([]string{"plan"}, d.planArgs("fingerprint")...), "--upstream-fingerprint", "906DC27C"),
			[]string{`"906DC27C"`, "40 hexadecimal digits", "gpg --show-keys"},
		},
		"a severity that is none": {append([]string{"plan", "--severity", "AWFUL"}, d.planArgs("severity")...), []string{"AWFUL", "CRITICAL"}},
		"an age that is none":     {append([]string{"plan", "--db-max-age", "old"}, d.planArgs("age")...), []string{"--db-max-age", "48h"}},
		"no chart repository":     {append([]string{"chart", "publish", "--registry", "ghcr.io/acme/opennebula"}, d.upstreamArgs()...), []string{"no place to publish"}},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := d.tryCall(t, c.args...)
			if err == nil {
				t.Fatalf("no error, but\n%s", output)
			}
			for _, want := range c.want {
				if !strings.Contains(output, want) {
					t.Errorf("want %q in\n%s", want, output)
				}
			}
		})
	}
}

// call calls a function of the module, and returns what it prints.
func (d *daggerWorld) call(t testing.TB, args ...string) string {
	t.Helper()
	command := d.command(t, args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("dagger call %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(output)
}

// tryCall calls a function that may fail, and returns all that is said.
func (d *daggerWorld) tryCall(t testing.TB, args ...string) (string, error) {
	t.Helper()
	output, err := d.command(t, args...).CombinedOutput()
	return string(output), err
}

func (d *daggerWorld) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	flags := []string{"-m", d.module, "--progress", "plain", "call"}
	if len(args) > 1 && args[0] == "-o" {
		flags, args = append(flags, args[:2]...), args[2:]
	}
	return exec.CommandContext(t.Context(), "dagger", append(append(flags, "--scanner", d.scanner, "--golang", d.golang), args...)...)
}

// typed runs the embedded command line.
func typed(t *testing.T, args ...string) string {
	t.Helper()
	stdout, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdout.Close() }()
	env, err := cli.System()
	if err != nil {
		t.Fatal(err)
	}
	env.Stdout = stdout
	command := cli.New(env)
	if args[0] == "chart" || args[0] == "plan" {
		args = append(args, "--source", root)
	}
	command.SetArgs(args)
	if err := command.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("pipeline %s: %v", strings.Join(args, " "), err)
	}
	return readFile(t, stdout.Name())
}
