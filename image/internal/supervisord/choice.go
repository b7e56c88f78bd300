package supervisord

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"opennebula-kube/image/internal/host"
)

const (
	// installedDir has the configuration of all services, chosenDir links to those that are to run: supervisord reads it.
	installedDir = "/etc/supervisor/services"
	chosenDir    = "/run/one-container/services"
	extension    = ".conf"
	// writesLog is in the configuration of a service that writes a log file.
	writesLog = " -follow /var/log/one/"
	// stoppingFile is there from when the services are to stop on.
	stoppingFile = "/run/one-container/stopping"
)

// Choose has supervisord run these services and what they need themselves, and no others; none given are all. On one of several front-ends
// those that only the leader runs are not started yet.
func Choose(h *host.Host, services []string, oneOfSeveral bool) error {
	if len(services) == 0 {
		services = Services()
	}
	write, err := writeLogs(h, services)
	if err != nil {
		return err
	}
	if write {
		services = append(slices.Clone(services), Logrotate)
	}
	if oneOfSeveral {
		services = append(slices.Clone(services), Role)
	}
	if err := h.Directory(filepath.Dir(chosenDir), 0o755, host.Owner{}); err != nil {
		return err
	}
	if err := h.Directory(chosenDir, 0o755, host.Owner{}); err != nil {
		return err
	}
	if _, err := h.Remove(stoppingFile); err != nil {
		return err
	}
	// A container that is started again may have had others.
	before, err := Chosen(h)
	if err != nil {
		return err
	}
	for _, service := range before {
		if _, err := h.Remove(filepath.Join(chosenDir, service+extension)); err != nil {
			return err
		}
	}
	for _, service := range services {
		if err := choose(h, service, oneOfSeveral && slices.Contains(LeaderOnly(), service)); err != nil {
			return fmt.Errorf("choose service %s: %w", service, err)
		}
	}
	return nil
}

func choose(h *host.Host, service string, later bool) error {
	installed, chosen := filepath.Join(installedDir, service+extension), filepath.Join(chosenDir, service+extension)
	if !later {
		return h.Disk.Symlink(installed, h.Path(chosen))
	}
	content, err := h.ReadFile(installed)
	if err != nil {
		return err
	}
	return h.WriteFile(chosen, append(content, "autostart=false\n"...), 0o644, host.Owner{})
}

// writeLogs tells whether one of the services writes a log file.
func writeLogs(h *host.Host, services []string) (bool, error) {
	for _, service := range services {
		content, err := h.ReadFile(filepath.Join(installedDir, service+extension))
		if err != nil {
			return false, err
		}
		if bytes.Contains(content, []byte(writesLog)) {
			return true, nil
		}
	}
	return false, nil
}

// Chosen returns the services that are to run, in the order of their names; none before the choice is made.
func Chosen(h *host.Host) ([]string, error) {
	entries, err := os.ReadDir(h.Path(chosenDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var services []string
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), extension); ok && (slices.Contains(Services(), name) || name == Logrotate || name == Role) {
			services = append(services, name)
		}
	}
	return services, nil
}

// DeclareStop says that the services are to stop, before supervisord is told: the signal that supervisord sends to what it has just started,
// and what is not yet the program that it is to become, is lost. That program has to look by itself.
func DeclareStop(h *host.Host) error {
	return h.WriteFile(stoppingFile, nil, 0o644, host.Owner{})
}

// StopDeclared tells whether the services are to stop.
func StopDeclared(h *host.Host) bool {
	_, err := os.Stat(h.Path(stoppingFile))
	return err == nil
}

var stopWait = regexp.MustCompile(`(?m)^stopwaitsecs=(\d+)$`)

// ownStopTime is what supervisord may take besides the time that it gives the services: it takes notice of an end once a second.
const ownStopTime = 10 * time.Second

// StopTime is how long supervisord may take to stop what is chosen: one service after the other, each within its own time.
func StopTime(h *host.Host) (time.Duration, error) {
	services, err := Chosen(h)
	if err != nil {
		return 0, err
	}
	total := ownStopTime
	for _, service := range services {
		path := filepath.Join(installedDir, service+extension)
		content, err := h.ReadFile(path)
		if err != nil {
			return 0, err
		}
		match := stopWait.FindSubmatch(content)
		if match == nil {
			return 0, fmt.Errorf("%s: there is no line stopwaitsecs=<seconds>: add it, for the container has to know how long %s may take to stop",
				path, service)
		}
		seconds, err := strconv.Atoi(string(match[1]))
		if err != nil {
			return 0, fmt.Errorf("%s: stopwaitsecs: %w", path, err)
		}
		total += time.Duration(seconds) * time.Second
	}
	return total, nil
}
