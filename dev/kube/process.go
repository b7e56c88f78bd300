package kube

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
)

// process is a cluster without a node, as processes of the machine.
type process struct {
	cmd *exec.Cmd
	// alive is a pipe whose end is the supervisor's, which ends with it.
	alive *os.File
	gone  chan struct{}
}

// startProcess starts a supervisor, which outlives ctx.
func startProcess(ctx context.Context, log *os.File, args []string) (*process, error) {
	end, alive, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = end.Close() }()
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...), alive: alive, gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = log, log, []*os.File{end}
	if err := p.cmd.Start(); err != nil {
		_ = alive.Close()
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		defer close(p.gone)
		_ = p.cmd.Wait() // why it ended is in the log
	}()
	return p, nil
}

func (p *process) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (p *process) ended() <-chan struct{} { return p.gone }

// stop lets the supervisor end, which waits for those that it started.
func (p *process) stop() error {
	err := p.alive.Close()
	<-p.gone
	return err
}
