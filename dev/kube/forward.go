package kube

import (
	"context"
	"io"
	"net"
	"sync"
)

// forwarder copies the connections of a listener to and from elsewhere, until it is closed.
type forwarder struct {
	listener net.Listener
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// forward outlives ctx.
func forward(ctx context.Context, listener net.Listener, dial func(context.Context) (net.Conn, error)) *forwarder {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &forwarder{listener: listener, cancel: cancel}
	f.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.running.Go(func() { pipe(ctx, conn, dial) })
		}
	})
	return f
}

// pipe connects conn with what dial reaches, and returns when both are closed.
func pipe(ctx context.Context, conn net.Conn, dial func(context.Context) (net.Conn, error)) {
	defer func() { _ = conn.Close() }()
	other, err := dial(ctx)
	if err != nil {
		return // as a port that nobody listens on
	}
	defer func() { _ = other.Close() }()
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close()
		_ = other.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { transfer(other, conn) })
	both.Go(func() { transfer(conn, other) })
	both.Wait()
}

// transfer copies until from ends, and tells to so.
func transfer(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	// Broken: neither side has any more use.
	_ = to.Close()
	_ = from.Close()
}

// close ends the listener and its connections.
func (f *forwarder) close() {
	_ = f.listener.Close()
	f.cancel()
	f.running.Wait()
}
