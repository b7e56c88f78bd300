// Package base makes images with a small Debian, without package sources. One is what the sandbox builds on: what images install from
// the distribution is in it already, so that a build in the sandbox reaches for nothing but the sandbox.
package base

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Suite is the Debian release that the image holds.
const Suite = "bookworm"

// epoch dates everything in the image. A constant, so that the same packages give the same digest.
const epoch = 1735689600 // 2025-01-01

// Keyring is the file that has what mmdebstrap checks Debian's packages with. Ubuntu has mmdebstrap without it.
const Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Options say where the image is kept and what happens on the way.
type Options struct {
	// CacheDir is the directory that keeps the image between runs, in base/ below it.
	CacheDir string
	// Architecture is the one to make the image for, by Go's name; "" is this machine's. The programs of another one need an emulator.
	Architecture string
	// Packages are Debian's packages in the image, besides apt; nil is what images install from the distribution.
	Packages []string
	// Install makes mmdebstrap available. It is called only when the image has to be made; nil expects mmdebstrap on the PATH.
	Install func(context.Context) error
	// Log hears what takes time; nil is silence.
	Log func(format string, args ...any)
}

// Layout returns the directory of an OCI layout that holds the base image for one architecture. It is made once: that needs root and a
// Debian mirror and takes half a minute, for another machine's architecture some minutes; after that it comes from CacheDir. Several
// processes can ask at the same time.
func Layout(ctx context.Context, o Options) (string, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	recipe, err := newRecipe(cmp.Or(o.Architecture, runtime.GOARCH), o.Packages)
	if err != nil {
		return "", err
	}
	parent := filepath.Join(o.CacheDir, "base")
	dir := filepath.Join(parent, recipe.key())
	if present(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("make the base image: %w", err)
	}
	unlock, err := lock(ctx, dir+".lock", func() { o.Log("waiting for another process that makes the base image") })
	if err != nil {
		return "", fmt.Errorf("make the base image: %w", err)
	}
	defer unlock()
	if present(dir) {
		return dir, nil
	}
	if err := create(ctx, recipe, dir, o); err != nil {
		return "", fmt.Errorf("make the base image: %w", err)
	}
	return dir, nil
}

// Image opens the image in a directory that Layout returned.
func Image(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("open base image %s: %w; remove that directory to have it made anew", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("open base image %s: %w; remove that directory to have it made anew", dir, err)
	}
	if n := len(manifest.Manifests); n != 1 {
		return nil, fmt.Errorf("open base image %s: it holds %d images instead of 1; remove that directory to have it made anew", dir, n)
	}
	return index.Image(manifest.Manifests[0].Digest)
}

func present(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "index.json"))
	return err == nil
}

// create makes the image beside dir and renames it there: dir is whole or absent.
func create(ctx context.Context, r recipe, dir string, o Options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("mmdebstrap needs root to unpack a Debian system: run as root")
	}
	if o.Install != nil {
		if err := o.Install(ctx); err != nil {
			return err
		}
	}
	program, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return fmt.Errorf("mmdebstrap is not installed: %w; on Debian or Ubuntu: apt-get install mmdebstrap", err)
	}
	if _, err := os.Stat(Keyring); err != nil {
		return fmt.Errorf("the keys of Debian's archive are missing: %w; "+
			"on Debian or Ubuntu: apt-get install debian-archive-keyring", err)
	}
	o.Log("making an image with mmdebstrap, once: Debian %s for %s with %s, kept in %s", Suite, r.Architecture, strings.Join(r.Packages, ", "), dir)

	work, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	archive := filepath.Join(work, "rootfs.tar.gz")
	if err := r.bootstrap(ctx, program, mirrors(ctx), archive, o.Log); err != nil {
		return err
	}
	image, err := r.image(archive)
	if err != nil {
		return err
	}
	made := filepath.Join(work, "layout")
	path, err := layout.Write(made, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendImage(image, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: r.Architecture})); err != nil {
		return err
	}
	if err := os.Rename(made, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// recipe is all that the content of the image depends on, besides the state of the mirror on the day that it is made.
type recipe struct {
	Architecture string // the same name in Go, OCI and Debian
	Arguments    []string
	Packages     []string
}

func newRecipe(arch string, packages []string) (recipe, error) {
	if packages == nil {
		packages = []string{"ca-certificates", "openssl", "mariadb-client", "openssh-client", "openssh-server", "logrotate", "sqlite3", "supervisor"}
	}
	switch arch {
	case "amd64", "arm64":
	default:
		return recipe{}, fmt.Errorf("make the base image: OpenNebula has no packages for %s, but for amd64 and arm64", arch)
	}
	r := recipe{Architecture: arch, Packages: packages, Arguments: []string{
		"--mode=root", "--variant=apt", "--format=tar", "--architectures=" + arch,
		// The hook saves usrmerge and, with it, the whole of Perl.
		"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
		"--include=" + strings.Join(packages, ","),
		"--dpkgopt=force-unsafe-io",
	}}
	for _, dir := range []string{"doc", "info", "locale", "man"} {
		r.Arguments = append(r.Arguments, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
	}
	// Package sources would take builds out of the sandbox; mmdebstrap copies the other two from the machine that it runs on.
	// A base image has no host keys: what is built on it would have the same everywhere.
	r.Arguments = append(r.Arguments, `--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* `+
		`"$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/ssh/ssh_host_*`)
	return r, nil
}

// key names the recipe: another recipe is another image.
func (r recipe) key() string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%d\n%s", epoch, strings.Join(r.Arguments, "\n"))))
	return Suite + "-" + r.Architecture + "-" + hex.EncodeToString(sum[:4])
}

func (r recipe) image(archive string) (v1.Image, error) {
	created := v1.Time{Time: time.Unix(epoch, 0).UTC()}
	layer, err := tarball.LayerFromFile(archive, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: created, CreatedBy: "mmdebstrap " + Suite},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created, config.OS, config.Architecture = created, "linux", r.Architecture
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	config.Config.Cmd = []string{"/bin/bash"}
	return mutate.ConfigFile(image, config)
}
