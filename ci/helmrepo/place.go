package helmrepo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"opennebula-kube/ci/registry"
)

// Place is where a chart is published to.
type Place interface {
	// Name tells people which place it is.
	Name() string
	// Versions returns the versions of a chart that the place lists, whatever they are. A place that does not exist yet has none.
	Versions(ctx context.Context, chart string) ([]string, error)
	// Read returns the archive of a version that the place lists. The error is ErrLost when the place no longer has it whole, and ErrForeign
	// when what it has is not that chart.
	Read(ctx context.Context, chart, version string) (Archive, error)
	// Publish puts an archive there. The error is ErrVersionTaken when the place has another of the same version.
	Publish(ctx context.Context, a Archive) (Result, error)
}

var (
	_ Place = Directory{}
	_ Place = Branch{}
	_ Place = OCI{}
)

// What a place may have in the place of an archive that it lists.
var (
	ErrLost    = errors.New("the published archive is lost")
	ErrForeign = errors.New("it is not a version of this chart")
)

// longestArchive bounds, in bytes, the archives that are read back: ours have some ten thousand.
const longestArchive = 16 << 20

// published checks what a place says is the archive of a chart in a version.
func published(data []byte, digest, chart, version string) (Archive, error) {
	if len(data) > longestArchive {
		return Archive{}, fmt.Errorf("%w: it has %d bytes", ErrForeign, len(data))
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
		return Archive{}, fmt.Errorf("%w: the SHA-256 of what is there is %x, not %s", ErrLost, sum, digest)
	}
	c, err := loader.LoadArchive(bytes.NewReader(data))
	if err != nil {
		return Archive{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if c.Metadata == nil || c.Metadata.Name != chart || c.Metadata.Version != version {
		return Archive{}, fmt.Errorf("%w: it is another chart, or another version", ErrForeign)
	}
	return archiveOf(c.Metadata, data), nil
}

// readIndexed takes an archive out of a chart repository: its digest is that of the index, and read returns a file by its name, nil for none.
func readIndexed(chart, version string, read func(name string) ([]byte, error)) (Archive, error) {
	index, err := read(indexName)
	if err != nil {
		return Archive{}, err
	}
	digest, err := indexDigest(index, chart, version)
	if err != nil {
		return Archive{}, err
	}
	file := chart + "-" + version + ".tgz"
	data, err := read(file)
	if err != nil {
		return Archive{}, err
	}
	if data == nil {
		return Archive{}, fmt.Errorf("%w: there is no %s", ErrLost, file)
	}
	return published(data, digest, chart, version)
}

// Directory is a chart repository as files, as PublishDirectory makes it.
type Directory struct {
	Dir string
	// URL is the address that it is served at; empty makes the index's addresses relative.
	URL string
	// Now dates what is added to the index.
	Now time.Time
}

// Name is the directory's path.
func (d Directory) Name() string { return d.Dir }

// Versions lists those in the index.
func (d Directory) Versions(_ context.Context, chart string) ([]string, error) {
	index, err := readFile(filepath.Join(d.Dir, indexName))
	if err != nil {
		return nil, fmt.Errorf("read the chart repository %s: %w", d.Dir, err)
	}
	return indexVersions(index, chart)
}

// Read returns the archive of a version whose digest is the one in the index.
func (d Directory) Read(_ context.Context, chart, version string) (Archive, error) {
	a, err := readIndexed(chart, version, func(name string) ([]byte, error) { return readFile(filepath.Join(d.Dir, name)) })
	if err != nil {
		return Archive{}, fmt.Errorf("read chart %s %s in %s: %w", chart, version, d.Dir, err)
	}
	return a, nil
}

// Publish does what PublishDirectory does.
func (d Directory) Publish(_ context.Context, a Archive) (Result, error) {
	return PublishDirectory(d.Dir, a, d.URL, d.Now)
}

// Branch is a chart repository on a branch that is served.
type Branch struct {
	Pages *Pages
	// URL is the address that it is served at; empty is that of Pages.
	URL string
	// Now dates commits, and what is added to the index.
	Now time.Time
}

// Name is the branch, with its repository.
func (b Branch) Name() string { return b.Pages.Name() }

// Versions lists those in the branch's index.
func (b Branch) Versions(ctx context.Context, chart string) (versions []string, err error) {
	err = b.reading(ctx, func(read func(string) ([]byte, error)) error {
		index, err := read(indexName)
		if err != nil {
			return err
		}
		versions, err = indexVersions(index, chart)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the chart repository %s: %w", b.Name(), err)
	}
	return versions, nil
}

// Read returns the archive of a version whose digest is the one in the branch's index.
func (b Branch) Read(ctx context.Context, chart, version string) (a Archive, err error) {
	err = b.reading(ctx, func(read func(string) ([]byte, error)) error {
		a, err = readIndexed(chart, version, read)
		return err
	})
	if err != nil {
		return Archive{}, fmt.Errorf("read chart %s %s in %s: %w", chart, version, b.Name(), err)
	}
	return a, nil
}

// reading gives a function that reads files of the branch as it is now.
func (b Branch) reading(ctx context.Context, do func(read func(name string) ([]byte, error)) error) error {
	return b.Pages.try(ctx, b.Now, func(g *git) error {
		_, tree, err := b.Pages.fetch(ctx, g)
		if err != nil {
			return err
		}
		return do(func(name string) ([]byte, error) { return g.content(ctx, tree, name) })
	})
}

// Publish does what Pages' own does.
func (b Branch) Publish(ctx context.Context, a Archive) (Result, error) {
	return b.Pages.Publish(ctx, a, b.URL, b.Now)
}

// indexVersions lists the versions of a chart in an index, which may be empty.
func indexVersions(index []byte, chart string) ([]string, error) {
	listed, err := listedIn(index, chart)
	versions := make([]string, len(listed))
	for i, entry := range listed {
		versions[i] = entry.Version
	}
	return versions, err
}

// indexDigest is the SHA-256, in hexadecimal, that an index gives for a version of a chart.
func indexDigest(index []byte, chart, version string) (string, error) {
	listed, err := listedIn(index, chart)
	if err != nil {
		return "", err
	}
	for _, entry := range listed {
		if entry.Version == version {
			return strings.ToLower(strings.TrimPrefix(entry.Digest, "sha256:")), nil
		}
	}
	return "", fmt.Errorf("%w: the index no longer lists it", ErrLost)
}

func listedIn(index []byte, chart string) ([]listed, error) {
	if len(strings.TrimSpace(string(index))) == 0 {
		return nil, nil
	}
	nodes, err := parseIndex(index)
	if err != nil {
		return nil, err
	}
	return nodes.list(chart)
}

// OCI is a repository of a registry, as PublishOCI fills it.
type OCI struct{ Repository Repository }

// Name is the repository's, as Helm wants it.
func (o OCI) Name() string { return "oci://" + o.Repository.Name() }

// Versions are the repository's tags, with the `+` that no tag can have.
func (o OCI) Versions(ctx context.Context, _ string) ([]string, error) {
	tags, err := o.Repository.Tags(ctx)
	if err != nil {
		return nil, err
	}
	versions := make([]string, len(tags))
	for i, tag := range tags {
		versions[i] = strings.ReplaceAll(tag, "_", "+")
	}
	return versions, nil
}

// Read returns the layer with the archive.
func (o OCI) Read(ctx context.Context, chart, version string) (Archive, error) {
	a, err := o.read(ctx, chart, version)
	if errors.Is(err, registry.ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrLost, err)
	}
	if err != nil {
		return Archive{}, fmt.Errorf("read chart %s:%s: %w", o.Name(), tagOf(version), err)
	}
	return a, nil
}

func (o OCI) read(ctx context.Context, chart, version string) (Archive, error) {
	artifact, err := o.Repository.Artifact(ctx, tagOf(version))
	if err != nil {
		return Archive{}, err
	}
	layer, err := chartLayer(artifact)
	if err != nil {
		return Archive{}, err
	}
	data, err := o.Repository.Blob(ctx, layer)
	if err != nil {
		return Archive{}, err
	}
	return published(data, layer.Digest.Hex, chart, version)
}

// chartLayer describes the layer with the archive; ErrForeign when the artifact is not a chart.
func chartLayer(artifact registry.Artifact) (v1.Descriptor, error) {
	image, ok := artifact.(v1.Image)
	if !ok {
		return v1.Descriptor{}, fmt.Errorf("%w: it is an index of images", ErrForeign)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if manifest.Config.MediaType != configMediaType {
		return v1.Descriptor{}, fmt.Errorf("%w: its media type is %q", ErrForeign, manifest.Config.MediaType)
	}
	for _, layer := range manifest.Layers {
		switch {
		case layer.MediaType != layerMediaType:
		case layer.Size > longestArchive:
			return v1.Descriptor{}, fmt.Errorf("%w: its archive has %d bytes", ErrForeign, layer.Size)
		default:
			return layer, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("%w: it has no archive", ErrForeign)
}

// Publish does what PublishOCI does.
func (o OCI) Publish(ctx context.Context, a Archive) (Result, error) {
	return PublishOCI(ctx, o.Repository, a)
}

// tagOf is the tag of a version, with `_` for the `+` that no tag can have, as Helm does.
func tagOf(version string) string { return strings.ReplaceAll(version, "+", "_") }
