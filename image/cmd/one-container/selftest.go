package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"opennebula-kube/image/exercise"
	"opennebula-kube/image/internal/health"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/selftest"
	"opennebula-kube/image/internal/settings"
	"opennebula-kube/image/internal/startup"
)

// How long the parts of a test may take. A start may upgrade a large database, and wait for its server.
const (
	selftestStart = 30 * time.Minute
	selftestReady = 5 * time.Minute
	selftestWait  = 5 * time.Minute
)

// testItself starts the container as start does, uses OpenNebula as a user does first, and stops it. What the services print is kept back,
// and its last lines are printed when the test fails.
func testItself(ctx context.Context) error {
	loaded, err := load("selftest")
	if err != nil {
		return err
	}
	if err := adaptToTest(&loaded); err != nil {
		return err
	}
	unlock, err := lock(lockFile)
	if err != nil {
		return fmt.Errorf("selftest: %w", err)
	}
	defer unlock()
	h := host.System(func(string, ...any) {})
	version, err := startup.Version(h)
	if err != nil {
		return fmt.Errorf("selftest: %w", err)
	}
	capture, err := selftest.NewCapture()
	if err != nil {
		return fmt.Errorf("selftest: keep back what the services print: %w", err)
	}
	begin := time.Now()
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(capture.Stdout, "selftest: "+format+"\n", args...)
	}
	say("test of OpenNebula %s", version)
	test := selftest.Test{
		Services:   func(ctx context.Context) error { return runServices(ctx, loaded) },
		Check:      func(ctx context.Context, probe health.Probe) error { return health.Check(ctx, h, probe) },
		Exercise:   func(ctx context.Context, progress func(string)) error { return useServices(ctx, h, progress) },
		Progress:   func(step string) { say("after %.1f s: %s", time.Since(begin).Seconds(), step) },
		StartLimit: selftestStart, ReadyLimit: selftestReady, Interval: time.Second,
	}
	failure := test.Run(ctx)
	if failure == nil {
		say("passed after %.1f s", time.Since(begin).Seconds())
	}
	lines, err := capture.End()
	if failure == nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "selftest: the last lines of the services' log:")
	for _, line := range lines {
		fmt.Fprintln(os.Stderr, line)
	}
	return fmt.Errorf("selftest: %w", failure)
}

// adaptToTest switches on the drivers that need no hypervisor, or refuses settings with which not everything runs in this container.
func adaptToTest(s *settings.Settings) error {
	if s.HA.Enabled() {
		return errors.New("selftest: OPENNEBULA_HA_SERVERS is set, and one of several front-ends does not run alone: test the image without it")
	}
	if len(s.Services) > 0 {
		return errors.New("selftest: OPENNEBULA_SERVICES is set, and the test needs all services: test the image without it")
	}
	// The host is this container.
	s.MonitorAddress = "auto"
	if s.OneGateEndpoint == "" {
		// Without one oned makes no machine that is to have a token. No guest will call it.
		s.OneGateEndpoint = "http://localhost:5030"
	}
	drivers, err := settings.ParseOverrides(exercise.Configuration)
	s.Overrides = append(s.Overrides, drivers...)
	return err
}

// useServices makes the calls that a user makes first.
func useServices(ctx context.Context, h *host.Host, progress func(step string)) error {
	at, err := health.Locate(h)
	if err != nil {
		return err
	}
	session, err := oned.Session(h)
	if err != nil {
		return err
	}
	files, err := os.OpenRoot(machineFiles)
	if err != nil {
		return fmt.Errorf("open the directory for files of virtual machines: %w", err)
	}
	defer func() { _ = files.Close() }()
	var removal error
	err = exercise.Target{
		HTTP: &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		XMLRPC: at.Oned, OneFlow: at.OneFlow, OneGate: at.OneGate, FireEdge: at.FireEdge, Session: session, Limit: selftestWait,
		// OpenNebula keeps them for ever.
		Over: func(machine int) { removal = errors.Join(removal, files.RemoveAll(strconv.Itoa(machine))) },
	}.Run(ctx, progress)
	if err == nil && removal != nil {
		return fmt.Errorf("remove the files of virtual machines that are over from %s: %w", machineFiles, removal)
	}
	return err
}

// machineFiles has a directory for each virtual machine.
const machineFiles = "/var/lib/one/vms"
