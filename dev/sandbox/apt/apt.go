// Package apt makes and serves a package repository that looks like OpenNebula's: a listing of versions, most of them with a
// signed apt repository for Ubuntu 24.04 below it, and .deb packages that install and behave as the real ones do in what an
// image depends on (see package standin). The same options give the same bytes, so that images built from it are reproducible.
package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"
)

// distribution is the directory of a version that the packages for Ubuntu 24.04 are in.
const distribution = "Ubuntu/24.04"

// Content says how much of a version is in the repository.
type Content int

const (
	// Complete is a version that can be installed.
	Complete Content = iota
	// WithoutServer is a version whose packages are not all there yet: its index has no package opennebula.
	WithoutServer
	// ListedOnly is a version that the listing names and that has a directory, but none for Ubuntu.
	ListedOnly
)

// Version is one OpenNebula version in the repository.
type Version struct {
	// Version is the version as OpenNebula writes it, X.Y.Z.
	Version string
	// Date is when it was released. Everything in its packages and its index is dated so.
	Date time.Time
	// Architectures are Debian's names of those that it has packages for. A version that is ListedOnly needs none.
	Architectures []string
	// Content is how much of the version is there.
	Content Content
	// Revision is the Debian revision of its packages; 0 means 1.
	Revision int
	// Libraries is the version of opennebula-libs when it is another one, which the other packages put up with.
	Libraries string
}

// DefaultVersions are two lines with several releases, one of them for one architecture only, a pre-release, and two versions
// that are listed but cannot be installed.
func DefaultVersions() []Version {
	both := []string{"amd64", "arm64"}
	date := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 10, 0, 0, 0, time.UTC)
	}
	return []Version{
		{Version: "7.0.0", Date: date(2025, time.July, 1), Architectures: both[:1]},
		{Version: "7.0.1", Date: date(2025, time.October, 22), Architectures: both},
		{Version: "7.0.2", Date: date(2025, time.December, 4), Architectures: both},
		{Version: "7.2.0", Date: date(2026, time.April, 3), Architectures: both},
		{Version: "7.3.80", Date: date(2026, time.June, 24), Architectures: both},
		{Version: "7.4.0", Date: date(2026, time.July, 26), Architectures: both, Content: WithoutServer},
		{Version: "7.4.1", Date: date(2026, time.August, 12), Content: ListedOnly},
	}
}

// Options are what a repository is made from.
type Options struct {
	// Dir is where the repository is written; it is made when it is missing, and must be empty.
	Dir string
	// Versions are the versions in it, in any order.
	Versions []Version
	// Standin returns the path of the stand-in program for an architecture. It is called once for each that is needed.
	Standin func(ctx context.Context, architecture string) (path string, err error)
}

// Repository is a repository on disk. Its methods may be called while it is served.
type Repository struct {
	dir     string // holds repo/, which is served, and work/, which is not
	standin func(ctx context.Context, architecture string) (string, error)
	key     *signingKey

	// adding is held while a version is made, mu while it is put in place: requests wait for the second only.
	adding   sync.Mutex
	mu       sync.RWMutex
	standins map[string]string
	versions map[string]entry
}

// entry is a version that is in place.
type entry struct {
	Version
	semver *semver.Version
}

// Build makes a repository with all versions of the options.
func Build(ctx context.Context, options Options) (*Repository, error) {
	r := &Repository{
		dir:      options.Dir,
		standin:  options.Standin,
		standins: map[string]string{},
		versions: map[string]entry{},
	}
	if existing, err := os.ReadDir(r.dir); err == nil && len(existing) > 0 {
		return nil, fmt.Errorf("make apt repository: directory %s is not empty; remove it first", r.dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make apt repository: %w", err)
	}
	// The page lists what is no version as well.
	for _, dir := range []string{"repo/Debian/12", "work"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make apt repository: %w", err)
		}
	}
	var err error
	if r.key, err = newSigningKey(); err != nil {
		return nil, fmt.Errorf("make apt repository: make signing key: %w", err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "repo", "repo2.key"), r.key.armored, 0o644); err != nil {
		return nil, fmt.Errorf("make apt repository: %w", err)
	}
	for _, v := range options.Versions {
		if err := r.AddVersion(ctx, v); err != nil {
			return nil, err
		}
	}
	for _, path := range []string{"repo/repo2.key", "repo/Debian/12", "repo/Debian"} {
		if err := os.Chtimes(filepath.Join(r.dir, path), keyDate, keyDate); err != nil {
			return nil, fmt.Errorf("make apt repository: %w", err)
		}
	}
	return r, nil
}

// Fingerprint is that of the key that signs the repository, as 40 hexadecimal digits.
func (r *Repository) Fingerprint() string {
	return fmt.Sprintf("%X", r.key.entity.PrimaryKey.Fingerprint)
}

// Sum is another one when the packages of the repository are others: their indexes have the digest of each.
func (r *Repository) Sum() (string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	sum := sha256.New()
	err := filepath.WalkDir(filepath.Join(r.dir, "repo"), func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "Packages" {
			return err
		}
		content, err := os.ReadFile(file)
		sum.Write(content)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the indexes of the apt repository: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Versions returns the versions in the repository, ascending.
func (r *Repository) Versions() []Version {
	r.mu.RLock()
	defer r.mu.RUnlock()
	entries := r.sorted()
	versions := make([]Version, len(entries))
	for i, e := range entries {
		versions[i] = e.Version
	}
	return versions
}

func (r *Repository) sorted() []entry {
	entries := make([]entry, 0, len(r.versions))
	for _, e := range r.versions {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.semver.Compare(b.semver) })
	return entries
}

// AddVersion puts a version into the repository. One that is there already is replaced, as when its packages appear some time
// after its directory, or when they are built anew with a higher Debian revision. Clients see the old state or the new one.
func (r *Repository) AddVersion(ctx context.Context, v Version) error {
	r.adding.Lock()
	defer r.adding.Unlock()
	parsed, err := validate(v)
	if err != nil {
		return fmt.Errorf("add version to apt repository: %w", err)
	}
	if v.Revision == 0 {
		v.Revision = 1
	}
	v.Architectures = slices.Sorted(slices.Values(v.Architectures))
	work, err := os.MkdirTemp(filepath.Join(r.dir, "work"), v.Version+"-")
	if err != nil {
		return fmt.Errorf("add version to apt repository: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	made := filepath.Join(work, "made")
	if err := r.make(ctx, v, parsed, filepath.Join(work, "sources"), made); err != nil {
		return fmt.Errorf("add version %s to apt repository: %w", v.Version, err)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	place := filepath.Join(r.dir, "repo", v.Version)
	if _, ok := r.versions[v.Version]; ok {
		if err := os.Rename(place, filepath.Join(work, "replaced")); err != nil {
			return fmt.Errorf("add version %s to apt repository: %w", v.Version, err)
		}
	}
	if err := os.Rename(made, place); err != nil {
		return fmt.Errorf("add version %s to apt repository: %w", v.Version, err)
	}
	r.versions[v.Version] = entry{v, parsed}
	if err := r.alias(parsed); err != nil {
		return fmt.Errorf("add version %s to apt repository: %w", v.Version, err)
	}
	return nil
}

func validate(v Version) (*semver.Version, error) {
	parsed, err := semver.StrictNewVersion(v.Version)
	if err != nil {
		return nil, fmt.Errorf("version %q: %w", v.Version, err)
	}
	if parsed.Prerelease() != "" || parsed.Metadata() != "" {
		return nil, fmt.Errorf("version %q: not of the form X.Y.Z", v.Version)
	}
	if !v.Date.After(keyDate) {
		return nil, fmt.Errorf("version %s: its date %s is not after %s, when the signing key was made", v.Version,
			v.Date.Format(time.DateOnly), keyDate.Format(time.DateOnly))
	}
	if len(v.Architectures) == 0 && v.Content != ListedOnly {
		return nil, fmt.Errorf("version %s: it has packages, but no architectures", v.Version)
	}
	for _, architecture := range v.Architectures {
		if architecture != "amd64" && architecture != "arm64" {
			return nil, fmt.Errorf("version %s: architecture %q: OpenNebula has amd64 and arm64", v.Version, architecture)
		}
	}
	return parsed, nil
}

// make writes everything that belongs to a version into directory made, all of it dated as the version is.
func (r *Repository) make(ctx context.Context, v Version, parsed *semver.Version, sources, made string) error {
	if v.Content == ListedOnly {
		if err := os.MkdirAll(filepath.Join(made, "AlmaLinux", "9"), 0o755); err != nil {
			return err
		}
		return dateTree(made, v.Date)
	}
	for _, architecture := range v.Architectures {
		if r.standins[architecture] == "" {
			path, err := r.standin(ctx, architecture)
			if err != nil {
				return fmt.Errorf("stand-in program for %s: %w", architecture, err)
			}
			r.standins[architecture] = path
		}
	}
	root := filepath.Join(made, distribution)
	debs, err := makePackages(ctx, packageSet{version: v, semver: parsed, standins: r.standins, sources: sources, root: root})
	if err != nil {
		return err
	}
	if err := r.writeIndexes(v, root, debs); err != nil {
		return err
	}
	return dateTree(made, v.Date)
}

// alias points X.Y at the newest release of that line, if possible at one that can be installed. Pre-releases have none.
func (r *Repository) alias(added *semver.Version) error {
	var target *entry
	for _, e := range r.sorted() {
		if e.semver.Major() != added.Major() || e.semver.Minor() != added.Minor() || e.semver.Patch() >= 80 {
			continue
		}
		if target == nil || e.Content <= target.Content {
			target = &e
		}
	}
	if target == nil {
		return nil
	}
	line := fmt.Sprintf("%d.%d", added.Major(), added.Minor())
	temporary := filepath.Join(r.dir, "work", line)
	if err := os.Symlink(target.Version.Version, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(r.dir, "repo", line))
}

// dateTree gives everything below root one modification time, children before the directories that hold them.
func dateTree(root string, date time.Time) error {
	var paths []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, path := range paths {
		if err := os.Chtimes(path, date, date); err != nil {
			return err
		}
	}
	return nil
}
