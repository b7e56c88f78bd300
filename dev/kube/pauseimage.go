package kube

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"opennebula-kube/dev/goprogram"
)

// pauseImage is the image that each pod's first container runs; containerd is told its name in node/components.go.
const pauseImage = "localhost/pause:1"

// writePauseImage compiles the program in dev/kube/pause and writes it as an image's archive.
func writePauseImage(ctx context.Context, repository, archive string) error {
	content, err := compile(ctx, repository, "./dev/kube/pause")
	if err != nil {
		return err
	}
	image, err := programImage("pause", content)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(pauseImage)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(archive, tag, image)
}

// compile returns a static program for this machine's kind.
func compile(ctx context.Context, repository, pkg string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "program-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "program")
	if err := goprogram.Build(ctx, repository, pkg, program, runtime.GOARCH); err != nil {
		return nil, err
	}
	return os.ReadFile(program)
}

// programImage is an image with one static program, which it runs.
func programImage(program string, content []byte) (v1.Image, error) {
	var files bytes.Buffer
	archive := tar.NewWriter(&files)
	if err := archive.WriteHeader(&tar.Header{Name: program, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	if _, err := archive.Write(content); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint = []string{"/" + program}
	return mutate.ConfigFile(image, config)
}
