package local

import "syscall"

// childAttributes make a child process get SIGTERM when this process is gone without having ended it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGTERM,
		// An interrupt from the terminal is for this process alone, which then ends its children in order.
		Setpgid: true,
	}
}
