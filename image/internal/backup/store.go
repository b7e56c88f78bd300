package backup

import (
	"context"
	"io"
	"path"
	"strings"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
)

// Store is a place with backups.
type Store interface {
	// Save makes a backup out of what write writes. It is there when it is whole, or not at all.
	Save(ctx context.Context, name string, write func(io.Writer) error) error
	// Names are those of the backups, the oldest first.
	Names(ctx context.Context) ([]string, error)
	// Open reads a backup.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Remove removes a backup.
	Remove(ctx context.Context, name string) error
	// String names the place in messages.
	String() string
}

// Locate returns the store that a place is in, and the backup, which is "" unless the place names one.
func Locate(h *host.Host, place string, s settings.S3) (store Store, name string, err error) {
	if base := path.Base(place); namePattern.MatchString(base) {
		name, place = base, strings.TrimSuffix(place, "/"+base)
	}
	rest, inS3 := strings.CutPrefix(place, settings.S3Scheme)
	if !inS3 {
		return &directory{host: h, path: place}, name, nil
	}
	store, err = newBucket(rest, s)
	return store, name, err
}
