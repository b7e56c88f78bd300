//go:build linux

package install_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"opennebula-kube/dev/kube"
)

// testBackupToClaim begins an installation anew with a backup on a volume, with all that the one before has left there, as the chart's README
// tells to.
func testBackupToClaim(t *testing.T, c *cluster) {
	r := newRelease(t, c, "claim", append(frugal(), "backup.enabled=true", "backup.persistence.enabled=true")...)
	r.install(older)
	r.create("kept")
	before := r.identity()
	archive := r.backUp()
	if got := r.exec(front, "opennebula", "ls", "/backup"); got != archive+"\n" {
		t.Errorf("/backup in OpenNebula's pod has %q, want %s", got, archive)
	}
	r.create("later")

	r.uninstall()
	for _, claim := range []string{"data-" + front, "data-" + databasePod} {
		if err := c.client.CoreV1().PersistentVolumeClaims(r.namespace).Delete(t.Context(), claim, meta.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.values = append(r.values, "restore.enabled=true")
	r.install(newer)
	r.wantRestored(archive)
	r.wantIdentity("a restore", before)
}

// testBackupToS3 begins an installation in another namespace with a backup in object storage.
func testBackupToS3(t *testing.T, c *cluster, store objectStore) {
	values := append(frugal(), "mariadb.enabled=false", "backup.enabled=true", "backup.s3.endpoint="+store.endpoint, "backup.s3.region=us-east-1",
		"backup.s3.bucket="+bucket, "backup.s3.prefix=one", "backup.s3.existingSecret=one-backup")
	from := newRelease(t, c, "s3", values...)
	from.createKeys()
	from.install(older)
	from.create("kept")
	before := from.identity()
	archive := from.backUp()
	if diff := cmp.Diff([]string{"one/" + archive}, store.list(t)); diff != "" {
		t.Errorf("in the bucket (-want +got):\n%s", diff)
	}
	from.create("later")

	to := newRelease(t, c, "s3-restored", append(values, "restore.enabled=true", "restore.from="+archive)...)
	to.createKeys()
	to.install(newer)
	to.wantRestored(archive)
	// oneadmin's password is that of the new release.
	maps.DeleteFunc(before, func(what, _ string) bool { return strings.HasPrefix(what, "Secret ") || what == ".one/one_auth" })
	to.wantIdentity("a restore", before)
	if from.password() == to.password() {
		t.Error("both releases have the same password")
	}
}

// backUp makes a Job of the CronJob, as kubectl does, and returns the name of the backup that it makes.
func (r *release) backUp() string {
	r.t.Helper()
	cron, err := r.client.BatchV1().CronJobs(r.namespace).Get(r.t.Context(), name+"-backup", meta.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	template := cron.Spec.JobTemplate
	template.Name = "before-upgrade"
	template.OwnerReferences = []meta.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: cron.Name, UID: cron.UID, Controller: ptr.To(true)}}
	job := &batch.Job{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	if _, err := r.client.BatchV1().Jobs(r.namespace).Create(r.t.Context(), job, meta.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.until("the backup is made", func(ctx context.Context) error {
		job, err := r.client.BatchV1().Jobs(r.namespace).Get(ctx, template.Name, meta.GetOptions{})
		if err != nil {
			return err
		}
		if job.Status.Failed > 0 {
			r.t.Fatalf("the backup has failed: %+v", job.Status)
		}
		if job.Status.Succeeded == 0 {
			return errors.New("the Job is not done")
		}
		return nil
	})
	log := r.log("batch.kubernetes.io/job-name="+template.Name, "backup")
	made := regexp.MustCompile(`backup: made (opennebula-\S+\.tar\.gz) in `).FindStringSubmatch(log)
	if made == nil {
		r.t.Fatalf("the log of the backup is %q", log)
	}
	return made[1]
}

// wantRestored wants the user that was made before the backup, and not the one after.
func (r *release) wantRestored(archive string) {
	r.t.Helper()
	if log := r.log("statefulset.kubernetes.io/pod-name="+front, "opennebula"); !strings.Contains(log, "restored "+archive) {
		r.t.Errorf("the log does not say that %s was restored:\n%s", archive, log)
	}
	r.wantUser("a restore", "kept")
	if out, err := r.tryExec(r.t.Context(), front, "opennebula", asOneadmin("oneuser", "show", "3")...); err == nil {
		r.t.Errorf("there is a user that was made after the backup: %s", out)
	}
	r.helm("test")
}

// log is what a container of the one pod with a label has said.
func (r *release) log(label, container string) string {
	r.t.Helper()
	pods, err := r.client.CoreV1().Pods(r.namespace).List(r.t.Context(), meta.ListOptions{LabelSelector: label})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(pods.Items) != 1 {
		r.t.Fatalf("%d pods have label %s, want one", len(pods.Items), label)
	}
	log, err := r.client.CoreV1().Pods(r.namespace).GetLogs(pods.Items[0].Name, &core.PodLogOptions{Container: container}).DoRaw(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return string(log)
}

// createKeys makes the namespace, and the Secret with the keys for the bucket.
func (r *release) createKeys() {
	r.t.Helper()
	ctx := r.t.Context()
	if _, err := r.client.CoreV1().Namespaces().Create(ctx, &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: r.namespace}}, meta.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.client.CoreV1().Secrets(r.namespace).Create(ctx, &core.Secret{
		ObjectMeta: meta.ObjectMeta{Name: "one-backup"}, StringData: map[string]string{"access-key": "key", "secret-key": "secret"},
	}, meta.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

const bucket = "clouds"

// objectStore is an S3 server in this process, with a bucket.
type objectStore struct {
	backend gofakes3.Backend
	// address is where it listens on this machine, endpoint where pods find it.
	address, endpoint string
}

func newObjectStore(t *testing.T) objectStore {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(decodeChunks(gofakes3.New(backend).Server()))
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	_, port, _ := strings.Cut(address, ":")
	return objectStore{backend, address, fmt.Sprintf("http://%s:%s", kube.NodeAddress, port)}
}

// decodeChunks takes the signatures of chunks out of what is sent without TLS, which the server behind it does not for parts of an object. They are
// written as extensions of HTTP's own chunks.
func decodeChunks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
			length := r.Header.Get("X-Amz-Decoded-Content-Length")
			size, err := strconv.ParseInt(length, 10, 64)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body, r.ContentLength = io.NopCloser(httputil.NewChunkedReader(r.Body)), size
			r.Header.Set("Content-Length", length)
			r.Header.Del("X-Amz-Content-Sha256")
		}
		next.ServeHTTP(w, r)
	})
}

// list is what is in the bucket.
func (s objectStore) list(t *testing.T) []string {
	t.Helper()
	objects, err := s.backend.ListBucket(bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, object := range objects.Contents {
		names = append(names, object.Key)
	}
	slices.Sort(names)
	return names
}
