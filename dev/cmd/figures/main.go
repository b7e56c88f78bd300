// Command figures prints how large a released image is and what it is made of: its layers, packages and findings. It takes the
// directory that the release has written its files to, and reads the image from the registry, with the login that `docker login` has kept.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/registry"
	"opennebula-kube/dev/figures"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("want one argument: the directory that a release has written its files to, such as out")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return figures.Write(ctx, os.Stdout, args[0], registry.WithKeychain(authn.DefaultKeychain))
}
