package github_test

import (
	"errors"
	"testing"

	"opennebula-kube/ci/github"
)

// A warning is one line, whatever the error says, and GitHub reads the same from it.
func TestWarning(t *testing.T) {
	err := errors.Join(errors.New("upload: 50% sent\r\n"), errors.New("::set-output name=x::y"))
	if got, want := github.Warning(err), "::warning::upload: 50%25 sent ::set-output name=x::y"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
