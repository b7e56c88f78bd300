package e2e_test

import (
	"archive/tar"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	if err := writer.WriteHeader(&tar.Header{Name: "usr/local/bin/trivy", Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	dir, err := base.Layout(t.Context(), base.Options{CacheDir: w.cache, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	var image v1.Image
	if image, err = base.Image(dir); err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		t.Fatal(err)
	}
	ref := w.Registry + "/trivy:pinned"
	if err := crane.Push(image, ref); err != nil {
		t.Fatal(err)
	}
	return ref
}
