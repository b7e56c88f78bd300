//go:build !linux

package local

import "syscall"

// childAttributes are none: the daemon runs on Linux only.
func childAttributes() *syscall.SysProcAttr { return nil }
