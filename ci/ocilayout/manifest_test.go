package ocilayout

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

func TestManifest(t *testing.T) {
	amd64, arm64 := baseImage(t, "amd64"), baseImage(t, "arm64")
	index, single := written(t, multiPlatform(t)), written(t, arm64)
	for name, test := range map[string]struct {
		dir, platform string
		want          v1.Image
	}{
		"one of several":     {index, "linux/amd64", amd64},
		"another of several": {index, "linux/arm64", arm64},
		"the only one":       {single, "linux/arm64", arm64},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Manifest(test.dir, test.platform)
			if err != nil {
				t.Fatal(err)
			}
			want, err := partial.Descriptor(test.want)
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest != want.Digest || got.Size != want.Size || got.MediaType != want.MediaType {
				t.Errorf("got %s %s of %d bytes, want %s %s of %d", got.MediaType, got.Digest, got.Size, want.MediaType, want.Digest, want.Size)
			}
		})
	}
}

func TestManifestFails(t *testing.T) {
	nothing, single := t.TempDir(), written(t, baseImage(t, "arm64"))
	index, noImage := written(t, multiPlatform(t)), written(t, empty.Image)
	for name, test := range map[string]struct {
		dir, platform string
		says          []string
	}{
		"another platform":   {single, "linux/amd64", []string{"no platform linux/amd64", "it has linux/arm64"}},
		"none of several":    {index, "linux/s390x", []string{"no platform linux/s390x", "it has linux/amd64, linux/arm64"}},
		"an attestation":     {index, "unknown/unknown", []string{"no platform unknown/unknown"}},
		"no platform at all": {noImage, "linux/amd64", []string{"no platform linux/amd64"}},
		"no layout":          {nothing, "linux/amd64", []string{nothing, "no OCI layout"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Manifest(test.dir, test.platform)
			wantError(t, err, test.says...)
		})
	}
}
