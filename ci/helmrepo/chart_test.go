package helmrepo_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"

	"opennebula-kube/ci/helmrepo"
)

// chartDir is the chart that this project releases.
const chartDir = "../../chart/opennebula"

func TestChartLints(t *testing.T) {
	messages, err := helmrepo.Lint(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.Severity != helmrepo.Info {
			t.Error(m)
		}
	}
}

// render packages the chart for an OpenNebula release and renders what is in the archive as `helm install prod` does.
func render(t *testing.T, version string, given map[string]any) map[string]string {
	t.Helper()
	return renderChart(t, packaged(t, helmrepo.Release{AppVersion: version, Date: epoch}), given)
}

// packaged is the chart as Helm reads it from its archive.
func packaged(t *testing.T, of helmrepo.Release) *chart.Chart {
	t.Helper()
	a, err := helmrepo.Package(chartDir, of)
	if err != nil {
		t.Fatal(err)
	}
	c, err := loader.LoadArchive(bytes.NewReader(a.Data))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func renderChart(t *testing.T, c *chart.Chart, given map[string]any) map[string]string {
	t.Helper()
	if err := chartutil.ProcessDependencies(c, given); err != nil {
		t.Fatal(err)
	}
	options := common.ReleaseOptions{Name: "prod", Namespace: "cloud", IsInstall: true}
	values, err := util.ToRenderValues(c, given, options, common.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Engine{}.RenderWithContext(t.Context(), c, values)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The archive has MariaDB's chart in it, and installs the release that it is packaged for.
func TestChartPackagedForRelease(t *testing.T) {
	for version, grpc := range map[string]bool{"7.0.1": false, "7.4.0": true} {
		files := render(t, version, nil)
		set, services := files["opennebula/templates/statefulset.yaml"], files["opennebula/templates/services.yaml"]
		if want := `image: "ghcr.io/opennebula-kube/opennebula:` + version + `"`; strings.Count(set, want) != 2 {
			t.Errorf("%s: want both containers with %s:\n%s", version, want, set)
		}
		if strings.Contains(set, "2634") != grpc || strings.Contains(services, "2634") != grpc {
			t.Errorf("%s: want gRPC %t", version, grpc)
		}
		if database := files["opennebula/templates/mariadb/statefulset.yaml"]; !strings.Contains(database, "library/mariadb:10.11.") {
			t.Errorf("%s: there is no MariaDB:\n%s", version, database)
		}
	}
}

// The examples can be installed, and have the effect that they are there for.
func TestChartExamples(t *testing.T) {
	for _, c := range []struct {
		file string
		// values are where in the file the values are; nothing is the whole file.
		values       []string
		template, in string
	}{
		{"external-database.yaml", nil, "statefulset.yaml", `value: "db.example.org"`},
		{"high-availability.yaml", nil, "services.yaml", "opennebula.io/role: leader"},
		{"gateway-api.yaml", nil, "httproute.yaml", "sectionName: https"},
		{"argocd.yaml", []string{"spec", "source", "helm", "valuesObject"}, "statefulset.yaml", "secretName: one-mariadb-auth"},
	} {
		t.Run(c.file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(chartDir, "examples", c.file))
			if err != nil {
				t.Fatal(err)
			}
			var values map[string]any
			if err := yaml.UnmarshalStrict(text, &values); err != nil {
				t.Fatal(err)
			}
			for _, key := range c.values {
				values, _ = values[key].(map[string]any)
			}
			if got := render(t, "7.4.0", values)["opennebula/templates/"+c.template]; !strings.Contains(got, c.in) {
				t.Errorf("%s lacks %q:\n%s", c.template, c.in, got)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join(chartDir, "examples/*"))
	if err != nil || len(files) != 4 {
		t.Errorf("want each of the examples tested: %q, %v", files, err)
	}
}

// Each value is read by a template: what nobody reads would be set in vain.
func TestChartValuesAreRead(t *testing.T) {
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	valuesAreRead(t, c)
	for _, dependency := range c.Dependencies() {
		valuesAreRead(t, dependency)
	}
}

func valuesAreRead(t *testing.T, c *chart.Chart) {
	t.Helper()
	var templates strings.Builder
	for _, f := range c.Templates {
		templates.Write(f.Data)
	}
	read := func(key string) bool {
		return regexp.MustCompile(`(\.|")` + regexp.QuoteMeta(key) + `\b`).MatchString(templates.String())
	}
	var walk func(path string, values map[string]any)
	walk = func(path string, values map[string]any) {
		for key, value := range values {
			// What is inside of these goes into the resources as it is.
			asItIs := regexp.MustCompile(`(Probe|ecurityContext|esources|etentionPolicy|updateStrategy)$`).MatchString(key)
			if inner, ok := value.(map[string]any); ok && len(inner) > 0 && !asItIs {
				walk(path+"."+key, inner)
			} else if !read(key) {
				t.Errorf("no template reads %s.%s", path, key)
			}
		}
	}
	own := maps.Clone(c.Values)
	for _, dependency := range c.Dependencies() {
		delete(own, dependency.Name())
	}
	if !c.IsRoot() {
		// Helm itself reads it.
		delete(own, "enabled")
	}
	walk(c.Name(), own)
}

// programs are scripts that come before all others, by their names; it returns the PATH.
func programs(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

// The script of the init container runs here as it is, with other programs.
func TestChartAwaitsDatabase(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(chartDir, "files/await-database.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		// client is what stands in for MariaDB's; tries is the file that it counts its calls in.
		client string
		sqlite bool
		wait   string
		ok     bool
		output string
	}{
		{"a new database", `echo 0`, false, "60", true, "answers"},
		{"a database in use", `echo 1`, false, "60", true, "answers"},
		{"a database in use, and what is left of SQLite", `echo 1`, true, "60", true, "answers"},
		{"SQLite in use", `echo 0`, true, "60", false, "OpenNebula's data are in SQLite, in one.db on the volume, and database cloud on db is empty"},
		{"SQLite in use, and an odd answer", `echo odd`, true, "60", false, "OpenNebula's data are in SQLite"},
		{"no database", `echo "cannot connect" >&2; exit 1`, false, "0", false, "database cloud on db port 3307 does not answer after 0 seconds: cannot connect"},
		{
			"a database that comes later",
			`echo x >> "$tries"; [ "$(wc -l < "$tries")" -gt 3 ] || { echo "cannot connect" >&2; exit 1; }; echo 0`, false, "60", true,
			"waiting for database cloud on db port 3307: cannot connect\ndatabase cloud on db port 3307 answers\n",
		},
		{"the password, and where it is not", `case "$*" in *hush*) exit 1;; esac; [ "$MYSQL_PWD" = hush ] && echo 0`, false, "0", true, "answers"},
		{
			"the connection", `[ "$1 $2" = "--no-defaults --protocol=tcp" ] && case "$*" in *"--host=db --port=3307 --user=one"*cloud) echo 0;; *) exit 1;; esac`,
			false, "0", true, "answers",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, path := t.TempDir(), programs(t, map[string]string{"mariadb": c.client, "sleep": "exit 0"})
			write(t, data, map[string]string{"password": "hush"})
			if c.sqlite {
				write(t, data, map[string]string{"one.db": "SQLite"})
			}
			command := exec.CommandContext(t.Context(), "/bin/sh", "-euc", string(script))
			command.Env = []string{
				path, "tries=" + filepath.Join(data, "tries"), "DATA=" + data, "DATABASE_HOST=db",
				"DATABASE_PORT=3307", "DATABASE_USER=one", "DATABASE_NAME=cloud", "DATABASE_PASSWORD_FILE=" + filepath.Join(data, "password"),
				"DATABASE_WAIT=" + c.wait,
			}
			output, err := command.CombinedOutput()
			if (err == nil) != c.ok || !strings.Contains(string(output), c.output) {
				t.Errorf("%v\n%s\nwant %q", err, output, c.output)
			}
		})
	}
}
