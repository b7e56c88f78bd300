package github

import "strings"

// Warning is the line by which a job of GitHub Actions shows an error as a warning: on its page, while the job goes on.
func Warning(err error) string {
	message := strings.Join(strings.Fields(err.Error()), " ")
	return "::warning::" + strings.ReplaceAll(message, "%", "%25")
}
