package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
	"opennebula-kube/dev/sandbox/trivydb"
)

// testVerbs runs each verb that is not a whole release, and reads what it prints as a script would.
func testVerbs(t *testing.T, w *world) {
	upstream := w.upstreamArgs()

	t.Run("releases", func(t *testing.T) {
		listed := decode[[]release.Release](t, []byte(w.run(t, append([]string{"releases", "--format", "json"}, upstream...)...).passed(t).stdout))
		type brief struct{ Version, Line, PackageVersion, Architectures string }
		var got []brief
		for _, r := range listed {
			got = append(got, brief{r.Version, r.Line, r.PackageVersion, strings.Join(r.Architectures, ",")})
			if want := releaseDate(t, w, r.Version); !r.Date.Equal(want) {
				t.Errorf("%s is of %s, want %s", r.Version, r.Date, want)
			}
			for _, architecture := range r.Architectures {
				if !strings.HasPrefix(r.Indexes[architecture], "sha256:") {
					t.Errorf("%s has index digests %v", r.Version, r.Indexes)
				}
			}
		}
		want := []brief{
			{"7.0.0", "7.0", "7.0.0-1", "amd64"}, {"7.0.1", "7.0", "7.0.1-1", "amd64,arm64"},
			{"7.0.2", "7.0", "7.0.2-1", "amd64,arm64"}, {"7.2.0", "7.2", "7.2.0-1", "amd64,arm64"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("releases (-want +got):\n%s", diff)
		}
		table := strings.Split(strings.TrimSpace(w.run(t, append([]string{"releases"}, upstream...)...).passed(t).stdout), "\n")
		if len(table) != 5 || !strings.HasPrefix(table[0], "VERSION") || !strings.HasPrefix(table[4], "7.2.0") {
			t.Errorf("table:\n%s", strings.Join(table, "\n"))
		}
	})

	t.Run("detect-version", func(t *testing.T) {
		for _, c := range []struct {
			flags []string
			want  string
		}{
			{nil, "7.2.0"},
			{[]string{"--line", "7.0"}, "7.0.2"},
			{[]string{"--constraint", "<7.0.2"}, "7.0.1"},
			{[]string{"--version", "7.0.0"}, "7.0.0"},
		} {
			if got := w.run(t, slices.Concat([]string{"detect-version"}, upstream, c.flags)...).passed(t).stdout; got != c.want+"\n" {
				t.Errorf("with %q it prints %q, want %s", c.flags, got, c.want)
			}
		}
		for _, version := range []string{"7.4.0", "7.4.1", "9.9.9"} {
			w.run(t, slices.Concat([]string{"detect-version"}, upstream, []string{"--version", version})...).failed(t, version, "7.2.0")
		}
		w.run(t, slices.Concat([]string{"detect-version"}, upstream, []string{"--version", "7.3.80"})...).failed(t, "7.3.80", "pre-release")
	})

	t.Run("plan", func(t *testing.T) {
		image, _ := w.repository("planned")
		args := append([]string{"plan"}, w.triedArgs(image)...)
		plan := decode[[]release.Plan](t, []byte(w.run(t, append(args, "--format", "json")...).passed(t).stdout))[0]
		wantPlan(t, plan, release.Build, "7.2.0 is not published yet")
		if diff := cmp.Diff([]string{"7.2.0", "7.2", "7", "latest"}, plan.Tags); diff != "" || plan.Revision != 1 {
			t.Errorf("revision %d, tags (-want +got):\n%s", plan.Revision, diff)
		}
		text := w.run(t, args...).passed(t).stdout
		for _, want := range []string{"7.2.0", "build", "7.2.0-1", "latest", "not published yet"} {
			if !strings.Contains(text, want) {
				t.Errorf("the text lacks %q:\n%s", want, text)
			}
		}
		all := w.run(t, append(args, "--line", "")...).passed(t).stdout
		if older, newer := strings.Index(all, "7.0.2-1"), strings.Index(all, text); older < 0 || newer < older {
			t.Errorf("not the plan of each line, the lowest first:\n%s", all)
		}
		w.run(t, append(args, "--format", "yaml")...).failed(t, "yaml", "text, json")
		wantTags(t, image, nil)
	})

	t.Run("platforms", func(t *testing.T) {
		image, _ := w.repository("planned")
		plan := slices.Concat([]string{"plan"}, upstream, []string{"--source", root, "--base-image", w.BaseImage, "--registry", image})
		for version, platforms := range map[string][]string{"7.0.0": {"linux/amd64"}, "7.2.0": {"linux/amd64", "linux/arm64"}} {
			args := slices.Concat(plan, []string{"--version", version})
			made := decode[[]release.Plan](t, []byte(w.run(t, append(args, "--format", "json")...).passed(t).stdout))[0]
			if diff := cmp.Diff(platforms, made.Platforms); diff != "" {
				t.Errorf("platforms of %s (-want +got):\n%s", version, diff)
			}
			text := w.run(t, args...).passed(t).stdout
			if want := version + "-1 for " + strings.Join(platforms, ", ") + "\n"; !strings.Contains(text, want) {
				t.Errorf("the text lacks %q:\n%s", want, text)
			}
		}
		w.run(t, slices.Concat(plan, []string{"--version", "7.0.0", "--platform", "linux/arm64"})...).failed(t, "linux/arm64", "linux/amd64 only")
	})

	t.Run("build", func(t *testing.T) {
		output := filepath.Join(t.TempDir(), "image")
		args := slices.Concat([]string{"build"}, w.buildArgs(), []string{"--output", output})
		digest := strings.TrimSpace(w.run(t, args...).passed(t).stdout)
		wantLayout(t, output, digest)
		w.run(t, args...).failed(t, output, "exists")
	})

	t.Run("scan", func(t *testing.T) {
		args := slices.Concat([]string{"scan"}, w.buildArgs(), []string{"--db-repository", w.DatabaseRepository})
		verdict := decode[gate.Verdict](t, []byte(w.run(t, append(args, "--format", "json")...).passed(t).stdout))
		if !verdict.Passed || verdict.Counts[gate.Medium] == 0 {
			t.Errorf("the verdict is %+v", verdict)
		}
		w.advisories(t, dawn, trivydb.Critical()...)
		failing := w.run(t, append(args, "--format", "sarif")...).failed(t, "the gate did not pass")
		log := decode[struct {
			Runs []struct{ Results []struct{ RuleID string } }
		}](t, []byte(failing.stdout))
		for _, advisory := range trivydb.Critical() {
			if !slices.ContainsFunc(log.Runs[0].Results, func(r struct{ RuleID string }) bool { return r.RuleID == advisory.ID }) {
				t.Errorf("the SARIF log lacks %s", advisory.ID)
			}
		}
	})

	t.Run("sbom", func(t *testing.T) {
		sbom := decode[struct {
			BOMFormat  string
			Components []struct{ Name string }
		}](t, []byte(w.run(t, append([]string{"sbom"}, w.buildArgs()...)...).passed(t).stdout))
		if sbom.BOMFormat != "CycloneDX" || !slices.Contains(sbom.Components, struct{ Name string }{"opennebula"}) {
			t.Errorf("the SBOM is %s with %d components and without opennebula", sbom.BOMFormat, len(sbom.Components))
		}
		w.run(t, append([]string{"sbom", "--source", root}, upstream...)...).failed(t, "--platform")
	})

	t.Run("chart", func(t *testing.T) {
		w.run(t, "chart", "lint", "--source", root).passed(t)
		broken := t.TempDir()
		if err := os.CopyFS(filepath.Join(broken, "chart"), os.DirFS(filepath.Join(root, "chart"))); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(broken, "chart", "opennebula", "values.yaml"), []byte("a: [\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if o := w.run(t, "chart", "lint", "--source", broken).failed(t, broken); !strings.Contains(o.stdout, "values.yaml") {
			t.Errorf("the linter does not say what is wrong:\n%s", o.stdout)
		}
		args := append([]string{"--source", root}, upstream...)
		output := t.TempDir()
		packaged := strings.TrimSpace(w.run(t, slices.Concat([]string{"chart", "package"}, args, []string{"--line", "7.0", "--output", output})...).passed(t).stdout)
		if filepath.Dir(packaged) != output {
			t.Fatalf("it printed %q, want a file in %s", packaged, output)
		}
		archive := []byte(readFile(t, packaged))
		loaded, err := loader.LoadArchive(bytes.NewReader(archive))
		if err != nil {
			t.Fatal(err)
		}
		if loaded.AppVersion() != "7.0.2" {
			t.Errorf("appVersion is %s", loaded.AppVersion())
		}

		image, charts := w.repository("chart")
		images := map[string]helmrepo.Image{}
		for _, version := range []string{"7.0.2", "7.2.0"} {
			images[version] = pushAny(t, image, version+"-1")
		}
		args = append(args, "--registry", image)
		dir := filepath.Join(t.TempDir(), "charts")
		publish := slices.Concat([]string{"chart", "publish"}, args,
			[]string{"--line", "7.0", "--chart-registry", charts, "--chart-repository", dir, "--chart-repository-url", "https://charts.example.org"})
		o := w.run(t, publish...).passed(t)
		if strings.Contains(o.stdout, "already") || !strings.Contains(o.stdout, "oci://"+charts) {
			t.Errorf("it printed:\n%s", o.stdout)
		}
		packaged = strings.TrimSpace(w.run(t, slices.Concat([]string{"chart", "package"}, args, []string{"--line", "7.0", "--output", output})...).passed(t).stdout)
		archive = []byte(readFile(t, packaged))
		if served := readFile(t, filepath.Join(dir, filepath.Base(packaged))); served != string(archive) {
			t.Error("another archive was published than was packaged")
		}
		if index := readFile(t, filepath.Join(dir, "index.yaml")); !strings.Contains(index, "https://charts.example.org/"+filepath.Base(packaged)) {
			t.Errorf("the index lacks the archive's address:\n%s", index)
		}
		versions := chartVersions(t, 2)
		first := wholeChart(t, charts, tagsOf(t, charts)[versions[0]])
		if got := first.AppVersion(); got != "7.0.2" {
			t.Errorf("appVersion in the registry is %s", got)
		}
		wantImage(t, first, images["7.0.2"])
		if o := w.run(t, publish...).passed(t); strings.Count(o.stdout, "was there already") != 2 {
			t.Errorf("a second time it printed:\n%s", o.stdout)
		}
		// The chart for another release is other content: it has the next version, and what is published stays.
		before := tagsOf(t, charts)
		w.run(t, append(publish, "--line", "7.2")...).passed(t)
		after := tagsOf(t, charts)
		second := wholeChart(t, charts, after[versions[1]])
		wantImage(t, second, images["7.2.0"])
		if len(after) != 2 || after[versions[0]] != before[versions[0]] {
			t.Errorf("tags %v, before %v", after, before)
		}
		if served := readFile(t, filepath.Join(dir, filepath.Base(packaged))); served != string(archive) {
			t.Error("a published archive was overwritten")
		}
		w.run(t, append([]string{"chart", "publish"}, args...)...).failed(t, "no place to publish to")
		w.run(t, append([]string{"chart", "publish", "--source", root, "--chart-repository", dir}, upstream...)...).failed(t, "--registry")
	})
}

// pushAny puts an image, whichever, under a tag.
func pushAny(t *testing.T, repository, tag string) helmrepo.Image {
	t.Helper()
	to, err := registry.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := to.Push(t.Context(), image, tag)
	if err != nil {
		t.Fatal(err)
	}
	return helmrepo.Image{Repository: repository, Tag: tag, Digest: digest}
}

// wantLayout checks that a directory is an OCI layout with the image of a digest and nothing else.
func wantLayout(t *testing.T, dir, digest string) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("%s: %v", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest.String() != digest {
		t.Errorf("%s holds %+v, want %s", dir, manifest.Manifests, digest)
	}
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		t.Error(err)
	}
}
