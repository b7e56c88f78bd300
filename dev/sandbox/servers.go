package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const loopback = "127.0.0.1"

// servers are HTTP servers that end together. The zero value is ready for use, on loopback.
type servers struct {
	host    string
	running []*http.Server
	ended   sync.WaitGroup
}

// start serves handler on port, or on a free one when port is 0 or taken, and returns the address.
func (s *servers) start(handler http.Handler, port int) (string, error) {
	host := cmp.Or(s.host, loopback)
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		listener, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w", host, err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that hang up, which faults make them do
	}
	s.running = append(s.running, server)
	s.ended.Go(func() { _ = server.Serve(listener) })
	return listener.Addr().String(), nil
}

func (s *servers) close() error {
	var errs []error
	for _, server := range s.running {
		errs = append(errs, server.Close())
	}
	s.ended.Wait()
	return errors.Join(errs...)
}
