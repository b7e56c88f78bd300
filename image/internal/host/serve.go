package host

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// serveGrace is how long a program may take to end when it is told to.
const serveGrace = time.Minute

func serve(ctx context.Context, c Command, use func(ctx context.Context) error) error {
	output, err := os.CreateTemp("", "output")
	if err != nil {
		return err
	}
	// Not a pipe: what the program leaves behind would keep that open.
	defer func() { _ = errors.Join(output.Close(), os.Remove(output.Name())) }()
	using, stop := context.WithCancel(ctx)
	defer stop()
	running, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	cmd := command(running, c)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = serveGrace
	if err := cmd.Start(); err != nil {
		return explain(c, err)
	}
	ended := make(chan struct{})
	go func() {
		// How it has ended is in its state.
		_ = cmd.Wait()
		stop()
		close(ended)
	}()
	useErr := use(using)
	if useErr == nil || ctx.Err() != nil || using.Err() == nil {
		kill()
		<-ended
		return useErr
	}
	<-ended
	said, err := os.ReadFile(output.Name())
	return errors.Join(exitError(c, cmd.ProcessState.ExitCode(), string(said)), err)
}
