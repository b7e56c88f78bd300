package github_test

import (
	"errors"
	"testing"

	"opennebula-kube/ci/github"
)

// A report that cannot be delivered is a warning, of one line whatever the error says, and never the failure of a release.
func TestConclude(t *testing.T) {
	failed := errors.New("\n\n## The gate did not pass")
	undelivered := errors.Join(errors.New("upload: 50% sent\r\nand cut"), errors.New("::set-output name=x::y"))
	const warning = "\n::warning::upload: 50%25 sent and cut ::set-output name=x::y\n"
	for name, test := range map[string]struct {
		failed, undelivered error
		printed, err        string
	}{
		"works":                   {nil, nil, "## Released", ""},
		"works, is not delivered": {nil, undelivered, "## Released" + warning, ""},
		"fails":                   {failed, nil, "", failed.Error()},
		"fails, is not delivered": {failed, undelivered, "", failed.Error() + warning},
	} {
		printed, err := github.Conclude("## Released", test.failed, test.undelivered)
		if printed != test.printed || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s: printed %q, error %v", name, printed, err)
		}
	}
}
