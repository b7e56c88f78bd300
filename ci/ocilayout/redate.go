package ocilayout

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"opennebula-kube/ci/registry"
)

// Redate makes, in the directory to, of the image for one platform in the layout from, as Dagger builds it, one that depends on what
// it was built from alone: the same input gives the same digest. Nothing that the build added to its base is dated after epoch, as
// with BuildKit's SOURCE_DATE_EPOCH and rewrite-timestamp; links to certificates of the engine's own are gone. What is the base's
// stays byte for byte, and its history is there. It returns the manifest of the new image.
func Redate(from, to string, base *v1.ConfigFile, epoch time.Time) (ocispecs.Descriptor, error) {
	manifest, err := redate(from, to, base, epoch.UTC())
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("date the image in %s back to %s: %w", from, epoch.UTC().Format(time.RFC3339), err)
	}
	return manifest, nil
}

func redate(from, to string, base *v1.ConfigFile, epoch time.Time) (ocispecs.Descriptor, error) {
	artifact, err := registry.FromLayout(from)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	image, ok := artifact.(v1.Image)
	if !ok {
		return ocispecs.Descriptor{}, errors.New("it holds an index; an image for one platform is wanted")
	}
	out, err := create(to)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	layers, diffIDs, err := redateLayers(image, out, base, epoch)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	raw, err := image.RawConfigFile()
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	config, err := redateConfig(raw, base, diffIDs, epoch)
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("change its configuration: %w", err)
	}
	written, err := out.put(ocispecs.MediaTypeImageConfig, config)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	top, err := out.putJSON(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest, Config: written, Layers: layers,
	})
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	var platform ocispecs.Platform
	if err := json.Unmarshal(config, &platform); err != nil {
		return ocispecs.Descriptor{}, err
	}
	top.Platform = &platform
	return top, out.finish(top)
}

// redateLayers writes all layers to out. The leading ones, which have to be the base's, are copied.
func redateLayers(image v1.Image, out writer, base *v1.ConfigFile, epoch time.Time) ([]ocispecs.Descriptor, []digest.Digest, error) {
	all, err := image.Layers()
	if err != nil {
		return nil, nil, err
	}
	if err := startsWith(all, base.RootFS.DiffIDs); err != nil {
		return nil, nil, err
	}
	leftover, err := leftovers(all...)
	if err != nil {
		return nil, nil, err
	}
	layers := make([]ocispecs.Descriptor, len(all))
	diffIDs := make([]digest.Digest, len(all))
	var group errgroup.Group
	for i, layer := range all {
		group.Go(func() (err error) {
			if i < len(base.RootFS.DiffIDs) {
				diffIDs[i] = digest.Digest(base.RootFS.DiffIDs[i].String())
				layers[i], err = out.copy(layer)
			} else {
				layers[i], diffIDs[i], err = out.redate(layer, epoch, leftover)
			}
			return err
		})
	}
	return layers, diffIDs, group.Wait()
}

// startsWith tells that an image was built on another base than the one that is given.
func startsWith(layers []v1.Layer, base []v1.Hash) error {
	for i, want := range base {
		if i >= len(layers) {
			return fmt.Errorf("it has %d layers, fewer than the base image's %d", len(layers), len(base))
		}
		if found, err := layers[i].DiffID(); err != nil {
			return err
		} else if found != want {
			return fmt.Errorf("its layer %d is %s, the base image's is %s", i+1, found, want)
		}
	}
	return nil
}

// redateConfig dates a configuration and names the layers in it. Where the history speaks of the base's layers, the base's own takes
// its place.
func redateConfig(raw []byte, base *v1.ConfigFile, diffIDs []digest.Digest, epoch time.Time) ([]byte, error) {
	var fields map[string]json.RawMessage
	var built ocispecs.Image
	if err := errors.Join(json.Unmarshal(raw, &fields), json.Unmarshal(raw, &built)); err != nil {
		return nil, err
	}
	var history []ocispecs.History
	for _, step := range base.History {
		history = append(history, ocispecs.History{
			Created: &step.Created.Time, CreatedBy: step.CreatedBy, Author: step.Author, Comment: step.Comment, EmptyLayer: step.EmptyLayer,
		})
	}
	ofBase := len(base.RootFS.DiffIDs)
	for i, step := range built.History {
		if ofBase > 0 || i < len(base.History) && step.CreatedBy == base.History[i].CreatedBy {
			if !step.EmptyLayer {
				ofBase--
			}
			continue
		}
		if step.Created == nil || step.Created.After(epoch) {
			step.Created = &epoch
		}
		history = append(history, step)
	}
	for key, value := range map[string]any{
		"created": epoch,
		"history": history,
		"rootfs":  ocispecs.RootFS{Type: "layers", DiffIDs: diffIDs},
	} {
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		fields[key] = encoded
	}
	return json.Marshal(fields)
}

// copy writes a layer as it is.
func (w writer) copy(layer v1.Layer) (ocispecs.Descriptor, error) {
	mediaType, err := layer.MediaType()
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	if mediaType != types.OCILayer {
		return ocispecs.Descriptor{}, fmt.Errorf("a layer has media type %s, want %s", mediaType, types.OCILayer)
	}
	content, err := layer.Compressed()
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	defer func() { _ = content.Close() }()
	return w.blob(ocispecs.MediaTypeImageLayerGzip, func(out io.Writer) error {
		_, err := io.Copy(out, content)
		return err
	})
}

// redate writes a layer in which nothing is dated after epoch.
func (w writer) redate(layer v1.Layer, epoch time.Time, leftover map[string]bool) (ocispecs.Descriptor, digest.Digest, error) {
	content, err := layer.Uncompressed()
	if err != nil {
		return ocispecs.Descriptor{}, "", err
	}
	defer func() { _ = content.Close() }()
	diffID := sha256.New()
	written, err := w.blob(ocispecs.MediaTypeImageLayerGzip, func(out io.Writer) error {
		compressed := gzip.NewWriter(out)
		if err := redateArchive(io.MultiWriter(compressed, diffID), content, epoch, leftover); err != nil {
			return err
		}
		return compressed.Close()
	})
	return written, digest.NewDigestFromBytes(digest.SHA256, diffID.Sum(nil)), err
}

func redateArchive(out io.Writer, content io.Reader, epoch time.Time, leftover map[string]bool) error {
	archive := tar.NewWriter(out)
	err := eachEntry(content, func(header *tar.Header, data io.Reader) error {
		if leftover[clean(header.Name)] {
			return nil
		}
		for _, at := range []*time.Time{&header.ModTime, &header.AccessTime, &header.ChangeTime} {
			if at.After(epoch) {
				*at = epoch
			}
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(archive, data)
		return err
	})
	return errors.Join(err, archive.Close())
}

func eachEntry(content io.Reader, do func(*tar.Header, io.Reader) error) error {
	for entries := tar.NewReader(content); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := do(header, entries); err != nil {
			return err
		}
	}
}
