// Command one-container prepares OpenNebula's container and looks after it from inside: it is the image's entrypoint, its health check,
// and what puts the name of a service before each line that it prints.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage:
  one-container start                         prepare the container, then run the services under supervisord until SIGTERM comes or one of
                                              them keeps failing
  one-container selftest                      start the container as start does, on its volume or an empty one, use OpenNebula as a user does first,
                                              and stop it; ends with 0 when all of that worked
  one-container healthcheck live|startup|ready
                                              ask whether the services work; ends with 0 when they do
  one-container backup                        make a backup of a running installation, with the settings of its container
  one-container role                          on one of several front-ends: run the leader's services while it leads, and label its pod
  one-container rotate                        rotate the logs that are due, and remove those of virtual machines that are gone
  one-container log [-follow FILES]... [-after-oned] [-every TIME] SERVICE COMMAND...
                                              run a command with SERVICE before each line that it prints or that comes into
                                              the files, a pattern such as 'dir/*.log'; once oned works; again and again, with
                                              TIME between

Settings are the environment variables OPENNEBULA_*; README.md of the image lists them.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	os.Exit(status)
}

// run returns the exit status.
func run(ctx context.Context, args []string) (int, error) {
	var command string
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch {
	case command == "start" && len(args) == 0:
		return statusOf(start(ctx))
	case command == "selftest" && len(args) == 0:
		return statusOf(testItself(ctx))
	case command == "healthcheck" && len(args) == 1:
		return statusOf(healthcheck(ctx, args[0]))
	case command == "backup" && len(args) == 0:
		return statusOf(makeBackup(ctx))
	case command == "rotate" && len(args) == 0:
		return statusOf(rotateLogs(ctx))
	case command == "role" && len(args) == 0:
		return statusOf(keepRole(ctx))
	case command == "log":
		s, err := parseService(args)
		if err != nil {
			return 2, fmt.Errorf("%w\n%s", err, usage)
		}
		return s.run(ctx)
	}
	return 2, fmt.Errorf("%q is no command\n%s", os.Args[1:], usage)
}

func statusOf(err error) (int, error) {
	if err != nil {
		return 1, err
	}
	return 0, nil
}
