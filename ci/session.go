package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/engine"
	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/kept"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// request is what a function was asked for, as far as several functions ask for it. What a function has no argument for stays zero.
type request struct {
	source      *dagger.Directory // the project's
	upstream    string
	fingerprint string // of the key that signs upstream's packages
	selection   release.Selection
	platforms   []string
	baseImage   string
	project     string // its address
	gate        *gateRequest
	registry    string
	login       login
}

// gateRequest is what the gate lets pass.
type gateRequest struct {
	severity           []string
	ignoreUnfixed      bool
	databaseAge        string
	databaseRepository string
	exceptions         *dagger.File
}

// session is a pipeline on Dagger.
type session struct {
	*pipeline.Pipeline
	options  pipeline.Options
	keychain authn.Keychain
	engine   *engine.Engine
}

// open makes the pipeline that a request asks for.
func (m *OpennebulaKube) open(ctx context.Context, r request) (*session, error) {
	image := r.source.Directory("image")
	upstream, err := openUpstream(ctx, r.upstream, r.fingerprint, image.File("Dockerfile"))
	if err != nil {
		return nil, err
	}
	sources, err := sourcesDigest(ctx, image)
	if err != nil {
		return nil, err
	}
	project, err := readProject(ctx, r.source, r.project)
	if err != nil {
		return nil, err
	}
	if r.baseImage == "" {
		dockerfile, err := image.File("Dockerfile").Contents(ctx)
		if err != nil {
			return nil, fmt.Errorf("find out the base image: %w", err)
		}
		if r.baseImage, err = pipeline.DefaultBaseImage([]byte(dockerfile)); err != nil {
			return nil, err
		}
	}
	var policy gate.Policy
	var database string
	if r.gate != nil {
		database = r.gate.databaseRepository
		if policy, err = r.gate.policy(ctx, image); err != nil {
			return nil, err
		}
	}
	keychain, err := r.login.keychain(ctx, r.registry)
	if err != nil {
		return nil, err
	}
	var images *registry.Repository
	if r.registry != "" {
		if images, err = registry.Open(r.registry, registry.WithKeychain(keychain)); err != nil {
			return nil, err
		}
	}
	// Below the working directory: Dagger reads nothing else.
	dir, err := os.MkdirTemp(".", "engine-")
	if err != nil {
		return nil, err
	}
	made := engine.New(dag, engine.Config{
		Context: image, GoImage: m.Golang, Scanner: m.Scanner, Keychain: keychain, Dir: dir,
	})
	return &session{
		Pipeline: &pipeline.Pipeline{
			Engine: made, Upstream: upstream, Images: images, Database: database,
			Layouts: kept.Directories{Dir: filepath.Join(dir, "pulled"), Now: time.Now},
			ResolveBase: func(ctx context.Context, ref string) (string, error) {
				return registry.Resolve(ctx, ref, registry.WithKeychain(keychain))
			},
			Now:      time.Now,
			Progress: func(e pipeline.Event) { fmt.Println(e) },
		},
		options: pipeline.Options{
			Selection: r.selection, Platforms: r.platforms, Project: project, Sources: sources, BaseImage: r.baseImage, Policy: policy,
		},
		keychain: keychain,
		engine:   made,
	}, nil
}

// sourcesDigest takes the image's sources from Dagger to compute their digest.
func sourcesDigest(ctx context.Context, image *dagger.Directory) (string, error) {
	dir, err := exported(ctx, image)
	if err != nil {
		return "", fmt.Errorf("take the image's sources from Dagger: %w", err)
	}
	digest, err := pipeline.SourcesDigest(dir)
	return digest, errors.Join(err, os.RemoveAll(dir))
}

// readProject asks git about the project, as far as the sources tell.
func readProject(ctx context.Context, source *dagger.Directory, address string) (pipeline.Project, error) {
	found, err := source.Exists(ctx, ".git/HEAD")
	if err != nil {
		return pipeline.Project{}, err
	}
	if !found {
		return pipeline.ReadProject(ctx, "", address)
	}
	dir, err := exported(ctx, source.Directory(".git"))
	if err != nil {
		return pipeline.Project{}, fmt.Errorf("take what git knows of the project from Dagger: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// Without it, git takes the directory for no repository.
	if err := os.MkdirAll(filepath.Join(dir, "objects"), 0o755); err != nil {
		return pipeline.Project{}, err
	}
	return pipeline.ReadProject(ctx, dir, address)
}

// policy reads the exceptions, those of the image's sources unless others are given.
func (r *gateRequest) policy(ctx context.Context, image *dagger.Directory) (gate.Policy, error) {
	age, err := time.ParseDuration(r.databaseAge)
	if err != nil {
		return gate.Policy{}, fmt.Errorf("--db-max-age %s: %w; write a duration such as 48h", r.databaseAge, err)
	}
	file, name := r.exceptions, "exceptions.yaml"
	if file == nil {
		file, name = image.File(name), "image/"+name
	}
	exceptions, err := file.Contents(ctx)
	if err != nil {
		return gate.Policy{}, fmt.Errorf("read the exceptions: %w", err)
	}
	return gate.ParsePolicy(r.severity, r.ignoreUnfixed, age, name, []byte(exceptions))
}

// dockerfile is where the Dockerfile is in the project's sources.
const dockerfile = "image/Dockerfile"

// openUpstream makes an upstream. Without a fingerprint, the packages have to be signed by the key that the Dockerfile pins.
func openUpstream(ctx context.Context, address, fingerprint string, dockerfile *dagger.File) (*release.Upstream, error) {
	if fingerprint == "" {
		text, err := dockerfile.Contents(ctx)
		if err != nil {
			return nil, fmt.Errorf("find out which key signs the packages: %w", err)
		}
		if fingerprint, err = pipeline.DefaultFingerprint([]byte(text)); err != nil {
			return nil, err
		}
	}
	return release.NewUpstream(address, fingerprint)
}

// catalog reads what an upstream has, and prints what it lists besides.
func catalog(ctx context.Context, address, fingerprint string, dockerfile *dagger.File) (release.Catalog, error) {
	upstream, err := openUpstream(ctx, address, fingerprint, dockerfile)
	if err != nil {
		return release.Catalog{}, err
	}
	all, err := upstream.Releases(ctx)
	for _, p := range all.PassedOver {
		fmt.Println("passed over", p)
	}
	return all, err
}

// filesOf hands the files of a run to Dagger.
func filesOf(files []pipeline.File) (*dagger.Directory, error) {
	dir, err := os.MkdirTemp(".", "files-")
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	for _, file := range files {
		if err := root.MkdirAll(filepath.Dir(file.Name), 0o755); err != nil {
			return nil, err
		}
		if err := root.WriteFile(file.Name, file.Data, 0o644); err != nil {
			return nil, err
		}
	}
	return dag.CurrentModule().Workdir(dir), nil
}
