package settings

import (
	"path"
	"strings"
)

// Directories that overrides may be for: OpenNebula's configuration, and that of its drivers.
const (
	configDir = "/etc/one"
	driverDir = "/var/lib/one/remotes/etc"
)

// overrides reads lines such as
//
//	oned.conf VM_MAD[NAME=kvm]/ARGUMENTS = -t 30 -r 0 kvm -p
//
// A file without a leading slash is in /etc/one. Empty lines and those that begin with # are skipped.
func (r *reader) overrides(name string) []Override {
	const advice = "write lines of the form <file> <key> = <value>, such as oned.conf LOG/DEBUG_LEVEL = 4"
	var all []Override
	for line := range strings.Lines(r.content(name)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		left, value, found := cutAssignment(line)
		file, key, hasKey := strings.Cut(left, " ")
		if key = strings.TrimSpace(key); !found || !hasKey || key == "" {
			r.wrong(name, line, advice)
			continue
		}
		if !path.IsAbs(file) {
			file = path.Join(configDir, file)
		}
		if file = path.Clean(file); !strings.HasPrefix(file, configDir+"/") && !strings.HasPrefix(file, driverDir+"/") {
			r.wrong(name, line, "the file must be below "+configDir+" or "+driverDir)
			continue
		}
		all = append(all, Override{file, key, value})
	}
	return all
}

// cutAssignment cuts at the first = that is not in brackets: keys may have one there.
func cutAssignment(line string) (left, value string, found bool) {
	depth := 0
	for i, c := range line {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == '=' && depth == 0:
			return strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:]), true
		}
	}
	return "", "", false
}
