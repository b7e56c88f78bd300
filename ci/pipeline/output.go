package pipeline

import "strings"

// LastLines returns the end of what a program printed, as much as an error has room for.
func LastLines(output string) string {
	const kept = 12
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return strings.Join(lines[max(0, len(lines)-kept):], "\n")
}
