package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"pault.ag/go/debian/control"
)

// supported returns the Debian names of the architectures that images are made for.
func supported() []string { return []string{"amd64", "arm64"} }

// repository is what the Release file of an apt repository says about it. Its signature is not checked here, for a name and a version
// are all that is taken from it: apt checks it when the packages are installed.
type repository struct {
	architectures []string
	date          time.Time // zero when the file has none
	files         map[string]control.FileHash
}

// repository reads the Release file of a version's directory. A repository without one may have any of the supported architectures.
func (u *Upstream) repository(ctx context.Context, d directory) (repository, error) {
	found, err := get(ctx, u, "the repository's description", u.suite(d)+"Release", u.limits.Release,
		func(_ *http.Response, body io.Reader) (repository, error) { return parseRelease(body) })
	if errors.Is(err, errAbsent) {
		return repository{architectures: supported()}, nil
	}
	return found, err
}

// suite is the address of the suite's directory in a version's repository for Ubuntu 24.04.
func (u *Upstream) suite(d directory) string {
	return u.base + "/repo/" + d.name + "/Ubuntu/24.04/dists/stable/"
}

func parseRelease(r io.Reader) (repository, error) {
	reader, err := control.NewParagraphReader(r, nil)
	if err != nil {
		return repository{}, err
	}
	paragraph, err := reader.Next()
	if errors.Is(err, io.EOF) {
		return repository{}, errors.New("is empty")
	}
	if err != nil {
		return repository{}, fmt.Errorf("is no Release file of an apt repository: %w", err)
	}
	fields := paragraph.Values
	// Fields that every repository has; without any of them this is something else.
	if fields["Architectures"] == "" && fields["Date"] == "" && fields["SHA256"] == "" {
		return repository{}, errors.New("is no Release file of an apt repository: it has none of the fields Architectures, Date and SHA256")
	}
	found := repository{architectures: supported(), files: map[string]control.FileHash{}}
	if listed, ok := fields["Architectures"]; ok {
		names := strings.Fields(listed)
		found.architectures = slices.DeleteFunc(found.architectures, func(a string) bool { return !slices.Contains(names, a) })
	}
	if found.date, err = parseDate(fields["Date"]); err != nil {
		return repository{}, err
	}
	for line := range strings.Lines(fields["SHA256"]) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var file control.SHA256FileHash
		if err := file.UnmarshalControl(line); err != nil || len(strings.Fields(line)) != 3 {
			return repository{}, fmt.Errorf("field SHA256: line %q is not of the form <sum> <size> <file>", strings.TrimSpace(line))
		}
		found.files[file.Filename] = file.FileHash
	}
	return found, nil
}

// parseDate reads a Date field. Repositories write the day with one digit or two, and the zone by name or as an offset.
func parseDate(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		// A zone known by name only has no offset; the ones in use, UTC and GMT, need none.
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("field Date: %q is no date such as Wed, 22 Oct 2025 10:00:00 UTC", s)
}
