package e2e_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"opennebula-kube/ci/pipeline/enginetest"
	"opennebula-kube/ci/registry"
	"opennebula-kube/dev/local"
)

// testEngine has the engine on Dagger pass the suite that the embedded one passes, and build what that builds. The suite is run by a
// test of ci/engine's, which this one makes a world for and runs in a session.
func (d *daggerWorld) testEngine(t *testing.T) {
	w := d.world
	sources, err := filepath.Abs(filepath.Join(root, "image"))
	if err != nil {
		t.Fatal(err)
	}
	control := w.control(t)
	description, err := json.Marshal(map[string]string{
		"Upstream": w.Upstream, "UpstreamFingerprint": w.UpstreamFingerprint, "BaseImage": w.BaseImage, "Repository": w.Repository,
		"Database": w.DatabaseRepository, "NoDatabase": w.Registry + "/no-such-db:2",
		"Scanner": d.scanner, "Golang": d.golang, "Sources": sources,
		"Stall": control + "/stall", "Resume": control + "/resume",
	})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "dagger", "--progress", "plain", "run",
		"go", "test", "-tags", "dagger", "-count", "1", "-timeout", "30m", "-v", "-run", "^TestConformance$", "./engine")
	command.Dir = filepath.Join(root, "ci")
	command.Env = append(os.Environ(), "OPENNEBULA_KUBE_TEST_WORLD="+string(description))
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	t.Run("same content as the embedded engine's", func(t *testing.T) {
		// The suite has pushed what it built.
		wantSameContent(t, w.embedded(t), artifact(t, w.Repository, tagsOf(t, w.Repository)["content"]))
	})
}

// embedded builds what the suite builds with the embedded engine. That talks HTTP on loopback only, so the registry is there too.
func (w *world) embedded(t *testing.T) v1.Image {
	t.Helper()
	engine, err := local.New(t.Context(), local.Config{
		Context: filepath.Join(root, "image"), StateDir: w.cache, Toolchain: w.tools, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	loopback := httptest.NewServer(w.Store)
	defer loopback.Close()
	_, base, _ := strings.Cut(w.BaseImage, "/")
	base = strings.TrimPrefix(loopback.URL, "http://") + "/" + base
	built, err := engine.Build(t.Context(), enginetest.InSandbox(w.Upstream, w.UpstreamFingerprint, base, w.Repository).Spec)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := registry.FromLayout(built.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return opened.(v1.Image)
}

// wantSameContent compares what a container of either image sees. The digests differ: BuildKit keeps the date of a directory that ADD
// puts a file into and Dagger does not, and each writes the history its own way.
func wantSameContent(t *testing.T, want, got v1.Image) {
	t.Helper()
	wantConfig, err := want.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	gotConfig, err := got.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	// Windows alone looks at it.
	notEscaped := cmpopts.IgnoreFields(v1.Config{}, "ArgsEscaped")
	if diff := cmp.Diff(wantConfig.Config, gotConfig.Config, notEscaped); diff != "" {
		t.Errorf("configuration (-embedded +Dagger):\n%s", diff)
	}
	if diff := cmp.Diff(wantConfig.RootFS.DiffIDs[0], gotConfig.RootFS.DiffIDs[0]); diff != "" {
		t.Errorf("base (-embedded +Dagger):\n%s", diff)
	}
	if diff := cmp.Diff(content(t, want), content(t, got)); diff != "" {
		t.Errorf("files (-embedded +Dagger):\n%s", diff)
	}
}

// content describes each file in an image. Directories go without a date.
func content(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	stream := mutate.Extract(image)
	defer func() { _ = stream.Close() }()
	found := map[string]string{}
	for archive := tar.NewReader(stream); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, archive); err != nil {
			t.Fatal(err)
		}
		at := header.ModTime.UTC().Format(time.RFC3339)
		if header.Typeflag == tar.TypeDir {
			at = "-"
		}
		found[path.Clean("/"+header.Name)] = fmt.Sprintf("%c %o %d:%d %d %s %s %x",
			header.Typeflag, header.Mode, header.Uid, header.Gid, header.Size, at, header.Linkname, hash.Sum(nil))
	}
}

// control lets another process stall the sandbox's upstream.
func (w *world) control(t *testing.T) string {
	t.Helper()
	var hanging <-chan struct{}
	mux := http.NewServeMux()
	mux.HandleFunc("/stall", func(http.ResponseWriter, *http.Request) { hanging = w.Stall() })
	mux.HandleFunc("/stall/wait", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hanging:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/resume", func(http.ResponseWriter, *http.Request) { w.UpstreamFaults.Clear() })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}
