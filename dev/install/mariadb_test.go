//go:build linux

package install_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testMariaDB takes an installation with the chart's own values through its life.
func testMariaDB(t *testing.T, c *cluster) {
	r := newRelease(t, c, "mariadb")
	r.install(older)
	r.helm("test")
	r.wantOfficialMariaDB()
	r.create("kept")
	before := r.identity()

	r.upgrade(newer)
	r.wantIdentity("the upgrade", before)
	r.wantUser("the upgrade", "kept")
	r.helm("test")

	r.replaceDatabase()
	r.wantIdentity("another pod of the database", before)
	r.wantUser("another pod of the database", "kept")

	r.downgrade()
	r.wantIdentity("the downgrade", before)
	r.wantUser("the downgrade", "kept")

	r.uninstall()
	r.install(newer)
	r.wantIdentity("another install", before)
	r.wantUser("another install", "kept")
}

// replaceDatabase deletes the pod of the database, whose data are said to be of an earlier MariaDB, without health checks: OpenNebula goes on with
// the next one, which upgrades the system tables.
func (r *release) replaceDatabase() {
	r.t.Helper()
	container := r.running(front)
	const info = "/var/lib/mysql/mysql_upgrade_info"
	r.exec(databasePod, "mariadb", "bash", "-c", "rm /var/lib/mysql/.my-healthcheck.cnf && echo 10.6.20-MariaDB > "+info)
	former := r.pod(databasePod).UID
	if err := r.client.CoreV1().Pods(r.namespace).Delete(r.t.Context(), databasePod, meta.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.until("there is another pod of the database", func(ctx context.Context) error {
		pod, err := r.client.CoreV1().Pods(r.namespace).Get(ctx, databasePod, meta.GetOptions{})
		if err == nil && pod.UID == former {
			err = fmt.Errorf("the former one is %s", pod.Status.Phase)
		}
		return err
	})
	r.ready(databasePod)
	if got := r.exec(databasePod, "mariadb", "cat", info); !strings.HasPrefix(got, "10.11.") {
		r.t.Errorf("the system tables are of MariaDB %q, want 10.11", got)
	}
	r.until("OpenNebula answers again", func(ctx context.Context) error {
		_, err := r.tryExec(ctx, front, "opennebula", asOneadmin("oneuser", "show", "0")...)
		return err
	})
	r.ready(front)
	if now := r.running(front); now != container {
		r.t.Errorf("OpenNebula's container was %s and is %s", container, now)
	}
}

// downgrade has an older OpenNebula refuse the newer one's database, and upgrades to the newer one again.
func (r *release) downgrade() {
	r.t.Helper()
	before := r.dump()
	r.helm("upgrade", chart, "--set", "image.tag="+older, "--wait=false")
	r.until("the older OpenNebula has ended", func(ctx context.Context) error {
		pod, err := r.client.CoreV1().Pods(r.namespace).Get(ctx, front, meta.GetOptions{})
		if err != nil {
			return err
		}
		statuses := pod.Status.ContainerStatuses
		if !strings.HasSuffix(pod.Spec.Containers[0].Image, ":"+older) || len(statuses) != 1 || statuses[0].LastTerminationState.Terminated == nil {
			return fmt.Errorf("its status is %+v", pod.Status)
		}
		ended, want := statuses[0].LastTerminationState.Terminated, "is of a newer OpenNebula than this one, "+older
		if ended.ExitCode == 0 || !strings.Contains(ended.Message, want) {
			r.t.Errorf("it ended with status %d and said %q, want %q in it", ended.ExitCode, ended.Message, want)
		}
		return nil
	})
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		r.t.Errorf("the older OpenNebula has changed the database (-before +after):\n%s", diff)
	}
	r.upgrade(newer)
}

// dump is all that is in OpenNebula's database.
func (r *release) dump() string {
	r.t.Helper()
	return r.exec(databasePod, "mariadb", "bash", "-euc", `
		export MYSQL_PWD=$(cat /run/secrets/mariadb/mariadb-root-password)
		ask() { mariadb --user=root --batch --skip-column-names --execute="$1" opennebula; }
		ask "SHOW TABLES" | while read -r table; do
			ask "SHOW CREATE TABLE $table; SELECT * FROM $table ORDER BY 1" < /dev/null
		done`)
}

// running is the container that a pod runs, which must be its first one.
func (r *release) running(pod string) string {
	r.t.Helper()
	statuses := r.pod(pod).Status.ContainerStatuses
	if len(statuses) != 1 || statuses[0].State.Running == nil || statuses[0].RestartCount != 0 {
		r.t.Errorf("the containers of %s are %+v, want one that runs and was not restarted", pod, statuses)
		return ""
	}
	return statuses[0].ContainerID
}

// pod is a pod, which must be there.
func (r *release) pod(name string) *core.Pod {
	r.t.Helper()
	pod, err := r.client.CoreV1().Pods(r.namespace).Get(r.t.Context(), name, meta.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return pod
}
