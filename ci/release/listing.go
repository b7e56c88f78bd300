package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/PuerkitoBio/goquery"
)

// directory is one of upstream's directories whose name proposes a version, or, for a line, whatever versions of that line its
// index has.
type directory struct {
	name    string
	line    bool
	version *semver.Version // of a line, its first
}

// proposes tells whether a version found in the directory's index is one that the directory may be taken for.
func (d directory) proposes(v *semver.Version) bool {
	if !isRelease(v) {
		return false
	}
	if d.line {
		return lineOf(v) == d.name
	}
	return v.Equal(d.version)
}

// listing reads which directories upstream lists that propose a release, the lowest version first.
func (u *Upstream) listing(ctx context.Context) ([]directory, error) {
	return get(ctx, u, "the listing of releases", u.base+"/repo/", u.limits.Listing, readListing)
}

func readListing(response *http.Response, body io.Reader) ([]directory, error) {
	contentType := response.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != "text/html" && media != "application/xhtml+xml" {
		return nil, fmt.Errorf("is no directory listing: its content type is %q, not text/html", contentType)
	}
	return parseListing(body, response.Request.URL)
}

// parseListing finds the directories in a web server's automatic listing of the directory at address.
func parseListing(page io.Reader, address *url.URL) ([]directory, error) {
	document, err := goquery.NewDocumentFromReader(page)
	if err != nil {
		return nil, err
	}
	entries := 0
	found := map[string]directory{}
	document.Find("a[href]").Each(func(_ int, link *goquery.Selection) {
		name, ok := entry(link.AttrOr("href", ""), address)
		if !ok {
			return
		}
		entries++
		if d, ok := parseDirectory(name); ok {
			found[d.name] = d
		}
	})
	if entries == 0 {
		return nil, errors.New("is no directory listing: it has no link to an entry of the directory; " +
			"check the address of the upstream, which must have its releases under /repo/")
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("empty listing: none of its %d entries is a version", entries)
	}
	directories := make([]directory, 0, len(found))
	for _, d := range found {
		if d.version.Major() >= firstMajor && isRelease(d.version) {
			directories = append(directories, d)
		}
	}
	slices.SortFunc(directories, func(a, b directory) int {
		if c := a.version.Compare(b.version); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return directories, nil
}

// entry returns what a link names in the directory at address: "7.0.0/", or ".." for the one above. Links elsewhere, and those that sort
// the listing, are no entries.
func entry(href string, address *url.URL) (name string, ok bool) {
	target, err := address.Parse(strings.TrimSpace(href))
	if err != nil || target.Host != address.Host || target.RawQuery != "" || target.Fragment != "" {
		return "", false
	}
	if parent := address.ResolveReference(&url.URL{Path: "../"}); target.Path == parent.Path && address.Path != "/" {
		return "..", true
	}
	name, ok = strings.CutPrefix(target.Path, address.Path)
	if !ok || name == "" || strings.Contains(strings.TrimSuffix(name, "/"), "/") {
		return "", false
	}
	return name, true
}

// parseDirectory reads the version that a listed directory is named after: X.Y.Z/ or X.Y/, and nothing else.
func parseDirectory(name string) (directory, bool) {
	name, ok := strings.CutSuffix(name, "/")
	if !ok {
		return directory{}, false
	}
	full, line := name, isLine(name)
	if line {
		full += ".0"
	}
	v, err := semver.StrictNewVersion(full)
	if err != nil {
		return directory{}, false
	}
	return directory{name: name, line: line, version: v}, true
}
