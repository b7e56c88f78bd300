package local

import (
	"fmt"
	"os"
	"runtime"
)

// CanBuild returns an error, which says what to do, on a machine or for a user that cannot build images: that takes Linux and root.
func CanBuild() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("building images needs Linux and this is %s: run it on a Linux machine, or in a virtual machine with one", runtime.GOOS)
	}
	if uid := os.Getuid(); uid != 0 {
		return fmt.Errorf("building images needs root, to run containers without Docker, and the user is %d: run again as root", uid)
	}
	return nil
}
