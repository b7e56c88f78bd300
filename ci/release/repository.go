package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"pault.ag/go/debian/control"
)

// futureDate is how far ahead of the clock a repository's date may be. apt allows as much.
const futureDate = 10 * time.Second

// supported returns the Debian names of the architectures that images are made for.
func supported() []string { return []string{"amd64", "arm64"} }

// repository is what the signed Release file of an apt repository says about it.
type repository struct {
	architectures []string
	date          time.Time
	validUntil    time.Time // zero when the file does not say
	files         map[string]control.FileHash
}

// unfitError is the error of a directory that is passed over: what is wrong with it will be wrong when it is asked for again, and keeps no
// other directory from having a release.
type unfitError struct {
	reason   string
	unsigned bool // the pinned key does not vouch for the directory
}

func (e *unfitError) Error() string { return e.reason }

// unfitRelease is the unfitError of an InRelease file. What it says of the file's content is shown on terminals.
func unfitRelease(err error, unsigned bool) error {
	reason := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, "InRelease "+err.Error())
	return &unfitError{reason: reason, unsigned: unsigned}
}

// repository reads the InRelease file of a version's directory. The error is an unfitError when there is none, when the pinned key has not
// signed it, or when apt would refuse it for what it says.
func (u *Upstream) repository(ctx context.Context, d directory, key *pinnedKey) (repository, error) {
	file, err := get(ctx, u, "the repository's description", u.suite(d)+"InRelease", u.limits.Release,
		func(response *http.Response, body io.Reader) ([]byte, error) {
			if media := response.Header.Get("Content-Type"); strings.HasPrefix(media, "text/html") {
				return nil, fmt.Errorf("is not a Release file of an apt repository: its content type is %q", media)
			}
			return io.ReadAll(body)
		})
	if errors.Is(err, errAbsent) {
		return repository{}, &unfitError{reason: "no signed repository for Ubuntu 24.04 (InRelease)", unsigned: true}
	}
	if err != nil {
		return repository{}, err
	}
	text, err := key.verify(file)
	if err != nil {
		return repository{}, unfitRelease(err, true)
	}
	found, err := parseRelease(bytes.NewReader(text))
	if err == nil {
		err = found.checkDates(u.now())
	}
	if err != nil {
		return repository{}, unfitRelease(err, false)
	}
	return found, nil
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
		return repository{}, fmt.Errorf("is not a Release file of an apt repository: %w", err)
	}
	fields := paragraph.Values
	found := repository{architectures: supported(), files: map[string]control.FileHash{}}
	if listed, ok := fields["Architectures"]; ok {
		names := strings.Fields(listed)
		found.architectures = slices.DeleteFunc(found.architectures, func(a string) bool { return !slices.Contains(names, a) })
	}
	if found.date, err = parseDate("Date", fields["Date"]); err != nil {
		return repository{}, err
	}
	if until := fields["Valid-Until"]; until != "" {
		if found.validUntil, err = parseDate("Valid-Until", until); err != nil {
			return repository{}, err
		}
	}
	for line := range strings.Lines(fields["SHA256"]) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var file control.SHA256FileHash
		if err := file.UnmarshalControl(line); err != nil || len(strings.Fields(line)) != 3 {
			return repository{}, fmt.Errorf("has a field SHA256 whose line %q is not of the form <sum> <size> <file>", strings.TrimSpace(line))
		}
		found.files[file.Filename] = file.FileHash
	}
	return found, nil
}

// parseDate reads a field with a date. Repositories write the day with one digit or two, and the zone by name or as an offset.
func parseDate(field, s string) (time.Time, error) {
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		// A zone known by name only has no offset; the ones in use, UTC and GMT, need none.
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("has a field %s that is not a date such as Wed, 22 Oct 2025 10:00:00 UTC: %q", field, s)
}

// checkDates refuses what apt refuses: a repository that is not valid any more, or not yet.
func (r repository) checkDates(now time.Time) error {
	switch {
	case !r.validUntil.IsZero() && !now.Before(r.validUntil):
		return fmt.Errorf("was valid until %s only (Valid-Until): this is an old copy of the repository", r.validUntil.Format(time.RFC3339))
	case r.date.After(now.Add(futureDate)):
		return fmt.Errorf("is dated in the future, %s (Date), when the clock here says %s", r.date.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
