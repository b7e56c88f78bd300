package startup

import (
	"fmt"
	"slices"
	"strings"
)

// hostname is what hypervisors know the machine by: the one that is set, or the full name that /etc/hosts has for it. Without one in
// its configuration oned ends when the machine's name cannot be resolved.
func (s *Start) hostname() (string, error) {
	if s.settings.Hostname != "" {
		return s.settings.Hostname, nil
	}
	name, err := s.host.Hostname()
	if err != nil {
		return "", fmt.Errorf("read the name of this machine: %w; set OPENNEBULA_HOSTNAME", err)
	}
	hosts, err := s.host.ReadFile("/etc/hosts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(hosts)) {
		line, _, _ = strings.Cut(line, "#")
		// The first name on a line is the full one.
		if fields := strings.Fields(line); len(fields) > 1 && slices.Contains(fields[1:], name) && !isLoopback(fields[0]) {
			return fields[1], nil
		}
	}
	return name, nil
}

func isLoopback(address string) bool { return strings.HasPrefix(address, "127.") || address == "::1" }

// interfaces returns what the kernel knows of IPv6 addresses: a line for each. There is no such file where IPv6 is off.
func (s *Start) interfaces() [][]string {
	content, err := s.host.ReadFile("/proc/net/if_inet6")
	if err != nil {
		return nil
	}
	var all [][]string
	for line := range strings.Lines(string(content)) {
		all = append(all, strings.Fields(line))
	}
	return all
}

func (s *Start) hasIPv6() bool { return len(s.interfaces()) > 0 }

// ipv6Only tells whether the machine can be reached by IPv6, and not by IPv4.
func (s *Start) ipv6Only() bool {
	const scope, global = 3, "00"
	routes, err := s.host.ReadFile("/proc/net/route")
	hasIPv4 := err != nil || strings.Count(strings.TrimSpace(string(routes)), "\n") > 0
	return !hasIPv4 && slices.ContainsFunc(s.interfaces(), func(fields []string) bool { return len(fields) > scope && fields[scope] == global })
}
