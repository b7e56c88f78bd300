//go:build linux

package install_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

const (
	// name is that of the release one, and of all that it makes; front is its pod.
	name, front = "one-opennebula", "one-opennebula-0"
	// databasePod is that of MariaDB in that release.
	databasePod = "one-mariadb-0"
	// limit is for what takes seconds, on a machine that is busy.
	limit = 3 * time.Minute
)

// release is the chart in a namespace of its own, as release one.
type release struct {
	*cluster
	t         testing.TB
	namespace string
	values    []string
}

// newRelease names a release with these values besides those that a sandbox takes. When the test fails, it logs what a person would look at.
func newRelease(t testing.TB, c *cluster, namespace string, values ...string) *release {
	t.Helper()
	r := &release{cluster: c, t: t, namespace: namespace, values: append(sandboxValues(c), values...)}
	t.Cleanup(func() {
		if t.Failed() {
			r.describe()
		}
	})
	return r
}

// sandboxValues are those that lead to the images here.
func sandboxValues(c *cluster) []string {
	return []string{
		"image.repository=" + c.repository,
		"mariadb.image.registry=" + c.mariadb.Registry, "mariadb.image.repository=" + c.mariadb.Repository,
		"mariadb.image.tag=" + c.mariadb.Tag, "mariadb.image.digest=" + c.mariadb.Digest,
	}
}

// frugal are values with which several releases have room on the node.
func frugal() []string {
	return []string{
		"resources.requests.memory=128Mi", "resources.requests.cpu=50m",
		"mariadb.primary.resources.requests.memory=128Mi", "mariadb.primary.resources.requests.cpu=50m",
	}
}

// helm runs Helm's command, which must succeed, with the release's values where it takes some.
func (r *release) helm(command string, args ...string) string {
	r.t.Helper()
	out, err := r.try(command, args...)
	if err != nil {
		r.t.Fatalf("helm %s %s: %v\n%s", command, strings.Join(args, " "), err, out)
	}
	return out
}

func (r *release) try(command string, args ...string) (string, error) {
	r.t.Helper()
	args = slices.Concat([]string{command, "one"}, args, []string{"--timeout", "5m"})
	if command == "install" || command == "upgrade" {
		if !slices.Contains(args, "--wait=false") {
			args = append(args, "--wait")
		}
		for _, value := range r.values {
			args = append(args, "--set", value)
		}
	}
	return r.cluster.helm(r.t, r.namespace, args...)
}

// install installs a version of OpenNebula with the chart of the repository.
func (r *release) install(version string) {
	r.t.Helper()
	r.helm("install", chart, "--create-namespace", "--set", "image.tag="+version)
}

func (r *release) upgrade(version string) {
	r.t.Helper()
	r.helm("upgrade", chart, "--set", "image.tag="+version)
}

// oned runs a program as oneadmin in the front-end and returns what it prints.
func (r *release) oned(args ...string) string {
	r.t.Helper()
	return r.exec(front, "opennebula", asOneadmin(args...)...)
}

func asOneadmin(args ...string) []string {
	return append([]string{"setpriv", "--reuid=9869", "--regid=9869", "--clear-groups"}, args...)
}

// exec runs a program, which must succeed, in a container and returns what it prints.
func (r *release) exec(pod, container string, args ...string) string {
	r.t.Helper()
	out, err := r.tryExec(r.t.Context(), pod, container, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *release) tryExec(ctx context.Context, pod, container string, args ...string) (string, error) {
	request := r.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(r.namespace).Name(pod).SubResource("exec").
		VersionedParams(&core.PodExecOptions{Container: container, Command: args, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(r.Config, "POST", request.URL())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		return "", fmt.Errorf("%q in %s: %w: %s%s", args, pod, err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// secret is a key of a Secret.
func (r *release) secret(of, key string) string {
	r.t.Helper()
	secret, err := r.client.CoreV1().Secrets(r.namespace).Get(r.t.Context(), of, meta.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return string(secret.Data[key])
}

// password is oneadmin's, as the notes of the chart tell to read it.
func (r *release) password() string {
	r.t.Helper()
	password := r.secret(name+"-auth", "password")
	if len(password) < 16 {
		r.t.Errorf("the password has %d bytes", len(password))
	}
	return password
}

// ready waits for a pod.
func (r *release) ready(name string) {
	r.t.Helper()
	r.until(name+" is ready", func(ctx context.Context) error {
		pod, err := r.client.CoreV1().Pods(r.namespace).Get(ctx, name, meta.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == core.PodReady && condition.Status == core.ConditionTrue && pod.DeletionTimestamp == nil {
				return nil
			}
		}
		return fmt.Errorf("its status is %+v", pod.Status)
	})
}

// until waits until a condition has no error.
func (r *release) until(what string, is func(context.Context) error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	for {
		err := is(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// describe logs what a person would look at.
func (r *release) describe() {
	ctx := context.Background()
	events, err := r.client.CoreV1().Events(r.namespace).List(ctx, meta.ListOptions{})
	if err != nil {
		r.t.Log(err)
		return
	}
	for _, e := range events.Items {
		r.t.Logf("%s %s %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	pods, err := r.client.CoreV1().Pods(r.namespace).List(ctx, meta.ListOptions{})
	if err != nil {
		r.t.Log(err)
		return
	}
	for _, pod := range pods.Items {
		for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			log, err := r.client.CoreV1().Pods(r.namespace).GetLogs(pod.Name, &core.PodLogOptions{Container: container.Name}).DoRaw(ctx)
			r.t.Logf("%s %s: %v\n%s", pod.Name, container.Name, err, log)
		}
	}
}
