package helmrepo

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// indexFile is a repository's index as Helm reads it, field by field: Helm refuses an index that has others. Helm's own type comes with
// its downloaders and their Kubernetes client, which is too much to compile for a handful of fields.
type indexFile struct {
	ServerInfo  map[string]any           `json:"serverInfo,omitempty"`
	APIVersion  string                   `json:"apiVersion"`
	Generated   time.Time                `json:"generated"`
	Entries     map[string][]*indexEntry `json:"entries"`
	PublicKeys  []string                 `json:"publicKeys,omitempty"`
	Annotations map[string]string        `json:"annotations,omitempty"`
}

// indexEntry is one version of one chart in an index.
type indexEntry struct {
	*chart.Metadata
	URLs    []string  `json:"urls"`
	Created time.Time `json:"created"`
	Removed bool      `json:"removed,omitempty"`
	Digest  string    `json:"digest,omitempty"`

	// Fields that Helm 2 wrote and later ones still accept.
	Checksum      string `json:"checksum,omitempty"`
	Engine        string `json:"engine,omitempty"`
	TillerVersion string `json:"tillerVersion,omitempty"`
	URL           string `json:"url,omitempty"`
}

// MergeIndex adds an archive to the index.yaml of a chart repository: before the first older version of the chart, or as a new chart at
// the end. Nothing else is touched, byte for byte, but the time in `generated`; the new lines are indented and ended like those around
// them. An empty index is written anew. The archive's address is its file name below baseURL, or, when baseURL is empty, the file name,
// which Helm takes relative to the index. An index that has the version with the same digest comes back as it is, and changed is false;
// with another digest the error is ErrVersionTaken.
//
// The result has been read back: Helm can load it, and it says the same of all that was there before. An index that cannot be added to
// in this way is an error.
func MergeIndex(index []byte, a Archive, baseURL string, now time.Time) (merged []byte, changed bool, err error) {
	merged, err = mergeIndex(index, a, baseURL, now)
	switch {
	case errors.Is(err, errUnchanged):
		return index, false, nil
	case errors.Is(err, ErrVersionTaken):
		return nil, false, err
	case err != nil:
		return nil, false, fmt.Errorf("add chart %s %s to the index of the chart repository: %w", a.Name, a.Version, err)
	}
	return merged, true, nil
}

// errUnchanged says that the index has the archive already.
var errUnchanged = errors.New("unchanged")

func mergeIndex(index []byte, a Archive, baseURL string, now time.Time) ([]byte, error) {
	entry, err := a.entry(baseURL, now)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(index)) == 0 {
		merged, err := newIndex(entry, now)
		if err != nil {
			return nil, err
		}
		return merged, verifyLoads(merged, entry)
	}
	nodes, err := parseIndex(index)
	if err != nil {
		return nil, err
	}
	if err := nodes.find(a); err != nil {
		return nil, err
	}
	old := indexText{newLines(index), *nodes}
	insert, err := old.insertion(entry)
	if err != nil {
		return nil, err
	}
	merged, err := apply(index, append(old.dated(now), insert))
	if err != nil {
		return nil, err
	}
	if err := nodes.verifySame(merged, entry); err != nil {
		return nil, err
	}
	return merged, verifyLoads(merged, entry)
}

// entry is the archive's entry in an index.
func (a Archive) entry(baseURL string, now time.Time) (*indexEntry, error) {
	c, err := a.open()
	if err != nil {
		return nil, err
	}
	address, err := archiveURL(baseURL, a.Filename)
	if err != nil {
		return nil, err
	}
	return &indexEntry{Metadata: c.Metadata, URLs: []string{address}, Created: now.UTC(), Digest: a.Digest}, nil
}

func archiveURL(baseURL, filename string) (string, error) {
	if baseURL == "" {
		return filename, nil
	}
	base, err := url.Parse(baseURL)
	if err != nil {
		return "", fmt.Errorf("address of the chart repository: %w", err)
	}
	if (base.Scheme != "https" && base.Scheme != "http") || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return "", fmt.Errorf("address of the chart repository: %q is not of the form https://<host>/<path>", baseURL)
	}
	return base.JoinPath(filename).String(), nil
}

// find is nil when the index lacks the archive's version, and errUnchanged when it has it with the archive's digest.
func (x *indexNodes) find(a Archive) error {
	entries, err := x.list(a.Name)
	if err != nil {
		return err
	}
	found := false
	for _, have := range entries {
		if have.Version != a.Version {
			continue
		}
		if !strings.EqualFold(strings.TrimPrefix(have.Digest, "sha256:"), a.Digest) {
			return a.taken("the index has it with digest %q and this archive has %q", have.Digest, a.Digest)
		}
		found = true
	}
	if found {
		return errUnchanged
	}
	return nil
}
