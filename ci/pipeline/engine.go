package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Engine does the work that needs more than Go: it builds an image, and it runs a program in one. It decides nothing. Where it finds
// its image sources, its caches and its registry credentials is its own affair, told to it when it is made.
//
// Both methods stop when ctx is done, leave nothing half done and nothing running, and can be called again.
type Engine interface {
	// Build makes one image for all platforms of spec. The same spec gives the same digest.
	Build(ctx context.Context, spec BuildSpec) (Image, error)

	// Run runs a program to its end. A program that ends with another status than 0 is not an error; one that cannot be started is,
	// and that is ErrForeign when the engine cannot run programs of the platform.
	Run(ctx context.Context, program Program) (Result, error)
}

// ErrForeign is the error of a program for a platform whose programs the engine cannot run, not even by emulation.
var ErrForeign = errors.New("cannot be run here")

// Program is a program to run, and what it gets. Paths are absolute in an image. A tool has a working directory of its own, and its
// paths are relative to that.
type Program struct {
	// Image is what the program runs in, and Platform the one of its platforms to take. Without an image the program is a tool that the
	// engine has, whatever that runs in: trivy.
	Image    Image
	Platform string
	// Args are the program and its arguments.
	Args []string
	// Env is added to the image's environment, each as NAME=value.
	Env []string
	// Files are files to read, by path.
	Files map[string][]byte
	// In are directories to read, by path. The program changes nothing in them.
	In map[string]Directory
	// Out are directories to write, by path, and what is in them at first: nil is nothing. What they are given as stays as it is; how the
	// program leaves them is in the result.
	Out map[string]Directory
	// Temp are paths where the program may write what nobody is to keep. An engine may keep it from writing anywhere else.
	Temp []string
	// Key stands for all that the outcome depends on. An engine may give what a program with the same key has left in Out; without a key
	// only what the very same program left with the very same input. It does neither unless that ended with status 0.
	Key string
}

// Result is how a program ended.
type Result struct {
	// Status is its exit status; of one that a signal ended 128 and the signal's number.
	Status int
	// Stdout and Stderr are the end of what it printed, each up to KeptOutput bytes, or without the white space at its end.
	Stdout, Stderr string
	// Out has the program's directories of that name as it left them, when it ended with status 0.
	Out map[string]Directory
}

// KeptOutput is how much of a program's output is kept, in bytes.
const KeptOutput = 1 << 20

// Directory is a directory that goes into a program or comes out of one, with the modes, owners and links of what is in it, and with
// empty directories. It lasts as long as the engine that it came from, and only that can take it in again. A Local goes into every engine,
// where all in it may be root's.
type Directory interface {
	// ReadFile reads a file. One that is missing is fs.ErrNotExist; one of more than limit bytes, or that is not a regular file, is an
	// error too.
	ReadFile(ctx context.Context, name string, limit int64) ([]byte, error)
}

// Local is the path of a directory on this machine.
type Local string

var _ Directory = Local("")

// ReadFile implements Directory. Links do not lead out of the directory.
func (l Local) ReadFile(_ context.Context, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(string(l))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file but %s", name, info.Mode().Type())
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, nil
}
