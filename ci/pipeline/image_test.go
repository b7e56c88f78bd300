package pipeline_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/kept"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
)

// built is an image of two platforms.
func (w *world) built(t *testing.T) pipeline.Image {
	t.Helper()
	image, _, err := w.Build(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestImagePushAndPull(t *testing.T) {
	w := newWorld(t, "7.2.0")
	image := w.built(t)
	for range 2 {
		if digest, err := image.Push(t.Context(), w.Images, "1"); err != nil || digest != image.Digest {
			t.Fatalf("pushed %s, %v; want %s", digest, err, image.Digest)
		}
	}
	layouts := kept.Directories{Dir: t.TempDir(), Count: 1, Now: time.Now}
	first, err := pipeline.Pull(t.Context(), w.Images, image.Digest, layouts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(image, pipeline.Image{Dir: image.Dir, Digest: first.Digest, Platforms: first.Platforms}); diff != "" {
		t.Errorf("pulled (-want +got):\n%s", diff)
	}
	asked := w.faults.Inject(httpfault.Fault{Effect: httpfault.Status(http.StatusTeapot)})
	if second, err := pipeline.Pull(t.Context(), w.Images, image.Digest, layouts); err != nil || second.Dir != first.Dir || asked() > 0 {
		t.Errorf("pulled again %+v, %v, after %d requests", second, err, asked())
	}
}

func TestImagePushLeavesATakenTagAlone(t *testing.T) {
	w := newWorld(t, "7.2.0")
	if _, err := w.built(t).Push(t.Context(), w.Images, "1"); err != nil {
		t.Fatal(err)
	}
	w.base = newBase
	if _, err := w.built(t).Push(t.Context(), w.Images, "1"); !errors.Is(err, registry.ErrTagTaken) {
		t.Errorf("error %v, want that the tag is taken", err)
	}
}

func TestPullFails(t *testing.T) {
	w := newWorld(t, "7.2.0")
	image := w.built(t)
	if _, err := image.Push(t.Context(), w.Images, "1"); err != nil {
		t.Fatal(err)
	}
	absent := "sha256:" + strings.Repeat("0", 64)
	const blobs = "/v2/acme/opennebula/blobs/*"
	for name, test := range map[string]struct {
		digest string
		fault  *httpfault.Fault
		says   string
	}{
		"a tag":      {"1", nil, image.Digest + ", want 1"},
		"not there":  {absent, nil, "not in the registry"},
		"cut layers": {image.Digest, &httpfault.Fault{Path: blobs, Effect: httpfault.CutBody(10)}, "unexpected EOF"},
		"nowhere":    {image.Digest, &httpfault.Fault{Effect: httpfault.Drop()}, image.Digest},
	} {
		t.Run(name, func(t *testing.T) {
			w.faults.Clear()
			if test.fault != nil {
				w.faults.Inject(*test.fault)
			}
			layouts := kept.Directories{Dir: t.TempDir(), Now: time.Now}
			_, err := pipeline.Pull(t.Context(), w.Images, test.digest, layouts)
			if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "pull "+w.Images.Name()+"@"+test.digest) {
				t.Errorf("error %v, want %q in it", err, test.says)
			}
			if left, err := os.ReadDir(layouts.Dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A layout that was damaged where it is kept is not taken for the image.
func TestPullChecksWhatIsKept(t *testing.T) {
	w := newWorld(t, "7.2.0")
	image := w.built(t)
	layouts := kept.Directories{Dir: t.TempDir(), Now: time.Now}
	stage, err := layouts.Stage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layouts.Commit(stage, image.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.Pull(t.Context(), w.Images, image.Digest, layouts); err == nil {
		t.Error("an empty directory was taken for the image")
	}
}
