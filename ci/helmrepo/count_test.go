package helmrepo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

// packer packages a chart whose Chart.yaml has the version, with a content.
func packer(t testing.TB, version, content string) helmrepo.Pack {
	t.Helper()
	files := chartFiles("opennebula", version)
	files["templates/config.yaml"] = "# " + content + "\n"
	dir := tree(t, files)
	return func(version string) (helmrepo.Archive, error) {
		return helmrepo.Package(dir, helmrepo.Release{Version: version, AppVersion: "7.2.0", Date: epoch})
	}
}

func pack(t testing.TB, version, content string) helmrepo.Archive {
	t.Helper()
	a, err := packer(t, version, content)("")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// places are a directory and a repository of a registry.
type places struct {
	directory helmrepo.Directory
	registry  helmrepo.OCI
	server    *server
}

func newPlaces(t testing.TB) *places {
	t.Helper()
	s := start(t)
	return &places{
		directory: helmrepo.Directory{Dir: filepath.Join(t.TempDir(), "charts"), URL: baseURL, Now: now},
		registry:  helmrepo.OCI{Repository: s.open(t, "acme/charts/opennebula")},
		server:    s,
	}
}

func (p *places) all() []helmrepo.Place { return []helmrepo.Place{p.directory, p.registry} }

// put publishes archives in one place.
func put(t testing.TB, place helmrepo.Place, archives ...helmrepo.Archive) {
	t.Helper()
	for _, a := range archives {
		if _, err := place.Publish(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
}

// publishes counts and publishes, and returns the version; what became of each place is in the results.
func publishes(t testing.TB, all []helmrepo.Place, pack helmrepo.Pack) (helmrepo.Archive, []helmrepo.Result) {
	t.Helper()
	counted, err := helmrepo.Count(t.Context(), all, pack)
	if err != nil {
		t.Fatal(err)
	}
	a, results, err := helmrepo.Publish(t.Context(), all, counted, pack)
	if err != nil {
		t.Fatal(err)
	}
	return a, results
}

// have checks that places list these versions of the chart, and have the very same archive in the last one.
func have(t testing.TB, all []helmrepo.Place, want helmrepo.Archive) {
	t.Helper()
	for _, place := range all {
		a, err := place.Read(t.Context(), "opennebula", want.Version)
		if err != nil {
			t.Errorf("%s: %v", place.Name(), err)
		} else if !bytes.Equal(a.Data, want.Data) {
			t.Errorf("%s has another archive of %s", place.Name(), want.Version)
		}
	}
}

func TestCount(t *testing.T) {
	for name, c := range map[string]struct {
		directory, registry map[string]string // contents by versions
		chart, content      string
		want                string
	}{
		"nothing published":                    {nil, nil, "0.2.0", "a", "0.2.0"},
		"published":                            {map[string]string{"0.2.0": "a"}, map[string]string{"0.2.0": "a"}, "0.2.0", "a", "0.2.0"},
		"other content":                        {map[string]string{"0.2.0": "a"}, map[string]string{"0.2.0": "a"}, "0.2.0", "b", "0.2.1"},
		"what it was before":                   {map[string]string{"0.2.0": "a", "0.2.1": "b"}, nil, "0.2.0", "a", "0.2.2"},
		"published under a counted version":    {map[string]string{"0.2.0": "a", "0.2.1": "b"}, nil, "0.2.0", "b", "0.2.1"},
		"highest by number":                    {map[string]string{"0.2.9": "a", "0.2.10": "b"}, nil, "0.2.0", "c", "0.2.11"},
		"raised by a maintainer":               {map[string]string{"0.2.5": "a"}, nil, "0.3.0", "a", "0.3.0"},
		"below what is published":              {map[string]string{"1.4.0": "a"}, nil, "0.3.0", "b", "1.4.1"},
		"one place lacks it":                   {map[string]string{"0.2.0": "a"}, nil, "0.2.0", "a", "0.2.0"},
		"the other place lacks it":             {nil, map[string]string{"0.2.0": "a"}, "0.2.0", "a", "0.2.0"},
		"one place lags behind":                {map[string]string{"0.2.0": "a"}, map[string]string{"0.2.0": "a", "0.2.3": "b"}, "0.2.0", "b", "0.2.3"},
		"one place lags behind, other content": {map[string]string{"0.2.0": "a"}, map[string]string{"0.2.3": "b"}, "0.2.0", "a", "0.2.4"},
		"places differ in a version":           {map[string]string{"0.2.0": "a"}, map[string]string{"0.2.0": "b"}, "0.2.0", "a", "0.2.1"},
		"a pre-release is passed over":         {map[string]string{"0.2.1": "a", "0.3.0-rc.1": "b"}, nil, "0.2.0", "b", "0.2.2"},
		"build metadata are passed over":       {map[string]string{"0.2.1": "a"}, map[string]string{"0.3.0+b": "b"}, "0.2.0", "b", "0.2.2"},
		"a pre-release of Chart.yaml":          {map[string]string{"0.3.0-rc.1": "a"}, nil, "0.3.0-rc.1", "a", "0.3.0-rc.1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t)
			for _, version := range slices.Sorted(maps.Keys(c.directory)) {
				put(t, p.directory, pack(t, version, c.directory[version]))
			}
			for _, version := range slices.Sorted(maps.Keys(c.registry)) {
				put(t, p.registry, pack(t, version, c.registry[version]))
			}
			a, _ := publishes(t, p.all(), packer(t, c.chart, c.content))
			if a.Version != c.want {
				t.Fatalf("version %s, want %s", a.Version, c.want)
			}
			have(t, p.all(), a)
			// Whoever runs again, from wherever, has nothing to do.
			writes := p.server.writes
			again, results := publishes(t, p.all(), packer(t, c.chart, c.content))
			if again.Version != c.want || p.server.writes != writes || slices.ContainsFunc(results, func(r helmrepo.Result) bool { return r.Published }) {
				t.Errorf("again: version %s, %+v, %d requests that write", again.Version, results, p.server.writes-writes)
			}
		})
	}
}

// A pre-release has no next one.
func TestCountPrerelease(t *testing.T) {
	p := newPlaces(t)
	put(t, p.directory, pack(t, "0.3.0-rc.1", "a"))
	if a, err := helmrepo.Count(t.Context(), p.all(), packer(t, "0.3.0-rc.1", "b")); !errors.Is(err, helmrepo.ErrVersionTaken) || !strings.Contains(err.Error(), "Chart.yaml") {
		t.Errorf("%s, error %v", a.Version, err)
	}
}

// What does not say what a chart installs is no other content: its version and the date of its files.
func TestCountIgnores(t *testing.T) {
	p := newPlaces(t)
	files := chartFiles("opennebula", "0.2.0")
	dir := tree(t, files)
	at := func(days int) helmrepo.Pack {
		return func(version string) (helmrepo.Archive, error) {
			return helmrepo.Package(dir, helmrepo.Release{Version: version, AppVersion: "7.2.0", Date: epoch.AddDate(0, 0, days)})
		}
	}
	first, _ := publishes(t, p.all(), at(0))
	second, _ := publishes(t, p.all(), at(1))
	if second.Version != "0.2.0" || second.Digest != first.Digest {
		t.Errorf("a later date gives %s", second.Version)
	}
	if a, err := helmrepo.Count(t.Context(), p.all(), func(version string) (helmrepo.Archive, error) {
		return helmrepo.Package(dir, helmrepo.Release{Version: version, AppVersion: "7.4.0", Date: epoch})
	}); err != nil || a.Version != "0.2.1" {
		t.Errorf("another appVersion: %s, %v", a.Version, err)
	}
	for _, name := range []string{"values.yaml", "README.md", "templates/config.yaml", "charts/mid/Chart.yaml", "Chart.yaml"} {
		changed := maps.Clone(files)
		changed[name] += "\n# changed\n"
		if strings.HasSuffix(name, "Chart.yaml") {
			changed[name] += "description: changed\n"
			changed[name] = strings.Replace(changed[name], "description: \"", "icon: \"", 1)
		}
		other := tree(t, changed)
		a, err := helmrepo.Count(t.Context(), p.all(), func(version string) (helmrepo.Archive, error) {
			return helmrepo.Package(other, helmrepo.Release{Version: version, AppVersion: "7.2.0", Date: epoch})
		})
		if err != nil || a.Version != "0.2.1" {
			t.Errorf("%s changed: %s, %v", name, a.Version, err)
		}
	}
}

// An archive that is lost, or that is not what the place says of it, cannot be compared: the next version is above it.
func TestCountLost(t *testing.T) {
	file := func(p *places) string { return filepath.Join(p.directory.Dir, "opennebula-0.2.1.tgz") }
	blobs := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
	}
	for name, lose := range map[string]func(t *testing.T, p *places){
		"file removed": func(t *testing.T, p *places) { put(t, p.directory, pack(t, "0.2.1", "a")); must(t, os.Remove(file(p))) },
		"file damaged": func(t *testing.T, p *places) {
			put(t, p.directory, pack(t, "0.2.1", "a"))
			must(t, os.Truncate(file(p), 100))
		},
		"file of another chart": func(t *testing.T, p *places) {
			put(t, p.directory, pack(t, "0.2.1", "a"))
			must(t, os.WriteFile(file(p), archive(t, "other", "0.2.1").Data, 0o644))
		},
		"blob gone": func(t *testing.T, p *places) {
			put(t, p.registry, pack(t, "0.2.1", "a"))
			p.server.Inject(httpfault.Fault{Match: blobs, Times: 1, Effect: httpfault.Status(http.StatusNotFound)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t)
			lose(t, p)
			a, _ := publishes(t, p.all(), packer(t, "0.2.0", "a"))
			if a.Version != "0.2.2" {
				t.Errorf("version %s", a.Version)
			}
			have(t, p.all(), a)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A place that has lost an archive gets it from one that has not.
func TestCountRestores(t *testing.T) {
	p := newPlaces(t)
	a, _ := publishes(t, p.all(), packer(t, "0.2.0", "a"))
	must(t, os.Remove(filepath.Join(p.directory.Dir, a.Filename)))
	again, results := publishes(t, p.all(), packer(t, "0.2.0", "a"))
	if again.Version != a.Version || !results[0].Published || results[1].Published {
		t.Errorf("version %s, %+v", again.Version, results)
	}
	have(t, p.all(), a)
}

// A place that has lost another archive of the version does not take this one: both get the next version.
func TestCountLostAnother(t *testing.T) {
	p := newPlaces(t)
	put(t, p.registry, pack(t, "0.2.0", "a"))
	lost := pack(t, "0.2.0", "b")
	put(t, p.directory, lost)
	must(t, os.Remove(filepath.Join(p.directory.Dir, lost.Filename)))
	a, _ := publishes(t, p.all(), packer(t, "0.2.0", "a"))
	if a.Version != "0.2.1" {
		t.Errorf("version %s", a.Version)
	}
	have(t, p.all(), a)
}

// What is not the chart is passed over, whatever its tag is like; its version is not taken either.
func TestCountForeign(t *testing.T) {
	p := newPlaces(t)
	repo := p.server.open(t, "acme/charts/opennebula")
	image, err := random.Image(100, 1)
	must(t, err)
	index, err := random.Index(100, 1, 1)
	must(t, err)
	for tag, artifact := range map[string]registry.Artifact{
		"7.2.0": image, "9.0.0": index, "latest": image, "0.2.1": image, "sha256-0123.sig": image, "v1.0.0": image, "1.0": image,
	} {
		if _, err := repo.Push(t.Context(), artifact, tag); err != nil {
			t.Fatal(err)
		}
	}
	put(t, helmrepo.Directory{Dir: p.directory.Dir, Now: now}, archive(t, "other", "5.0.0"))
	put(t, p.registry, pack(t, "0.2.0", "a"))
	a, _ := publishes(t, p.all(), packer(t, "0.2.0", "b"))
	if a.Version != "0.2.2" {
		t.Errorf("version %s", a.Version)
	}
	have(t, p.all(), a)
}

// overtaken is a place to which somebody else publishes between the count and the publication.
type overtaken struct {
	helmrepo.Place
	other func() error
}

func (o *overtaken) Publish(ctx context.Context, a helmrepo.Archive) (helmrepo.Result, error) {
	if o.other != nil {
		if err := o.other(); err != nil {
			return helmrepo.Result{}, err
		}
	}
	return o.Place.Publish(ctx, a)
}

func TestPublishOvertaken(t *testing.T) {
	for name, c := range map[string]struct {
		other string // what somebody else publishes as 0.2.1
		want  string
	}{
		"with other content": {"somebody's", "0.2.2"},
		"with our content":   {"new", "0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t)
			put(t, p.directory, pack(t, "0.2.0", "old"))
			late := &overtaken{Place: p.registry}
			late.other = func() error {
				late.other = nil
				// As content that is equal has other bytes when it is from another day.
				dir := tree(t, chartFiles("opennebula", "0.2.1"))
				must(t, os.WriteFile(filepath.Join(dir, "templates/config.yaml"), []byte("# "+c.other+"\n"), 0o644))
				a, err := helmrepo.Package(dir, helmrepo.Release{AppVersion: "7.2.0", Date: epoch.AddDate(0, 0, 1)})
				if err != nil {
					return err
				}
				_, err = p.registry.Publish(t.Context(), a)
				return err
			}
			// The registry is first: the other place gets what was published there.
			all := []helmrepo.Place{late, p.directory}
			a, results := publishes(t, all, packer(t, "0.2.0", "new"))
			if a.Version != c.want || len(results) != 2 {
				t.Errorf("version %s, want %s: %+v", a.Version, c.want, results)
			}
			have(t, all, a)
		})
	}
}

// Who is overtaken each time gives up.
func TestPublishGivesUp(t *testing.T) {
	p := newPlaces(t)
	n := 0
	late := &overtaken{Place: p.registry}
	late.other = func() error {
		_, err := p.registry.Publish(t.Context(), pack(t, fmt.Sprintf("0.2.%d", n), "somebody's"))
		n++
		return err
	}
	all, packs := []helmrepo.Place{late}, packer(t, "0.2.0", "ours")
	counted, err := helmrepo.Count(t.Context(), all, packs)
	must(t, err)
	if _, _, err := helmrepo.Publish(t.Context(), all, counted, packs); !errors.Is(err, helmrepo.ErrVersionTaken) || n != 5 {
		t.Errorf("error %v after %d rounds", err, n)
	}
}

// A place that cannot be read stops the count: its versions may be the highest.
func TestCountFaults(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, p *places)
		want  string
	}{
		"registry refuses": {func(_ *testing.T, p *places) {
			p.server.Inject(httpfault.Fault{Effect: httpfault.Status(http.StatusForbidden)})
		}, "acme/charts/opennebula"},
		"index is a link": {func(t *testing.T, p *places) {
			must(t, os.Symlink("/etc/passwd", filepath.Join(p.directory.Dir, "index.yaml")))
		}, "not a regular file"},
		"index is a pipe": {func(t *testing.T, p *places) {
			must(t, syscall.Mkfifo(filepath.Join(p.directory.Dir, "index.yaml"), 0o644))
		}, "not a regular file"},
		"index is no index": {func(t *testing.T, p *places) { write(t, p.directory.Dir, map[string]string{"index.yaml": "- a\n"}) }, "index.yaml of Helm"},
		"archive is a link": {func(t *testing.T, p *places) {
			put(t, p.directory, pack(t, "0.2.0", "a"))
			file := filepath.Join(p.directory.Dir, "opennebula-0.2.0.tgz")
			must(t, os.Rename(file, file+".moved"))
			must(t, os.Symlink(file+".moved", file))
		}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t)
			must(t, os.MkdirAll(p.directory.Dir, 0o755))
			c.spoil(t, p)
			if a, err := helmrepo.Count(t.Context(), p.all(), packer(t, "0.2.0", "a")); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, error %v, want one with %q", a.Version, err, c.want)
			}
		})
	}
}

// A blob that is not what the manifest says is never taken for the chart.
func TestReadChecksTheDigest(t *testing.T) {
	p := newPlaces(t)
	put(t, p.registry, pack(t, "0.2.0", "a"))
	p.server.Inject(httpfault.Fault{
		Match: func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
		},
		Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = w.Write(pack(t, "0.2.0", "another").Data)
		},
	})
	if a, err := p.registry.Read(t.Context(), "opennebula", "0.2.0"); err == nil {
		t.Errorf("read %s", a.Digest)
	}
}

// A chart that somebody else has pushed by Helm is the same when its archive is.
func TestPublishOCIPushedByHelm(t *testing.T) {
	s := start(t)
	a := archive(t, "opennebula", "0.2.0")
	if _, err := client(t).Push(a.Data, s.host+"/charts/opennebula:0.2.0"); err != nil {
		t.Fatal(err)
	}
	repo := s.open(t, "charts/opennebula")
	digest, err := repo.Digest(t.Context(), "0.2.0")
	must(t, err)
	result, err := helmrepo.PublishOCI(t.Context(), repo, a)
	want := helmrepo.Result{Location: "oci://" + s.host + "/charts/opennebula:0.2.0", Digest: digest}
	if diff := cmp.Diff(want, result); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// A branch that is served is a place like the others: it is counted, gets what it lacks, and has the same archive.
func TestCountBranch(t *testing.T) {
	p, repository := newPlaces(t), bare(t)
	branch := helmrepo.Branch{Pages: pages(t, repository, ""), URL: baseURL, Now: now}
	all := []helmrepo.Place{branch, p.registry}
	first, _ := publishes(t, all, packer(t, "0.2.0", "a"))
	put(t, branch, pack(t, "0.2.7", "b"))
	second, results := publishes(t, all, packer(t, "0.2.0", "b"))
	if first.Version != "0.2.0" || second.Version != "0.2.7" || results[0].Published || !results[1].Published {
		t.Errorf("versions %s and %s, %+v", first.Version, second.Version, results)
	}
	have(t, all, second)
	tree := strings.Split(gitRun(t, repository, "", "ls-tree", "gh-pages"), "\n")
	commit(t, repository, "gh-pages", slices.DeleteFunc(tree, func(entry string) bool { return strings.HasSuffix(entry, second.Filename) })...)
	if _, err := branch.Read(t.Context(), "opennebula", second.Version); !errors.Is(err, helmrepo.ErrLost) {
		t.Errorf("error %v, want ErrLost", err)
	}
	third, results := publishes(t, all, packer(t, "0.2.0", "b"))
	if third.Version != second.Version || !results[0].Published {
		t.Errorf("version %s, %+v", third.Version, results)
	}
	have(t, all, second)
}
