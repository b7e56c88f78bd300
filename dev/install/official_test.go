//go:build linux

package install_test

import (
	"context"
	"fmt"
	"strings"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// wantOfficialMariaDB wants of the image of MariaDB what the official one does.
func (r *release) wantOfficialMariaDB() {
	r.t.Helper()
	for _, c := range []struct{ why, script, want string }{
		{"root is to log in from inside of the container only",
			`mariadb --host=$HOSTNAME --user=root --password="$(cat /run/secrets/mariadb/mariadb-root-password)" --execute="SELECT 1"`, "ERROR 1045"},
		{"root has a password", `mariadb --user=root --execute="SELECT 1"`, "ERROR 1045"},
		{"oneadmin has its own database and no other",
			`mariadb --host=$HOSTNAME --user=oneadmin --password="$(cat /run/secrets/mariadb/mariadb-password)" --execute="SELECT 1 FROM mysql.user"`, "ERROR 1142"},
		{"the root of the file system is read-only", `touch /usr/new`, "Read-only file system"},
	} {
		if out, err := r.tryExec(r.t.Context(), databasePod, "mariadb", "bash", "-c", c.script); err == nil || !strings.Contains(err.Error(), c.want) {
			r.t.Errorf("%s, and %s prints %q, error %v, want %s", c.why, c.script, out, err, c.want)
		}
	}
	for _, c := range []struct {
		name, want string
		env        map[string]string
	}{
		{"random", "GENERATED ROOT PASSWORD: ", map[string]string{"MARIADB_RANDOM_ROOT_PASSWORD": "1"}},
		{"ambiguous", "MARIADB_PASSWORD and MARIADB_PASSWORD_FILE", map[string]string{"MARIADB_PASSWORD": "a", "MARIADB_PASSWORD_FILE": "/etc/hostname"}},
		{"without-password", "none of MARIADB_ROOT_PASSWORD", nil},
	} {
		r.runMariaDB(c.name, c.env)
		r.until("MariaDB says "+c.want, func(ctx context.Context) error {
			log, err := r.client.CoreV1().Pods(r.namespace).GetLogs(c.name, &core.PodLogOptions{}).DoRaw(ctx)
			if err == nil && !strings.Contains(string(log), c.want) {
				err = fmt.Errorf("its log is %q", log)
			}
			return err
		})
		if err := r.client.CoreV1().Pods(r.namespace).Delete(r.t.Context(), c.name, meta.DeleteOptions{}); err != nil {
			r.t.Error(err)
		}
	}
}

// runMariaDB starts a pod of the image, on an empty volume.
func (r *release) runMariaDB(name string, env map[string]string) {
	r.t.Helper()
	container := core.Container{
		Name: "mariadb", Image: r.mariadb.Registry + "/" + r.mariadb.Repository + "@" + r.mariadb.Digest,
		VolumeMounts: []core.VolumeMount{{Name: "data", MountPath: "/var/lib/mysql"}},
	}
	for name, value := range env {
		container.Env = append(container.Env, core.EnvVar{Name: name, Value: value})
	}
	if _, err := r.client.CoreV1().Pods(r.namespace).Create(r.t.Context(), &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec: core.PodSpec{
			RestartPolicy: core.RestartPolicyNever, Containers: []core.Container{container},
			SecurityContext: &core.PodSecurityContext{RunAsUser: ptr.To[int64](999), RunAsGroup: ptr.To[int64](999), FSGroup: ptr.To[int64](999)},
			Volumes:         []core.Volume{{Name: "data", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}},
		},
	}, meta.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}
