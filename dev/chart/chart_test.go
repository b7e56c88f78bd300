package chart

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"k8s.io/pod-security-admission/api"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/dev/chart/kubeschema"
	"opennebula-kube/dev/toolchain"
)

// These tests look at the chart that this project releases.
const (
	root     = "../.."
	chartDir = root + "/chart/opennebula"
)

// extensions are what the cluster has beside Kubernetes' own kinds.
var extensions = []string{"gateway.networking.k8s.io/v1/HTTPRoute"}

var update = flag.Bool("update", false, "write the READMEs of the charts anew")

// tool returns the path of a tool that the repository pins, which is to be run on the chart.
func tool(t *testing.T, name string) string {
	t.Helper()
	// What a program reads go does not see: without this it would repeat the result for another chart.
	if err := fs.WalkDir(os.DirFS(chartDir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			_, err = os.ReadFile(filepath.Join(chartDir, path))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		t.Skipf("needs %s, which may have to be compiled", name)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path, err := toolchain.New(root, filepath.Join(cache, "opennebula-kube"), t.Logf).Tool(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// valueSets are the files with values that the chart is rendered with, by their name; the defaults have none.
func valueSets(t *testing.T) map[string]string {
	t.Helper()
	sets := map[string]string{"defaults": ""}
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		sets[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = file
	}
	return sets
}

func suiteCases(t *testing.T) []Case {
	t.Helper()
	cases, err := ReadSuites(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s has no tests in tests/*_test.yaml", chartDir)
	}
	return cases
}

func TestSuitesPass(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), tool(t, "helm-unittest"), "--strict", chartDir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func TestEveryTemplateHasSuite(t *testing.T) {
	without, err := WithoutSuite(chartDir, suiteCases(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, template := range without {
		t.Errorf("%s: no suite names it under templates", template)
	}
}

func TestEveryBranchIsTaken(t *testing.T) {
	cases := suiteCases(t)
	for name, file := range valueSets(t) {
		c := Case{Name: name}
		if file != "" {
			var err error
			if c.Values, err = readValues(file); err != nil {
				t.Fatal(err)
			}
		}
		cases = append(cases, c)
	}
	coverage, err := Cover(t.Context(), chartDir, cases)
	if err != nil {
		t.Fatal(err)
	}
	for _, branch := range coverage.Missed {
		t.Error(branch)
	}
	t.Logf("%d of %d branches are taken by %d renderings", coverage.Branches-len(coverage.Missed), coverage.Branches, len(cases))
}

// What Helm makes of each set of values is valid in the oldest and in the newest Kubernetes.
func TestManifestsAreValid(t *testing.T) {
	helm := tool(t, "helm")
	for _, release := range []string{kubeschema.Oldest, kubeschema.Newest} {
		set, err := kubeschema.Write(t.Context(), release, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		v, err := kubeschema.NewValidator(set)
		if err != nil {
			t.Fatal(err)
		}
		cluster := Cluster{KubeVersion: set.KubeVersion, Extensions: set.Extensions}
		for name, file := range valueSets(t) {
			t.Run(set.KubeVersion+"/"+name, func(t *testing.T) {
				t.Parallel()
				manifests, err := Template(t.Context(), helm, chartDir, file, cluster)
				if err != nil {
					t.Fatal(err)
				}
				count, errs := v.Validate(t.Context(), manifests)
				for _, err := range errs {
					t.Error(err)
				}
				if count == 0 {
					t.Error("no manifests")
				}
			})
		}
	}
}

// TestImages wants every image to be the project's own, which the pipeline has scanned, or pinned by digest. Bitnami's have left Docker Hub.
func TestImages(t *testing.T) {
	helm := tool(t, "helm")
	own, digest := "ghcr.io/opennebula-kube/opennebula:", regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)
	line := regexp.MustCompile(`(?m)^\s*(?:- )?image: "?([^"\s]+)"?$`)
	cluster := Cluster{KubeVersion: "1.30.0", Extensions: extensions}
	database := false
	for name, file := range valueSets(t) {
		manifests, err := Template(t.Context(), helm, chartDir, file, cluster)
		if err != nil {
			t.Fatal(err)
		}
		images := line.FindAllStringSubmatch(manifests, -1)
		if len(images) == 0 {
			t.Errorf("%s: no image", name)
		}
		for _, match := range images {
			switch image := match[1]; {
			case strings.Contains(image, "bitnami"):
				t.Errorf("%s: %s is Bitnami's", name, image)
			case digest.MatchString(image):
				database = database || strings.Contains(image, "/mariadb:")
			case !strings.HasPrefix(image, own):
				t.Errorf("%s: %s is neither the project's nor pinned by digest", name, image)
			}
		}
	}
	if !database {
		t.Error("MariaDB's image is in none of the value sets")
	}
}

// A packaged chart has every image pinned by its digest, whichever Helm renders it.
func TestPackagedImages(t *testing.T) {
	image := helmrepo.Image{Repository: "registry.example.org/opennebula", Tag: "7.4.0-2", Digest: "sha256:" + strings.Repeat("0", 64)}
	archive, err := helmrepo.Package(chartDir, helmrepo.Release{AppVersion: "7.4.0", Date: time.Unix(0, 0), Image: &image})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), archive.Filename)
	if err := os.WriteFile(file, archive.Data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, helm := range []string{"helm", "helm3"} {
		manifests, err := Template(t.Context(), tool(t, helm), file, "", Cluster{KubeVersion: "1.30.0"})
		if err != nil {
			t.Fatal(err)
		}
		own := strings.Count(manifests, fmt.Sprintf("image: %q", image))
		if pinned, all := strings.Count(manifests, "@sha256:"), strings.Count(manifests, "image: "); own == 0 || pinned != all {
			t.Errorf("%s: %d of %d images are pinned, and %d are %s", helm, pinned, all, own, image)
		}
	}
}

// A namespace that enforces the level baseline takes the pods of each set of values; all but OpenNebula's own, and that of its backups, keep to
// restricted.
func TestPodSecurity(t *testing.T) {
	helm := tool(t, "helm")
	for name, file := range valueSets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manifests, err := Template(t.Context(), helm, chartDir, file, Cluster{KubeVersion: "1.30.0", Extensions: extensions})
			if err != nil {
				t.Fatal(err)
			}
			levels, err := PodLevels(manifests)
			if err != nil {
				t.Fatal(err)
			}
			frontEnds := 0
			for pod, found := range levels {
				want := api.LevelRestricted
				switch {
				case strings.HasPrefix(pod, "StatefulSet ") && !strings.HasSuffix(pod, "-mariadb"):
					frontEnds++
					want = api.LevelBaseline
				case strings.HasPrefix(pod, "CronJob "):
					want = api.LevelBaseline
				}
				if found.Level != want {
					t.Errorf("%s needs the level %s, want %s: %s", pod, found.Level, want, strings.Join(found.Refused, "; "))
				}
			}
			if frontEnds != 1 {
				t.Errorf("%d pods of OpenNebula, want 1: %v", frontEnds, levels)
			}
		})
	}
}

// Helm 3 makes the same of each set of values as Helm 4.
func TestHelmVersionsAgree(t *testing.T) {
	helm4, helm3 := tool(t, "helm"), tool(t, "helm3")
	cluster := Cluster{KubeVersion: "1.30.0", Extensions: extensions}
	for name, file := range valueSets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var made [3]string
			for i, program := range []string{helm4, helm4, helm3} {
				var err error
				if made[i], err = Template(t.Context(), program, chartDir, file, cluster); err != nil {
					t.Fatal(err)
				}
			}
			diff, err := Difference(made[0], made[1], made[2])
			if err != nil {
				t.Fatal(err)
			}
			if diff != "" {
				t.Errorf("Helm 3 makes other manifests (-Helm 4 +Helm 3):\n%s", diff)
			}
		})
	}
}

func TestSchemaHasEveryValue(t *testing.T) {
	dirs, err := Charts(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		problems, err := CheckSchema(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems {
			t.Errorf("%s: %s", dir, problem)
		}
	}
}

func TestEveryRestrictionRefuses(t *testing.T) {
	unrefused, err := Unrefused(chartDir, suiteCases(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, restriction := range unrefused {
		t.Errorf("%s: no suite has a test with failedTemplate whose values it refuses", restriction)
	}
}

// The chart lets in the Kubernetes releases that it is checked for, and none before.
func TestKubeVersion(t *testing.T) {
	loaded, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	constraint, err := semver.NewConstraint(loaded.Metadata.KubeVersion)
	if err != nil {
		t.Fatalf("kubeVersion %q: %v", loaded.Metadata.KubeVersion, err)
	}
	version := func(module string) *semver.Version {
		_, text, _ := strings.Cut(module, "@")
		return semver.MustParse(text)
	}
	oldest := version(kubeschema.Oldest)
	before := semver.New(oldest.Major(), oldest.Minor()-1, 99, "", "")
	for v, want := range map[*semver.Version]bool{oldest: true, version(kubeschema.Newest): true, before: false} {
		if constraint.Check(v) != want {
			t.Errorf("kubeVersion %q: lets in %s = %v, want %v", loaded.Metadata.KubeVersion, v, !want, want)
		}
	}
}

func TestEveryValueIsDocumented(t *testing.T) {
	dirs, err := Charts(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		undocumented, err := Undocumented(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range undocumented {
			t.Errorf("%s: values.yaml has no comment \"# -- ...\" on %s", dir, value)
		}
	}
}

// The READMEs of the charts are what helm-docs makes of README.md.gotmpl and values.yaml.
func TestReadme(t *testing.T) {
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), tool(t, "helm-docs"), "--sort-values-order", "file")
	command.Dir = copied
	out, err := command.CombinedOutput()
	if err != nil || strings.Contains(string(out), "level=warning") {
		t.Fatalf("helm-docs: %v\n%s", err, out)
	}
	err = fs.WalkDir(os.DirFS(copied), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "README.md" {
			return err
		}
		want, err := os.ReadFile(filepath.Join(copied, path))
		if err != nil {
			return err
		}
		committed := filepath.Join(chartDir, path)
		if *update {
			return os.WriteFile(committed, want, 0o644)
		}
		got, err := os.ReadFile(committed)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not what helm-docs makes: run `make generate` (-want +got):\n%s", path, diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
