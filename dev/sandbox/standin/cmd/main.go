// Command cmd is the stand-in as a program: what it does depends on the name that it is called by (oned, oneuser, onedb).
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"opennebula-kube/dev/sandbox/standin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	status := standin.System().Run(ctx, filepath.Base(os.Args[0]), os.Args[1:]...)
	stop()
	os.Exit(status)
}
