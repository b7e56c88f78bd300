//go:build linux

package kube

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adrg/xdg"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"opennebula-kube/dev/toolchain"
)

const (
	root = "../.."
	// limit is for what takes seconds, on a machine that is busy.
	limit = 2 * time.Minute
	// user is a pod's that is not root, as oneadmin.
	user = 9869
)

func options(t *testing.T, dir string) Options {
	t.Helper()
	return Options{
		Dir: dir, Root: root, Toolchain: toolchain.New(root, filepath.Join(xdg.CacheHome, "opennebula-kube"), t.Logf), Log: t.Logf,
	}
}

// TestCluster takes a cluster through the life of a pod with a volume.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: compiles and starts Kubernetes")
	}
	if err := CanRunPods(); err != nil {
		t.Skip(err)
	}
	before := sysctls(t)
	o := options(t, t.TempDir())
	image := publishProbe(t, &o)

	startAndKill(t, o)

	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if err := c.Close(); !closed && err != nil {
			t.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		run  func(t *testing.T)
	}{
		{"node", func(t *testing.T) {
			version, err := client.Discovery().ServerVersion()
			if err != nil {
				t.Fatal(err)
			}
			if want := pinnedVersion(t); version.GitVersion != want {
				t.Errorf("Kubernetes %s, want %s", version.GitVersion, want)
			}
			node, err := client.CoreV1().Nodes().Get(t.Context(), nodeName, meta.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := node.Status.NodeInfo.KubeletVersion; got != version.GitVersion {
				t.Errorf("kubelet %s, want %s", got, version.GitVersion)
			}
			if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "is in use by another cluster") {
				t.Errorf("a second cluster in the same directory: %v", err)
			}
		}},
		{"a StatefulSet with a claim", func(t *testing.T) {
			p := probe{t: t, client: client}
			create(t, client, image)
			p.ready()
			if said := p.log(); said != "probe: listening\n" {
				t.Errorf("the pod's log is %q", said)
			}
			claim, err := client.CoreV1().PersistentVolumeClaims(meta.NamespaceDefault).Get(t.Context(), "data-probe-0", meta.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if *claim.Spec.StorageClassName != StorageClass || claim.Status.Phase != core.ClaimBound {
				t.Errorf("the claim is %s, of class %s", claim.Status.Phase, *claim.Spec.StorageClassName)
			}
			// Not as root: the volume is of the pod's group.
			p.put("kept")
		}},
		{"names", func(t *testing.T) {
			p := probe{t: t, client: client}
			pod := p.pod()
			for _, name := range []string{"probe-0.probe.default.svc.cluster.local", "probe-0.probe", "probe"} {
				// A pod is in the name server some time after it is ready.
				until(t, "the name is known", func(context.Context) error {
					got, err := p.try("lookup", "name", name)
					if err == nil && got != pod.Status.PodIP {
						err = fmt.Errorf("%s is %s, want %s", name, got, pod.Status.PodIP)
					}
					return err
				})
			}
			if got := p.get("lookup", "name", "kubernetes.default.svc.cluster.local"); got != "10.96.0.1" {
				t.Errorf("kubernetes.default is %s, want 10.96.0.1", got)
			}
			if got, err := p.try("lookup", "name", "example.com"); err == nil {
				t.Errorf("example.com is %s, want no answer", got)
			}
		}},
		{"services", func(t *testing.T) {
			p := probe{t: t, client: client}
			// By its virtual address, to itself and back, once the node's rules are made.
			until(t, "the service answers", func(context.Context) error {
				got, err := p.try("fetch", "url", "http://probe-service/name")
				if err == nil && got != "probe-0" {
					err = fmt.Errorf("it answers %q, want probe-0", got)
				}
				return err
			})
			service, err := client.CoreV1().Services(meta.NamespaceDefault).Get(t.Context(), "probe-service", meta.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			conn, err := c.DialContext(t.Context(), "tcp", service.Spec.ClusterIP+":80")
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
		}},
		{"a server of the machine", func(t *testing.T) {
			_, port, err := net.SplitHostPort(o.Servers[0])
			if err != nil {
				t.Fatal(err)
			}
			if got := (probe{t: t, client: client}).get("fetch", "url", "http://"+NodeAddress+":"+port+"/v2/_catalog"); !strings.Contains(got, "probe") {
				t.Errorf("the registry answers a pod %q, want a list with probe", got)
			}
		}},
		{"restart", func(t *testing.T) {
			p := probe{t: t, client: client}
			id := p.container()
			if err := c.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if pod := p.pod(); slices.ContainsFunc(pod.Status.ContainerStatuses, func(s core.ContainerStatus) bool { return s.ContainerID == id && s.State.Running != nil }) {
				t.Error("right after the restart, the pod is said to run as it did before")
			}
			p.ready()
			if p.container() == id {
				t.Error("the pod's container is the one from before")
			}
			if got := p.get("value", "", ""); got != "kept" {
				t.Errorf("the volume has %q, want kept", got)
			}
			if got := p.get("fetch", "url", "http://probe-0.probe.default.svc.cluster.local:8080/name"); got != "probe-0" {
				t.Errorf("the pod answers %q, want probe-0", got)
			}
		}},
		{"a volume is removed with its claim", func(t *testing.T) {
			if err := client.AppsV1().StatefulSets(meta.NamespaceDefault).Delete(t.Context(), "probe", meta.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := client.CoreV1().PersistentVolumeClaims(meta.NamespaceDefault).Delete(t.Context(), "data-probe-0", meta.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			until(t, "the volume is removed", func(context.Context) error {
				left, err := os.ReadDir(filepath.Join(o.Dir, "var/lib/volumes"))
				if err == nil && len(left) > 0 {
					err = fmt.Errorf("there is %s", left[0].Name())
				}
				return err
			})
		}},
		{"close", func(t *testing.T) {
			spaces := namespaces(t, o.Dir)
			if len(inhabitants(t, spaces)) == 0 {
				t.Fatal("nothing is found in the node's namespaces while it runs")
			}
			closed = true
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			wantNothingLeft(t, o.Dir, c.id, spaces)
			if after := sysctls(t); after != before {
				t.Errorf("settings of the machine were %s and are %s", before, after)
			}
		}},
	}
	for _, step := range steps {
		if !t.Run(step.name, step.run) {
			t.Fatal("the steps after this one build on it")
		}
	}
}

// publishProbe makes the image of the program in testdata/probe, and gives it to a registry that the cluster is told of.
func publishProbe(t *testing.T, o *Options) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	program, err := compile(t.Context(), root, "./dev/kube/testdata/probe")
	if err != nil {
		t.Fatal(err)
	}
	image, err := programImage("probe", program)
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(server.URL, "http://")
	tag, err := name.NewTag(address + "/probe:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	o.Servers = []string{address}
	return tag.String()
}

// create makes a StatefulSet of one pod that is not root and writes to a volume, its headless service, and another one.
func create(t *testing.T, client kubernetes.Interface, image string) {
	t.Helper()
	labels := map[string]string{"app": "probe"}
	for _, service := range []core.Service{
		{ObjectMeta: meta.ObjectMeta{Name: "probe"}, Spec: core.ServiceSpec{ClusterIP: core.ClusterIPNone, Selector: labels}},
		{ObjectMeta: meta.ObjectMeta{Name: "probe-service"}, Spec: core.ServiceSpec{
			Selector: labels, Ports: []core.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		}},
	} {
		if _, err := client.CoreV1().Services(meta.NamespaceDefault).Create(t.Context(), &service, meta.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.AppsV1().StatefulSets(meta.NamespaceDefault).Create(t.Context(), &apps.StatefulSet{
		ObjectMeta: meta.ObjectMeta{Name: "probe"},
		Spec: apps.StatefulSetSpec{
			ServiceName: "probe",
			Selector:    &meta.LabelSelector{MatchLabels: labels},
			VolumeClaimTemplates: []core.PersistentVolumeClaim{{
				ObjectMeta: meta.ObjectMeta{Name: "data"},
				Spec: core.PersistentVolumeClaimSpec{
					AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
					Resources:   core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: resource.MustParse("1Mi")}},
				},
			}},
			Template: core.PodTemplateSpec{
				ObjectMeta: meta.ObjectMeta{Labels: labels},
				Spec: core.PodSpec{
					SecurityContext: &core.PodSecurityContext{RunAsUser: ptr.To[int64](user), RunAsNonRoot: ptr.To(true), FSGroup: ptr.To[int64](user)},
					Containers: []core.Container{{
						Name: "probe", Image: image, ImagePullPolicy: core.PullAlways,
						VolumeMounts: []core.VolumeMount{{Name: "data", MountPath: "/data"}},
						ReadinessProbe: &core.Probe{PeriodSeconds: 1, ProbeHandler: core.ProbeHandler{
							HTTPGet: &core.HTTPGetAction{Path: "/name", Port: intstr.FromInt32(8080)},
						}},
						Resources: core.ResourceRequirements{Limits: core.ResourceList{core.ResourceMemory: resource.MustParse("64Mi")}},
					}},
				},
			},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, is func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("%s: not within %s", what, limit))
	defer cancel()
	if err := eventually(ctx, is); err != nil {
		t.Fatal(err)
	}
}
