package e2e_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"opennebula-kube/dev/sandbox/base"
)

// daggerRegistryPort is always the same: an engine has to be told that there is no TLS there.
const daggerRegistryPort = 28700

// needDagger skips the test where Dagger is not to be had.
func needDagger(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: calls a Dagger engine")
	}
	if _, err := exec.LookPath("dagger"); err != nil {
		t.Skip("needs the dagger command on the PATH, and an engine: ", err)
	}
}

// privateAddress returns an address of this machine that containers reach, other than loopback, and that registry clients talk HTTP
// to, as they do within private networks.
func privateAddress(t testing.TB) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if ip, ok := address.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsPrivate() {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has no address in a private network that a container could reach")
	return ""
}

// needPulls skips the test where the engine does not pull from the sandbox's registry.
func (w *world) needPulls(t testing.TB) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "dagger", "--silent", "core", "container", "from", "--address", w.BaseImage, "platform").CombinedOutput()
	if err != nil {
		t.Skipf("the engine does not pull from the sandbox's registry: tell it that %s speaks HTTP (README, Development): %v\n%s", w.Registry, err, output)
	}
}

// scannerImage publishes an image with the pinned Trivy in the sandbox's registry, for Trivy's own is not to be had there.
func (w *world) scannerImage(t testing.TB) string {
	t.Helper()
	program, err := w.tools.Tool(t.Context(), "trivy")
	if err != nil {
		t.Fatal(err)
	}
	return w.toolImage(t, "trivy", nil, func(archive *tar.Writer) error { return addFile(archive, program, "usr/local/bin/trivy") })
}

// golangImage does the same with this machine's Go.
func (w *world) golangImage(t testing.TB) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	goroot, proxy, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	environment := []string{"PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GOTOOLCHAIN=local", "GOPROXY=" + proxy}
	return w.toolImage(t, "golang", environment, func(archive *tar.Writer) error {
		return filepath.WalkDir(goroot, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			inside, err := filepath.Rel(goroot, path)
			if err != nil {
				return err
			}
			return addFile(archive, path, "usr/local/go/"+filepath.ToSlash(inside))
		})
	})
}

// toolImage publishes the base image with a layer more, and with environment variables.
func (w *world) toolImage(t testing.TB, name string, environment []string, fill func(*tar.Writer) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(file)
	if err := errors.Join(fill(archive), archive.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromFile(path, tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := base.Layout(t.Context(), base.Options{CacheDir: w.cache, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	image, err := base.Image(dir)
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	changed := config.DeepCopy().Config
	changed.Env = append(changed.Env, environment...)
	if image, err = mutate.Config(image, changed); err != nil {
		t.Fatal(err)
	}
	ref := w.Registry + "/" + name + ":pinned"
	if err := crane.Push(image, ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

func addFile(archive *tar.Writer, path, name string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(archive, file)
	return err
}
