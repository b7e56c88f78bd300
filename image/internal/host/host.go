// Package host is the container that start-up prepares: its files, its clock, the programs in it. All of it can be replaced, so that
// what decides is tested against a directory.
package host

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// Owner is whom a file belongs to, or whom a program runs as. The zero value is root.
type Owner struct{ UID, GID int }

// Oneadmin is OpenNebula's user, which has the same numbers on all machines: hypervisors rely on it.
func Oneadmin() Owner { return Owner{9869, 9869} }

// Host is where start-up does its work.
type Host struct {
	// Root is the directory that all paths are below: "/" in a container.
	Root string
	// Now is the clock, Sleep waits unless ctx is done first.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	// Run runs a program to its end and returns its standard output. A program that fails is an *ExitError.
	Run func(ctx context.Context, c Command) (string, error)
	// Serve runs a program for as long as use takes, and tells it to end then. A program that ends before is an *ExitError.
	Serve func(ctx context.Context, c Command, use func(ctx context.Context) error) error
	// Disk changes files.
	Disk Disk
	// Chown gives a file, not what a link points to, an owner; OwnerOf reads it.
	Chown   func(path string, o Owner) error
	OwnerOf func(path string) (Owner, error)
	// Hostname is the machine's own name, without its domain.
	Hostname func() (string, error)
	// Log takes lines for the container's log.
	Log func(format string, args ...any)
}

// Command is a program to run.
type Command struct {
	Args []string
	// As is the user; the zero value is root.
	As Owner
	// Env is added to a minimal environment.
	Env   []string
	Stdin io.Reader
}

// ExitError is a program that ended with a status other than 0.
type ExitError struct {
	Args   []string
	Status int
	// Output is the end of what it printed, on both streams.
	Output string
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s ended with status %d", e.Args[0], e.Status)
	if e.Output != "" {
		text += ": " + e.Output
	}
	return text
}

// Path is where a file of the container is.
func (h *Host) Path(path string) string { return filepath.Join(h.Root, path) }
