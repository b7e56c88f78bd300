package helmrepo_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"opennebula-kube/ci/helmrepo"
)

func publish(t *testing.T, dir string, a helmrepo.Archive) helmrepo.Result {
	t.Helper()
	result, err := helmrepo.PublishDirectory(dir, a, baseURL, now)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestPublishDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "public", "charts")
	first, second := archive(t, "opennebula", "0.1.0"), archiveFor(t, "opennebula", "0.2.0", "7.0.2")

	want := helmrepo.Result{Location: filepath.Join(dir, "opennebula-0.1.0.tgz"), Digest: "sha256:" + first.Digest, Published: true}
	if diff := cmp.Diff(want, publish(t, dir, first)); diff != "" {
		t.Error(diff)
	}
	before := content(t, dir)

	if result := publish(t, dir, second); !result.Published {
		t.Error("a new version is said to have been there")
	}
	after := content(t, dir)
	if len(after) != 4 || after["opennebula-0.1.0.tgz"] != string(first.Data) || after["opennebula-0.2.0.tgz"] != string(second.Data) {
		t.Errorf("the directory holds %d files, or other archives", len(after))
	}
	// The older entry is there byte for byte, with the appVersion of its day.
	_, old, _ := strings.Cut(before["index.yaml"], "  opennebula:\n")
	old, _, _ = strings.Cut(old, "generated:")
	if !strings.Contains(old, "appVersion: 7.0.1\n") || !strings.Contains(after["index.yaml"], old) {
		t.Errorf("the older entry has changed:\n%s", cmp.Diff(before["index.yaml"], after["index.yaml"]))
	}
	for _, version := range []string{"0.1.0", "0.2.0"} {
		if _, err := load(t, []byte(after["index.yaml"])).Get("opennebula", version); err != nil {
			t.Error(err)
		}
	}

	result, err := helmrepo.PublishDirectory(dir, first, baseURL, now.Add(time.Hour))
	if err != nil || result.Published || result.Digest != want.Digest {
		t.Errorf("published again: %+v, %v", result, err)
	}
	if diff := cmp.Diff(after, content(t, dir)); diff != "" {
		t.Errorf("publishing again has changed:\n%s", diff)
	}
}

// What Artifact Hub reads is there from the beginning, and is the owner's.
func TestPublishDirectoryForArtifactHub(t *testing.T) {
	const name, owners = "artifacthub-repo.yml", "repositoryID: 01234567-89ab-cdef-0123-456789abcdef\n"
	dir := t.TempDir()
	publish(t, dir, archive(t, "opennebula", "0.1.0"))
	var made struct {
		Owners []any `json:"owners"`
	}
	if err := yaml.UnmarshalStrict([]byte(content(t, dir)[name]), &made); err != nil || made.Owners == nil {
		t.Errorf("%v: %s", err, content(t, dir)[name])
	}
	write(t, dir, map[string]string{name: owners})
	publish(t, dir, archive(t, "opennebula", "0.2.0"))
	if got := content(t, dir)[name]; got != owners {
		t.Errorf("it has become %q", got)
	}
}

func TestPublishDirectoryCompletes(t *testing.T) {
	a := archive(t, "opennebula", "0.1.0")
	whole := t.TempDir()
	publish(t, whole, a)
	for name, cutOff := range map[string]func(dir string) error{
		"index not written": func(dir string) error { return os.Remove(filepath.Join(dir, "index.yaml")) },
		"archive lost":      func(dir string) error { return os.Remove(filepath.Join(dir, a.Filename)) },
		"left half written": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, a.Filename), filepath.Join(dir, "."+a.Filename+".new")),
				os.Truncate(filepath.Join(dir, "."+a.Filename+".new"), 10))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			publish(t, dir, a)
			if err := cutOff(dir); err != nil {
				t.Fatal(err)
			}
			if result := publish(t, dir, a); !result.Published {
				t.Error("nothing is said to have been written")
			}
			if diff := cmp.Diff(content(t, whole), content(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPublishDirectoryFaults(t *testing.T) {
	a, other := archive(t, "opennebula", "0.1.0"), archiveFor(t, "opennebula", "0.1.0", "7.0.2")
	published := t.TempDir()
	publish(t, published, a)
	index := content(t, published)["index.yaml"]
	for name, test := range map[string]struct {
		there map[string]string
		taken bool
		want  string
	}{
		"version in index and directory": {there: map[string]string{"index.yaml": index, a.Filename: string(a.Data)}, taken: true, want: "run again"},
		"version in index only":          {there: map[string]string{"index.yaml": index}, taken: true, want: a.Digest},
		"archive in directory only":      {there: map[string]string{a.Filename: string(a.Data)}, taken: true, want: "the index does not have it"},
		"empty archive":                  {there: map[string]string{a.Filename: ""}, taken: true, want: a.Filename},
		"broken index":                   {there: map[string]string{"index.yaml": "apiVersion: [v1\n"}, want: "not valid YAML"},
		"damaged archive": {
			there: map[string]string{"index.yaml": strings.ReplaceAll(index, a.Digest, other.Digest), a.Filename: "cut"},
			want:  "is damaged",
		},
		"index is a directory":   {there: map[string]string{"index.yaml/x": ""}, want: "is not a regular file"},
		"archive is a directory": {there: map[string]string{a.Filename + "/x": ""}, want: "is not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, test.there)
			result, err := helmrepo.PublishDirectory(dir, other, baseURL, now)
			if err == nil || errors.Is(err, helmrepo.ErrVersionTaken) != test.taken || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if result != (helmrepo.Result{}) {
				t.Errorf("result %+v", result)
			}
			if diff := cmp.Diff(test.there, content(t, dir)); diff != "" {
				t.Errorf("the directory has changed:\n%s", diff)
			}
		})
	}
}

// A disk that takes the archive and not the index leaves the old index, and no file half written.
func TestPublishDirectoryIndexNotWritable(t *testing.T) {
	dir := t.TempDir()
	publish(t, dir, archive(t, "opennebula", "0.1.0"))
	before := content(t, dir)
	write(t, dir, map[string]string{".index.yaml.new/in-the-way": ""})

	a := archive(t, "opennebula", "0.2.0")
	if _, err := helmrepo.PublishDirectory(dir, a, baseURL, now); err == nil || !strings.Contains(err.Error(), "index.yaml") {
		t.Fatalf("error %v", err)
	}
	if got := content(t, dir)["index.yaml"]; got != before["index.yaml"] {
		t.Error("the index has changed")
	}
	if err := os.RemoveAll(filepath.Join(dir, ".index.yaml.new")); err != nil {
		t.Fatal(err)
	}
	publish(t, dir, a)
	if _, err := load(t, []byte(content(t, dir)["index.yaml"])).Get("opennebula", "0.2.0"); err != nil {
		t.Error(err)
	}
}
