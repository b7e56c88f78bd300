package e2e_test

import (
	"archive/tar"
	"bufio"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"pault.ag/go/debian/control"
)

// tagsOf returns all tags of a repository with what they stand for. It does not matter whether there is such a repository.
func tagsOf(t *testing.T, repository string) map[string]string {
	t.Helper()
	repo, err := name.NewRepository(repository)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	names, err := remote.List(repo, remote.WithContext(t.Context()))
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return found
	} else if err != nil {
		t.Fatal(err)
	}
	for _, tag := range names {
		described, err := remote.Head(repo.Tag(tag), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		found[tag] = described.Digest.String()
	}
	return found
}

// wantTags checks that a repository has exactly these tags, each at its digest.
func wantTags(t *testing.T, repository string, want map[string]string) {
	t.Helper()
	if want == nil {
		want = map[string]string{}
	}
	if diff := cmp.Diff(want, tagsOf(t, repository)); diff != "" {
		t.Errorf("tags of %s (-want +got):\n%s", repository, diff)
	}
}

// at is a set of tags that all stand for one digest.
func at(digest string, tags ...string) map[string]string {
	set := map[string]string{}
	for _, tag := range tags {
		set[tag] = digest
	}
	return set
}

// artifact opens what is in a repository under a digest.
func artifact(t *testing.T, repository, digest string) v1.Image {
	t.Helper()
	ref, err := name.NewDigest(repository + "@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// wholeImage reads an image, every byte of it, and checks that the registry has all that it says.
func wholeImage(t *testing.T, repository, digest string) v1.Image {
	t.Helper()
	image := artifact(t, repository, digest)
	if err := validate.Image(image); err != nil {
		t.Errorf("%s@%s is not whole: %v", repository, digest, err)
	}
	return image
}

// wantBlobs checks that a repository has all that an image names. That the content is right is the registry's own affair: it takes
// nothing that does not have its digest.
func wantBlobs(t *testing.T, repository, digest string) {
	t.Helper()
	if err := validate.Image(artifact(t, repository, digest), validate.Fast); err != nil {
		t.Errorf("%s@%s is not whole: %v", repository, digest, err)
	}
}

func config(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// installed returns the packages that dpkg knows in an image, with their versions.
func installed(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	files := mutate.Extract(image)
	defer func() { _ = files.Close() }()
	for stream := tar.NewReader(files); ; {
		header, err := stream.Next()
		if err != nil {
			t.Fatalf("look for dpkg's status: %v", err)
		}
		if header.Name != "var/lib/dpkg/status" {
			continue
		}
		return packages(t, stream)
	}
}

func packages(t *testing.T, status io.Reader) map[string]string {
	t.Helper()
	paragraphs, err := control.NewParagraphReader(bufio.NewReader(status), nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for {
		paragraph, err := paragraphs.Next()
		if errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if paragraph.Values["Status"] == "install ok installed" {
			found[paragraph.Values["Package"]] = paragraph.Values["Version"]
		}
	}
}

// publish puts an image of somebody else under a reference, and returns its digest.
func publish(t *testing.T, ref string) string {
	t.Helper()
	image, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}
