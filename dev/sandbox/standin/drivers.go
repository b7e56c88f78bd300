package standin

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

const (
	monitorConfig = "/etc/one/monitord.conf"
	// Ports that the hook driver, one_hm, has by oned.conf. It can have no other address: ZeroMQ is not told to use IPv6.
	hookEvents, hookReplies = "127.0.0.1:2101", "127.0.0.1:2102"
)

// errDriver is what oned says of a driver that ends before it is ready.
var errDriver = errors.New("Driver initialization failed, expected INIT SUCCESS message")

// madLocation is where oned's drivers are.
const madLocation = "/usr/lib/one/mads"

// startDrivers starts oned's drivers, as far as they are more than a name. oned ends without any of them.
func (h Host) startDrivers(ctx context.Context, config map[string]string, hooks *hookDriver, log *onedLogger) (stop func(), err error) {
	if err := h.loadDrivers(config, log); err != nil {
		return nil, err
	}
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
			log.logf(levelError, "DrM", "Unable to start driver '': %v", errDriver)
			log.logf(levelError, "HKM", "%v", errDriver)
			return nil, errLogged
		}
		opened = append(opened, accept(listener, socket.handle))
	}
	if err := h.scheduler(config); err != nil {
		stop()
		log.logf(levelError, "DrM", "Unable to start driver 'sched': %v", err)
		log.logf(levelError, "SCM", "%v", err)
		return nil, errLogged
	}
	monitor, err := h.monitoring(ctx)
	if err != nil {
		stop()
		log.logf(levelError, "InM", "Error starting Information Manager: %v", errDriver)
		return nil, errLogged
	}
	opened = append(opened, monitor)
	return stop, nil
}

// loadDrivers looks for the programs of the drivers that the configuration names.
func (h Host) loadDrivers(config map[string]string, log *onedLogger) error {
	for _, name := range slices.Sorted(maps.Keys(config)) {
		driver, ok := strings.CutSuffix(name, ".EXECUTABLE")
		if !ok || !strings.HasSuffix(driver, "_MAD") {
			continue
		}
		program := config[name]
		if !path.IsAbs(program) {
			program = path.Join(madLocation, program)
		}
		if _, err := os.Stat(h.path(program)); err != nil {
			log.logf(levelError, "DrM", "File not exists: %s", program)
			return errors.New("Could not load driver")
		}
	}
	return nil
}

// scheduler is the scheduler's driver: it ends when what places virtual machines, and what moves them, is not among the drivers on the volume.
func (h Host) scheduler(config map[string]string) error {
	parts := map[string]string{"-p": "rank", "-o": "one_drs"}
	arguments := strings.Fields(config["SCHED_MAD.ARGUMENTS"])
	for i, option := range arguments[:max(0, len(arguments)-1)] {
		if _, known := parts[option]; known {
			parts[option] = arguments[i+1]
		}
	}
	for _, part := range parts {
		if info, err := os.Stat(h.path(filepath.Join(remotesDir, "scheduler", part))); err != nil || !info.IsDir() {
			return errDriver
		}
	}
	return nil
}

// remotesDir is where the drivers are that hypervisors get a copy of.
const remotesDir = "/var/lib/one/remotes"

// MissingProbes returns the directories that the monitoring probes of a hypervisor list, and that are not among the drivers below root.
// Some are empty in OpenNebula's packages. The probes end without one of them, and the host goes to the state ERROR.
func MissingProbes(root, hypervisor string) (missing []string) {
	directories := []string{"host/beacon", "host/monitor", "host/system", "vm/monitor", "vm/snapshot", "vm/status"}
	if release, err := (Host{Root: root}).version(); err != nil || !release.LessThan(semver.New(7, 2, 0, "", "")) {
		directories = append(directories, "vm/execution")
	}
	probes := filepath.Join(remotesDir, "im", hypervisor+"-probes.d")
	for _, directory := range directories {
		directory = filepath.Join(probes, directory)
		if info, err := os.Stat(filepath.Join(root, directory)); err != nil || !info.IsDir() {
			missing = append(missing, directory)
		}
	}
	return missing
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
