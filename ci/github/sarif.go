package github

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	api "github.com/google/go-github/v92/github"
)

var (
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
	refPattern    = regexp.MustCompile(`^refs/(?:(?:heads|tags)/[^\s\x00-\x20\x7f~^:?*\[\\]+|pull/[1-9][0-9]*/merge)$`)
)

// UploadSARIF gives the findings in a SARIF log to code scanning, as those of a commit (40 hexadecimal digits) on a ref: refs/heads/main,
// refs/tags/v1 or refs/pull/12/merge. GitHub has taken the log then, and works on it later.
func (r *Repository) UploadSARIF(ctx context.Context, sarif []byte, commit, ref string) error {
	if err := checkUpload(sarif, commit, ref); err != nil {
		return fmt.Errorf("upload SARIF to code scanning of GitHub repository %s: %w", r, err)
	}
	packed, err := pack(sarif)
	if err != nil {
		return fmt.Errorf("upload SARIF to code scanning of GitHub repository %s: compress it: %w", r, err)
	}
	return r.do(ctx, call{
		doing: fmt.Sprintf("upload SARIF of commit %s to code scanning", commit),
		needs: "security-events: write",
		refused: "; if it has that, code scanning is off: turn it on in the settings of the repository, under security " +
			"(a private one needs GitHub Code Security for it), or upload nothing",
		// The same log twice is no harm: the later analysis of a commit by a tool takes the earlier one's place.
		send: func(ctx context.Context) error {
			taken, _, err := r.api.CodeScanning.UploadSarif(ctx, r.owner, r.name, api.SarifAnalysis{CommitSHA: commit, Ref: ref, Sarif: packed})
			if err == nil && taken.GetID() == "" {
				return errors.New("it does not name the analysis") // but is a proxy's page, perhaps, with status 200
			}
			return err
		},
	})
}

func checkUpload(sarif []byte, commit, ref string) error {
	switch {
	case !json.Valid(sarif):
		return errors.New("what is to be uploaded is no JSON")
	case !commitPattern.MatchString(commit):
		return fmt.Errorf("%q is no commit: want its 40 hexadecimal digits", commit)
	case !refPattern.MatchString(ref) || strings.Contains(ref, "..") || strings.Contains(ref, "//") || strings.HasSuffix(ref, "/"):
		return fmt.Errorf("%q is no ref of a commit: want refs/heads/<branch>, refs/tags/<tag> or refs/pull/<number>/merge", ref)
	}
	return nil
}

// pack compresses a SARIF log and writes it in base64, as the API wants it.
func pack(sarif []byte) (string, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(sarif); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}
