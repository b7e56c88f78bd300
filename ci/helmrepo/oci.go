package helmrepo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	chart "helm.sh/helm/v4/pkg/chart/v2"

	"opennebula-kube/ci/registry"
)

// The media types by which Helm knows a chart in a registry.
const (
	configMediaType types.MediaType = "application/vnd.cncf.helm.config.v1+json"
	layerMediaType  types.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Repository is what an OCI asks of a registry.
type Repository interface {
	// Name is the repository, such as ghcr.io/acme/charts/opennebula.
	Name() string
	// Digest is what a tag stands for; registry.ErrNotFound when there is no such tag.
	Digest(ctx context.Context, tag string) (string, error)
	// Tags are all tags of the repository; one that does not exist has none.
	Tags(ctx context.Context) ([]string, error)
	// Artifact reads what a tag stands for; registry.ErrNotFound when there is no such tag.
	Artifact(ctx context.Context, tag string) (registry.Artifact, error)
	// Blob reads what a descriptor describes, and nothing else; registry.ErrNotFound when it is not there.
	Blob(ctx context.Context, of v1.Descriptor) ([]byte, error)
	// Push sends an artifact whole and tags it; registry.ErrTagTaken when the tag stands for another.
	Push(ctx context.Context, artifact registry.Artifact, tag string) (digest string, err error)
}

var _ Repository = (*registry.Repository)(nil)

// PublishOCI pushes an archive to a registry in the form that `helm push` gives it, tagged with its version; a `+`, which no tag may have,
// is written `_` as Helm does. The repository's name must end in the chart's, as Helm requires. When the tag stands for the archive already
// nothing is sent, whoever has pushed it, and when it stands for anything else the error is ErrVersionTaken.
func PublishOCI(ctx context.Context, repo Repository, a Archive) (Result, error) {
	tag := tagOf(a.Version)
	location := "oci://" + repo.Name() + ":" + tag
	if err := CheckOCI(repo.Name(), a.Name); err != nil {
		return Result{}, fmt.Errorf("publish chart %s: %w", location, err)
	}
	artifact, err := a.image()
	if err != nil {
		return Result{}, fmt.Errorf("publish chart %s: %w", location, err)
	}
	hash, err := artifact.Digest()
	if err != nil {
		return Result{}, fmt.Errorf("publish chart %s: %w", location, err)
	}
	digest := hash.String()

	there, err := repo.Digest(ctx, tag)
	switch {
	case err == nil && there == digest:
		return Result{Location: location, Digest: digest}, nil
	case err == nil:
		same, err := a.isIn(ctx, repo, there)
		if err != nil {
			return Result{}, fmt.Errorf("publish chart %s: %w", location, err)
		}
		if !same {
			return Result{}, a.taken("%s is %s and this chart would be %s", location, there, digest)
		}
		return Result{Location: location, Digest: there}, nil
	case !errors.Is(err, registry.ErrNotFound):
		return Result{}, fmt.Errorf("publish chart %s: %w", location, err)
	}
	if _, err := repo.Push(ctx, artifact, tag); errors.Is(err, registry.ErrTagTaken) {
		return Result{}, a.taken("somebody else has just pushed %s", location)
	} else if err != nil {
		return Result{}, fmt.Errorf("publish chart %s: %w", location, err)
	}
	return Result{Location: location, Digest: digest, Published: true}, nil
}

// CheckOCI is an error unless Helm finds a chart of that name in a repository.
func CheckOCI(repository, chart string) error {
	if !strings.HasSuffix(repository, "/"+chart) {
		return fmt.Errorf("the repository's name must end in the chart's: use <registry>/<owner>/.../%s", chart)
	}
	return nil
}

// isIn tells whether an artifact has this very archive: of who else pushes a chart, only the manifest differs, such as by its date.
func (a Archive) isIn(ctx context.Context, repo Repository, digest string) (bool, error) {
	artifact, err := repo.Artifact(ctx, digest)
	if err != nil {
		return false, err
	}
	layer, err := chartLayer(artifact)
	if errors.Is(err, ErrForeign) {
		return false, nil
	}
	return layer.Digest.Hex == a.Digest, err
}

// image is the archive as an OCI artifact: the config is the chart's metadata, the one layer is the archive.
func (a Archive) image() (v1.Image, error) {
	c, err := a.open()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(c.Metadata)
	if err != nil {
		return nil, err
	}
	layer := static.NewLayer(a.Data, layerMediaType)
	layerDescriptor, err := partial.Descriptor(layer)
	if err != nil {
		return nil, err
	}
	configDescriptor, err := partial.Descriptor(static.NewLayer(config, configMediaType))
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        *configDescriptor,
		Layers:        []v1.Descriptor{*layerDescriptor},
		Annotations:   annotations(c.Metadata, c.ModTime),
	})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&artifact{config: config, manifest: manifest, layer: layer})
}

// artifact is an image whose manifest and config are ready-made; go-containerregistry's own types insist on the config of a container.
type artifact struct {
	config, manifest []byte
	layer            v1.Layer
}

var _ partial.CompressedImageCore = (*artifact)(nil)

func (a *artifact) RawConfigFile() ([]byte, error)      { return a.config, nil }
func (a *artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a *artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (a *artifact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	digest, err := a.layer.Digest()
	if err != nil {
		return nil, err
	}
	if digest != h {
		return nil, fmt.Errorf("the chart has no layer %s, only %s", h, digest)
	}
	return a.layer, nil
}

// annotations are those that `helm push` gives a chart: from its metadata, and the chart's own, which may replace all but name and version.
// The time is that of the files in the archive, where Helm takes the time of the push.
func annotations(m *chart.Metadata, created time.Time) map[string]string {
	const prefix = "org.opencontainers.image."
	set := map[string]string{
		prefix + "description": m.Description,
		prefix + "url":         m.Home,
		prefix + "created":     created.UTC().Format(time.RFC3339),
		prefix + "authors":     authors(m.Maintainers),
	}
	if len(m.Sources) > 0 {
		set[prefix+"source"] = m.Sources[0]
	}
	maps.DeleteFunc(set, func(_, value string) bool { return strings.TrimSpace(value) == "" })
	maps.Copy(set, m.Annotations)
	set[prefix+"title"] = m.Name
	set[prefix+"version"] = m.Version
	return set
}

func authors(maintainers []*chart.Maintainer) string {
	var all []string
	for _, m := range maintainers {
		one := m.Name
		if m.Email != "" {
			one += " (" + m.Email + ")"
		}
		all = append(all, one)
	}
	return strings.Join(all, ", ")
}
