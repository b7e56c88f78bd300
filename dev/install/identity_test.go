//go:build linux

package install_test

import (
	"strings"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// identity is what an installation must keep: its passwords, by the Secrets and keys that they are in, and its credentials and keys, by the
// files on the volume.
func (r *release) identity() map[string]string {
	r.t.Helper()
	found := make(map[string]string)
	secrets, err := r.client.CoreV1().Secrets(r.namespace).List(r.t.Context(), meta.ListOptions{LabelSelector: instance})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, secret := range secrets.Items {
		for key, value := range secret.Data {
			if len(value) < 16 {
				r.t.Errorf("key %s of Secret %s has %d bytes", key, secret.Name, len(value))
			}
			found["Secret "+secret.Name+" "+key] = string(value)
		}
	}
	// serveradmin's are sunstone_auth and those like it.
	files := r.oned("sh", "-c", "cd /var/lib/one && sha256sum .one/one_auth .one/*_auth .ssh/id_*")
	files += r.exec(front, "opennebula", "sh", "-c", "cd /var/lib/one && sha256sum .one-container/ssh-host-keys/*")
	for line := range strings.Lines(files) {
		sum, file, _ := strings.Cut(strings.TrimSpace(line), "  ")
		found[file] = sum
	}
	for _, file := range []string{".one/one_auth", ".one/sunstone_auth", ".ssh/id_rsa", ".one-container/ssh-host-keys/ssh_host_ed25519_key"} {
		if found[file] == "" {
			r.t.Errorf("there is no %s, of %q", file, files)
		}
	}
	if got := r.oned("cat", "/var/lib/one/.one/one_auth"); strings.TrimSpace(got) != "oneadmin:"+r.password() {
		r.t.Error("oneadmin has another password than the Secret")
	}
	return found
}

// wantIdentity wants all that there was before to be as it was.
func (r *release) wantIdentity(after string, before map[string]string) {
	r.t.Helper()
	now := r.identity()
	for what, value := range before {
		if now[what] != value {
			r.t.Errorf("after %s, %s is another one", after, what)
		}
	}
}

// create makes a user.
func (r *release) create(user string) {
	r.t.Helper()
	r.oned("oneuser", "create", user, "secret")
}

// wantUser wants the first user that was made, the newer version, and a database that is of it.
func (r *release) wantUser(after, user string) {
	r.t.Helper()
	if got := r.oned("onedb", "version", "-v"); !strings.Contains(got, "Shared tables version:   "+newer) {
		r.t.Errorf("after %s onedb version prints %q", after, got)
	}
	if got := r.oned("oneuser", "show", "2"); !strings.Contains(got, user) {
		r.t.Errorf("after %s oneuser show 2 prints %q, want user %s", after, got, user)
	}
}
