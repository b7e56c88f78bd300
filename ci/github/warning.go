package github

import (
	"errors"
	"strings"
)

// Conclude returns what a call that reports to GitHub prints: the report, or the error of what failed. What could not be delivered makes no failure of
// a success: it is a warning below either.
func Conclude(report string, failed, undelivered error) (string, error) {
	below := ""
	if undelivered != nil {
		below = "\n" + warning(undelivered) + "\n"
	}
	if failed != nil {
		return "", errors.New(failed.Error() + below)
	}
	return report + below, nil
}

// warning is the line by which a job of GitHub Actions shows an error as a warning, on its page, while the job goes on.
func warning(err error) string {
	message := strings.Join(strings.Fields(err.Error()), " ")
	return "::warning::" + strings.ReplaceAll(message, "%", "%25")
}
