package e2e_test

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"opennebula-kube/ci/release"
	"opennebula-kube/dev/sandbox"
)

// testLogin releases to a registry that wants to know who it is.
func testLogin(t *testing.T, w *world) {
	const username, password = "robot", "correct horse battery staple"
	image, charts := w.repository("login")
	w.Store.RequireLogin(sandbox.Owner+"/", username, password)
	t.Cleanup(w.Store.AllowAnonymous)
	refused := []string{"not these credentials", "docker login " + w.Registry, "--username"}
	right, wrong := secretFile(t, password+"\n"), secretFile(t, "guessed")
	args := slices.Concat([]string{"release"}, w.releaseArgs(image), []string{"--chart-registry", charts})

	for _, c := range []struct {
		name    string
		environ map[string]string
		flags   []string
		want    []string
	}{
		{"none", nil, nil, refused},
		{"password that nobody asked to use", map[string]string{"REGISTRY_PASSWORD": password}, nil, refused},
		{"wrong password", nil, []string{"--username", username, "--password-file", wrong}, refused},
		{"wrong user", nil, []string{"--username", "other", "--password-file", right}, refused},
		{"wrong password in the environment", map[string]string{"REGISTRY_PASSWORD": "guessed"}, []string{"--username", username},
			refused},
		{"no password", nil, []string{"--username", username}, []string{"--password-file", "REGISTRY_PASSWORD"}},
		{"no user", nil, []string{"--password-file", right}, []string{"--username"}},
		{"no such file", nil, []string{"--username", username, "--password-file", right + ".gone"}, []string{right + ".gone"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := w.runIn(t.Context(), t, c.environ, append(args, c.flags...)...).failed(t, c.want...)
			wantSecret(t, o, username, password)
			wantSecret(t, o, username, "guessed")
			if o.report != nil && slices.Contains(stages(o.report), "build done") {
				t.Error("the image was built before anybody noticed")
			}
			w.Store.AllowAnonymous()
			defer w.Store.RequireLogin(sandbox.Owner+"/", username, password)
			wantTags(t, image, nil)
			wantTags(t, charts, nil)
		})
	}

	released := func(t *testing.T, action release.Action, environ map[string]string, flags ...string) {
		t.Helper()
		o := w.runIn(t.Context(), t, environ, append(args, flags...)...).passed(t).planned(t, action)
		wantSecret(t, o, username, password)
		w.Store.AllowAnonymous()
		defer w.Store.RequireLogin(sandbox.Owner+"/", username, password)
		wantReleased(t, image, o.report)
		if len(tagsOf(t, charts)) != 1 {
			t.Error("the chart was not published")
		}
	}
	t.Run("password from a file", func(t *testing.T) {
		released(t, release.Build, nil, "--username", username, "--password-file", right)
	})
	t.Run("password from the environment", func(t *testing.T) {
		released(t, release.Nothing, map[string]string{"REGISTRY_PASSWORD": password}, "--username", username)
	})
	t.Run("password that docker login keeps", func(t *testing.T) {
		dir := t.TempDir()
		auth := base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
		config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, w.Registry, auth)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("DOCKER_CONFIG", dir)
		released(t, release.Nothing, nil)
	})
}

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantSecret checks that a password is in nothing that a run printed or left, neither plain nor as HTTP sends it.
func wantSecret(t *testing.T, o outcome, username, password string) {
	t.Helper()
	forms := []string{password, base64.StdEncoding.EncodeToString([]byte(username + ":" + password))}
	look := func(where, text string) {
		for _, form := range forms {
			if strings.Contains(text, form) {
				t.Errorf("the password is in %s", where)
			}
		}
	}
	look("the output", o.stdout)
	look("the progress", o.stderr)
	if o.err != nil {
		look("the error", o.err.Error())
	}
	if o.report == nil {
		return
	}
	if err := filepath.WalkDir(o.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			look(path, readFile(t, path))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
