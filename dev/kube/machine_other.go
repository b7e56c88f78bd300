//go:build !linux

package kube

import (
	"context"
	"fmt"
	"os"
	"runtime"
)

// CanRunPods returns an error, which says what is missing, on a machine or for a user that cannot run a node: that takes Linux.
func CanRunPods() error {
	return fmt.Errorf("running pods needs Linux and this is %s: run in a virtual machine with it", runtime.GOOS)
}

func startContainer(context.Context, string, string, []string, *os.File, []string) (instance, error) {
	return nil, CanRunPods()
}
