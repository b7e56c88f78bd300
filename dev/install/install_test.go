//go:build linux

package install_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/adrg/xdg"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"opennebula-kube/ci/pipeline"
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
	// name is that of the release, and of all that it makes.
	name, namespace = "one-opennebula", "cloud"
)

// TestInstall installs the chart with SQLite, upgrades OpenNebula, restarts the node, and uninstalls: what was made stays.
func TestInstall(t *testing.T) {
	c := newCluster(t)
	values := []string{
		"--set", "mariadb.enabled=false", "--set", "image.repository=" + c.repository, "--set", "resources.requests.memory=128Mi",
		"--set", "resources.requests.cpu=50m",
		// The sandbox's OpenNebula has no onehook.
		"--set", "services.hem.enabled=false",
	}
	c.helm(append([]string{"install", "one", chart, "--create-namespace", "--wait", "--timeout", "5m", "--set", "image.tag=" + older}, values...)...)
	c.helm("test", "one", "--timeout", "3m")
	password := c.password()
	if !strings.Contains(c.exec("oneuser", "show", "0"), "oneadmin") {
		t.Error("oneuser show 0 does not show oneadmin")
	}
	if got := c.exec("cat", "/var/lib/one/.one/one_auth"); strings.TrimSpace(got) != "oneadmin:"+password {
		t.Error("oneadmin has another password than the Secret")
	}
	fqdn := name + "-0." + name + "-headless." + namespace + ".svc.cluster.local"
	if got := c.exec("cat", "/etc/one/oned.conf"); !strings.Contains(got, fqdn) {
		t.Errorf("oned.conf does not have the name %s:\n%s", fqdn, got)
	}
	c.exec("oneuser", "create", "kept", "secret")

	c.helm(append([]string{"upgrade", "one", chart, "--wait", "--timeout", "5m", "--set", "image.tag=" + newer}, values...)...)
	c.check("the upgrade", password)
	c.helm("test", "one", "--timeout", "3m")

	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.awaitReady()
	c.check("a restart of the node", password)

	c.helm("uninstall", "one", "--wait", "--timeout", "5m")
	if _, err := c.client.CoreV1().PersistentVolumeClaims(namespace).Get(t.Context(), "data-"+name+"-0", meta.GetOptions{}); err != nil {
		t.Errorf("after uninstall: %v", err)
	}
	if got := c.password(); got != password {
		t.Error("after uninstall the Secret has another password")
	}
	// An installation of the same name goes on with what has stayed.
	c.helm(append([]string{"install", "one", chart, "--wait", "--timeout", "5m", "--set", "image.tag=" + newer}, values...)...)
	c.check("another install", password)
}

// cluster is a Kubernetes with a registry that has the image, and what a test does with it.
type cluster struct {
	*kube.Cluster
	t          *testing.T
	client     *kubernetes.Clientset
	helmPath   string
	repository string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: builds an image and starts Kubernetes")
	}
	for _, can := range []func() error{local.CanBuild, kube.CanRunPods} {
		if err := can(); err != nil {
			t.Skip(err)
		}
	}
	cache := filepath.Join(xdg.CacheHome, "opennebula-kube")
	tools := toolchain.New(root, cache, t.Logf)
	repository := publish(t, tools, cache)
	helmPath, err := tools.Tool(t.Context(), "helm")
	if err != nil {
		t.Fatal(err)
	}
	registry, _, _ := strings.Cut(repository, "/")
	started, err := kube.Start(t.Context(), kube.Options{
		Dir: t.TempDir(), Root: root, Toolchain: tools, Registries: []string{registry}, Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := started.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(started.Config)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Cluster: started, t: t, client: client, helmPath: helmPath, repository: repository}
	t.Cleanup(func() {
		if t.Failed() {
			c.describe()
		}
	})
	return c
}

// publish builds the image of both versions and returns the repository that has them.
func publish(t *testing.T, tools *toolchain.Toolchain, cache string) string {
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
	engine, err := local.New(t.Context(), local.Config{Context: root + "/image", StateDir: t.TempDir(), Toolchain: tools})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, version := range []string{older, newer} {
		built, err := engine.Build(t.Context(), pipeline.BuildSpec{
			Version: version, Upstream: world.Upstream, UpstreamFingerprint: world.UpstreamFingerprint, BaseImage: world.BaseImage,
			Platforms: []string{"linux/" + runtime.GOARCH}, Epoch: epoch,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Push(t.Context(), built, world.Repository+":"+version); err != nil {
			t.Fatal(err)
		}
	}
	return world.Repository
}

// helm runs Helm's command, which must succeed.
func (c *cluster) helm(args ...string) {
	c.t.Helper()
	begin := time.Now()
	cmd := exec.CommandContext(c.t.Context(), c.helmPath, append(args, "--namespace", namespace, "--kubeconfig", c.Kubeconfig)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	c.t.Logf("helm %s: %s", args[0], time.Since(begin).Round(100*time.Millisecond))
}

// exec runs a program as oneadmin in the front-end and returns what it prints.
func (c *cluster) exec(args ...string) string {
	c.t.Helper()
	args = append([]string{"setpriv", "--reuid=9869", "--regid=9869", "--clear-groups"}, args...)
	request := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(name+"-0").SubResource("exec").
		VersionedParams(&core.PodExecOptions{Container: "opennebula", Command: args, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(c.Config, "POST", request.URL())
	if err != nil {
		c.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(c.t.Context(), remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		c.t.Fatalf("%q in the front-end: %v: %s%s", args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// password is oneadmin's, as the notes of the chart tell to read it.
func (c *cluster) password() string {
	c.t.Helper()
	secret, err := c.client.CoreV1().Secrets(namespace).Get(c.t.Context(), name+"-auth", meta.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	if len(secret.Data["password"]) < 16 {
		c.t.Errorf("the password has %d bytes", len(secret.Data["password"]))
	}
	return string(secret.Data["password"])
}

// check wants the version, the password and the user that was made.
func (c *cluster) check(after, password string) {
	c.t.Helper()
	if got := c.password(); got != password {
		c.t.Errorf("after %s the Secret has another password", after)
	}
	if got := c.exec("onedb", "version", "-v"); !strings.Contains(got, "Database version: "+newer) {
		c.t.Errorf("after %s onedb version prints %q", after, got)
	}
	if got := c.exec("oneuser", "show", "2"); !strings.Contains(got, "kept") {
		c.t.Errorf("after %s oneuser show 2 prints %q", after, got)
	}
}

// awaitReady waits for the front-end.
func (c *cluster) awaitReady() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Minute)
	defer cancel()
	for {
		pod, err := c.client.CoreV1().Pods(namespace).Get(ctx, name+"-0", meta.GetOptions{})
		if err == nil {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == core.PodReady && condition.Status == core.ConditionTrue {
					return
				}
			}
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("the front-end is not ready: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// describe logs what a person would look at.
func (c *cluster) describe() {
	ctx := context.Background()
	events, err := c.client.CoreV1().Events(namespace).List(ctx, meta.ListOptions{})
	if err != nil {
		c.t.Log(err)
		return
	}
	for _, e := range events.Items {
		c.t.Logf("%s %s %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	pods, err := c.client.CoreV1().Pods(namespace).List(ctx, meta.ListOptions{})
	if err != nil {
		c.t.Log(err)
		return
	}
	for _, pod := range pods.Items {
		for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			log, err := c.client.CoreV1().Pods(namespace).GetLogs(pod.Name, &core.PodLogOptions{Container: container.Name}).DoRaw(ctx)
			c.t.Logf("%s %s: %v\n%s", pod.Name, container.Name, err, log)
		}
	}
}
