//go:build linux

package install_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/adrg/xdg"
	"k8s.io/client-go/kubernetes"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/dev/acceptance"
	"opennebula-kube/dev/kube"
	"opennebula-kube/dev/local"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/sandbox/apt"
	"opennebula-kube/dev/toolchain"
)

const (
	root  = "../.."
	chart = root + "/chart/opennebula"
	// older and newer are versions between which a database is upgraded.
	older, newer = "7.2.0", "7.4.0"
)

// cluster is a Kubernetes with a registry that has the images.
type cluster struct {
	// Subject is what the images are made of.
	acceptance.Subject
	*kube.Cluster
	client     *kubernetes.Clientset
	helmPath   string
	repository string
	// digests are those of the images, by their versions.
	digests map[string]string
	mariadb sandbox.MariaDB
}

// newCluster starts a cluster whose pods reach some servers of this machine, as kube.Options has them. It skips the test where pods cannot be run.
func newCluster(t testing.TB, servers ...string) *cluster {
	t.Helper()
	return clusterOf(t, func(_ context.Context, s acceptance.Subject) (acceptance.Subject, error) { return s, nil }, servers...)
}

// clusterOf is newCluster with images of what choose returns. It is told what the sandbox has.
func clusterOf(t testing.TB, choose func(context.Context, acceptance.Subject) (acceptance.Subject, error), servers ...string) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: builds images and starts Kubernetes")
	}
	for _, can := range []func() error{local.CanBuild, kube.CanRunPods} {
		if err := can(); err != nil {
			t.Skip(err)
		}
	}
	tools, cache := newTools(t)
	c := &cluster{helmPath: helmPath(t, tools)}
	c.publish(t, tools, cache, choose)
	var err error
	c.Cluster, err = kube.Start(t.Context(), kube.Options{
		Dir: t.TempDir(), Root: root, Toolchain: tools, Servers: append(servers, c.mariadb.Registry), Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if c.client, err = kubernetes.NewForConfig(c.Config); err != nil {
		t.Fatal(err)
	}
	return c
}

func newTools(t testing.TB) (tools *toolchain.Toolchain, cache string) {
	t.Helper()
	cache = filepath.Join(xdg.CacheHome, "opennebula-kube")
	return toolchain.New(root, cache, t.Logf), cache
}

func helmPath(t testing.TB, tools *toolchain.Toolchain) string {
	t.Helper()
	path, err := tools.Tool(t.Context(), "helm")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// publish builds the image of all versions, and that of MariaDB, and publishes them in a registry.
func (c *cluster) publish(
	t testing.TB, tools *toolchain.Toolchain, cache string, choose func(context.Context, acceptance.Subject) (acceptance.Subject, error),
) {
	t.Helper()
	epoch := time.Date(2026, time.May, 1, 0, 0, 0, 0, time.UTC)
	var versions []apt.Version
	for _, version := range []string{older, newer} {
		versions = append(versions, apt.Version{Version: version, Date: epoch, Architectures: []string{runtime.GOARCH}})
	}
	world, err := sandbox.Start(t.Context(), sandbox.Options{
		CacheDir: cache, Dir: t.TempDir(), Root: root, Toolchain: tools, Architectures: []string{runtime.GOARCH}, Versions: versions, Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	if c.mariadb, err = world.PublishMariaDB(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Subject, err = choose(t.Context(), acceptance.Subject{
		Upstream: world.Upstream, Fingerprint: world.UpstreamFingerprint, BaseImage: world.BaseImage, Versions: []string{older, newer},
	})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := local.New(t.Context(), local.Config{Context: root + "/image", StateDir: t.TempDir(), Toolchain: tools})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	repository, err := registry.Open(world.Repository)
	if err != nil {
		t.Fatal(err)
	}
	c.digests = map[string]string{}
	for _, version := range c.Versions {
		built, err := engine.Build(t.Context(), pipeline.BuildSpec{
			Version: version, Upstream: c.Upstream, UpstreamFingerprint: c.Fingerprint, BaseImage: c.BaseImage,
			Platforms: []string{"linux/" + runtime.GOARCH}, Epoch: epoch,
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.digests[version], err = built.Push(t.Context(), repository, version); err != nil {
			t.Fatal(err)
		}
	}
	c.repository = world.Repository
}

// helm runs Helm's command in a namespace and returns what it prints.
func (c *cluster) helm(t testing.TB, namespace string, args ...string) (string, error) {
	t.Helper()
	begin := time.Now()
	cmd := exec.CommandContext(t.Context(), c.helmPath, append(args, "--namespace", namespace, "--kubeconfig", c.Kubeconfig)...)
	out, err := cmd.CombinedOutput()
	t.Logf("helm %s: %s", strings.Join(args[:min(2, len(args))], " "), time.Since(begin).Round(100*time.Millisecond))
	return string(out), err
}
