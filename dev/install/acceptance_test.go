//go:build linux

package install_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"opennebula-kube/dev/acceptance"
	"opennebula-kube/image/exercise"
)

// TestAcceptance takes the chart, with the OpenNebula of whatever upstream the environment names, or of the sandbox, from an install to an
// upgrade, with MariaDB and with three front-ends, and makes a user's first calls after each.
func TestAcceptance(t *testing.T) {
	c := clusterOf(t, func(ctx context.Context, sandbox acceptance.Subject) (acceptance.Subject, error) {
		return acceptance.FromEnvironment(ctx, os.Getenv, root, sandbox)
	})
	t.Logf("OpenNebula %s from %s", strings.Join(c.Versions, ", "), c.Upstream)
	for _, way := range []struct {
		name, namespace string
		values          []string
		stop            func(*release)
	}{
		{"MariaDB", "acceptance", nil, func(*release) {}},
		// All front-ends stop before another version starts.
		{"three front-ends", "acceptance-ha", []string{"replicas=3"}, (*release).stopAll},
	} {
		t.Run(way.name, func(t *testing.T) {
			r := newRelease(t, c, way.namespace, append(append(frugal(), "configuration.existingConfigMap="+dummies, "onegateEndpoint=http://localhost:5030"), way.values...)...)
			r.switchOnDummies()
			r.install(c.Versions[0])
			r.helm("test")
			machine := r.use()
			for _, version := range c.Versions[1:] {
				way.stop(r)
				r.upgrade(version)
				r.helm("test")
				if err := r.target().Running(t.Context(), machine); err != nil {
					t.Fatal(err)
				}
				machine = r.use()
			}
			r.uninstall()
		})
	}
}

// dummies is the ConfigMap that switches on the drivers that need no hypervisor.
const dummies = "dummies"

func (r *release) switchOnDummies() {
	r.t.Helper()
	namespace := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: r.namespace}}
	if _, err := r.client.CoreV1().Namespaces().Create(r.t.Context(), namespace, meta.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	settings := &core.ConfigMap{
		ObjectMeta: meta.ObjectMeta{Name: dummies, Namespace: r.namespace}, Data: map[string]string{"opennebula.conf": exercise.Configuration},
	}
	if _, err := r.client.CoreV1().ConfigMaps(r.namespace).Create(r.t.Context(), settings, meta.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// use makes a user's first calls, and returns a virtual machine that is to stay.
func (r *release) use() int {
	r.t.Helper()
	target := r.target()
	if err := target.Run(r.t.Context(), func(step string) { r.t.Log(step) }); err != nil {
		r.t.Fatal(err)
	}
	machine, err := target.Machine(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return machine
}

// target is the installation, by the addresses of its Services.
func (r *release) target() exercise.Target {
	r.t.Helper()
	url := func(service string, port int) string {
		found, err := r.client.CoreV1().Services(r.namespace).Get(r.t.Context(), service, meta.GetOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		return fmt.Sprintf("http://%s:%d", found.Spec.ClusterIP, port)
	}
	return exercise.Target{
		HTTP:     &http.Client{Transport: &http.Transport{DialContext: r.DialContext, DisableKeepAlives: true}},
		XMLRPC:   url(name, 2633) + "/RPC2",
		OneFlow:  url(name+"-oneflow", 2474),
		OneGate:  url(name+"-onegate", 5030),
		FireEdge: url(name+"-fireedge", 2616),
		Session:  "oneadmin:" + r.password(),
		Limit:    limit,
	}
}
