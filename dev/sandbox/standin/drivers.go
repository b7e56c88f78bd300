package standin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

const (
	monitorConfig = "/etc/one/monitord.conf"
	// Ports that the hook driver, one_hm, has by oned.conf. It can have no other address: ZeroMQ is not told to use IPv6.
	hookEvents, hookReplies = "127.0.0.1:2101", "127.0.0.1:2102"
)

// startDrivers opens the ports of those drivers of oned that listen. Without its hook driver oned ends; without onemonitord it goes on.
func (h Host) startDrivers(ctx context.Context, hooks *hookDriver) (stop func(), err error) {
	var opened []func()
	stop = func() {
		for _, end := range opened {
			end()
		}
	}
	for _, socket := range []struct {
		address string
		handle  func(net.Conn)
	}{{hookEvents, hooks.subscribe}, {hookReplies, hooks.receive}} {
		listener, err := h.Listen(ctx, "tcp", socket.address)
		if err != nil {
			stop()
			return nil, fmt.Errorf("ERROR: Failed to bind socket to tcp://%s: %w; hook driver: no INIT SUCCESS", socket.address, err)
		}
		opened = append(opened, accept(listener, socket.handle))
	}
	monitor, err := h.monitoring(ctx)
	if err != nil {
		_, _ = fmt.Fprintf(h.Stderr, "Error starting monitor drivers: %v\n", err)
		return stop, nil
	}
	opened = append(opened, monitor)
	return stop, nil
}

// monitoring opens the ports that hypervisors send monitoring data to.
func (h Host) monitoring(ctx context.Context) (stop func(), err error) {
	text, err := os.ReadFile(h.path(monitorConfig))
	if err != nil {
		return nil, err
	}
	config, err := parseConfig(monitorConfig, string(text))
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(config["NETWORK.ADDRESS"], config["NETWORK.PORT"])
	udp, err := h.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	tcp, err := h.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	closeTCP := closeOnAccept(tcp)
	return func() {
		_ = udp.Close()
		closeTCP()
	}, nil
}

// closeOnAccept takes connections and closes them, until stop is called.
func closeOnAccept(listener net.Listener) (stop func()) {
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			closeQuietly(connection)
		}
	}()
	return func() { closeQuietly(listener) }
}

// closeQuietly closes what nothing is written to.
func closeQuietly(c io.Closer) { _ = c.Close() }
