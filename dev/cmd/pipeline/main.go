// Command pipeline releases OpenNebula's image and Helm chart from this machine, without Dagger or Docker.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"opennebula-kube/dev/cli"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env, err := cli.System()
	if err != nil {
		return err
	}
	return cli.New(env).ExecuteContext(ctx)
}
