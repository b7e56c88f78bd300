package ocilayout

import (
	"archive/tar"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// redated is a layout of an image whose dates are taken back, and its manifest.
func redated(t *testing.T, image, base v1.Image) (string, ocispecs.Descriptor) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "redated")
	manifest, err := Redate(written(t, image), dir, configOf(t, base), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return dir, manifest
}

// exact is an entry that has all three dates, and parts of seconds.
func exact(name string, at time.Time) tar.Header {
	h := file(name, at)
	h.Format = tar.FormatPAX
	h.AccessTime, h.ChangeTime = at.Add(time.Millisecond), at.Add(2*time.Millisecond)
	return h
}

func TestRedateKeepsTheBase(t *testing.T) {
	base := baseImage(t, "amd64")
	dir, _ := redated(t, builtOn(t, base, layerOf(t, file("added", newer))), base)
	image := opened[v1.Image](t, dir)
	for i, layer := range layersOf(t, base) {
		if want, got := digestOf(t, layer), digestOf(t, layersOf(t, image)[i]); got != want {
			t.Errorf("layer %d is %s, the base's is %s", i, got, want)
		}
	}
	want := slices.Concat(configOf(t, base).History, []v1.History{{Created: v1.Time{Time: epoch}, CreatedBy: "dagger"}})
	if diff := cmp.Diff(want, configOf(t, image).History); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestRedateDates(t *testing.T) {
	base := baseImage(t, "amd64")
	built := builtOn(t, base,
		layerOf(t, file("older", older), file("at the epoch", epoch), file("newer", newer),
			tar.Header{Name: "directory/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: newer}, link("link", "older")),
		layerOf(t, exact("older", older), exact("newer", newer)))
	dir, _ := redated(t, built, base)
	image := opened[v1.Image](t, dir)
	layers := layersOf(t, image)[2:]

	names, headers := entries(t, layers[0])
	if diff := cmp.Diff([]string{"older", "at the epoch", "newer", "directory/", "link"}, names); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for name, want := range map[string]time.Time{"older": older, "at the epoch": epoch, "newer": epoch, "directory/": epoch, "link": epoch} {
		if got := headers[name].ModTime; !got.Equal(want) {
			t.Errorf("%s is dated %s, want %s", name, got, want)
		}
	}
	_, headers = entries(t, layers[1])
	want := exact("", older)
	for name, want := range map[string][3]time.Time{
		"older": {want.ModTime, want.AccessTime, want.ChangeTime},
		"newer": {epoch, epoch, epoch},
	} {
		h := headers[name]
		if !h.ModTime.Equal(want[0]) || !h.AccessTime.Equal(want[1]) || !h.ChangeTime.Equal(want[2]) {
			t.Errorf("%s is dated %s, %s, %s; want %s", name, h.ModTime, h.AccessTime, h.ChangeTime, want)
		}
	}
	if got := configOf(t, image).Created; !got.Equal(epoch) {
		t.Errorf("created %s, want %s", got, epoch)
	}
}

func TestRedateMakesAValidImage(t *testing.T) {
	base := baseImage(t, "arm64")
	dir, manifest := redated(t, builtOn(t, base, layerOf(t, file("one", newer)), layerOf(t, file("two", older))), base)
	image := opened[v1.Image](t, dir)
	if err := validate.Image(image); err != nil { // also that the diff IDs are those of the layers
		t.Error(err)
	}
	if got := digestOf(t, image); got != manifest.Digest.String() {
		t.Errorf("the layout holds %s, %s was returned", got, manifest.Digest)
	}
	if diff := cmp.Diff(&ocispecs.Platform{OS: "linux", Architecture: "arm64"}, manifest.Platform); diff != "" {
		t.Errorf("platform (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"of": "arm64"}, configOf(t, image).Config.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
	}
	if diff := cmp.Diff([]string{"blobs", IndexFile, MarkerFile}, names); diff != "" {
		t.Errorf("in the layout (-want +got):\n%s", diff)
	}
}

func TestRedateIsReproducible(t *testing.T) {
	base := baseImage(t, "amd64")
	digest := func(name string, at ...time.Time) string {
		var layers []v1.Layer
		for _, at := range at {
			layers = append(layers, layerOf(t, file(name, at), exact("exact", at), link("link", name)))
		}
		image := configure(t, builtOn(t, base, layers...), func(c *v1.ConfigFile) {
			c.Created.Time = at[0]
			for i := range c.History {
				c.History[i].Created.Time = at[0]
			}
		})
		_, manifest := redated(t, image, base)
		return manifest.Digest.String()
	}
	want := digest("file", newer, newer)
	for name, got := range map[string]string{
		"the same again":        digest("file", newer, newer),
		"other dates":           digest("file", newer.Add(time.Hour), newer.Add(48*time.Hour)),
		"dates with fractions":  digest("file", newer.Add(time.Second/3), newer.Add(time.Second/7)),
		"all at the epoch":      digest("file", epoch, epoch),
		"from another timezone": digest("file", newer.In(time.FixedZone("", 3600)), newer),
	} {
		if got != want {
			t.Errorf("%s: digest %s, want %s", name, got, want)
		}
	}
	for name, got := range map[string]string{
		"another file": digest("another", newer, newer),
		"older dates":  digest("file", older, older),
		"more of it":   digest("file", newer, newer, newer),
	} {
		if got == want {
			t.Errorf("%s has the same digest", name)
		}
	}
}

// The base's layers come first, byte for byte.
func TestRedateCopiesTheBase(t *testing.T) {
	base := baseImage(t, "amd64")
	ids := configOf(t, base).RootFS.DiffIDs
	image := builtOn(t, base, layerOf(t, file("added", newer)))
	other := v1.Hash{Algorithm: "sha256", Hex: "00"}
	for name, test := range map[string]struct {
		base []v1.Hash
		kept int
		want string
	}{
		"all of the base":      {ids, 2, ""},
		"no layers":            {nil, 0, ""},
		"another second layer": {[]v1.Hash{ids[0], other}, 0, "its layer 2 is"},
		"another first layer":  {[]v1.Hash{other, ids[1]}, 0, "its layer 1 is"},
		"turned round":         {[]v1.Hash{ids[1], ids[0]}, 0, "its layer 1 is"},
		"more layers":          {[]v1.Hash{ids[0], ids[1], configOf(t, image).RootFS.DiffIDs[2], other}, 0, "3 layers, fewer than the base image's 4"},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
			if err := Write(from, image); err != nil {
				t.Fatal(err)
			}
			_, err := Redate(from, to, &v1.ConfigFile{RootFS: v1.RootFS{DiffIDs: test.base}}, epoch)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), from) {
					t.Errorf("error %v, want one with %q that names %s", err, test.want, from)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := opened[v1.Image](t, to)
			if err := validate.Image(got); err != nil {
				t.Error(err)
			}
			before := layersOf(t, image)
			for i, layer := range layersOf(t, got) {
				if same := digestOf(t, layer) == digestOf(t, before[i]); same != (i < test.kept) {
					t.Errorf("layer %d is the same: %t; the leading %d are the base's", i, same, test.kept)
				}
			}
		})
	}
}

func TestRedateConfig(t *testing.T) {
	base := configOf(t, baseImage(t, "amd64"))
	raw := []byte(`{
		"created": "2027-01-01T00:00:00Z", "os": "linux", "architecture": "amd64", "of.an.engine": {"b": 1, "a": [2]},
		"rootfs": {"type": "layers", "diff_ids": ["sha256:00"]},
		"history": [
			{"created_by": "ENV before", "empty_layer": true}, {"created_by": "of the base"}, {"created_by": "of the base too"},
			{"created": "2026-04-01T00:00:00Z", "created_by": "older"},
			{"created": "2027-01-01T00:00:00Z", "created_by": "newer", "comment": "kept", "empty_layer": true},
			{"created_by": "undated"}
		]}`)
	data, err := redateConfig(raw, base, nil, epoch)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		v1.ConfigFile
		Other json.RawMessage `json:"of.an.engine"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(base.History, []v1.History{
		{Created: v1.Time{Time: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)}, CreatedBy: "older"},
		{Created: v1.Time{Time: epoch}, CreatedBy: "newer", Comment: "kept", EmptyLayer: true},
		{Created: v1.Time{Time: epoch}, CreatedBy: "undated"},
	})
	if diff := cmp.Diff(want, got.History); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if got.OS != "linux" || got.Architecture != "amd64" || string(got.Other) != `{"b":1,"a":[2]}` {
		t.Errorf("the rest did not stay: %s", data)
	}
	for _, bad := range []string{``, `[]`, `{"history": "long"}`} {
		if _, err := redateConfig([]byte(bad), base, nil, epoch); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestRedateFails(t *testing.T) {
	base := baseImage(t, "amd64")
	config := configOf(t, base)
	built := builtOn(t, base, layerOf(t, file("added", newer)))
	nothing, several, image, damaged := t.TempDir(), written(t, multiPlatform(t)), written(t, built), written(t, built)
	layer, err := layersOf(t, built)[2].Digest()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(damaged, "blobs", layer.Algorithm, layer.Hex)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		from, to string
		says     []string
	}{
		"an index":         {several, t.TempDir(), []string{several, "an index", "one platform"}},
		"no layout":        {nothing, t.TempDir(), []string{nothing, "no OCI layout"}},
		"a damaged layer":  {damaged, t.TempDir(), []string{damaged}},
		"nowhere to write": {image, notADirectory(t), []string{image, "not a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Redate(test.from, test.to, config, epoch)
			wantError(t, err, append(test.says, "2026-04-03T12:00:00Z")...)
			if _, err := os.Stat(filepath.Join(test.to, IndexFile)); err == nil {
				t.Error("it left what looks like a layout")
			}
			if left, err := filepath.Glob(filepath.Join(test.to, "blob-*")); err != nil || left != nil {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}
