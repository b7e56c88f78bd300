// Package sandbox is a world to release from and to, on this machine alone: an upstream with packages, a registry, a vulnerability
// database and a base image. Everything speaks its real protocol, on loopback, and misbehaves on demand.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/dev/sandbox/apt"
	"opennebula-kube/dev/sandbox/oci"
	"opennebula-kube/dev/sandbox/trivydb"
	"opennebula-kube/dev/toolchain"
)

// Owner is the account in the registry that releases go to: Registry.RequireLogin(Owner+"/", ...) locks it and nothing else.
const Owner = "acme"

// Advisory says that a package in the base image has a vulnerability.
type Advisory = trivydb.Advisory

// Options say where a sandbox keeps things and what is in it.
type Options struct {
	// CacheDir keeps what is expensive to make between runs: the base image and the program in the packages.
	CacheDir string
	// Dir keeps the state of this sandbox: what is in the registry, and the packages. A sandbox that is started on the Dir of an
	// earlier one, which has ended, finds the earlier releases; the caller empties it for a fresh start.
	Dir string
	// Root is the root directory of the repository, which the program in the packages is compiled from.
	Root string
	// Toolchain installs what making the base image needs; nil expects it to be installed.
	Toolchain *toolchain.Toolchain
	// Base is to be used in place of the Debian that needs root to be made: the base image for each architecture.
	Base []v1.Image
	// Architectures are those of that Debian, by Go's names; nil is this machine's alone. To make another one takes an emulator.
	Architectures []string
	// Standin returns the program in the packages for an architecture; nil compiles it. See apt.Options.
	Standin func(ctx context.Context, architecture string) (path string, err error)
	// Versions are what the upstream has; nil is apt.DefaultVersions.
	Versions []apt.Version
	// Advisories are in the vulnerability database; nil takes trivydb.Passing, with which the gate passes.
	Advisories []Advisory
	// Host is the address to listen on; "" is 127.0.0.1.
	Host string
	// UpstreamPort and RegistryPort are the ports to listen on; another one is taken when somebody listens there already. The same
	// ports from run to run keep build caches valid, for the addresses are in their keys. 0 is any free port.
	UpstreamPort, RegistryPort int
	// Now is the clock that the vulnerability database is dated by; nil is time.Now.
	Now func() time.Time
	// Log hears what takes time; nil is silence.
	Log func(format string, args ...any)
}

// Sandbox is a running sandbox. Its fields are set by Start and for reading.
type Sandbox struct {
	// Upstream is the address that packages come from, such as http://127.0.0.1:8080/0123456789ab.
	Upstream string
	// UpstreamFingerprint is the fingerprint of the key that signs the packages.
	UpstreamFingerprint string
	// Registry is the registry's host and port.
	Registry string
	// Repository is where releases of the image go, and Charts where those of the chart do.
	Repository, Charts string
	// BaseTag is the base image by its tag, which UpdateBase moves; BaseImage is what it was at the start, pinned by digest.
	BaseTag, BaseImage string
	// DatabaseRepository is the vulnerability database, as Trivy's --db-repository takes it.
	DatabaseRepository string
	// UpstreamFaults and RegistryFaults make the two servers misbehave.
	UpstreamFaults, RegistryFaults *httpfault.Switch
	// Packages is the upstream behind its faults: it can be given versions.
	Packages *apt.Repository
	// Store is the registry behind its faults: it can ask for a login and forget blobs.
	Store *oci.Registry

	options Options
	base    []v1.Image // one for each architecture
	// backstage is a second address of the registry, without its faults: what the sandbox itself publishes is not part of the play.
	backstage string
	servers   servers
	// database is held while the vulnerability database is made, which cannot be done twice at a time.
	database sync.Mutex
}

// Start starts a sandbox. ctx bounds the start alone; Close ends the sandbox.
func Start(ctx context.Context, o Options) (_ *Sandbox, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.Advisories == nil {
		o.Advisories = trivydb.Passing()
	}
	s := &Sandbox{options: o, servers: servers{host: o.Host}}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start sandbox: %w", errors.Join(err, s.Close()))
		}
	}()
	if err := s.startUpstream(ctx, o); err != nil {
		return nil, err
	}
	if err := s.startRegistry(o); err != nil {
		return nil, err
	}
	if s.base, err = baseImages(ctx, o); err != nil {
		return nil, err
	}
	digest, err := s.publishBase(ctx, s.base)
	if err != nil {
		return nil, err
	}
	s.BaseTag, s.BaseImage = s.Registry+"/"+baseTag, s.Registry+"/"+baseRepository+"@"+digest
	if err := s.SetAdvisories(ctx, o.Now(), o.Advisories...); err != nil {
		return nil, err
	}
	return s, nil
}

const databaseTag = "trivy-db:2" // Trivy asks for the tag of its schema version

func (s *Sandbox) startUpstream(ctx context.Context, o Options) error {
	// The same versions give the same bytes, so that nothing is lost with an earlier sandbox's.
	dir := filepath.Join(o.Dir, "apt")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if o.Standin == nil {
		o.Standin = apt.CompileStandin(o.Root, filepath.Join(o.CacheDir, "standin"))
	}
	if o.Versions == nil {
		o.Versions = apt.DefaultVersions()
	}
	o.Log("making the upstream's packages")
	var err error
	if s.Packages, err = apt.Build(ctx, apt.Options{Dir: dir, Versions: o.Versions, Standin: o.Standin}); err != nil {
		return err
	}
	s.UpstreamFaults = httpfault.New(s.Packages.Handler())
	sum, err := s.Packages.Sum()
	if err != nil {
		return err
	}
	// A build cache goes by the address: what it has of other packages must not be taken for these.
	const enough = 12
	below := "/" + sum[:enough]
	address, err := s.servers.start(http.StripPrefix(below, s.UpstreamFaults), o.UpstreamPort)
	if err != nil {
		return err
	}
	s.Upstream, s.UpstreamFingerprint = "http://"+address+below, s.Packages.Fingerprint()
	return nil
}

func (s *Sandbox) startRegistry(o Options) (err error) {
	if s.Store, err = oci.New(filepath.Join(o.Dir, "registry")); err != nil {
		return err
	}
	s.RegistryFaults = httpfault.New(s.Store)
	if s.Registry, err = s.servers.start(s.RegistryFaults, o.RegistryPort); err != nil {
		return err
	}
	if s.backstage, err = s.servers.start(s.Store, 0); err != nil {
		return err
	}
	s.Repository = s.Registry + "/" + Owner + "/opennebula"
	s.Charts = s.Registry + "/" + Owner + "/charts/opennebula"
	s.DatabaseRepository = s.Registry + "/" + databaseTag
	return nil
}

// SetAdvisories publishes a vulnerability database with these advisories and no others, dated updatedAt: a vulnerability appears,
// or a fix for one, or the database grows old. It must not be called in two sandboxes of one process at the same time; see
// trivydb.Image.
func (s *Sandbox) SetAdvisories(ctx context.Context, updatedAt time.Time, advisories ...Advisory) error {
	s.database.Lock()
	defer s.database.Unlock()
	image, err := trivydb.Image(advisories, updatedAt)
	if err != nil {
		return err
	}
	_, err = s.publish(ctx, image, databaseTag)
	return err
}

// publish sends an image, or an index of several, to a tag of the registry, backstage, and returns its digest.
func (s *Sandbox) publish(ctx context.Context, image remote.Taggable, tag string) (string, error) {
	ref, err := name.NewTag(s.backstage + "/" + tag)
	if err != nil {
		return "", fmt.Errorf("publish %s: %w", tag, err)
	}
	if err := remote.Push(ref, image, remote.WithContext(ctx)); err != nil {
		return "", fmt.Errorf("publish %s: %w", tag, err)
	}
	digest, err := partial.Digest(image)
	if err != nil {
		return "", fmt.Errorf("publish %s: %w", tag, err)
	}
	return digest.String(), nil
}

// Close ends the servers and what they still have to do. What is in Dir stays.
func (s *Sandbox) Close() error {
	err := s.servers.close()
	if s.Store != nil {
		err = errors.Join(err, s.Store.Close())
	}
	return err
}
