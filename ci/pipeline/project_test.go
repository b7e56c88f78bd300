package pipeline_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"opennebula-kube/ci/pipeline"
)

// repository makes a git repository with one commit, and returns its directory .git.
func repository(t *testing.T, remote string) (gitDir string) {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch", "main"},
		{"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--allow-empty", "-m", "first"},
		{"remote", "add", "origin", remote},
	} {
		command := exec.CommandContext(t.Context(), "git", args...)
		command.Dir = dir
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, output)
		}
	}
	return filepath.Join(dir, ".git")
}

func TestReadProject(t *testing.T) {
	gitDir := repository(t, "https://somebody:secret@github.com/acme/opennebula-kube.git")
	whole, err := pipeline.ReadProject(t.Context(), gitDir, "")
	if err != nil || whole.URL != "https://github.com/acme/opennebula-kube" || len(whole.Revision) != 40 {
		t.Errorf("%+v, %v", whole, err)
	}
	// What an engine takes of a repository has no objects.
	if err := os.RemoveAll(filepath.Join(gitDir, "objects")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(gitDir, "objects"), 0o755); err != nil {
		t.Fatal(err)
	}
	if bare, err := pipeline.ReadProject(t.Context(), gitDir, ""); err != nil || bare != whole {
		t.Errorf("without objects: %+v, %v, want %+v", bare, err, whole)
	}
	if local, err := pipeline.ReadProject(t.Context(), repository(t, "/srv/git/opennebula-kube"), ""); err != nil || local.URL != "" || local.Revision == "" {
		t.Errorf("a remote on this machine: %+v, %v", local, err)
	}
	if none, err := pipeline.ReadProject(t.Context(), filepath.Join(t.TempDir(), ".git"), ""); err != nil || none != (pipeline.Project{}) {
		t.Errorf("no repository: %+v, %v", none, err)
	}
	named, err := pipeline.ReadProject(t.Context(), gitDir, "https://git.example.org/acme/kube.git")
	if err != nil || named.URL != "https://git.example.org/acme/kube" || named.Revision != whole.Revision {
		t.Errorf("an address that is given: %+v, %v", named, err)
	}
	if _, err := pipeline.ReadProject(t.Context(), gitDir, "acme/kube"); err == nil || !strings.Contains(err.Error(), `"acme/kube" is not the address`) {
		t.Errorf("an address that is none: %v", err)
	}
	broken := repository(t, "https://github.com/acme/opennebula-kube")
	put(t, filepath.Join(broken, "config"), "[")
	if _, err := pipeline.ReadProject(t.Context(), broken, ""); err == nil || !strings.Contains(err.Error(), "--project") {
		t.Errorf("a broken repository: %v", err)
	}
}

func TestProjectURL(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/acme/opennebula-kube":         "https://github.com/acme/opennebula-kube",
		"https://github.com/acme/opennebula-kube.git/":    "https://github.com/acme/opennebula-kube",
		"https://x:y@github.com/acme/opennebula-kube.git": "https://github.com/acme/opennebula-kube",
		"git@github.com:acme/opennebula-kube.git":         "https://github.com/acme/opennebula-kube",
		"ssh://git@git.example.org:2222/acme/kube.git":    "https://git.example.org/acme/kube",
		"http://git.example.org:3000/acme/kube":           "http://git.example.org:3000/acme/kube",
		"/srv/git/kube":                                   "",
		"../kube":                                         "",
		"file:///srv/git/kube":                            "",
		"":                                                "",
		"https://github.com":                              "",
		"javascript://github.com/acme/opennebula-kube":    "",
	} {
		got, err := pipeline.ProjectURL(remote)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q gives %q, %v, want %q", remote, got, err, want)
		}
	}
	if _, err := pipeline.ProjectURL("file://me:secret@host/x"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error %v tells the password", err)
	}
}

// The image, and the index of one for several platforms, name the project that released them.
func TestProjectLabels(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.options.Project = pipeline.Project{URL: "https://github.com/acme/opennebula-kube", Revision: strings.Repeat("a", 40)}
	w.released(t)
	spec := w.engine.builds[0]
	for name, want := range map[string]string{
		"source": "https://github.com/acme/opennebula-kube", "url": "https://github.com/acme/opennebula-kube",
		"documentation": "https://github.com/acme/opennebula-kube#readme", "revision": strings.Repeat("a", 40), "version": "7.2.0",
	} {
		name = "org.opencontainers.image." + name
		if spec.Labels[name] != want || spec.IndexAnnotations()[name] != want {
			t.Errorf("%s is %q on the image and %q on the index, want %q", name, spec.Labels[name], spec.IndexAnnotations()[name], want)
		}
	}
	for name := range spec.IndexAnnotations() {
		if !strings.HasPrefix(name, "org.opencontainers.image.") {
			t.Errorf("%s is on the index", name)
		}
	}
	w.options.Project = pipeline.Project{Revision: strings.Repeat("b", 40)}
	w.options.Rebuild = true
	w.released(t)
	if got, ok := w.engine.builds[1].Labels["org.opencontainers.image.revision"]; ok {
		t.Errorf("a revision %q of nobody knows what", got)
	}
}
