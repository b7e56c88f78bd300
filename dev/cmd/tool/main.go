// Command tool prints the path of a tool in exactly the version that this repository pins: the one on the PATH if it is of that
// version, else one that is compiled, once.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"opennebula-kube/dev/cli"
	"opennebula-kube/dev/toolchain"
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
	if len(os.Args) != 2 {
		return fmt.Errorf("want the name of one tool, as in `go run ./dev/cmd/tool helm`; got %d arguments", len(os.Args)-1)
	}
	env, err := cli.System()
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	path, err := toolchain.New(".", env.CacheDir, say).Tool(ctx, os.Args[1])
	if err != nil {
		return err
	}
	_, err = fmt.Println(path)
	return err
}
